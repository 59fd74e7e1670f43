"""Names in options, data and messages: chosen by name or glob, compared as people read them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from difflib import SequenceMatcher, get_close_matches
from fnmatch import fnmatchcase

from harness.errors import UnknownNameError, UsageError
from harness.utils.text import short

_GLOB = frozenset("*?[")
_FEW = 5  # of many names in a message, the first
_LONGEST = 400  # characters of each: paths may be long, cells of damaged lists are longer
# Signs that are taken for one another, in lower case; the last seven are Cyrillic.
_TAKEN_FOR = str.maketrans("01357|\u0430\u0435\u043e\u0440\u0441\u0445\u0456", "olestlaeopcxi")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d{1,3})?")
# Texts that pandas, R, spreadsheets and people write where a value is missing, in lower case.
_PLACEHOLDERS = frozenset(
    {
        "",
        "na",
        "n/a",
        "n.a.",
        "<na>",
        "#na",
        "#n/a",
        "#n/a n/a",
        "nan",
        "-nan",
        "+nan",
        "nat",
        "null",
    }
    | {"none", "nil", "-1.#ind", "1.#ind", "-1.#qnan", "1.#qnan", "#value!", "#ref!", "#div/0!"}
    | {
        "#name?",
        "#num!",
        "#null!",
        "-",
        "--",
        "---",
        "\u2013",
        "\u2014",
        "?",
        "??",
        "???",
        ".",
        "..",
    }
)


def choose(
    patterns: Sequence[str], available: Iterable[str], what: str, listed: Sequence[str] = ()
) -> list[str]:
    """The names that `patterns` stand for, each once, in the order they were asked for.

    Args:
        patterns: names or globs; each may hold several, separated by commas.
        available: the names that exist.  What a glob matches comes in their order.
        what: what the names are, in the singular, for messages: `strategy`.
        listed: names that a glob filters; only where it matches none of them, it chooses among all
            that exist.

    Raises:
        UsageError: a name does not exist, a glob matches nothing, or nothing was named at all.
    """
    names = list(available)
    wanted = [part for pattern in patterns for part in map(str.strip, pattern.split(",")) if part]
    if patterns and not wanted:
        raise UsageError(f"no {what} was named; {_listing(what, names)}")
    chosen = [name for pattern in wanted for name in _matches(pattern, names, what, listed)]
    return list(dict.fromkeys(chosen))


def unknown(name: str, available: Iterable[str], what: str) -> UnknownNameError:
    """The error for a name that does not exist: what was probably meant, and what there is."""
    names = list(available)
    message = f"unknown {what} {name!r}{did_you_mean(name, names)}; {_listing(what, names)}"
    return UnknownNameError(message, what, name)


def did_you_mean(name: str, available: Iterable[str]) -> str:
    """`; did you mean 'lp-ft'?`, or nothing where no name is close."""
    folded = name.lower()
    spelt = {known.lower(): known for known in available}
    near = get_close_matches(folded, spelt, n=3, cutoff=0.6)
    # Only what is about as close as the closest: the best comes first.
    alike = [SequenceMatcher(None, one, folded).ratio() for one in near]
    close = [
        repr(spelt[one]) for one, ratio in zip(near, alike, strict=True) if ratio > alike[0] - 0.1
    ]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def outline(name: str) -> str:
    """Equal for names that a reader takes for one another: `full-ft`, `fullft`, `Fu11_FT`."""
    return re.sub(r"[^a-z0-9]", "", name.lower().translate(_TAKEN_FOR))


def first_few(names: Sequence[str]) -> str:
    """`a, b and 7 more`: the first few, shortened where they are long, and how many there are."""
    more = len(names) - _FEW
    return ", ".join(short(name, _LONGEST) for name in names[:_FEW]) + (
        f" and {more} more" if more > 0 else ""
    )


def _matches(pattern: str, names: list[str], what: str, listed: Sequence[str]) -> list[str]:
    if pattern in names:
        return [pattern]
    if not _GLOB.intersection(pattern):
        raise unknown(pattern, names, what)
    for some in ([name for name in listed if name in names], names):
        if found := [name for name in some if fnmatchcase(name, pattern)]:
            return found
    raise UsageError(f"no {what} matches {pattern!r}; {_listing(what, names)}")


def _listing(what: str, names: list[str]) -> str:
    return f"there are: {', '.join(sorted(names))}" if names else f"there is no {what} at all"


# -- values of data -------------------------------------------------------------------------------


def is_placeholder(text: str) -> bool:
    """True for what stands for a missing value: empty, `NA`, `nan`, `None`, `#N/A`, `-`, `?`."""
    return text.strip().casefold() in _PLACEHOLDERS


def spelling_key(text: str) -> str:
    """Equal for texts that a person reads as the same: in number, case, space and Unicode form."""
    plain = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", plain).casefold())
    folded = " ".join(folded.split())
    if _NUMBER.fullmatch(folded):
        number = Decimal(folded.replace(",", "."))
        # The default context would round ids of more than 28 digits.
        return str(number.normalize(Context(prec=len(folded) + 1))) if number else "0"
    return folded


def find_spellings(texts: Iterable[str]) -> list[tuple[str, ...]]:
    """The different spellings of each text that has several, the most frequent one first."""
    counts = Counter(texts)
    alike: dict[str, list[str]] = {}
    for text in counts:
        alike.setdefault(spelling_key(text), []).append(text)
    order = [
        sorted(same, key=lambda text: (-counts[text], len(text), text)) for same in alike.values()
    ]
    return sorted(tuple(same) for same in order if len(same) > 1)


def show_spellings(spellings: Sequence[str]) -> str:
    """`'1' and '1.0'`; with code points where they look the same on a screen."""
    drawn = {" ".join(unicodedata.normalize("NFC", text).split()) for text in spellings}
    return " and ".join(
        ascii(text) if len(drawn) < len(spellings) else repr(text) for text in spellings
    )

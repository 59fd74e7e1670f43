"""Numbers and names as people read them.  Only text is rounded; csv and json are not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NOTHING = "-"
# Taken for a command wherever it stands in a line of a log.
CI_COMMAND = re.compile(r"#(?=#(?:\[|vso\[|teamcity\[))", re.IGNORECASE)
WORKFLOW_COMMAND = re.compile(r"(?<!\S):(?=:)")


HOUR, MINUTE = 3600.0, 60.0


def metric(value: float | None) -> str:
    return _signless(f"{value:.3f}") if value is not None else NOTHING


def place(value: float | None) -> str:
    """A mean rank."""
    return f"{value:.2f}" if value is not None else NOTHING


def points(value: float | None) -> str:
    """A difference, with its sign."""
    if value is None:
        return NOTHING
    text = f"{value:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text


def seconds(value: float | None) -> str:
    """Three figures: `0.41`, `12.3`, `1,204`."""
    if value is None:
        return NOTHING
    digits = next((digits for digits, below in ((2, 10), (1, 100)) if value < below), 0)
    return f"{value:,.{digits}f}"


def duration(value: float) -> str:
    """Seconds for people who plan: `40 s`, `12 min`, `3.5 h`."""
    if value >= HOUR:
        return f"{value / HOUR:.1f} h"
    return f"{value / MINUTE:.0f} min" if value >= MINUTE else f"{value:.0f} s"


def count(value: float) -> str:
    """Parameters and the like: `510`, `400k`, `23.5M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:.0f}"


def span(low: float, high: float) -> str:
    """`4.1k to 23.5M`, or one of them where both read the same."""
    first, last = count(low), count(high)
    return first if first == last else f"{first} to {last}"


def megabytes(size: float) -> str:
    """A size of a file: `850 MB`, `1.2 GB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"


def percent(share: float) -> str:
    return f"{share:.0%}"


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shorten(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first items, and how many more there are."""
    more = len(items) - most
    shown = separator.join(items[:most])
    return f"{shown}{separator}and {more} more" if more > 0 else shown


def best(texts: Sequence[str], values: Sequence[float | None], *, lowest: bool) -> list[bool]:
    """Mark the texts that read as the best value does, unless that is everybody."""
    present = [value for value in values if value is not None]
    if not present:
        return [False] * len(texts)
    winner = texts[list(values).index(min(present) if lowest else max(present))]
    rivals = {text for text, value in zip(texts, values, strict=True) if value is not None}
    return [
        len(rivals) > 1 and value is not None and text == winner
        for text, value in zip(texts, values, strict=True)
    ]


def clean(text: str) -> str:
    """One line without control, formatting or broken characters: names may come from anywhere."""
    spaced = " ".join(text.split())
    if not spaced.isprintable():
        spaced = "".join("?" if is_control(c) else c for c in spaced)
    return no_commands(spaced)


def no_commands(text: str) -> str:
    """A text in which a space breaks what a CI service would take for a command.

    `::error` starts a line there, and a line may be broken before any word.
    """
    if "##" in text:
        text = CI_COMMAND.sub("# ", text)
    return WORKFLOW_COMMAND.sub(": ", text) if "::" in text else text


def short(text: str, most: int = 200) -> str:
    """A text that fits into a message: its start, where it is long."""
    return text if len(text) <= most else f"{text[:most]}..."


def cut(text: str, width: int) -> str:
    """A text in at most `width` columns: its start, where it is long."""
    return text if len(text) <= width else f"{text[: max(0, width - 3)]}..."


def is_control(char: str) -> bool:
    """True of what is no text: control, formatting, unassigned, private and broken characters."""
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def escaped_json(text: str) -> str:
    """JSON in which such characters stand as escapes, and nothing is a command to a CI service."""
    if not text.replace("\n", "").isprintable():
        text = "".join(_escape(c) if is_control(c) and c != "\n" else c for c in text)
    return text.replace("##", "#\\u0023")


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _signless(text: str) -> str:
    """`-0.000` is nothing."""
    return text.removeprefix("-") if not text.strip("-0.") else text

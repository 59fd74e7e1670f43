"""Arguments of a call, given as Python values or as the texts of the command line, read and checked.

An argument is named in messages as the option of the command is, so that both say the same.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from harness.errors import HarnessError, UnknownNameError, UsageError
from harness.plugins.registry import PluginRegistry, load_plugins
from harness.utils.streams import visible
from harness.utils.text import short

if TYPE_CHECKING:
    from harness.data.folder import FolderDataset

PathLike: TypeAlias = str | os.PathLike[str]
Names: TypeAlias = str | Iterable[str] | None
Whole: TypeAlias = str | int | Iterable[int] | None
Pairs: TypeAlias = str | Iterable[str] | Mapping[str, PathLike] | None
Plugins: TypeAlias = PathLike | Iterable[PathLike] | PluginRegistry

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=str)

TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})


# -- the call as a whole --------------------------------------------------------------------------


def say(told: str) -> None:
    """A line, or several, on stderr: a terminal, a log or the output of a notebook's cell."""
    shown = visible(told)
    if sys.stderr.isatty():
        from harness.utils import tables

        shown = tables.filled(shown, tables.terminal_width(elsewhere=100))
    print(shown, file=sys.stderr, flush=True)  # noqa: T201 - what a user is told


def warn(message: object) -> None:
    """A warning on stderr; none of its further lines reads as one of its own."""
    say("harness: warning: " + "\n  ".join(str(message).splitlines()))


def loaded(plugins: Plugins = (), *, strict: bool = False) -> PluginRegistry:
    """The plugins of a call; those that are broken are named on stderr.

    Args:
        plugins: what `-p` takes: modules, files, names of installed plugins, `no:NAME`; or plugins
            that are loaded already.
        strict: a broken plugin is an error.

    Raises:
        PluginError: one is not there; or, if strict, is broken.
        UsageError: another kind of value.
    """
    flag("--strict-plugins", strict)
    if isinstance(plugins, PluginRegistry):
        if strict:
            plugins.require_sound()
        return plugins
    listed = [plugins] if isinstance(plugins, str | os.PathLike) else _listed(plugins) or ()
    given = [os.fspath(one) for one in listed if isinstance(one, str | os.PathLike)]
    if len(given) < len(listed) or (not given and plugins != ()):
        raise UsageError(
            f"--plugin {_shown(plugins)}: name a module, a file or an installed plugin, or several "
            "of them; a worker process has to find it, too"
        )
    found = load_plugins(given, strict=strict)
    warn_of(found)
    return found


def warn_of(plugins: PluginRegistry) -> None:
    """Name the plugins that are broken, and those that do nothing, on stderr."""
    for broken in plugins.broken:
        warn(broken)
    for info in plugins.idle:
        warn(
            f"{info} does nothing: no function in it bears @hookimpl; a strategy is offered by "
            "@hookimpl def harness_strategies(): return [MyStrategy]"
        )


def explained(error: UnknownNameError, plugins: PluginRegistry) -> HarnessError:
    """The error, or where a plugin was named that may offer the name, what to look at first."""
    suspects = [*(one.info for one in plugins.broken), *plugins.idle]
    if not suspects or "did you mean" in str(error):
        return error
    names = " and ".join(f"plugin {one.plugin!r}" for one in suspects)
    return UsageError(
        f"there is no {error.what} {error.name!r}; first mend {names}, which may offer it: see "
        "the warning above"
    )


@contextlib.contextmanager
def explaining(plugins: PluginRegistry) -> Iterator[None]:
    """Explain a name that is not known in this block."""
    try:
        yield
    except UnknownNameError as error:
        raise explained(error, plugins) from error


def own_folders(given: Mapping[str, Any]) -> list[FolderDataset]:
    """The folders of `data`, read as `columns`, `window` and `join_labels` say."""
    from harness.data.folder import parse_data_option, with_options, with_windows

    folders = [parse_data_option(option) for option in pairs("--data", given["data"])]
    join = flag("--join-labels", given["join_labels"])
    read = with_options(folders, pairs("--columns", given["columns"]), join_labels=join)
    return with_windows(read, pairs("--window", given["window"], ":"))


def is_offline(given: bool | None) -> bool:  # noqa: FBT001 - the value of an argument
    """The value of `offline`; None: what the variable HF_HUB_OFFLINE says."""
    if given is None:
        return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in TRUE
    return flag("--offline", given)


def with_parameters(of: Callable[P, object]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Give a function the parameters of another; it gets the values of all of them, by name."""
    signature = inspect.signature(of)

    def dress(function: Callable[..., T]) -> Callable[P, T]:
        @functools.wraps(function)
        def called(*args: P.args, **given: P.kwargs) -> T:
            bound = signature.bind(*args, **given)
            bound.apply_defaults()
            return function(**bound.arguments)

        returned = inspect.signature(function).return_annotation
        called.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
        return called

    return dress


# -- one value ------------------------------------------------------------------------------------


def form(option: str, value: object) -> str | None:
    """A name or a path as a text, or None."""
    if value is None:
        return None
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return os.fspath(value)
    raise UsageError(f"{option} {_shown(value)}: give a name or a path")


def name(option: str, value: object) -> str:
    """A name or a path as a text."""
    found = form(option, value)
    if found is None:
        raise UsageError(f"{option}: give a name or a path")
    return found


def needed(option: str, value: object, meant: str = "a text") -> str:
    """A text."""
    if isinstance(value, str):
        return value
    raise UsageError(f"{option} {_shown(value)}: give {meant}")


def flag(option: str, value: object) -> bool:
    """True or False, and nothing that only counts as one of them."""
    if isinstance(value, bool):
        return value
    raise UsageError(f"Invalid value for '{option}': {_shown(value)} is neither True nor False.")


def whole(option: str, value: object, least: int | None = None) -> int:
    """A whole number from `least` on."""
    number = _whole(value)
    if number is None:
        raise UsageError(f"Invalid value for '{option}': {_shown(value)} is not a whole number.")
    if least is not None and number < least:
        raise UsageError(f"Invalid value for '{option}': {number} is not in the range x>={least}.")
    return number


def some_whole(option: str, value: object, least: int | None = None) -> int | None:
    """A whole number from `least` on, or None."""
    return None if value is None else whole(option, value, least)


def number(option: str, value: object, *, above: float | None = None) -> float | None:
    """A finite number larger than `above`, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise UsageError(f"Invalid value for '{option}': {_shown(value)} is not a number.")
    found = float(value)
    if not math.isfinite(found):
        raise UsageError(f"Invalid value for '{option}': {value} is not a finite number.")
    if above is not None and found <= above:
        raise UsageError(f"Invalid value for '{option}': {found} is not in the range x>{above:g}.")
    return found


def choice(option: str, value: object, choices: Sequence[C]) -> C:
    """One of some words."""
    for one in choices:
        if value == one:
            return one
    listed = ", ".join(map(repr, choices))
    raise UsageError(f"Invalid value for '{option}': {_shown(value)} is not one of {listed}.")


def path(option: str, value: object) -> Path | None:
    """A path, or None."""
    if value is None:
        return None
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return Path(value)
    raise UsageError(f"{option} {_shown(value)}: give a path, as a text or a Path")


def folder(option: str, value: object) -> Path | None:
    """A path at which no file is, or None: something is written into it."""
    found = path(option, value)
    if found is not None and found.is_file():
        raise UsageError(f"{option} {found}: it is a file; name a folder")
    return found


def place(value: object, what: str = "FOLDER") -> Path:
    """A path that has to be given."""
    found = path(what, value)
    if found is None:
        raise UsageError(f"{what}: give a path, as a text or a Path")
    return found


# -- several values -------------------------------------------------------------------------------


def names(option: str, value: object) -> tuple[str, ...]:
    """Names: a text with commas between them, or several texts; None: none were given."""
    return tuple(
        part.strip()
        for one in texts(option, value, "names, in a text with commas or in a list")
        for part in one.split(",")
        if part.strip()
    )


def texts(option: str, value: object, meant: str = "a text, or a list of texts") -> tuple[str, ...]:
    """One text or several; None: none were given."""
    given = [value] if isinstance(value, str) else _listed(value)
    if given is None or not all(isinstance(one, str) for one in given):
        raise UsageError(f"{option} {_shown(value)}: give {meant}")
    return tuple(map(str, given))


def pairs(option: str, value: object, join: str = "=") -> tuple[str, ...]:
    """Texts NAME=VALUE: one, several, or a dict of them; None: none were given."""
    if not isinstance(value, Mapping):
        return texts(option, value, f"a text NAME{join}VALUE, a list of them, or a dict")
    for name, given in value.items():
        if not (isinstance(name, str) and isinstance(given, str | os.PathLike)):
            raise UsageError(
                f"{option} {_shown({name: given})}: in a dict, give names and texts or paths"
            )
    return tuple(f"{name}{join}{os.fspath(given)}" for name, given in value.items())


def settings(option: str, value: object) -> tuple[str, ...]:
    """Texts TARGET.FIELD=VALUE, or a dict {'TARGET.FIELD': value}."""
    if not isinstance(value, Mapping):
        return texts(option, value, "a dict as {'l2-sp.alpha': 0.01}, or a list of texts")
    try:
        return tuple(f"{name}={json.dumps(given)}" for name, given in value.items())
    except (TypeError, ValueError) as error:
        raise UsageError(f"{option} {_shown(value)}: give numbers and texts ({error})") from error


def whole_numbers(option: str, value: object) -> tuple[int, ...]:
    """Whole numbers: one, several, or a text with commas between them; each once."""
    given: Iterable[object] | None = _listed(value)
    if isinstance(value, str):
        given = value.split(",") if value else ()
    elif _whole(value) is not None:
        given = [value]
    found = None if given is None else [_read_whole(one) for one in given]
    if found is None or None in found:
        shown = value if isinstance(value, str) else _shown(value)
        raise UsageError(f"{option} {shown}: give whole numbers, as in 0,1,2")
    return tuple(dict.fromkeys(one for one in found if one is not None))


def forms(option: str, value: object) -> tuple[str, ...]:
    """Texts, numbers and paths, one or several, as texts."""
    kinds = (str, int, os.PathLike)
    given = [value] if isinstance(value, kinds) else _listed(value)
    if given is None or not all(isinstance(one, kinds) and one is not True for one in given):
        raise UsageError(f"{option} {_shown(value)}: give numbers or texts, one or several")
    return tuple(str(one) for one in given)


def part_of(option: str, value: object) -> tuple[int, int] | None:
    """Part I of N: a text I/N, or two numbers."""
    if value is None:
        return None
    shown = value if isinstance(value, str) else _shown(value)
    parts = value.split("/") if isinstance(value, str) else _listed(value) or ()
    found = [_read_whole(one) for one in parts]
    if len(found) == 2:  # noqa: PLR2004 - I and N
        part, of = found
        if part is not None and of is not None and 1 <= part <= of:
            return part, of
    raise UsageError(f"{option} {shown}: give I/N with I from 1 to N, as in 2/4")


def _listed(value: object) -> list[object] | None:
    """The items of a list, tuple, set, range, ...; None: it is a single value."""
    if value is None:
        return []
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return None
    return list(value)


def _whole(value: object) -> int | None:
    """A whole number of any kind that Python has, those of numpy too, but no bool."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _read_whole(value: object) -> int | None:
    if not isinstance(value, str):
        return _whole(value)
    try:
        return int(value)
    except ValueError:
        return None


def _shown(value: object) -> str:
    return short(repr(value))

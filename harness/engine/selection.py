"""Turn a phase's patterns into a value for every parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from harness.errors import PhaseError
from harness.strategy import Phase


def multipliers(phase: Phase, names: Iterable[str]) -> dict[str, float]:
    """Learning-rate multiplier of each learning parameter; a frozen one is absent.

    Raises:
        PhaseError: a pattern names no parameter, a multiplier is negative, or nothing learns.
    """
    names = list(names)
    _check_patterns(phase.train, names, f"phase {phase.name!r} trains")
    chosen = {name: value for name, value in first_match(phase.train, names).items() if value}
    if not chosen:
        raise PhaseError(f"phase {phase.name!r} trains nothing; give a stage a rate above 0")
    return chosen


def decays(phase: Phase, names: Iterable[str], default: float) -> dict[str, float]:
    """Weight decay of every parameter: the phase's word, else the protocol's."""
    names = list(names)
    _check_patterns(phase.decay, names, f"phase {phase.name!r} sets the decay of")
    return dict.fromkeys(names, default) | first_match(phase.decay, names)


def first_match(values: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """The value of the first pattern that matches; a name that nothing matches is absent."""
    names = list(names)
    known = set(names)
    # A pattern that is a parameter's whole name matches that one only: no need to try it on all.
    place = {pattern: number for number, pattern in enumerate(values)}
    broad = [(number, pattern) for pattern, number in place.items() if pattern not in known]
    found: dict[str, float] = {}
    for name in names:
        own = place.get(name, len(place))
        earlier = (pattern for number, pattern in broad if number < own and matches(pattern, name))
        pattern = next(earlier, name if name in values else None)
        if pattern is not None:
            found[name] = values[pattern]
    return found


def matches(pattern: str, name: str) -> bool:
    """A stage name matches all that is in it; anything else is a glob over the whole name."""
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def _check_patterns(values: Mapping[str, float], names: list[str], where: str) -> None:
    for pattern, value in values.items():
        if not value >= 0:
            raise PhaseError(f"{where} {pattern!r} at {value}; it must be 0 or more")
        if pattern in names or any(matches(pattern, name) for name in names):
            continue
        stages = list(dict.fromkeys(name.split(".")[0] for name in names))
        near = get_close_matches(pattern, [*stages, *names], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the stages are {', '.join(stages)}"
        raise PhaseError(f"{where} {pattern!r}, which is no parameter; {hint}")

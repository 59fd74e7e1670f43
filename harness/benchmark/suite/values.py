"""Values that the identity of a run can be taken of: finite, and of kinds that JSON has."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.errors import UsageError


def check_finite(value: object, where: str, path: str = "") -> None:
    """Refuse NaN and infinity in any number.

    Raises:
        UsageError: naming the field.
    """
    if isinstance(value, Mapping):
        for name, part in value.items():
            check_finite(part, where, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for part in value:
            check_finite(part, where, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where}: {f'{path}: ' * bool(path)}{value} is not a finite number")


def check_plain(value: object, where: str, place: str = "") -> None:
    """Refuse what JSON has not, as a date of TOML.

    Raises:
        UsageError: naming the field.
    """
    if isinstance(value, dict):
        for name, one in value.items():
            check_plain(one, where, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list | tuple):
        for one in value:
            check_plain(one, where, place)
    elif not isinstance(value, str | int | float | None):
        kind = type(value).__name__
        raise UsageError(f"{where}: {place}: a {kind} is no value here ({value}); write a text")

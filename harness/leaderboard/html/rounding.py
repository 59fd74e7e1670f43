"""Numbers as short as the page needs them: digits are most of its bytes."""

from __future__ import annotations

import math

SHARE = 6  # decimals of a metric
POINTS = 4  # decimals of a difference in points
FIGURES = 4  # significant figures of seconds, losses and the like


def decimals(value: float | None, places: int = SHARE) -> float | None:
    """Rounded; None where there is no finite value.  Whole numbers lose their `.0`."""
    if value is None or not math.isfinite(value):
        return None
    return whole(round(value, places))


def figures(value: float | None, count: int = FIGURES) -> float | None:
    """Rounded to `count` significant figures; None where there is no finite value."""
    if value is None or not math.isfinite(value):
        return None
    return whole(float(f"{value:.{count}g}"))


def whole(value: float) -> float:
    """An int where nothing is lost: `-0.0` and `5.0` take two bytes more than `0` and `5`."""
    return int(value) if value.is_integer() else value

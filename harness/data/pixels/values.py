"""Pixel values of more than eight bits: the range they span, and how it becomes 0 to 255."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Range = tuple[float, float]

DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras, scanners and detectors give
SIGNED = (8, 10, 12, 14, 15)  # of numbers that have a sign
BEYOND = 0.25  # of a range of floats: resizing overshoots by less, another scale by far more
DARKEST = 16.0  # floats that stay below, and go beyond 1, are on no scale of whole numbers


def find_range(low: float, high: float, *, whole: bool, depths: Sequence[int] = DEPTHS) -> Range:
    """The values that become black and white in images whose values run from `low` to `high`; holds both.

    0 to the largest value of 8, 10, 12, 14 or 16 bits (`depths`); of floats also 0 to 1, and each of these
    made wider where values run over by up to a quarter, as resizing leaves them.  Whatever fits
    none of them: the values' own ends.
    """
    tops = [2.0**bits - 1 for bits in depths]
    beyond = 0.0
    if not whole:
        beyond = BEYOND
        tops = [1.0] if high < DARKEST else tops
    top = next((top for top in tops if high <= (1 + beyond) * top), None)
    if top is None or low < -beyond * top:
        return low, high
    return min(low, 0.0), max(high, top)


def scale(values: np.ndarray, span: Range) -> np.ndarray:
    """Numbers of any kind to uint8, linearly; values outside of the range are an error."""
    import numpy as np

    low, high = span
    if values.size and (values.min() < low or values.max() > high):
        raise ValueError(f"values run beyond {low:g} to {high:g}")
    factor = 255.0 / (high - low) if high > low else 0.0
    scaled: np.ndarray = np.rint((values.astype(np.float64) - low) * factor).astype(np.uint8)
    return scaled

"""Partial conjunction: in how many cells, at least, does something hold?

The hypothesis 'it holds in fewer than u of n cells' is rejected by the largest n - u + 1 p-values
together, whichever cells they are (Benjamini and Heller 2008).  They are combined by Fisher's sum of
logarithms, corrected for cells of one dataset that go up and down together (Brown 1975).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.stats.estimate import refuse_nan

RELATED = 0.3  # correlation between cells of one dataset that is allowed for
TINY = 1e-300


@dataclass(frozen=True)
class Share:
    """At least `low` and at most `high` of `cells` hold, each side with its own error rate."""

    low: int
    high: int
    cells: int


def partial_conjunction(
    p: Sequence[float], least: int, sizes: Sequence[int] = (), related: float = RELATED
) -> float:
    """P of 'fewer than `least` of the n hypotheses are false'.

    Args:
        p: one-sided, of each [n].
        least: 1 to n.
        sizes: how many of them each dataset has; empty: every cell stands alone.
        related: correlation of two cells of one dataset, at most.

    Raises:
        UsageError: a p-value that is no number, or a count that cannot be.
    """
    from scipy.special import gammaincc

    given = np.sort(np.asarray(p, dtype=float))
    refuse_nan(given, "p-values")
    if not 1 <= least <= len(given):
        raise UsageError(
            f"at least {least} of {len(given)} cells: give a number from 1 to {len(given)}"
        )
    largest = given[least - 1 :]
    count = len(largest)
    # The most pairs of one dataset that so many cells can hold.
    left, pairs = count, 0.0
    for size in sorted(sizes, reverse=True):
        taken = min(size, left)
        pairs += taken * (taken - 1) / 2
        left -= taken
    variance = 4 * count + 2 * pairs * (3.25 * related + 0.75 * related**2)
    statistic = -2 * float(np.log(np.maximum(largest, TINY)).sum())
    # A chi-square of 2 count degrees, stretched so that its variance is the one above.
    return float(gammaincc((2 * count) ** 2 / variance, statistic * 2 * count / variance))


def share(
    holds: Sequence[float], fails: Sequence[float], sizes: Sequence[int], tail: float
) -> Share:
    """In how many cells something holds.

    Args:
        holds: p of 'it does not hold', for each cell.
        fails: p of 'it holds'.
        sizes: as `partial_conjunction` takes them.
        tail: error rate of each side.
    """
    count = len(holds)
    return Share(_sure(holds, sizes, tail), count - _sure(fails, sizes, tail), count)


def _sure(p: Sequence[float], sizes: Sequence[int], tail: float) -> int:
    """The most cells of which every smaller number is shown, too."""
    for least in range(1, len(p) + 1):
        if partial_conjunction(p, least, sizes) > tail:
            return least - 1
    return len(p)

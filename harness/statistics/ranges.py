"""Ranks, and the studentized range of infinitely many degrees.

Not those of `scipy.stats`, which the tests hold them against: to import it takes a second, most of
the time of a small board.
"""

from __future__ import annotations

from functools import cache

import numpy as np

NODES, TAILS, PRECISION = 200, 9.0, 1e-12


def average_ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal values share the average of their places."""
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(sizes) - (sizes - 1) / 2)[place]
    return ranks


def range_exceeds(widths: np.ndarray, k: int) -> np.ndarray:
    """Chance that k standard normal variables spread over more than each of `widths`.

    The studentized range of infinitely many degrees, by Gauss and Legendre's rule over the smallest
    of the variables: the others lie no further above it.
    """
    from scipy.special import ndtr

    nodes, weights = _rule()
    smallest = TAILS * nodes
    density = np.exp(-(smallest**2) / 2) / (2 * np.pi) ** 0.5 * TAILS * weights
    within = ndtr(smallest + widths[..., None]) - ndtr(smallest)
    found: np.ndarray = 1 - k * (density * within ** (k - 1)).sum(axis=-1)
    return found


@cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(NODES)


@cache
def range_quantile(level: float, k: int) -> float:
    """The width that k standard normal variables exceed in 1 - `level` of all cases."""
    low, high = 0.0, 2.0 * TAILS
    while high - low > PRECISION:
        middle = (low + high) / 2
        wider = float(range_exceeds(np.array(middle), k)) > 1 - level
        low, high = (middle, high) if wider else (low, middle)
    return (low + high) / 2

"""Summaries over many cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import UsageError
from harness.stats.estimate import DIGITS, refuse_nan


def probability_of_improvement(scores: np.ndarray, over: np.ndarray) -> float:
    """Chance that a run of `scores` [S, cells] beats one of `over` [S', cells], mean over cells.

    A tie counts one half.  Agarwal et al. 2021, 'Deep reinforcement learning at the edge of the
    statistical precipice'.  A description of these runs: no interval of so few seeds holds.

    Raises:
        UsageError: a score is not finite, or the cells differ in number.
    """
    for given in (scores, over):
        refuse_nan(given, "scores (seed, cell)")
    if scores.shape[1:] != over.shape[1:]:
        raise UsageError(f"scores of {scores.shape} and {over.shape}: not the same cells")
    apart = np.round(scores[:, None, :] - over[None, :, :], DIGITS)
    return float((1 + np.sign(apart)).mean() / 2)


def expected_best(values: Sequence[float], n: int) -> float:
    """Expected best of n values drawn from these K at random, with replacement (higher is better).

    What a search over n trials would have found on average, from the K that were made: expected
    validation performance, Dodge et al. 2019, 'Show your work', equation 6.

    Args:
        values: of every trial [K].
        n: trials that are drawn.

    Raises:
        UsageError: no value, one that is not finite, or less than one draw.
    """
    given = np.sort(np.asarray(values, dtype=float))
    refuse_nan(given, "values of trials")
    if n < 1:
        raise UsageError(f"the best of {n} trials.  Draw at least one.")
    below = np.arange(len(given) + 1) / len(given)
    return float(np.diff(below**n) @ given)

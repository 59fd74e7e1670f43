"""Summaries over many cells."""

from __future__ import annotations

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

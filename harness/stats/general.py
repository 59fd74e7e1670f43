"""Datasets in general: the dataset is the unit, and strategies lend each other their spread.

These datasets are taken for a draw from others like them, so what counts is how much a gain varies
from dataset to dataset.  Five say little about that: the variance of each strategy's gain is
moderated by those of the others, and never taken to be less than its own.

`rank_sets` turns comparisons of all pairs into the places that each strategy may have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import UsageError
from harness.stats.estimate import LEVEL, Estimate, holm, refuse_nan
from harness.stats.lending import moderate

FEWEST = 4  # datasets that say anything about others


def in_general(gains: np.ndarray, seeds: int, widest: float | None = 1.0) -> list[Estimate | None]:
    """The mean gain of each strategy over datasets like these.

    Args:
        gains: of each strategy in each dataset, mean over its backbones, [D, strategies].
        seeds: behind them.
        widest: the largest difference that the metric allows.

    Returns:
        None for each where there are fewer than four datasets.

    Raises:
        UsageError: a gain that is not finite, or none at all.
    """
    refuse_nan(gains, "gains (dataset, strategy)")
    sets, strategies = gains.shape
    if sets < FEWEST:
        return [None] * strategies
    own = gains.var(axis=0, ddof=1)
    lent, df = moderate(own, np.full(strategies, float(sets - 1)))
    # Gains share the control: together they hold half of what as many apart would.
    df = np.minimum(df, (sets - 1) * (1 + strategies) / 2)
    errors = np.sqrt(lent / sets)
    columns = zip(gains.mean(axis=0).tolist(), errors.tolist(), df.tolist(), strict=True)
    return [Estimate(value, error, one, seeds, widest) for value, error, one in columns]


def general_pairs(scores: np.ndarray) -> np.ndarray:
    """Two-sided p of every pair of strategies over datasets in general, [K, K], 1 on the diagonal.

    No pair is taken to vary less than all pairs do on average.

    Args:
        scores: of each strategy in each dataset, mean over its backbones, [D, K]; D of four or more.

    Raises:
        UsageError: too few datasets or strategies, or a score that is not finite.
    """
    from scipy.special import stdtr

    refuse_nan(scores, "scores (dataset, strategy)")
    sets, count = scores.shape
    if sets < FEWEST or count < 2:  # noqa: PLR2004 - a pair
        raise UsageError(f"{sets} datasets of {count} strategies: at least four of two are needed")
    apart = scores[:, :, None] - scores[:, None, :]
    own = apart.var(axis=0, ddof=1)
    first, second = np.triu_indices(count, 1)
    variance = np.maximum(own, own[first, second].mean())
    t = np.divide(
        np.abs(apart.mean(axis=0)),
        np.sqrt(variance / sets),
        out=np.zeros_like(own),
        where=variance > 0,
    )
    found: np.ndarray = 2 * stdtr((sets - 1) * count / 2, -t)
    return found


def rank_sets(values: Sequence[float], p: np.ndarray) -> list[tuple[int, int]]:
    """The places that each strategy may have, 1 is best: all true ones lie inside in 95 %.

    Behind all that are surely better, before all that are surely worse.

    Args:
        values: higher is better, [K].
        p: two-sided, of every pair, [K, K].
    """
    given = np.asarray(values, dtype=float)
    count = len(given)
    first, second = np.triu_indices(count, 1)
    sure = np.array(holm(p[first, second].tolist())) <= 1 - LEVEL
    better = np.zeros((count, count), dtype=bool)
    ahead = given[first] > given[second]
    better[first[sure & ahead], second[sure & ahead]] = True
    better[second[sure & ~ahead], first[sure & ~ahead]] = True
    return [(1 + int(better[:, one].sum()), count - int(better[one].sum())) for one in range(count)]

"""Summaries over many cells: interquartile mean, probability of improvement, win rate.

The first two as Agarwal et al. 2021 ('Deep reinforcement learning at the edge of the statistical
precipice') define them, with stratified bootstrap: seeds are resampled within each cell, cells are
not.  So their intervals speak of these cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from harness.errors import UsageError
from harness.stats.estimate import DIGITS, EXACT, LEVEL, POINT, refuse_nan

RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """A figure with its percentile interval; without one where there is a single seed."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class WinRate:
    """Cells won by more than `least`, of n, with the exact (Clopper-Pearson) interval of the share."""

    wins: int
    losses: int
    cells: int
    share: float
    low: float
    high: float
    least: float


def interquartile_mean(
    scores: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES
) -> Summary:
    """Mean of the middle half of all scores [S, cells].

    Raises:
        UsageError: a score is not finite, or there is none.
    """
    refuse_nan(scores, "scores (seed, cell)")

    def figure(drawn: Sequence[np.ndarray]) -> np.ndarray:
        values = scores[drawn[0], np.arange(scores.shape[1])]
        return _middle_mean(values.reshape(len(values), -1))

    return _summary([scores], figure, level, resamples)


def probability_of_improvement(
    scores: np.ndarray, over: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES
) -> Summary:
    """Chance that a run of `scores` [S, cells] beats one of `over` [S', cells], mean over cells.

    A tie counts one half.

    Raises:
        UsageError: a score is not finite, or the cells differ in number.
    """
    for given in (scores, over):
        refuse_nan(given, "scores (seed, cell)")
    if scores.shape[1:] != over.shape[1:]:
        raise UsageError(f"scores of {scores.shape} and {over.shape}: not the same cells")

    apart = np.round(scores[:, None, :] - over[None, :, :], DIGITS)
    # Halves: sums of them are exact in the shorter float up to a limit, and take half the time.
    kind: type[np.floating] = np.float32 if 2 * apart.size < EXACT else np.float64
    beaten = ((1 + np.sign(apart)) / 2).astype(kind)

    def figure(drawn: Sequence[np.ndarray]) -> np.ndarray:
        times, against = (_times(rows).astype(kind) for rows in drawn)
        found = np.einsum("bsc,stc->btc", times, beaten)
        mean: np.ndarray = np.einsum("btc,btc->b", found, against).astype(float) / beaten.size
        return mean

    return _summary([scores, over], figure, level, resamples)


def win_rate(differences: Sequence[float], least: float = POINT, level: float = LEVEL) -> WinRate:
    """Share of the cells with a difference of more than `least`.

    Raises:
        UsageError: a difference is not finite, or there is none.
    """
    from scipy.special import betaincinv

    given = np.round(np.asarray(differences, dtype=float), DIGITS)
    refuse_nan(given, "differences")
    wins, n = int((given > least).sum()), len(given)
    tail = (1 - level) / 2
    return WinRate(
        wins=wins,
        losses=int((given < -least).sum()),
        cells=n,
        share=wins / n,
        low=float(betaincinv(wins, n - wins + 1, tail)) if wins else 0.0,
        high=float(betaincinv(wins + 1, n - wins, 1 - tail)) if wins < n else 1.0,
        least=least,
    )


def _summary(
    samples: Sequence[np.ndarray],
    figure: Callable[[Sequence[np.ndarray]], np.ndarray],
    level: float,
    resamples: int,
) -> Summary:
    """`figure` takes for each of the samples which seeds stand in a cell, [draws, S, cells]."""
    given = [np.broadcast_to(np.arange(len(s))[:, None], s.shape)[None] for s in samples]
    value = float(figure(given)[0])
    if min(map(len, samples)) == 1:
        return Summary(value, None, None)
    content = b"".join(np.ascontiguousarray(s, dtype=float).tobytes() for s in samples)
    rng = np.random.default_rng(int.from_bytes(sha256(content).digest()))
    drawn = [rng.integers(len(s), size=(resamples, *s.shape), dtype=np.int16) for s in samples]
    tail = (1 - level) / 2
    low, high = np.quantile(figure(drawn), [tail, 1 - tail]).tolist()
    return Summary(value, low, high)


def _times(rows: np.ndarray) -> np.ndarray:
    """Count each seed among those drawn in a cell, [draws, S, cells]."""
    kind = np.min_scalar_type(rows.shape[1])
    return np.stack(
        [(rows == seed).sum(axis=1, dtype=kind) for seed in range(rows.shape[1])], axis=1
    )


def _middle_mean(values: np.ndarray) -> np.ndarray:
    """A quarter is cut off at each end of every row, rounded down."""
    cut = values.shape[1] // 4
    ordered = np.sort(values, axis=1)[:, cut : values.shape[1] - cut]
    mean: np.ndarray = ordered.mean(axis=1)
    return mean

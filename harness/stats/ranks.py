"""Strategies ranked over several datasets, a block each: Demsar 2006.

A block is one number a strategy, the mean over backbones and seeds: neither is a block of its own,
for backbones of one dataset go up and down together.  A description: verdicts are made by gains.

Ranks and the
studentized range are not those of `scipy.stats`, which the tests hold them against: to import it
takes a second, most of the time of a small board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from harness.errors import UsageError
from harness.stats.estimate import DIGITS, LEVEL, refuse_nan

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


FEWEST = 2  # blocks, and strategies, that can be compared


@dataclass(frozen=True)
class Friedman:
    """The test that all strategies rank alike: chi-square of k - 1 degrees, corrected for ties."""

    statistic: float
    p: float


@dataclass(frozen=True)
class Nemenyi:
    """All pairs of strategies by mean rank.

    Attributes:
        p: [k][k], by the studentized range.
        difference: critical difference: mean ranks further apart differ.
        cliques: largest sets of neighbours in rank that are no further apart, best first.
    """

    p: tuple[tuple[float, ...], ...]
    difference: float
    cliques: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Blocks:
    """Everything that is said of strategies across blocks.

    Attributes:
        ranks: mean rank, 1 is best.
        note: what so few blocks cannot show; empty: nothing of the kind.
    """

    strategies: tuple[str, ...]
    blocks: int
    ranks: dict[str, float]
    friedman: Friedman
    nemenyi: Nemenyi
    note: str


def compare_blocks(scores: Mapping[str, Sequence[float]], level: float = LEVEL) -> Blocks:
    """Compare strategies by their scores in the same blocks, in the same order.

    Raises:
        UsageError: fewer than two blocks or strategies, or a score that is not there.
    """
    names = tuple(scores)
    if len({len(column) for column in scores.values()}) > 1:
        lengths = {name: len(column) for name, column in scores.items()}
        raise UsageError(f"strategies with different numbers of blocks: {lengths}")
    table = np.array(list(scores.values()), dtype=float).T
    ranks = rank(table)
    count = len(table)
    return Blocks(
        strategies=names,
        blocks=count,
        ranks=dict(zip(names, ranks.mean(axis=0).tolist(), strict=True)),
        friedman=friedman(table),
        nemenyi=nemenyi(table, names, level),
        note=_weakness(count, len(names), level),
    )


def rank(table: np.ndarray) -> np.ndarray:
    """Ranks in each block [N, k], 1 for the highest score; ties share the average."""
    _check_table(table)
    return np.stack([average_ranks(-row) for row in _settled(table)])


def friedman(table: np.ndarray) -> Friedman:
    """Friedman's test over blocks [N, k]; p = 1 where every block is constant."""
    from scipy.special import chdtrc

    ranks = rank(table)
    count, k = ranks.shape
    between = count * float(((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum())
    within = float(ranks.var(axis=1, ddof=1).mean())  # k (k + 1) / 12 without ties
    if within == 0:
        return Friedman(0.0, 1.0)
    statistic = between / within
    return Friedman(statistic, float(chdtrc(k - 1, statistic)))


def nemenyi(table: np.ndarray, names: Sequence[str], level: float = LEVEL) -> Nemenyi:
    """All pairs of strategies by their mean ranks over blocks [N, k]."""
    ranks = rank(table)
    count, k = ranks.shape
    means = ranks.mean(axis=0)
    apart = np.abs(means[:, None] - means) / _rank_error(k, count)
    p = np.clip(range_exceeds(apart * 2**0.5, k), 0.0, 1.0)
    difference = critical_difference(k, count, level)
    return Nemenyi(
        p=tuple(tuple(row) for row in p.tolist()),
        difference=difference,
        cliques=_cliques(means, names, difference),
    )


def critical_difference(strategies: int, blocks: int, level: float = LEVEL) -> float:
    """Mean ranks further apart than this differ (Nemenyi)."""
    return range_quantile(level, strategies) / 2**0.5 * _rank_error(strategies, blocks)


def _settled(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.round(values, DIGITS)
    return rounded


def _check_table(table: np.ndarray) -> None:
    refuse_nan(table, "scores (block, strategy)")
    if min(table.shape) < FEWEST:
        raise UsageError(
            f"{table.shape[0]} block(s) of {table.shape[1]} strategies: "
            "at least two of each are needed to compare them"
        )


def _rank_error(k: int, blocks: int) -> float:
    """Standard error of a difference of two mean ranks."""
    return float((k * (k + 1) / (6 * blocks)) ** 0.5)


def _cliques(
    means: np.ndarray, names: Sequence[str], difference: float
) -> tuple[tuple[str, ...], ...]:
    order = np.argsort(means, kind="stable")
    found: list[tuple[str, ...]] = []
    reached = 0
    for first in range(len(order)):
        end = first + int((means[order[first:]] - means[order[first]] <= difference).sum())
        if end > max(reached, first + 1):  # else it lies inside the one before, or is alone
            found.append(tuple(names[index] for index in order[first:end]))
            reached = end
    return tuple(found)


def _weakness(blocks: int, strategies: int, level: float) -> str:
    """A note on what so few blocks cannot show, whatever the scores; empty: nothing of the kind."""
    difference = critical_difference(strategies, blocks, level)
    if difference < strategies - 1:
        return ""
    return (
        f"N = {blocks}: Nemenyi's critical difference is {difference:.2f} of at most "
        f"{strategies - 1} ranks: it cannot reject."
    )

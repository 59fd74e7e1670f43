"""Two sets of runs on the same test samples: a test of whether the second got worse, or better.

Two levels must both agree, and a p-value is the larger of theirs.

- Samples: the paired differences of the groups against their own spread.  One seed a side without
  groups makes it McNemar's test with continuity correction.
- Seeds: the same difference, its variance multiplied by how much more the runs of one side vary
  among themselves than image noise explains (the overdispersion of a quasi-likelihood).  Three runs
  a side say little about that, so cells lend each other what they know (Smyth 2004: a prior from
  all cells, here by moments), and none is taken to vary less than its own runs do.

One-sided p-values are adjusted over all cells of the call (Holm).  `docs/statistics.md` holds how
often it errs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.stats.estimate import DIGITS, holm

TAIL = 0.05  # one-sided, of verdicts and of the interval


@dataclass(frozen=True)
class Pair:
    """Contributions of the groups to the metric of each run: before [S, G] and after [S', G]."""

    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Change:
    """After less before.

    Attributes:
        low, high: 90 % interval, not adjusted: inside a margin it shows equality within it (5 %).
        p_worse, p_better: one-sided, adjusted over all pairs that differ at all.
        seeds_tested: something is known of how much seeds spread, from this pair or others.
    """

    value: float
    low: float
    high: float
    p_worse: float
    p_better: float
    seeds_tested: bool


def contributions(
    right: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, balanced: bool
) -> np.ndarray:
    """Split the (balanced) accuracy of each run into what each group adds, [S, G].

    Args:
        right: whether a run gets a sample right, [S, N].
        targets: class numbers [N].
        groups: a label for each sample [N].
        balanced: mean recall over classes, instead of the share of samples.
    """
    _, label, sizes = np.unique(targets, return_inverse=True, return_counts=True)
    weights = 1 / (len(sizes) * sizes[label]) if balanced else np.full(len(label), 1 / len(label))
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    added: np.ndarray = np.add.reduceat((right * weights)[:, order], starts, axis=1)
    return added


def compare_pairs(pairs: Sequence[Pair]) -> list[Change]:
    """Compare every pair; the more there are, the more each must show."""
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    changes = np.array([_change(pair) for pair in pairs]).reshape(-1, 3)
    value, error, step = changes.T
    excess, df = _seed_excess(pairs)
    moved = np.sign(value) * np.maximum(0.0, np.abs(value) - step)
    samples = np.divide(moved, error, out=np.zeros_like(value), where=error > 0)
    seeds = samples / np.sqrt(excess)
    moving = error > 0  # a pair without any difference can raise no alarm
    worse, better = np.ones_like(value), np.ones_like(value)
    worse[moving] = holm(np.maximum(ndtr(samples), stdtr(df, seeds))[moving].tolist())
    better[moving] = holm(np.maximum(ndtr(-samples), stdtr(df, -seeds))[moving].tolist())
    quantile = np.maximum(-ndtri(TAIL), -stdtrit(df, TAIL) * np.sqrt(excess))
    half = quantile * error + step
    return [
        Change(
            value=float(value[index]),
            low=float(value[index] - half[index]),
            high=float(value[index] + half[index]),
            p_worse=float(worse[index]),
            p_better=float(better[index]),
            seeds_tested=bool(np.isfinite(df[index])),
        )
        for index in range(len(pairs))
    ]


def _change(pair: Pair) -> tuple[float, float, float]:
    """The difference, its standard error were it zero, and the least step it can take."""
    moved = pair.after.mean(axis=0) - pair.before.mean(axis=0)
    moved = np.round(moved, DIGITS)
    steps = np.abs(moved[moved != 0])
    return (
        float(moved.sum()),
        float((moved**2).sum() ** 0.5),
        float(steps.min()) if len(steps) else 0.0,
    )


def _seed_excess(pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Variance of runs over what image noise explains, for each pair, and its degrees of freedom.

    1 with infinitely many where nothing is known of seeds.
    """
    found = np.array([_own_excess(pair) for pair in pairs]).reshape(-1, 2)
    own, df = found.T
    known = df > 0
    if not known.any():
        return np.ones_like(own), np.full_like(own, np.inf)
    prior, prior_df = _prior(own[known], float(df[known].mean()))
    total = df + prior_df
    weight = np.divide(df, total, out=np.zeros_like(df), where=total > 0)
    lent = np.where(total > 0, np.maximum(own, prior + weight * (own - prior)), 1.0)
    least = 1e-12  # runs that happen to score alike
    return np.maximum(lent, least), np.where(total > 0, np.minimum(total, df.sum()), np.inf)


def _own_excess(pair: Pair) -> tuple[float, float]:
    """Pooled over both sides; 0 degrees of freedom where no side has runs that differ."""
    total = noise = df = 0.0
    for runs in (pair.before, pair.after):
        if len(runs) > 1:
            total += float(runs.sum(axis=1).var(ddof=1)) * (len(runs) - 1)
            noise += float(runs.var(axis=0, ddof=1).sum()) * (len(runs) - 1)
            df += len(runs) - 1
    return (total / noise, df) if noise else (0.0, 0.0)


def _prior(excess: np.ndarray, df: float) -> tuple[float, float]:
    """Location and degrees of freedom of a scaled F distribution with these moments.

    Infinitely many: the pairs spread no more than chance has it.  None: a single pair.
    """
    mean = float(excess.mean())
    if len(excess) == 1:
        return mean, 0.0
    spread = float(excess.var(ddof=1)) / mean**2 if mean else 0.0
    if spread * df <= 2:  # noqa: PLR2004 - the square of a chi-square's coefficient of variation
        return mean, np.inf
    prior_df = (2 * df - 4 + 4 * spread * df) / (spread * df - 2)
    return mean * (prior_df - 2) / prior_df, prior_df

"""Two sets of runs on the same test samples, and what they show of their difference by themselves.

What a difference is worth is a matter of the whole call: `cells` and `families`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from harness.stats.estimate import DIGITS


@dataclass(frozen=True)
class Pair:
    """A cell on both sides: what each group adds to the metric of each run.

    Attributes:
        before, after: [S, G] and [S', G], at least one run each.
        strata: the class of each group [G]; None: all are of one class.
        place: dataset, backbone and strategy; None: it shares nothing with other cells.
        seeds: of the runs before and after; runs of one dataset, backbone and seed share luck.
        test_set: cells that agree in it have the same groups in the same order; None: its own.
        one_by_one: runs were tested on several splits, so each is compared with the one of its
            split and seed alone; [S, G] on both sides.
    """

    before: np.ndarray
    after: np.ndarray
    strata: np.ndarray | None = None
    place: tuple[str, str, str] | None = None
    seeds: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    test_set: Hashable = None
    one_by_one: bool = False

    @property
    def spreading(self) -> tuple[np.ndarray, ...]:
        """Sides whose runs differ by luck alone, each with the variance of one run [S, G].

        Of runs compared one by one only the difference is luck; it has the variance of two.
        """
        if self.one_by_one:
            return ((self.after - self.before) / np.sqrt(2),)
        return (self.before, self.after)


@dataclass(frozen=True)
class Measured:
    """One cell by itself, without what each group adds in each run.

    Attributes:
        place, strata, test_set: of its pair.
        seeds: of the runs on both sides; numbers from 0 where the pair does not name them.
        scores: of each run [S], for each of the pair's sides that spread by luck alone.
        moved: change of each group [G]; they add up to `value`.
        same: every run scores every group as before, so nothing needs a test.
        churn: what groups lose and win, added up, mean over runs; infinite where the seeds are not
            the same on both sides.
        step: the least change there can be.
        factor: what turns the variance of a run into that of the change, 1/S + 1/S'.
        df: of the spread of runs; 0: one seed a side.
        variance: of a run's score, pooled over both sides; 0 where df is.
        noise: the part of it that single images explain, as the runs show it.
        pooled: the same, with what the changes of the groups say of it under the null.
        noise_df: of `pooled`.
    """

    place: tuple[str, str, str] | None
    strata: np.ndarray | None
    test_set: Hashable
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    scores: tuple[np.ndarray, ...]
    moved: np.ndarray
    value: float
    same: bool
    churn: float
    step: float
    factor: float
    df: int
    variance: float
    noise: float
    pooled: float
    noise_df: float


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


def strata(targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The class that most samples of each group have [G], groups in the order of `contributions`."""
    _, label = np.unique(targets, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((group.max() + 1, label.max() + 1), dtype=int)
    np.add.at(counts, (group, label), 1)
    most: np.ndarray = counts.argmax(axis=1)
    return most


def measure(pair: Pair) -> Measured:
    """Describe one cell; its error is a matter of the whole call."""
    before, after = pair.before, pair.after
    runs, others = len(before), len(after)
    moved = np.round(after.mean(axis=0) - before.mean(axis=0), DIGITS)
    steps = np.abs(moved[moved != 0])
    paired = pair.seeds is None or pair.seeds[0] == pair.seeds[1]
    churn = np.inf
    if paired and before.shape == after.shape:
        churn = float(np.abs(after - before).sum(axis=1).mean())
    same = churn == 0
    # The same runs twice say no more than once.
    df = runs - 1 if same or pair.one_by_one else runs + others - 2
    factor = 1 / runs + 1 / others
    variance = noise = 0.0
    noise_df = np.inf
    pooled = float((moved**2).sum()) / factor
    if df:
        sides = (before,) if same and not pair.one_by_one else pair.spreading
        variance = sum(float(_squares(side.sum(axis=1))) for side in sides) / df
        by_group = np.sum([_squares(side) for side in sides], axis=0) / df
        noise = float(by_group.sum())
        pooled = noise if same else (df * noise + pooled) / (df + 1)
        noise_df = _noise_df(by_group, df) * (1 if same else (df + 1) / df)
    return Measured(
        place=pair.place,
        strata=pair.strata,
        test_set=pair.test_set,
        seeds=pair.seeds or (tuple(range(runs)), tuple(range(others))),
        scores=tuple(side.sum(axis=1) for side in pair.spreading),
        moved=moved,
        value=float(moved.sum()),
        same=same,
        churn=churn,
        step=float(steps.min()) if len(steps) else 0.0,
        factor=factor,
        df=df,
        variance=variance,
        noise=noise,
        pooled=pooled,
        noise_df=noise_df,
    )


def _squares(runs: np.ndarray) -> np.ndarray:
    """Sum over runs of squared deviations from their mean."""
    found: np.ndarray = ((runs - runs.mean(axis=0)) ** 2).sum(axis=0)
    return found


def _noise_df(by_group: np.ndarray, df: int) -> float:
    """Degrees of freedom of a sum of variances of `df` each (Satterthwaite, unbiased)."""
    squares = float((by_group**2).sum())
    if not squares:
        return np.inf
    return max((df + 2) * float(by_group.sum()) ** 2 / squares - 2, float(df))


def centred(moved: np.ndarray, groups: np.ndarray | None) -> tuple[float, float]:
    """Variance of the sum over groups for other groups of the same classes, and its df.

    Args:
        moved: [G].
        groups: the class of each [G]; None: one class.
    """
    classes = np.zeros(len(moved), dtype=int) if groups is None else groups
    variance, df = 0.0, 0
    for one in np.unique(classes):
        within = moved[classes == one]
        count = len(within)
        if count > 1:
            variance += count / (count - 1) * float(((within - within.mean()) ** 2).sum())
            df += count - 1
        else:  # nothing to compare it with: it counts as a whole
            variance += float((within**2).sum())
    return variance, float(max(df, 1))

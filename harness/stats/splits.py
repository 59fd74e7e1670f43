"""Gains of the runs of one cell, over one split of a dataset or over several.

Over several random splits the unit is the split: its gain is the mean over its seeds, and splits
vary by the images that they test, by those that they train on, and by seeds.  Training parts
overlap, so splits that test other images each are not independent (Nadeau and Bengio 2003): what
they spread beyond the noise of images counts 1/J + S/(S+1) share/(1-share) times, where `share` of
the images is tested and S seeds are run on each (luck of a seed, taken to be as large as that of a
split, does not overlap).  Where the test part is the same in all, splits count as seeds do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.stats.paired import centred


@dataclass(frozen=True)
class Splits:
    """The paired runs of a cell, laid out over several random splits of its dataset.

    Attributes:
        number: the split of each run, 0 to J - 1, [R]; every split has a run.
        tested: whether a split tests a group [J, G].  Groups in several test parts are one column;
            a run adds 0 where its split does not test the group.
        share: of the dataset's images that a split tests; None: all splits test the same images.
        common: groups of further images that every split tests, beside its own, [G]; None: none.
    """

    number: np.ndarray
    tested: np.ndarray
    share: float | None
    common: np.ndarray | None = None


@dataclass(frozen=True)
class Spread:
    """Mean and variances that the runs of a cell show by themselves.

    Attributes:
        moved: mean over runs of what each group adds [G].
        images: variance of the mean for other groups of the same classes; `images_df`: its df.
        variance: of the gain of a repetition (a seed, or a split); `noise`: what images explain.
        repeats: how many there are; `times`: what their variance is divided by in that of the
            mean, the same unless splits have different numbers of seeds.
        stretch: factor on the variance by luck, as repetitions are not independent.
    """

    moved: np.ndarray
    images: float
    images_df: float
    variance: float
    noise: float
    repeats: int
    times: float
    stretch: float = 1.0


def spread_of(added: np.ndarray, strata: np.ndarray, splits: Splits | None) -> Spread:
    """Describe the runs of a cell.

    Args:
        added: what each group adds to the gain of each paired run [R, G].
        strata: the class of each group [G].
        splits: None, or a single one: runs differ by their seed alone.
    """
    moved: np.ndarray = added.mean(axis=0)
    if splits is None or len(splits.tested) == 1:
        return Spread(moved, *centred(moved, strata), *_vary(added), len(added), float(len(added)))
    counts = np.bincount(splits.number)
    means = np.stack([added[splits.number == one].mean(axis=0) for one in range(len(counts))])
    weights = counts / len(added)
    variance, noise = _vary(means)
    times = 1 / float(weights @ weights)
    if splits.share is None:
        images, df = centred(moved, strata)
        return Spread(moved, images, df, variance, noise, len(counts), times)
    apart, noise = splits.tested, 0.0
    if splits.common is not None:  # the same images in all: splits differ there as seeds do
        apart, noise = apart & ~splits.common, _vary(means[:, splits.common])[1]
    each = [centred(one[there], strata[there])[0] for one, there in zip(means, apart, strict=True)]
    noise += sum(each) / len(each)
    images, df = _drawn_anew(means, weights, strata, splits.tested)
    # What splits spread holds the luck of their seeds, which do not overlap: taken to be as large.
    shared = len(added) / (len(added) + len(counts))
    stretch = 1 + times * shared * splits.share / (1 - splits.share)
    return Spread(moved, images, df, variance, noise, len(counts), times, stretch)


def _vary(runs: np.ndarray) -> tuple[float, float]:
    """Variance over runs [R, G] of their sums, and summed over groups; 0 of one run."""
    if len(runs) == 1:
        return 0.0, 0.0
    around, df = runs - runs.mean(axis=0), len(runs) - 1
    totals = around.sum(axis=1)
    return float(totals @ totals) / df, float((around * around).sum()) / df


def _drawn_anew(
    means: np.ndarray, weights: np.ndarray, strata: np.ndarray, tested: np.ndarray
) -> tuple[float, float]:
    """Variance of the mean gain by images, where each split tests others, and its df.

    Each split is centred by itself, within class, as a single one is; a group that several splits
    test counts once, with what it adds to all of them.

    Args:
        means: gain of each split by group [J, G].
        weights: of the splits in the mean, they add up to 1, [J].
        strata: the class of each group [G].
        tested: whether a split tests a group [J, G].
    """
    apart, df = np.zeros_like(means), 0
    for one in np.unique(strata):
        member = strata == one
        for row, mean, there in zip(apart, means, tested & member, strict=True):
            count = int(there.sum())
            if count > 1:
                row[there] = (mean[there] - mean[there].mean()) * (count / (count - 1)) ** 0.5
            else:  # nothing to compare it with: it counts as a whole
                row[there] = mean[there]
        kinds = np.unique(tested[:, member], axis=0)
        df += max(0, int(kinds.any(axis=0).sum()) - len(kinds))
    whole = weights @ apart
    return float(whole @ whole), float(max(df, 1))

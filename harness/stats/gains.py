"""Gains of one strategy on another: in one cell, and on average over the cells of a board.

Two things are uncertain: other images might have been tested, and other seeds drawn.  The images'
part is the spread of the groups' gains within class (the closed form of a bootstrap over groups),
the seeds' part what paired runs spread beyond the noise of single images.  A few seeds say little
about that, so the cells of a board lend each other what they know (`lending`).

With one seed the error holds the images alone; over several random splits of a dataset the splits
take the place of the seeds (`splits`).  Formulae, and how often they err, stand in
`docs/statistics.md`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import UsageError
from harness.stats.estimate import DIGITS, Estimate, refuse_nan
from harness.stats.lending import KIN, moderate
from harness.stats.paired import centred
from harness.stats.splits import Splits, Spread, spread_of

Place = tuple[str, str, str]


@dataclass(frozen=True)
class Gain:
    """The part of each group in the gain of each paired run in one cell, [R, G].

    Attributes:
        strata: the class of each group [G].
        place: dataset, backbone, and the name of what is compared.
        test_set: cells that agree in it have the same groups in the same order.
        widest: the largest difference that the metric allows; None: no limit is known.
        splits: of the runs, where they are over several; None: runs are seeds of one split.
    """

    added: np.ndarray
    strata: np.ndarray
    place: Place
    test_set: Hashable
    widest: float | None = 1.0
    splits: Splits | None = None

    @property
    def splits_count(self) -> int:
        return 1 if self.splits is None else len(self.splits.tested)


@dataclass(frozen=True)
class _Cell:
    """One cell by itself.

    Attributes:
        step: the least change there can be; the error is never taken to be smaller.
        alike: both strategies give every group the same in every run.
    """

    place: Place
    widest: float | None
    value: float
    spread: Spread
    step: float
    alike: bool
    splits: int

    @property
    def df(self) -> int:
        """Of the spread of its repetitions."""
        return self.spread.repeats - 1


def estimate_gains(gains: Iterable[Gain]) -> list[Estimate]:
    """The gain of every cell, mean over its runs, with what the others know of seeds.

    Args:
        gains: of one board, taken one by one.

    Raises:
        UsageError: a score that is not finite.
    """
    cells = [_describe(gain) for gain in gains]
    luck, df = np.zeros((2, len(cells))), np.full(len(cells), np.inf)
    rows = np.array([i for i, one in enumerate(cells) if one.df and not one.alike], dtype=int)
    if len(rows):
        luck[:, rows], df[rows] = _luck([cells[i] for i in rows])
    return [
        _estimate(cell, float(seeds), float(whole), float(one))
        for cell, seeds, whole, one in zip(cells, *luck, df, strict=True)
    ]


def _describe(gain: Gain) -> _Cell:
    added = _settled(gain)
    spread = spread_of(added, gain.strata, gain.splits)
    steps = np.abs(spread.moved[np.abs(spread.moved) > 10.0**-DIGITS])
    return _Cell(
        place=gain.place,
        widest=gain.widest,
        value=_mean(gain),
        spread=spread,
        step=float(steps.min()) if len(steps) else 0.0,
        alike=not added.any(),
        splits=gain.splits_count,
    )


def _settled(gain: Gain) -> np.ndarray:
    """The parts of the groups, rounded so that equal is equal."""
    if not np.isfinite(gain.added).all():
        refuse_nan(gain.added, f"gains of {' / '.join(gain.place)} (seed, group)")
    rounded: np.ndarray = np.round(gain.added, DIGITS)
    return rounded


def _mean(gain: Gain) -> float:
    """Over runs; from numbers as they are, for those of many groups would add up what they lost."""
    return float(np.round(gain.added.sum(axis=1).mean(), DIGITS))


def _luck(cells: Sequence[_Cell]) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each gain by luck of repetitions, and the df behind it.

    Returns:
        That beyond image noise and the whole [2, cells], and the df [cells].
    """
    variance, noise, count, stretch = (
        np.array([getattr(cell.spread, name) for cell in cells])
        for name in ("variance", "noise", "times", "stretch")
    )
    own_df = np.array([float(cell.df) for cell in cells])
    lent, pool = _lend(variance - noise, cells, noise > 0)
    base = noise + lent
    ratio = np.divide(variance, base, out=np.zeros_like(variance), where=base > 0)
    ratio, df = moderate(ratio, own_df)
    luck = np.maximum(0.0, ratio * base - noise) / count
    return stretch * np.stack([luck, ratio * base / count]), np.minimum(df, pool)


def _lend(
    excess: np.ndarray, cells: Sequence[_Cell], known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variance by seeds that each cell is taken to have, and the df behind it.

    As `lending.lend` has it; but cells of a block share the control, so that the seeds of a block
    count once, however many strategies were compared there.

    Args:
        excess: variance of seeds less image noise.
        cells: where they lie.
        known: cells that say something; the others are only lent to.
    """
    chosen = np.flatnonzero(known)
    lent = np.full(len(cells), max(0.0, float(excess[chosen].mean())) if len(chosen) else 0.0)
    df = np.full(len(cells), max(1.0, _seeds_behind(cells, chosen)))
    for part in range(3):
        labels = np.array([cell.place[part] for cell in cells])
        for label in np.unique(labels):
            kin = np.flatnonzero((labels == label) & known)
            if len(kin) >= KIN:
                mean = float(excess[kin].mean())
                up = (labels == label) & (lent < mean)
                lent[up], df[up] = mean, _seeds_behind(cells, kin)
    return lent, df


def _seeds_behind(cells: Sequence[_Cell], chosen: np.ndarray) -> float:
    """Degrees of freedom of these cells' seeds, each block's once."""
    some = (cells[int(index)] for index in chosen)
    return float(sum({cell.place[:2]: cell.df for cell in some}.values()))


def _estimate(cell: _Cell, seeds: float, whole: float, seeds_df: float) -> Estimate:
    own = cell.spread
    least = max(own.noise / own.times, cell.step**2)
    variance = max(own.images + seeds, least)
    # The error of luck is that of the whole spread, of which it is what noise leaves.  A few splits
    # alone need that (three pairs hold 92 % without); the rule of seeds held without it.
    uncertain = whole if seeds and cell.splits > 1 else seeds
    df = _degrees(variance, [(own.images, own.images_df), (uncertain, seeds_df)])
    df = max(df, min(seeds_df, own.images_df))
    return Estimate(cell.value, variance**0.5, df, own.repeats, cell.widest, cell.step, cell.splits)


def _degrees(total: float, parts: Sequence[tuple[float, float]]) -> float:
    """Satterthwaite's degrees of freedom of a variance that is the sum of these parts."""
    spread = sum(variance**2 / df for variance, df in parts)
    return total**2 / spread if spread else np.inf


def average_gain(gains: Iterable[Gain], stretch: float = 1.0) -> Estimate:
    """The mean over the cells of one strategy, on these datasets with these backbones.

    Images count by group, summed over the cells of a test set: backbones find the same ones hard.
    Seeds count block by block, splits dataset by dataset.

    Args:
        gains: of the cells.
        stretch: factor on the variance by luck, where seeds are not independent of each other.

    Raises:
        UsageError: no cell, or a score that is not finite.
    """
    given = list(gains)
    if not given:
        raise UsageError("the average of no cells.  Give at least one.")
    sums: dict[Hashable, tuple[np.ndarray, np.ndarray]] = {}
    apart: dict[Hashable, Gain] = {}
    spread: list[tuple[float, float, int]] = []  # variance, noise, df of each block
    for gain in given:
        added = _settled(gain) / len(given)
        if gain.splits_count > 1:
            # Backbones share the luck of a split, so that it counts for all of them together.
            one = apart.get(gain.test_set)
            apart[gain.test_set] = replace(gain, added=added if one is None else one.added + added)
            continue
        found = spread_of(added, gain.strata, None)
        before, strata = sums.get(gain.test_set, (0.0, gain.strata))
        sums[gain.test_set] = (before + found.moved, strata)
        spread += _known(found)
    images = [centred(total, strata) for total, strata in sums.values()]
    moved = [total for total, _ in sums.values()]
    for gain in apart.values():
        found = spread_of(gain.added, gain.strata, gain.splits)
        images.append((found.images, found.images_df))
        moved.append(found.moved)
        spread += _known(found)
    sizes = map(np.abs, moved)
    step = min((one[one > 10.0**-DIGITS].min(initial=np.inf) for one in sizes), default=np.inf)
    seeds, seeds_df = _block_luck(spread)
    seeds *= stretch
    total = sum(part for part, _ in images) + seeds
    if np.isfinite(step):
        total = max(total, float(step) ** 2)
    whole = sum(part for part, _, _ in spread)
    limits = [gain.widest for gain in given if gain.widest is not None]
    return Estimate(
        value=float(np.round(sum(map(_mean, given)) / len(given), DIGITS)),
        se=total**0.5,
        # The error of luck is that of the whole spread of runs, of which it is what noise leaves.
        df=_degrees(total, [*images, (whole * stretch if seeds else 0.0, seeds_df)]),
        seeds=min(_repeats(gain) for gain in given),
        widest=sum(limits) / len(limits) if len(limits) == len(given) else None,
        splits=min(gain.splits_count for gain in given),
    )


def _repeats(gain: Gain) -> int:
    """Splits, where there are several, else seeds."""
    return gain.splits_count if gain.splits_count > 1 else len(gain.added)


def _known(found: Spread) -> list[tuple[float, float, int]]:
    """Variance and noise of a mean by its repetitions, with their df; none of a single one."""
    if found.repeats == 1:
        return []
    parts = (found.variance, found.noise)
    variance, noise = (part / found.times * found.stretch for part in parts)
    return [(variance, noise, found.repeats - 1)]


def _block_luck(spread: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """Variance by luck of seeds, summed over blocks, and its df."""
    if not spread:
        return 0.0, np.inf
    variance, noise = (sum(one[part] for one in spread) for part in (0, 1))
    squares = sum(one[0] ** 2 / (one[2] + 2) for one in spread)
    least = float(min(df for _, _, df in spread))
    return max(0.0, variance - noise), max(variance**2 / squares - 2, least) if squares else np.inf

"""Tests of whether a cell got worse, or better, for all cells of a call.

Were the code the same, the runs of both sides could change places; so from two seeds on the spread
of the runs of a cell is the whole error of its change, whatever its groups.  A few runs say little
about their spread, so the cells of a call lend each other what they know (`lending`).

With one seed a side there is no such spread.  The images' share of it comes from the changes of the
groups, the seeds' share from what is stated, or, for a hint only, from the other cells.

One-sided p-values are adjusted over the cells of the call (Holm).  `docs/statistics.md` holds the
formulae and how often they err.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.stats.estimate import holm
from harness.stats.lending import Place, lend, moderate
from harness.stats.paired import Measured, centred

TAIL = 0.05  # one-sided, of the interval, and of the verdicts of a call that tests no families
CELLS = 0.025  # the share of the cells, where families are tested beside them
TWO = 0.015  # the same with two runs a side: a fifth of the cells that spread more deceive them
FEW = 4  # a call of fewer cells tests no families
LENDERS = 10  # cells of one seed a side that may lend each other a spread of seeds
POWER = 0.8  # of the smallest loss that is said to be seen
NOTHING = 1e-9  # a share below it is rounding

Basis = Literal["runs", "stated", "lent", "images", "same"]


@dataclass(frozen=True)
class Sight:
    """The losses that a test would have seen.

    Attributes:
        critical: change from which on it speaks.
        reach: how far beyond it the truth must lie to be seen with 80 %.
    """

    critical: float
    reach: float

    def loss(self, margin: float) -> float:
        """The smallest loss that is seen with 80 %, where losses within the margin are allowed."""
        return max(self.critical, margin) + self.reach


@dataclass(frozen=True)
class Change:
    """After less before.

    Attributes:
        low, high: 90 % interval, not adjusted: inside a margin it shows equality within it (5 %).
        p_worse, p_better: one-sided, adjusted over all cells that differ at all.
        level: the error rate that they are held to.
        worse_beyond, better_beyond: the same for other images of the same population, too.
        churn: what groups lose and win, added up, mean over runs: no change is larger.
        basis: where the error comes from: the spread of runs, a stated spread of seeds, one lent by
            other cells (a hint, no more), the images alone, or nothing, since nothing differs.
        sight: None where the spread of seeds, or with one seed the noise of images, is not known.
    """

    value: float
    low: float
    high: float
    p_worse: float
    p_better: float
    worse_beyond: float
    better_beyond: float
    level: float
    churn: float
    basis: Basis
    sight: Sight | None


def _level(cells: Sequence[Measured]) -> float:
    """The error rate that the cells of a call share."""
    if len(cells) < FEW:
        return TAIL
    return TWO if any(0 < cell.df <= 2 for cell in cells) else CELLS  # noqa: PLR2004 - two runs a side


@dataclass(frozen=True)
class _Errors:
    """Variance of each change [cells], its df, and the part that is luck of seeds, with its df."""

    variance: np.ndarray
    df: np.ndarray
    seeds: np.ndarray
    seeds_df: np.ndarray
    basis: list[Basis]


def compare_pairs(cells: Sequence[Measured], spread: float | None = None) -> list[Change]:
    """Compare every cell; the more there are, the more each must show.

    Args:
        cells: of one call.
        spread: standard deviation of a run's score by its seed, for cells of one seed a side.
    """
    from scipy.special import stdtrit

    errors = _errors(cells, spread)
    value, step = (np.array([getattr(cell, name) for cell in cells]) for name in ("value", "step"))
    error = np.sqrt(errors.variance)
    moved = np.sign(value) * np.maximum(0.0, np.abs(value) - step)
    worse = _tail(errors.df, moved, error)
    better = _tail(errors.df, -moved, error)
    wide, wide_df = _beyond(cells, errors)
    tested = np.array([not cell.same for cell in cells], dtype=bool)
    p = {
        "p_worse": worse,
        "p_better": better,
        "worse_beyond": np.maximum(worse, _tail(wide_df, moved, wide)),
        "better_beyond": np.maximum(better, _tail(wide_df, -moved, wide)),
    }
    p = {name: _adjust(raw, tested) for name, raw in p.items()}
    half = -stdtrit(errors.df, TAIL) * error + step
    level = _level(cells)
    share = level / max(1, int(tested.sum()))
    critical = -stdtrit(errors.df, share) * error + step
    reach = stdtrit(errors.df, POWER) * error
    # One seed a side without any change shows nothing of image noise.
    known = [
        basis == "runs" or (basis == "stated" and moves)
        for basis, moves in zip(errors.basis, tested, strict=True)
    ]
    return [
        Change(
            value=float(value[index]),
            low=float(value[index] - half[index]),
            high=float(value[index] + half[index]),
            p_worse=float(p["p_worse"][index]),
            p_better=float(p["p_better"][index]),
            worse_beyond=float(p["worse_beyond"][index]),
            better_beyond=float(p["better_beyond"][index]),
            level=level,
            churn=cells[index].churn,
            basis="same" if cells[index].same else errors.basis[index],
            sight=Sight(float(critical[index]), float(reach[index])) if known[index] else None,
        )
        for index in range(len(cells))
    ]


def _adjust(p: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Holm over the cells that differ at all; the others can raise no alarm and cost nothing."""
    adjusted = np.ones_like(p)
    if tested.any():
        adjusted[tested] = holm(p[tested].tolist())
    return adjusted


def _tail(df: np.ndarray, value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """One-sided p of a value as low; without any error there is no doubt."""
    from scipy.special import stdtr

    t = np.divide(value, error, out=np.zeros_like(value), where=error > 0)
    sure = np.where(value < 0, 0.0, 1.0)
    found: np.ndarray = np.where(error > 0, stdtr(df, t), sure)
    return found


def _errors(cells: Sequence[Measured], spread: float | None) -> _Errors:
    found = _Errors(
        variance=np.zeros(len(cells)),
        df=np.full(len(cells), np.inf),
        seeds=np.zeros(len(cells)),
        seeds_df=np.full(len(cells), np.inf),
        basis=["runs"] * len(cells),
    )
    several = np.array([cell.df > 0 for cell in cells], dtype=bool)
    _by_runs(cells, several, found)
    _by_images(cells, several, found, spread)
    return found


def _by_runs(cells: Sequence[Measured], several: np.ndarray, found: _Errors) -> None:
    """Cells of more than one seed: the spread of their runs, lent between them."""
    rows = [i for i, known in enumerate(several) if known and cells[i].pooled > 0]
    if not rows:
        return
    chosen = [cells[i] for i in rows]
    variance, noise, noise_df, factor = (
        np.array([getattr(cell, name) for cell in chosen])
        for name in ("variance", "pooled", "noise_df", "factor")
    )
    df = np.array([float(cell.df) for cell in chosen])
    base = noise + lend(variance - noise, [cell.place for cell in chosen])
    own = variance / base
    ratio, ratio_df = moderate(own, df)
    # Where its own spread rules, the estimate of its image noise cancels.
    alone = ratio <= own * (1 + NOTHING)
    mixed = 1 / (1 / ratio_df + (noise / base) ** 2 / noise_df)
    found.variance[rows] = base * ratio * factor
    found.df[rows] = np.maximum(1.0, np.where(alone, ratio_df, mixed))
    found.seeds[rows] = np.maximum(0.0, base * ratio - noise) * factor
    found.seeds_df[rows] = ratio_df


def _by_images(
    cells: Sequence[Measured], several: np.ndarray, found: _Errors, spread: float | None
) -> None:
    """Cells of one seed a side: what groups changed, and a spread of seeds that is stated or lent."""
    rows = [i for i, known in enumerate(several) if not known]
    if not rows:
        return
    images = np.array([cells[i].pooled * cells[i].factor for i in rows])
    value = np.array([cells[i].value for i in rows])
    seeds, seeds_df = np.zeros(len(rows)), np.full(len(rows), np.inf)
    basis: Basis = "images"
    moving = np.array([not cells[i].same for i in rows])
    if spread is not None:
        seeds[:], basis = 2 * spread**2, "stated"
    elif several.any():
        rich = [cell for cell, known in zip(cells, several, strict=True) if known]
        excess = float(np.mean([cell.variance - cell.pooled for cell in rich]))
        seeds[:], seeds_df[:] = 2 * max(0.0, excess), sum(cell.df for cell in rich)
        basis = "lent"
    elif moving.sum() >= LENDERS:
        places = [cells[i].place for i in rows if not cells[i].same]
        seeds[moving], seeds_df[moving] = _lent(value[moving] ** 2 - images[moving], places)
        basis = "lent"
    total = images + seeds
    share = np.divide(seeds, total, out=np.zeros_like(total), where=total > 0)
    found.variance[rows], found.seeds[rows], found.seeds_df[rows] = total, seeds, seeds_df
    found.df[rows] = np.divide(
        seeds_df, share**2, out=np.full(len(rows), np.inf), where=share > NOTHING
    )
    for row in rows:
        found.basis[row] = basis


def _lent(excess: np.ndarray, places: Sequence[Place | None]) -> tuple[np.ndarray, np.ndarray]:
    """Variance of a change by seeds as the *other* cells show it, of the call or of the dataset.

    Returns:
        The larger of both [cells], and its degrees of freedom [cells].
    """
    count = len(excess)
    lent = np.maximum(0.0, (excess.sum() - excess) / (count - 1))
    df = np.full(count, count - 1.0)
    datasets = np.array(["" if place is None else place[0] for place in places])
    for dataset in np.unique(datasets):
        (members,) = np.nonzero(datasets == dataset)
        size = len(members)
        if dataset and size >= LENDERS:
            near = (excess[members].sum() - excess[members]) / (size - 1)
            up = near > lent[members]
            lent[members[up]], df[members[up]] = near[up], size - 1.0
    return lent, df


def _beyond(cells: Sequence[Measured], errors: _Errors) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of each change on other images of the same classes, and its df."""
    images, images_df = (
        np.array([centred(cell.moved, cell.strata) for cell in cells], dtype=float).reshape(-1, 2).T
    )
    variance = images + errors.seeds
    df = satterthwaite([(images, images_df), (errors.seeds, errors.seeds_df)])
    return np.sqrt(variance), np.maximum(df, np.minimum(images_df, errors.seeds_df))


def satterthwaite(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Degrees of freedom of a sum of variances, each given with its own; infinite for a sum of 0."""
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / df for variance, df in parts)
    unknown = np.full(np.shape(total), np.inf)
    found: np.ndarray = np.divide(total**2, spread, out=unknown, where=spread > 0)
    return found

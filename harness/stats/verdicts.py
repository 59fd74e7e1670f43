"""All verdicts of a board under one error rate of 5 %.

Where no strategy differs from the control, any verdict at all is found on at most 5 % of boards:

- the average gain of each strategy over these datasets, adjusted after Holm, has .03 of the .05;
- the cells of the strategies so found have that .03 again, in proportion, by Benjamini and
  Hochberg: they are only asked where the average was found;
- all cells together have .02, by Benjamini and Hochberg.

Datasets in general are judged for found strategies only, after Holm at .05: where no strategy
differs, none is found, so this adds nothing.

Every p-value is scaled so that .05 is the whole board's: what is at most .05 is decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.stats.estimate import (
    LEVEL,
    SEEDS,
    Basis,
    Estimate,
    Verdict,
    benjamini_hochberg,
    holm,
)

BOARD = 1 - LEVEL
AVERAGES = 0.03
CELLS = 0.02
POWER = 0.8  # of the least gain that is said to be found


@dataclass(frozen=True)
class Judged:
    """A gain with its interval, which is not adjusted, and its verdict, which is.

    Attributes:
        p: adjusted over the board, decided up to .05; None: fewer than three seeds, so not tested.
        basis: what the interval holds: other test images and seeds, other test images only (one
            seed), or other datasets.
    """

    value: float
    low: float
    high: float
    p: float | None
    seeds: int
    verdict: Verdict
    basis: Basis


@dataclass(frozen=True)
class Verdicts:
    """Of each cell, and of each strategy over these datasets and in general (None: too few)."""

    cells: list[Judged]
    averages: dict[str, Judged]
    general: dict[str, Judged | None]


def judge(
    cells: Sequence[tuple[str, Estimate]],
    averages: Mapping[str, Estimate],
    general: Mapping[str, Estimate | None],
    tracks: int = 1,
) -> Verdicts:
    """Judge one track of a board.

    With fewer than three seeds nothing is tested: two trainings differ, whatever their strategies,
    and the spread of two says too little.

    Args:
        cells: strategy and gain of each.
        averages: strategy -> average gain over these datasets.
        general: strategy -> that over datasets in general; None: too few datasets.
        tracks: how many of the board are judged; they share its error rate evenly.
    """
    over = _scaled(_adjusted(averages), AVERAGES, tracks)
    found = {name for name, p in over.items() if p <= BOARD}
    p = _cells([(name, one) for name, one in cells if one.seeds >= SEEDS], len(over), found, tracks)
    judged = iter(p)
    known = {name: one for name, one in general.items() if one is not None}
    beyond = _scaled(_adjusted(known), BOARD, tracks)
    return Verdicts(
        cells=[judged_as(one, next(judged) if one.seeds >= SEEDS else None) for _, one in cells],
        averages={name: judged_as(one, over.get(name)) for name, one in averages.items()},
        general={
            name: None
            if one is None
            # Not found over these datasets: not asked any further.
            else replace(
                judged_as(one, max(beyond[name], over.get(name, 1.0)) if name in beyond else None),
                basis="datasets",
            )
            for name, one in general.items()
        },
    )


def least_found(one: Estimate, strategies: int, tracks: int = 1) -> float:
    """The smallest average gain, or loss, over these datasets that is found with 80 %.

    Found by itself, that is at the first step of Holm; where others are found too, less is enough.

    Args:
        one: an average gain; its error counts, its value does not.
        strategies: averages that are judged with it.
        tracks: as `judge` takes it.
    """
    from scipy.special import stdtrit

    tail = AVERAGES / tracks / strategies / 2  # a gain and a loss are both looked for
    return float(one.se * (stdtrit(one.df, 1 - tail) + stdtrit(one.df, POWER))) + one.step


def _adjusted(given: Mapping[str, Estimate]) -> dict[str, float]:
    names = [name for name, one in given.items() if one.seeds >= SEEDS]
    return dict(zip(names, holm([given[name].p for name in names]), strict=True))


def _scaled(p: Mapping[str, float], share: float, tracks: int) -> dict[str, float]:
    return {name: min(1.0, one * BOARD / share * tracks) for name, one in p.items()}


def _cells(
    cells: Sequence[tuple[str, Estimate]], strategies: int, found: set[str], tracks: int
) -> list[float]:
    """P of each cell, the better of its two chances."""
    raw = [one.p for _, one in cells]
    best = [one * BOARD / CELLS for one in benjamini_hochberg(raw)]
    for name in found:
        rows = [index for index, (row, _) in enumerate(cells) if row == name]
        factor = BOARD / AVERAGES * strategies / len(found)
        for index, p in zip(rows, benjamini_hochberg([raw[i] for i in rows]), strict=True):
            best[index] = min(best[index], p * factor)
    return [min(1.0, p * tracks) for p in best]


def judged_as(one: Estimate, p: float | None) -> Judged:
    """A gain with the verdict that its adjusted p-value allows; None: untested."""
    low, high = one.interval()
    verdict: Verdict = "untested"
    if p is not None:
        decided = p <= BOARD and one.value != 0
        verdict = ("better" if one.value > 0 else "worse") if decided else "undecided"
    return Judged(one.value, low, high, p, one.seeds, verdict, one.basis)

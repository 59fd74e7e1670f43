"""An estimate with its uncertainty, and verdicts over several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.errors import UsageError

LEVEL = 0.95
POINT = 0.01  # a smaller difference is no win
SEEDS = 3  # fewest that decide about a cell
EXACT = 2**24  # whole numbers below it are exact in float32
DIGITS = 12  # decimals in which equal scores agree: sums of seeds differ in the last place

Verdict = Literal["better", "worse", "undecided", "untested"]
Basis = Literal["images, seeds and splits", "images and seeds", "test images only", "datasets"]


@dataclass(frozen=True)
class Estimate:
    """A figure, its standard error, and the degrees of freedom of that error (Student's t).

    Attributes:
        seeds: training seeds behind it; with a single one the error holds nothing of training.
            Over several splits: how many these are, for they are what repeats.
        widest: largest value, up or down, that there can be: no bound lies beyond it.  None: no
            limit is known.
        step: the least change there can be; tests take it off the value.
        splits: random splits of the dataset behind it.
    """

    value: float
    se: float
    df: float
    seeds: int
    widest: float | None = None
    step: float = 0.0
    splits: int = 1

    def bound(self, level: float) -> float:
        """The value below which the truth lies with probability `level` (one-sided)."""
        from scipy.special import stdtrit

        found = float(self.value + self.se * stdtrit(self.df, level))
        return found if self.widest is None else max(-self.widest, min(found, self.widest))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Two-sided, equal tails."""
        tail = (1 - level) / 2
        return self.bound(tail), self.bound(1 - tail)

    @property
    def p(self) -> float:
        """Two-sided, of the hypothesis that the truth is zero."""
        from scipy.special import stdtr

        moved = max(0.0, abs(self.value) - self.step)
        if not moved or not self.se:
            return 0.0 if moved else 1.0
        return float(2 * stdtr(self.df, -moved / self.se))

    def exceeds(self, least: float) -> float:
        """One-sided p of the hypothesis that the truth is no more than `least`."""
        from scipy.special import stdtr

        beyond = self.value - least
        if not self.se:
            return 0.0 if beyond > 0 else 1.0
        return float(stdtr(self.df, -beyond / self.se))

    def mirrored(self) -> Estimate:
        """The same with its sign turned: over, less of."""
        return replace(self, value=-self.value)

    @property
    def basis(self) -> Basis:
        """The sources of variation that the error holds."""
        if self.splits > 1:
            return "images, seeds and splits"
        return "images and seeds" if self.seeds > 1 else "test images only"


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates; degrees of freedom after Welch and Satterthwaite."""
    squares = [estimate.se**2 for estimate in estimates]
    total = math.fsum(squares)
    spread = math.fsum(s**2 / e.df for s, e in zip(squares, estimates, strict=True))
    limits = [estimate.widest for estimate in estimates if estimate.widest is not None]
    return Estimate(
        value=math.fsum(estimate.value for estimate in estimates) / len(estimates),
        se=math.sqrt(total) / len(estimates),
        df=total**2 / spread if spread else math.inf,
        seeds=min(estimate.seeds for estimate in estimates),
        widest=math.fsum(limits) / len(limits) if len(limits) == len(estimates) else None,
    )


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: no test that may err errs in more than 5 %."""
    if len(p):
        refuse_nan(np.asarray(p), "p-values")
    adjusted = [0.0] * len(p)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, (len(p) - place) * p[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: of those at most a, a share of a errs on average.

    Benjamini and Hochberg 1995; where nothing differs, any is found in a share of a.
    """
    if len(p):
        refuse_nan(np.asarray(p), "p-values")
    adjusted = [0.0] * len(p)
    least = 1.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__, reverse=True)):
        least = min(least, p[index] * len(p) / (len(p) - place))
        adjusted[index] = least
    return adjusted


def refuse_nan(values: np.ndarray, what: str) -> None:
    """A missing figure is never averaged away.

    Raises:
        UsageError: some value is not finite, or there is none at all.
    """
    if values.size == 0:
        raise UsageError(f"{what}: there are none.  Give at least one.")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise UsageError(
            f"{what}: {len(bad)} of {values.size} are not finite, the first at "
            f"{tuple(bad[0].tolist())}.  Leave incomplete rows out, or finish their runs."
        )

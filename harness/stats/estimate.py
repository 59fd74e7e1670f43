"""An estimate with its uncertainty, and verdicts over several of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.errors import UsageError

LEVEL = 0.95
POINT = 0.01  # a smaller difference is no win
SEEDS = 3  # fewest that decide about a cell
EXACT = 2**24  # whole numbers below it are exact in float32
DIGITS = 12  # decimals in which equal scores agree: sums of seeds differ in the last place

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Estimate:
    """A figure, its standard error, and the degrees of freedom of that error (Student's t).

    Attributes:
        seeds: training seeds behind it; with a single one the error holds nothing of training.
        widest: largest value, up or down, that there can be: no bound lies beyond it.  None: no
            limit is known.
    """

    value: float
    se: float
    df: float
    seeds: int
    widest: float | None = None

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

        if self.value == 0:
            return 1.0
        return float(2 * stdtr(self.df, -abs(self.value) / self.se))


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


@dataclass(frozen=True)
class Comparison:
    """A strategy against the control in one cell; `p` is adjusted (Holm), the interval is not."""

    value: float
    low: float
    high: float
    p: float
    seeds: int
    verdict: Verdict


def compare(differences: Mapping[str, Estimate], level: float = LEVEL) -> dict[str, Comparison]:
    """Verdicts over a family of differences to one control.

    With fewer than SEEDS seeds nothing is decided: two training runs differ, whatever their
    strategies, and the spread of two says too little (`docs/statistics.md`).
    """
    adjusted = holm([estimate.p for estimate in differences.values()])
    return {
        name: Comparison(
            estimate.value,
            *estimate.interval(level),
            p=p,
            seeds=estimate.seeds,
            verdict=decide(estimate.value, p, level) if estimate.seeds >= SEEDS else "undecided",
        )
        for (name, estimate), p in zip(differences.items(), adjusted, strict=True)
    }


def decide(value: float, p: float, level: float = LEVEL) -> Verdict:
    """The direction of a difference, where its p-value allows one."""
    if p > 1 - level or value == 0:
        return "undecided"
    return "better" if value > 0 else "worse"


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

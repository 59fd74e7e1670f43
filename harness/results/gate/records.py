"""Cells and rules that the gate takes, and the report it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np

from harness.errors import StoreError, UsageError
from harness.stats import Change, contributions

Verdict = Literal[
    "better",
    "worse",
    "equal",
    "inconclusive",
    "newly-failing",
    "vanished",
    "not-comparable",
    "new",
]
CostVerdict = Literal["better", "worse", "equal", "not-judged", "not-comparable"]

METRICS = ("balanced-accuracy", "accuracy")
POINTS = 100.0
TOLERANCE = 1.0  # points


@dataclass(frozen=True)
class GateRun:
    """One run of a cell.

    Attributes:
        failure: why it has no result; empty: it has one.
        predicted: class numbers [N] on the test samples; None where it failed.
        seconds: what it would cost alone; None: not known.
        packed: it shared its device, so that its seconds are not its own.
    """

    seed: int
    failure: str = ""
    predicted: np.ndarray | None = None
    seconds: float | None = None
    packed: bool = False


@dataclass(frozen=True)
class GateCell:
    """A cell on one side.

    Attributes:
        facts: what must agree for a comparison, by name: data fingerprint, protocol digest, limit.
        device: what must agree for a comparison of cost.
        samples: ids of the test samples [N], in the order of `targets` and of every prediction.
        groups: a label for each sample; None: every sample stands for itself.
    """

    facts: Mapping[str, str]
    device: str
    samples: np.ndarray
    targets: np.ndarray
    runs: tuple[GateRun, ...]
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len({run.seed for run in self.runs}) < len(self.runs):
            raise StoreError(f"a cell with two runs of one seed: {[run.seed for run in self.runs]}")
        for seed, run in self.finished.items():
            if run.predicted is None or run.predicted.shape != self.targets.shape:
                raise StoreError(f"seed {seed}: no prediction for each of the test samples")

    @property
    def finished(self) -> dict[int, GateRun]:
        """Runs with a result, by seed."""
        return {run.seed: run for run in self.runs if not run.failure}

    def contributions(self, metric: str) -> np.ndarray:
        """Split each finished run's metric into what each group adds, [S, G], in order of seeds."""
        runs = [run for _, run in sorted(self.finished.items())]
        right = np.stack([run.predicted == self.targets for run in runs])
        balanced = metric == "balanced-accuracy"
        return contributions(right, self.targets, self.grouping, balanced=balanced)

    @property
    def grouping(self) -> np.ndarray:
        """A label for each sample [N]."""
        return np.arange(len(self.targets)) if self.groups is None else self.groups


@dataclass(frozen=True)
class Rules:
    """The metric to compare, and how much may change.

    Attributes:
        metric: one that adds up over samples.
        tolerances: cell glob -> points that may be lost; the first match wins, else it is 1 point.
        cost: share by which seconds may grow (0.2: a fifth); None: they are shown, not judged.
    """

    metric: str = "balanced-accuracy"
    tolerances: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UsageError(f"the gate compares {' or '.join(METRICS)}, not {self.metric}")
        given = dict(self.tolerances) | ({} if self.cost is None else {"cost": self.cost})
        for name, value in given.items():
            if not value >= 0:
                raise UsageError(f"tolerance of {name}: {value}.  Give a number that is 0 or more.")

    def tolerance(self, cell: str) -> float:
        """In points."""
        found = (value for glob, value in self.tolerances.items() if fnmatchcase(cell, glob))
        return next(found, TOLERANCE)


@dataclass(frozen=True)
class CostChange:
    """Median seconds of a run, after over before; None: they cannot be compared."""

    verdict: CostVerdict
    ratio: float | None
    reason: str = ""


@dataclass(frozen=True)
class CellReport:
    """The verdict on a cell.

    Attributes:
        before, after: the metric, mean over seeds; None where no run finished.
        change: in the metric's units; None where nothing was compared.
        tolerance: in points.
        seeds: finished runs before and after.
    """

    cell: str
    verdict: Verdict
    reason: str
    before: float | None
    after: float | None
    change: Change | None
    tolerance: float
    seeds: tuple[int, int]
    cost: CostChange


@dataclass(frozen=True)
class GateReport:
    """All cells by name, and why the gate fails; no failures: it passes."""

    cells: tuple[CellReport, ...]
    failures: tuple[str, ...]

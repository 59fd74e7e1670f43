"""Cells and rules that the gate takes, and the report it gives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np

from harness.errors import StoreError, UsageError
from harness.stats import Change, Pair, contributions, strata
from harness.utils import text
from harness.utils.names import did_you_mean

Verdict = Literal[
    "better",
    "worse",
    "equal",
    "inconclusive",
    "suspect",
    "collapsed",
    "newly-failing",
    "vanished",
    "not-comparable",
    "new",
]
CostVerdict = Literal["better", "worse", "equal", "not-judged", "not-comparable"]
FamilyVerdict = Literal["better", "worse", "equal", "inconclusive", "not-tested"]

FAILING: tuple[Verdict, ...] = (
    "worse", "collapsed", "newly-failing", "vanished", "not-comparable",
)  # fmt: skip
BALANCED = "balanced-accuracy"
METRICS = (BALANCED, "accuracy")
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
        finite: every output on the test samples is a number.
    """

    seed: int
    failure: str = ""
    predicted: np.ndarray | None = None
    seconds: float | None = None
    packed: bool = False
    finite: bool = True


@dataclass(frozen=True)
class GateCell:
    """A cell on one side.

    Attributes:
        facts: what must agree for a comparison, by name: data fingerprint, protocol digest, limit.
        device: what must agree for a comparison of cost.
        samples: ids of the test samples [N], in the order of `targets` and of every prediction.
        groups: a label for each sample; None: every sample stands for itself.
        place: dataset, backbone and strategy; None: it belongs to no family but that of all.
        split: number of the random split that its runs were made on.
        more: the same cell on further splits, in their order.
    """

    facts: Mapping[str, str]
    device: str
    samples: np.ndarray
    targets: np.ndarray
    runs: tuple[GateRun, ...]
    groups: np.ndarray | None = None
    place: tuple[str, str, str] | None = None
    split: int = 0
    more: tuple[GateCell, ...] = ()

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

    @property
    def predicted(self) -> np.ndarray:
        """Class numbers of the finished runs, in order of seeds, [S, N]."""
        return np.stack([run.predicted for _, run in sorted(self.finished.items())])  # type: ignore[misc]

    def contributions(self, metric: str) -> np.ndarray:
        """Split each finished run's metric into what each group adds, [S, G], in order of seeds."""
        right = self.predicted == self.targets
        balanced = metric == BALANCED
        return contributions(right, self.targets, self.grouping, balanced=balanced)

    @property
    def parts(self) -> tuple[GateCell, ...]:
        """The cell on each of its splits."""
        return (self, *self.more)

    @property
    def images(self) -> int:
        """Test images, of all splits together."""
        return len(np.unique(np.concatenate([part.samples.astype(str) for part in self.parts])))

    @property
    def all_finished(self) -> list[GateRun]:
        """Runs with a result, of all splits."""
        return [run for part in self.parts for run in part.finished.values()]

    def shared_with(self, other: GateCell) -> GateCell | None:
        """The runs of splits and seeds that have finished on the other side, too; None: none has."""
        theirs = {part.split: set(part.finished) for part in other.parts}
        parts = [
            replace(part, runs=runs, more=())
            for part in self.parts
            if (
                runs := tuple(
                    r for s, r in part.finished.items() if s in theirs.get(part.split, ())
                )
            )
        ]
        return replace(parts[0], more=tuple(parts[1:])) if parts else None

    def scores(self, metric: str) -> np.ndarray:
        """The metric of each finished run, of all splits."""
        return np.concatenate(
            [part.contributions(metric).sum(axis=1) for part in self.parts if part.finished]
        )

    def against(self, after: GateCell, metric: str) -> Pair:
        """This cell and the same one on the other side, with the same test samples."""
        if self.more:
            return self._one_by_one(after, metric)
        groups = self.grouping
        return Pair(
            before=self.contributions(metric),
            after=after.contributions(metric),
            strata=strata(self.targets, groups),
            place=self.place,
            seeds=(tuple(sorted(self.finished)), tuple(sorted(after.finished))),
            test_set=_digest(self.samples, self.targets, groups),
        )

    def _one_by_one(self, after: GateCell, metric: str) -> Pair:
        """Each run beside that of the same split and seed; a group adds nothing where it is not tested."""
        labels = [
            (part.samples if part.groups is None else part.groups).astype(str)
            for part in self.parts
        ]
        names = np.unique(np.concatenate(labels))
        classes: dict[int, int] = {}
        sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        pairs: list[int] = []
        for old, new, own in zip(self.parts, after.parts, labels, strict=True):
            tested = np.searchsorted(names, np.unique(own))
            classes |= dict(zip(tested.tolist(), strata(old.targets, own).tolist(), strict=True))
            shared = sorted(set(old.finished) & set(new.finished))
            for side, part in zip(sides, (old, new), strict=True):
                chosen = [sorted(part.finished).index(seed) for seed in shared]
                placed = np.zeros((len(shared), len(names)))
                placed[:, tested] = part.contributions(metric)[chosen]
                side.append(placed)
            pairs += [hash((old.split, seed)) for seed in shared]
        return Pair(
            before=np.concatenate(sides[0]),
            after=np.concatenate(sides[1]),
            strata=np.array([classes[place] for place in range(len(names))]),
            place=self.place,
            seeds=(tuple(pairs), tuple(pairs)),
            test_set=_digest(names, *labels, *(part.targets for part in self.parts)),
            one_by_one=True,
        )

    @property
    def grouping(self) -> np.ndarray:
        """A label for each sample [N]."""
        return np.arange(len(self.targets)) if self.groups is None else self.groups


def _digest(*arrays: np.ndarray) -> str:
    """A name for arrays that only equal ones share."""
    found = hashlib.sha256()
    for array in arrays:
        plain = array.astype(str) if array.dtype == object else np.ascontiguousarray(array)
        found.update(f"{plain.dtype} {plain.shape} ".encode() + plain.tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Rules:
    """The metric to compare, and how much may change.

    Attributes:
        metric: one that adds up over samples.
        tolerances: cell glob -> points that may be lost; the first match wins, else it is 1 point.
        cost: share by which seconds may grow (0.2: a fifth); None: they are shown, not judged.
        allowed: globs of cells that need not be comparable.
        beyond_images: a cell is worse only if it would be on other images of the same kind, too.
        seed_spread: points by which a run's metric varies with its seed (standard deviation), for
            cells of one seed a side; None: it is not known.
        cells: globs of the cells that are compared; empty: all.
        fail_on: verdicts that fail.  Where `vanished` does not, what both sides have is compared.
    """

    metric: str = BALANCED
    tolerances: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None
    allowed: tuple[str, ...] = ()
    beyond_images: bool = False
    seed_spread: float | None = None
    cells: tuple[str, ...] = ()
    fail_on: tuple[Verdict, ...] = FAILING

    def __post_init__(self) -> None:
        for verdict in self.fail_on:
            if verdict not in FAILING:
                near = did_you_mean(verdict, FAILING)
                raise UsageError(f"--fail-on {verdict}{near}: give some of {', '.join(FAILING)}")
        if self.metric not in METRICS:
            raise UsageError(f"the gate compares {' or '.join(METRICS)}, not {self.metric}")
        given = dict(self.tolerances) | ({} if self.cost is None else {"cost": self.cost})
        for name, value in given.items():
            if not value >= 0:
                raise UsageError(f"tolerance of {name}: {value}.  Give a number that is 0 or more.")
        if self.seed_spread is not None and not 0 <= self.seed_spread <= POINTS:
            raise UsageError(f"a spread of seeds of {self.seed_spread}: give points, from 0 to 100")

    def compares(self, cell: str) -> bool:
        """It is among the cells that were asked for."""
        return not self.cells or any(fnmatchcase(cell, glob) for glob in self.cells)

    def allows(self, cell: str) -> bool:
        """It may be left out where it cannot be compared."""
        return any(fnmatchcase(cell, glob) for glob in self.allowed)

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


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * POINTS:.1f} %"


def _from_to(before: float | None, after: float | None) -> str:
    return f"from {_percent(before)} to {_percent(after)}"


@dataclass(frozen=True)
class CellReport:
    """The verdict on a cell.

    Attributes:
        before, after: the metric, mean over seeds; None where no run finished.
        change: in the metric's units; None where nothing was compared.
        tolerance: in points.
        seeds: finished runs before and after.
        fails: it makes the gate fail, apart from its cost.
        beyond: a cell that is worse or better would be so on other images of the same kind, too;
            None: it is neither.
        seen: the smallest loss that would have been seen with 80 %; None: not known.
        images: test images that were compared, on all splits together; 0: nothing was compared.
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
    fails: bool = False
    beyond: bool | None = None
    seen: float | None = None
    images: int = 0

    @property
    def figures(self) -> str:
        """Change, figures of both sides and n, each with its unit; empty: no run on either side."""
        if self.change is not None:
            change = f"{self.change.value * POINTS:+.1f} points {self.interval}"
            n = f"n = {self.seeds[0]} and {self.seeds[1]} runs on {self.images} test images"
            return f"{change}, {_from_to(self.before, self.after)}, {n}"
        sides = (("before", self.before, self.seeds[0]), ("after", self.after, self.seeds[1]))
        known = [
            f"{_percent(v)} {side} (n = {text.plural(n, 'run')})"
            for side, v, n in sides
            if v is not None
        ]
        return ", ".join(known)

    @property
    def interval(self) -> str:
        """Like `[-5.0, -1.8]`, in points; empty: nothing was compared."""
        if self.change is None:
            return ""
        return f"[{self.change.low * POINTS:+.1f}, {self.change.high * POINTS:+.1f}]"

    @property
    def verdict_told(self) -> str:
        """Verdict, reason and figures."""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.verdict}{reason}{f': {self.figures}' if self.figures else ''}"

    @property
    def cost_told(self) -> str:
        """The rise of its cost, where that fails; empty: it does not."""
        worse = self.cost.verdict == "worse"
        return f"costs {self.cost.ratio:.2f} times as much" if worse else ""


@dataclass(frozen=True)
class FamilyReport:
    """The verdict on the mean of several cells; equal: nothing differs in any of them.

    Attributes:
        family: 'all cells', or what the cells share: 'strategy lp-ft'.
        reason: why it was not tested.
        cells: how many.
        before, after, change: mean over the cells, in the metric's units.
        tolerance: in points.
        seen: the smallest mean loss that would have been seen with 80 %; None: not known.
        fails: it makes the gate fail.
    """

    family: str
    verdict: FamilyVerdict
    reason: str
    cells: int
    before: float
    after: float
    change: float
    tolerance: float
    seen: float | None
    fails: bool = False

    @property
    def verdict_told(self) -> str:
        """Verdict and figures."""
        change = f"{self.change * POINTS:+.1f} points"
        if self.verdict == "worse":
            change = f"by {-self.change * POINTS:.1f} points"
        mean = f"{change} on average over {self.cells} cells"
        sides = _from_to(self.before, self.after)
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.verdict}{reason} {mean}, {sides}"


@dataclass(frozen=True)
class GateReport:
    """All cells by name, and why the gate fails; no failures: it passes.

    Attributes:
        families: of a call of four cells or more.
        seen: the smallest loss that would have been seen with 80 % in a typical cell (the median);
            None: not known.
        notes: what a reader must know of the call as a whole.
        left_out: what the call left out of the comparison, or out of what fails; shown first.
    """

    cells: tuple[CellReport, ...]
    failures: tuple[str, ...]
    families: tuple[FamilyReport, ...] = ()
    seen: float | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

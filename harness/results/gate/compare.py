"""Two results folders as the gate compares them: cells with their stored predictions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.api.execution import Predictions
from harness.api.records import RunResult, RunSpec, digest
from harness.data.division.split import read_samples, take
from harness.errors import StoreError
from harness.results.gate.check import check
from harness.results.gate.records import GateCell, GateReport, GateRun, Rules
from harness.results.outline import Outlines
from harness.results.store import Store, uncollected

SORTED = json.JSONEncoder(sort_keys=True)
COST = "cost"  # no cell has this name: theirs hold slashes
Slot = tuple[str, str, str]  # dataset, backbone with its start, strategy
Chosen = Callable[[Store], Collection[str]]


def compare_folders(
    baseline: Path, candidate: Path, rules: Rules, chosen: Chosen | None = None
) -> GateReport:
    """Compare what two folders hold, cell by cell.

    Of trials those that are chosen are compared, as a cell of its own, and the untuned one.

    Args:
        baseline: a results folder.
        candidate: another.
        rules: what may change.
        chosen: ids of the runs of a folder that were chosen among trials; None: nothing is tuned.

    Raises:
        StoreError: a folder holds no runs, or a file of it does not hold.
    """
    with uncollected():
        # One folder after the other: of 100,000 runs only what a cell holds stays in memory.
        sides = [_cells(Store(folder), chosen) for folder in (baseline, candidate)]
        settled = {slot for side in sides for slot in _ambiguous(side)}
        before, after = (
            {kind.named(settled): cell for kind, cell in side.items()} for side in sides
        )
        return check(before, after, rules)


def rules_of(
    baseline: Path,
    metric: str,
    said: Mapping[str, float] | None = None,
    cost: float | None = None,
) -> Rules:
    """Rules of a call: what it says, and behind that what the baseline's suites allow to be lost.

    Args:
        baseline: a results folder.
        metric: one that adds up over samples.
        said: cell glob -> points.
        cost: share by which seconds may grow; None: the suites' tolerance named `cost`, if any.
    """
    suites: dict[str, float] = {}
    for suite in Store(baseline).plan().suites.values():
        suites |= suite.tolerances
    theirs = suites.pop(COST, None)
    said = said or {}
    cells = dict(said) | {cell: points for cell, points in suites.items() if cell not in said}
    return Rules(metric, cells, theirs if cost is None else cost)


class Kind(NamedTuple):
    """The runs that make up a cell: of one slot, number of labels and variant, or those chosen there.

    `variant`: what tells runs of one slot and seed apart; empty for those that were chosen.
    """

    slot: Slot
    labels: str
    variant: str
    tuned: bool

    @classmethod
    def of(cls, spec: RunSpec, *, tuned: bool) -> Kind:
        """The kind of a run, as the one of its row or as the one that was chosen among its trials."""
        slot = spec.dataset, spec.started, spec.strategy
        return cls(slot, spec.labels or "", "" if tuned else _variant(spec), tuned)

    def named(self, ambiguous: Collection[Slot]) -> str:
        """The cell's name, with the variant in `ambiguous` slots."""
        labels = f" ({self.labels} labels)" if self.labels else ""
        name = f"{'/'.join(self.slot)}{labels}"
        if self.tuned:
            return f"{name} [tuned]"
        return f"{name} [{self.variant}]" if self.slot in ambiguous else name


def _variant(spec: RunSpec) -> str:
    """Name what tells runs of one slot and seed apart, in the words of a plan."""
    parts = [spec.protocol.name, f"epochs {spec.protocol.epochs:g}"]
    if spec.limit is not None:
        parts.append(f"limit {spec.limit}")
    if spec.weights == "none":
        parts.append("random weights")
    if spec.numeric.precision != "float32":
        parts.append(spec.numeric.precision)
    return ", ".join([*parts, SORTED.encode(spec.settings)])


def _ambiguous(kinds: Iterable[Kind]) -> set[Slot]:
    """Slots that hold several variants, which a name must tell apart."""
    variants: dict[Slot, set[str]] = defaultdict(set)
    for kind in kinds:
        if not kind.tuned:
            variants[kind.slot].add(kind.variant)
    return {slot for slot, found in variants.items() if len(found) > 1}


def _cells(store: Store, chosen: Chosen | None) -> dict[Kind, GateCell]:
    """The cells of a folder: finished and failed runs that the plan still asks for, or without a plan all.

    Of a run only what its cell holds is kept.
    """
    lines = store.plan().runs
    plain = {line.run_id for line in lines if line.trial in {None, 0}}
    best = chosen(store) if chosen and any(line.trial is not None for line in lines) else ()
    whole = not lines
    del lines  # a sixth of the memory, of very many runs
    by_kind: dict[Kind, dict[int, Part]] = defaultdict(lambda: defaultdict(Part))
    empty, test_sets = True, TestSets(store)
    # Closed, so that the folder is not locked for as long as somebody looks at an error.
    with closing(store.each_outline(Outlines(predictions=True))) as runs:
        for run in runs:
            empty = False
            for tuned, asked in (
                (False, whole or run.run_id in plain),
                (True, run.run_id in best),
            ):
                if asked:
                    kind = Kind.of(run.spec, tuned=tuned)
                    by_kind[kind][run.spec.protocol.split_seed].add(run, store, test_sets)
    if empty:
        raise StoreError(f"{store.folder} holds no runs; is it a results folder?")
    ambiguous = _ambiguous(by_kind)
    cells = {}
    for kind in list(by_kind):
        by_split, name = by_kind.pop(kind), kind.named(ambiguous)
        first, *more = (by_split[split].cell(store, name) for split in sorted(by_split))
        cells[kind] = replace(first, more=tuple(more))
    return cells


class TestSet(NamedTuple):
    """Ids of test samples, their classes and their groups, [N] each; empty: nothing was tested."""

    samples: np.ndarray = np.array([])
    targets: np.ndarray = np.array([])
    groups: np.ndarray = np.array([])


class TestSets:
    """The test sets of a folder, each held once: nearly all cells of a dataset share theirs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._splits: dict[Path, Mapping[str, np.ndarray]] = {}
        self._held: dict[tuple[Path, bytes, bytes], TestSet] = {}

    def of(self, run: RunResult, predictions: Predictions) -> TestSet:
        """The test set of a finished run."""
        if run.data is None:
            return TestSet()
        file = self._store.split_file(run)
        if file not in self._splits:
            self._splits[file] = read_samples(file)
        columns = self._splits[file]
        rows, targets = predictions.rows["test"], predictions.targets["test"]
        key = (file, rows.tobytes(), targets.tobytes())
        if key not in self._held:
            samples, groups = (take(columns[name], rows, file) for name in ("id", "group"))
            self._held[key] = TestSet(samples, targets, groups)
        return self._held[key]


class Part:
    """The runs of a cell on one split, as a gate compares them.

    Attributes:
        first: the first run that has finished; if none has, the first.
        test_set: what that one was tested on.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.runs: list[GateRun] = []
        self.first: RunResult | None = None
        self.test_set = TestSet()

    def add(self, run: RunResult, store: Store, test_sets: TestSets) -> None:
        """Take a run in, with its stored predictions."""
        self.ids.append(run.run_id)
        if run.status != "ok":
            reason = run.error.headline if run.error else run.status
            self.runs.append(GateRun(run.spec.seed, failure=reason))
            self.first = self.first or run
            return
        predictions = store.predictions(run)
        self.runs.append(_finished(run, predictions.logits["test"]))
        if self.first is None or self.first.status != "ok":
            self.first, self.test_set = run, test_sets.of(run, predictions)

    def cell(self, store: Store, name: str) -> GateCell:
        """The cell of that name, as far as it lies on this split."""
        if len({run.seed for run in self.runs}) < len(self.runs):
            raise StoreError(
                f"{store.folder} holds several runs of {name} with one seed "
                f"({', '.join(self.ids)}); delete the pairs of files that are not meant"
            )
        first = self.first
        if first is None:
            raise AssertionError("a part is made for a run")
        samples, targets, groups = self.test_set
        try:
            return GateCell(
                facts={
                    "data": first.spec.data,
                    "protocol": digest(first.spec.protocol.model_copy(update={"split_seed": 0})),
                    "limit": str(first.spec.limit),
                    "starting weights": first.spec.weights,
                },
                device=_hardware(first),
                samples=samples,
                targets=targets,
                groups=groups if len(groups) else None,
                place=(first.spec.dataset, first.spec.backbone, first.spec.strategy),
                split=first.spec.protocol.split_seed,
                runs=tuple(self.runs),
            )
        except StoreError as error:
            raise StoreError(f"{store.folder}, {name}: {error}") from error


def _finished(run: RunResult, logits: np.ndarray) -> GateRun:
    """A finished run by its outputs on the test samples [N, C]."""
    return GateRun(
        seed=run.spec.seed,
        # A byte an image for up to 128 classes: a gate holds those of every run of both sides.
        predicted=logits.argmax(axis=1).astype(np.min_scalar_type(-logits.shape[1])),
        finite=bool(np.isfinite(logits).all()),
        seconds=run.cost.alone.total,
        packed=run.cost.packed,
    )


def _hardware(run: RunResult) -> str:
    """The device and all else that seconds depend on, as far as it is recorded."""
    if run.environment is None:
        return ""
    threads = f"{run.environment.threads} threads" if run.environment.threads else ""
    made = run.environment
    engine = "reference engine" if made.engine == "reference" else ""
    where = (made.device, made.platform, made.processor, threads, engine)
    return " ".join(part for part in where if part)

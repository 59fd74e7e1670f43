"""Two results folders as the gate compares them: cells with their stored predictions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.api.records import RunResult, RunSpec, digest
from harness.data.division.split import read_samples, take
from harness.errors import StoreError
from harness.results.gate.check import check
from harness.results.gate.records import GateCell, GateReport, GateRun, Rules
from harness.results.outline import Outlines
from harness.results.store import Store

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
    # One folder after the other: of a hundred thousand runs only what a cell holds stays in memory.
    sides = [_cells(Store(folder), chosen) for folder in (baseline, candidate)]
    settled = {slot for side in sides for slot in _ambiguous(side)}
    before, after = ({kind.named(settled): cell for kind, cell in side.items()} for side in sides)
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


class CellRun(NamedTuple):
    """A run, as the one of its row, or as the one that was chosen among its row's trials."""

    run: RunResult
    tuned: bool = False


def _current(store: Store, chosen: Chosen | None) -> list[CellRun]:
    """Finished and failed runs that the plan still asks for; without a plan all of them."""
    runs = store.outlines(Outlines(predictions=True))
    if not runs:
        raise StoreError(f"{store.folder} holds no runs; is it a results folder?")
    lines = store.plan().runs
    plain = {line.run_id for line in lines if line.trial in {None, 0}}
    best = chosen(store) if chosen and any(line.trial is not None for line in lines) else ()
    return [
        *(CellRun(run) for run in runs if not lines or run.run_id in plain),
        *(CellRun(run, tuned=True) for run in runs if run.run_id in best),
    ]


class Kind(NamedTuple):
    """The runs that make up a cell: of one slot, number of labels and variant, or those chosen there.

    `variant`: what tells runs of one slot and seed apart; empty for those that were chosen.
    """

    slot: Slot
    labels: str
    variant: str
    tuned: bool

    @classmethod
    def of(cls, one: CellRun) -> Kind:
        """The kind of a run."""
        spec = one.run.spec
        slot = spec.dataset, spec.started, spec.strategy
        return cls(slot, spec.labels or "", "" if one.tuned else _variant(spec), one.tuned)

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
    return ", ".join([*parts, json.dumps(spec.settings, sort_keys=True)])


def _ambiguous(kinds: Iterable[Kind]) -> set[Slot]:
    """Slots that hold several variants, which a name must tell apart."""
    variants: dict[Slot, set[str]] = defaultdict(set)
    for kind in kinds:
        if not kind.tuned:
            variants[kind.slot].add(kind.variant)
    return {slot for slot, found in variants.items() if len(found) > 1}


def _cells(store: Store, chosen: Chosen | None) -> dict[Kind, GateCell]:
    """The cells of a folder, which is all that is kept of its runs."""
    by_kind: dict[Kind, dict[int, list[RunResult]]] = defaultdict(lambda: defaultdict(list))
    for one in _current(store, chosen):
        by_kind[Kind.of(one)][one.run.spec.protocol.split_seed].append(one.run)
    ambiguous = _ambiguous(by_kind)
    splits: dict[Path, Mapping[str, np.ndarray]] = {}
    cells = {}
    for kind in list(by_kind):
        by_split, name = by_kind.pop(kind), kind.named(ambiguous)
        first, *more = (_cell(store, name, by_split[split], splits) for split in sorted(by_split))
        cells[kind] = replace(first, more=tuple(more))
    return cells


def _cell(
    store: Store, name: str, runs: list[RunResult], splits: dict[Path, Mapping[str, np.ndarray]]
) -> GateCell:
    if len({run.spec.seed for run in runs}) < len(runs):
        ids = ", ".join(run.run_id for run in runs)
        raise StoreError(
            f"{store.folder} holds several runs of {name} with one seed ({ids}); delete the pairs "
            "of files that are not meant"
        )
    first = next((run for run in runs if run.status == "ok"), runs[0])
    samples = targets = groups = np.array([])
    if first.data is not None and first.status == "ok":
        file = store.split_file(first)
        if file not in splits:
            splits[file] = read_samples(file)
        predictions = store.predictions(first)
        rows, targets = predictions.rows["test"], predictions.targets["test"]
        samples, groups = (take(splits[file][key], rows, file) for key in ("id", "group"))
    try:
        return _gate_cell(store, first, runs, (samples, targets, groups))
    except StoreError as error:
        raise StoreError(f"{store.folder}, {name}: {error}") from error


def _gate_cell(
    store: Store,
    first: RunResult,
    runs: list[RunResult],
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> GateCell:
    samples, targets, groups = arrays
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
        runs=tuple(_run(store, run) for run in runs),
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


def _run(store: Store, run: RunResult) -> GateRun:
    if run.status != "ok":
        reason = run.error.headline if run.error else run.status
        return GateRun(run.spec.seed, failure=reason)
    logits = store.predictions(run).logits["test"]
    return GateRun(
        seed=run.spec.seed,
        # A byte an image for up to 128 classes: a gate holds those of every run of both sides.
        predicted=logits.argmax(axis=1).astype(np.min_scalar_type(-logits.shape[1])),
        finite=bool(np.isfinite(logits).all()),
        seconds=run.cost.alone.total,
        packed=run.cost.packed,
    )

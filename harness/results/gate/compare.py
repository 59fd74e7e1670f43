"""Two results folders as the gate compares them: cells with their stored predictions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from harness.api.records import RunResult, digest
from harness.data.division.split import read_samples, take
from harness.errors import StoreError
from harness.results.gate.check import check
from harness.results.gate.records import GateCell, GateReport, GateRun, Rules
from harness.results.store import Store

COST = "cost"  # no cell has this name: theirs hold slashes
Slot = tuple[str, str, str]  # dataset, backbone, strategy


def compare_folders(baseline: Path, candidate: Path, rules: Rules) -> GateReport:
    """Compare what two folders hold, cell by cell.

    Raises:
        StoreError: a folder holds no runs, or a file of it does not hold.
    """
    sides = [_current(Store(folder)) for folder in (baseline, candidate)]
    settled = {slot for side in sides for slot in _ambiguous(side)}
    before, after = (
        _cells(Store(folder), side, settled)
        for folder, side in zip((baseline, candidate), sides, strict=True)
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


def _current(store: Store) -> list[RunResult]:
    """Finished and failed runs that the plan still asks for; without a plan all of them."""
    runs = [*store.results(), *store.failures()]
    if not runs:
        raise StoreError(f"{store.folder} holds no runs; is it a results folder?")
    asked = {run.run_id for run in store.plan().runs}
    return [run for run in runs if not asked or run.run_id in asked]


def _slot(run: RunResult) -> Slot:
    return run.spec.dataset, run.spec.backbone, run.spec.strategy


def _variant(run: RunResult) -> str:
    """Name what tells runs of one slot and seed apart, in the words of a plan."""
    spec = run.spec
    parts = [spec.protocol.name, f"epochs {spec.protocol.epochs:g}"]
    if spec.limit is not None:
        parts.append(f"limit {spec.limit}")
    if spec.weights == "none":
        parts.append("random weights")
    if spec.numeric.precision != "float32":
        parts.append(spec.numeric.precision)
    return ", ".join([*parts, json.dumps(spec.settings, sort_keys=True)])


def _ambiguous(runs: Iterable[RunResult]) -> set[Slot]:
    """Slots that hold several variants, which a name must tell apart."""
    variants: dict[Slot, set[str]] = defaultdict(set)
    for run in runs:
        variants[_slot(run)].add(_variant(run))
    return {slot for slot, found in variants.items() if len(found) > 1}


def _cells(store: Store, runs: Iterable[RunResult], ambiguous: set[Slot]) -> dict[str, GateCell]:
    by_name: dict[str, list[RunResult]] = defaultdict(list)
    for run in runs:
        slot = _slot(run)
        name = "/".join(slot) + (f" [{_variant(run)}]" if slot in ambiguous else "")
        by_name[name].append(run)
    splits: dict[Path, Mapping[str, np.ndarray]] = {}
    return {name: _cell(store, name, found, splits) for name, found in by_name.items()}


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
            "protocol": digest(first.spec.protocol),
            "limit": str(first.spec.limit),
            "starting weights": first.spec.weights,
        },
        device=_hardware(first),
        samples=samples,
        targets=targets,
        groups=groups if len(groups) else None,
        place=_slot(first),
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
        predicted=logits.argmax(axis=1),
        finite=bool(np.isfinite(logits).all()),
        seconds=run.cost.alone.total,
        packed=run.cost.packed,
    )

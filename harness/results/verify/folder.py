"""A whole results folder: every file, nothing missing, nothing strange."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from harness.api.records import Plan, RunResult
from harness.errors import StoreError
from harness.plugins.registry import PluginRegistry
from harness.results import package
from harness.results.store import Store
from harness.results.verify.context import VerificationContext
from harness.results.verify.external import is_named
from harness.results.verify.report import Replayed, VerificationReport
from harness.results.verify.runs import check_name, read_record, verify_run
from harness.results.verify.splits import SplitFiles, check_reference
from harness.utils import files

PLACES = ("runs", "splits", "failed")
# Runs some of the results of a folder again; it lies above this package, which carries nothing out.
Replay: TypeAlias = Callable[[Sequence[RunResult], Store], list[Replayed]]


def verify(
    folder: Path,
    loaded: PluginRegistry,
    replay: Replay | None = None,
    reference: Path | None = None,
) -> tuple[VerificationReport, list[Replayed]]:
    """Check everything in a results folder, and run some of it again if asked.

    Args:
        folder: a results folder, or what `harness publish` wrote.
        loaded: where metrics come from.
        replay: runs some of the runs that hold again; None: none.
        reference: a results folder whose split files those of the runs must be; None: any will do.

    Raises:
        StoreError: a split file of the reference cannot be read.
    """
    report = VerificationReport(folder)
    store = Store(folder)
    plan = _read_plan(store, report)
    context = VerificationContext(store, loaded, SplitFiles(folder, report), report, plan)
    context.splits.check_all()
    runs = [(path, verify_run(path, context)) for path in files.listing(folder / "runs")]
    failures = [(path, _check_failure(path, context)) for path in files.listing(folder / "failed")]
    report.runs, report.failed = len(runs), len(failures)
    if plan is not None:
        _check_complete(plan, {path.stem for path, _ in (*runs, *failures)}, report)
    _check_strangers(context)
    _check_board(report)
    _check_package(report)
    if reference is not None:
        check_reference([run for _, run in runs if run], reference, report)
    replayed = _replay(runs, context, replay) if replay else []
    return report, replayed


def _replay(
    runs: Sequence[tuple[Path, RunResult | None]], context: VerificationContext, replay: Replay
) -> list[Replayed]:
    """Run some of the runs that hold again; not to have done so is a fault as well."""
    report, wrong = context.report, set(context.report.files)
    sound = [run for path, run in runs if run and not wrong & _pair(path, report)]
    replayed = replay(sound, context.store)
    for one in replayed:
        if not one.holds:
            report.wrong(context.store.place(one.result), "replay", one.told)
    if not replayed:
        report.wrong("runs", "replay", "there is no run that holds and could be run again")
    return replayed


def _pair(path: Path, report: VerificationReport) -> set[str]:
    return {report.name(path), report.name(path.with_suffix(".safetensors"))}


def _check_failure(path: Path, context: VerificationContext) -> RunResult | None:
    failure = read_record(path, context.report)
    if failure is None:
        return None
    if failure.status == "ok":
        context.report.wrong(path, "name", "a run that has finished belongs in runs/")
    elif check_name(path, failure, context) and failure.error is None:
        context.report.wrong(path, "schema", "it does not say why the run failed")
    return failure


def _read_plan(store: Store, report: VerificationReport) -> Plan | None:
    """The plan of the folder; None: the plan is missing or damaged, which is reported."""
    path = store.folder / "plan.json"
    try:
        if files.exists(path):
            return store.plan()
    except StoreError as error:
        report.wrong(path, "schema", report.told(error))
        return None
    report.wrong(path, "completeness", "it is missing: nothing says what was asked for")
    return None


def _check_complete(plan: Plan, there: set[str], report: VerificationReport) -> None:
    """Everything that was asked for is there, finished or failed; of shards, those that are here."""
    here = {line.shard for line in plan.runs if line.run_id in there}
    for line in plan.runs:
        if line.shard and line.shard not in here:
            report.unchecked[f"shard {line.shard}: none of its runs is here"] += 1
        elif line.run_id not in there:
            place = f"runs/{line.dataset}/{line.started}/{line.strategy}/{line.run_id}.json"
            report.wrong(place, "completeness", f"planned (seed {line.seed}), but not there")
    report.superseded = len(there - {line.run_id for line in plan.runs})


def _check_strangers(context: VerificationContext) -> None:
    """Files that no run brings; hidden ones are temporary."""
    report = context.report
    for path in _walk(report.folder):
        if path.suffix == ".json":
            continue
        if path.suffix == ".safetensors" and path.parts[-5:-4] == ("runs",):
            if not is_named(path, context) and not path.with_suffix(".json").exists():
                why = "no .json beside it: the run did not finish; delete it and run it again"
                report.wrong(path, "stranger", why)
            continue
        report.wrong(path, "stranger", "no run brings such a file: take it away")


def _walk(folder: Path) -> Iterator[Path]:
    for place in PLACES:
        for inside, _, names in sorted(os.walk(folder / place)):
            yield from (Path(inside, name) for name in sorted(names) if not name.startswith("."))


def _check_board(report: VerificationReport) -> None:
    """No call was killed while it replaced the files of the board."""
    path = report.folder / files.UNFINISHED_BOARD
    if files.exists(path):
        why = "the board's files may be of two moments: `harness board` writes all of them again"
        report.wrong(path, "board", why)


def _check_package(report: VerificationReport) -> None:
    """A folder that was packed: every file is as it was then."""
    try:
        manifest = package.read_manifest(report.folder)
    except StoreError as error:
        report.wrong(report.folder / package.MANIFEST, "schema", report.told(error))
        return
    if manifest is None:
        return
    for name, why in package.changed_files(report.folder, manifest).items():
        report.wrong(name, "package", why)
    for path in _walk(report.folder):
        if report.name(path) not in manifest.files:
            report.wrong(path, "package", f"not in {package.MANIFEST}: it came later")

"""Further test sets of a run: their predictions, the samples these are of, their figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from harness.api.execution import Predictions
from harness.api.metric import metric_fault, why_uncomputed
from harness.api.records import ExternalRecord, RunResult
from harness.data.division.split import Splits
from harness.errors import HarnessError, StoreError
from harness.results.merge import figures_agree
from harness.results.rescore import external_figures
from harness.results.store import external_file
from harness.results.verify.context import VerificationContext, data_faults, unpacked

MARK = ".external-"


def verify_external(path: Path, result: RunResult, context: VerificationContext) -> None:
    """Check every further test set of a record at `path`."""
    for name, record in result.external.items():
        _verify(path, result, (name, record), context)


def is_named(path: Path, context: VerificationContext) -> bool:
    """True if the record beside a file of predictions names it as those of a further test set."""
    run_id, mark, _ = path.name.partition(MARK)
    return bool(mark) and path.name in context.further.get(run_id, ())


def _verify(
    path: Path,
    result: RunResult,
    named: tuple[str, ExternalRecord],
    context: VerificationContext,
) -> None:
    name, record = named
    wrong, beside = context.report.wrong, path.with_name(external_file(result.run_id, name))
    if record.predictions is None or record.predictions.file != beside.name:
        wrong(path, "predictions", f"external {name} must name the file {beside.name} beside it")
        return
    context.further.setdefault(result.run_id, set()).add(beside.name)
    try:
        context.store.split_file(result, name)
    except StoreError as error:
        wrong(path, "split", context.report.told(error))
        return
    splits = context.splits.read(record.split_file)
    if splits is not None:
        dataset = f"{result.spec.dataset}{MARK}{name}"
        for fault in data_faults(record, splits, (dataset, record.fingerprint)):
            wrong(path, "split", f"external {name}: {fault}")
    if result.data is not None and record.classes != result.data.classes:
        wrong(path, "record", f"external {name} has other classes than the run")
    found = unpacked(beside, result.run_id, record, ("test",), context.report)
    if found is None:
        return
    if splits is not None and (fault := _sample_fault(result, record, found, splits, context)):
        wrong(beside, "split", fault)
    _check_figures(path, (name, record), found, context)


def _sample_fault(
    result: RunResult,
    record: ExternalRecord,
    predictions: Predictions,
    splits: Splits,
    context: VerificationContext,
) -> str:
    """The reason that predictions are not of the samples of the set; empty: they are."""
    rows, targets = predictions.rows["test"], predictions.targets["test"]
    if fault := context.splits.fault(rows, "test", record.split_file, result.spec):
        return fault
    differ = int((context.splits.labels(record.split_file, splits)[rows] != targets).sum())
    if differ:
        return f"{differ} of its targets are not the labels in {record.split_file}"
    counted = Counter(splits.samples[row].label for row in rows.tolist())
    if counted != {label: count for label, count in record.counts["test"].items() if count}:
        return "the record counts other images a class than it holds"
    return ""


def _check_figures(
    path: Path,
    named: tuple[str, ExternalRecord],
    predictions: Predictions,
    context: VerificationContext,
) -> None:
    """Compute every metric again and compare."""
    report, (external, record) = context.report, named
    for name, stored in sorted(record.metrics.items()):
        if name not in context.loaded.metrics:
            report.unchecked[f"metric {name}: no plugin that is loaded offers it"] += 1
            continue
        if why_uncomputed(name, stored):
            report.unchecked[f"metric {name}: not computed; `harness score` does it"] += 1
            continue
        try:
            found = external_figures([name], predictions, record, context.loaded)[name]
        except HarnessError as error:
            report.wrong(path, "metrics", str(error))
            continue
        if metric_fault(name, found) and metric_fault(name, stored):
            report.unchecked[f"metric {name}: it raises, as it did in the run"] += 1
            continue
        report.figures += 1
        if not figures_agree(stored, found):
            shown = "undefined" if found.value is None else f"{found.value:.10g}"
            report.wrong(
                path,
                "metrics",
                f"{name} on external {external} is {stored.value}, its logits give {shown}",
            )

"""One finished run: its name, its predictions, the samples they are of, its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from harness.api.execution import Predictions
from harness.api.metric import metric_fault, why_uncomputed
from harness.api.records import DataRecord, MetricValue, RunResult
from harness.data.division.split import Splits
from harness.errors import HarnessError, StoreError
from harness.results import schema
from harness.results.merge import figures_agree
from harness.results.rescore import SPLITS, figures
from harness.results.verify.consistency import plan_faults, record_faults
from harness.results.verify.context import VerificationContext, data_faults, unpacked
from harness.results.verify.external import verify_external
from harness.results.verify.report import VerificationReport


def verify_run(path: Path, context: VerificationContext) -> RunResult | None:
    """Check a record in `runs/` and the predictions beside it; the record, if it can be read."""
    result = read_record(path, context.report)
    if result is None:
        return None
    if result.status != "ok":
        context.report.wrong(path, "name", f"a run that is {result.status} belongs in failed/")
        return result
    if check_name(path, result, context):
        _check_samples(path, result, context)
        verify_external(path, result, context)
        _check_statements(path, result, context)
    return result


def _check_statements(path: Path, result: RunResult, context: VerificationContext) -> None:
    for fault in record_faults(result, context.loaded):
        context.report.wrong(path, "record", fault)
    plan, run_id = context.plan, result.run_id
    suite = plan.suites.get(result.suite) if plan else None
    for fault in plan_faults(result, context.planned.get(run_id), suite, context.loaded):
        context.report.wrong(path, "plan", fault)


def read_record(path: Path, report: VerificationReport) -> RunResult | None:
    """The record in a file; None: it is damaged, which is reported."""
    try:
        return schema.load_exactly(path, RunResult)
    except StoreError as error:
        report.wrong(path, "schema", report.told(error))
        return None


def check_name(path: Path, result: RunResult, context: VerificationContext) -> bool:
    """True if the spec gives the run id that the record and the file name say, and the folder."""
    wrong, run_id = context.report.wrong, result.spec.run_id
    if result.run_id != run_id:
        wrong(path, "name", f"its spec has the run id {run_id}, the record says {result.run_id}")
        return False
    try:
        place = context.store.place(result)
    except StoreError as error:
        wrong(path, "name", str(error))
        return False
    if path != place:
        wrong(path, "name", f"the run in it belongs in {context.report.name(place)}")
    return path == place


def _check_samples(path: Path, result: RunResult, context: VerificationContext) -> None:
    predictions = _predictions(path, result, context.report)
    if result.data is None:
        context.report.wrong(path, "schema", "it does not say what data it saw")
        return
    try:
        context.store.split_file(result)
    except StoreError as error:
        context.report.wrong(path, "split", context.report.told(error))
        return
    splits = context.splits.read(result.data.split_file)
    of = result.spec.dataset, result.spec.data
    for fault in data_faults(result.data, splits, of) if splits else ():
        context.report.wrong(path, "split", fault)
    if predictions is None:
        return
    if splits and (fault := _sample_fault(result, predictions, splits, context)):
        context.report.wrong(path.with_suffix(".safetensors"), "split", fault)
    _check_figures(path, result, predictions, context)
    for fault in context.repeats.faults(result, predictions):
        context.report.wrong(path, "repeat", fault)


def _predictions(path: Path, result: RunResult, report: VerificationReport) -> Predictions | None:
    """The predictions beside a record, if they are what it was computed from."""
    beside, record = path.with_suffix(".safetensors"), result.predictions
    if record is None or record.file != beside.name:
        report.wrong(path, "predictions", f"it must name the file {beside.name} beside it")
        return None
    return unpacked(beside, result.run_id, result, SPLITS, report)


def _sample_fault(
    result: RunResult, predictions: Predictions, splits: Splits, context: VerificationContext
) -> str:
    """The reason that stored predictions are not of the split's samples; empty: they are."""
    if (data := result.data) is None:
        return ""
    labels = context.splits.labels(data.split_file, splits)
    for split in SPLITS:
        rows, targets = predictions.rows[split], predictions.targets[split]
        if fault := context.splits.fault(rows, split, data.split_file, result.spec):
            return fault
        differ = int((labels[rows] != targets).sum())
        if differ:
            return f"{differ} of its {split} targets are not the labels in {data.split_file}"
        counted = Counter(splits.samples[row].label for row in rows.tolist())
        if counted != _recorded(data, split):
            return f"the record counts other {split} images a class than it holds"
    trained = context.splits.train_counts(data, result.spec)
    if trained is not None and trained != _recorded(data, "train"):
        return f"the record counts other train images a class than {data.split_file}"
    return ""


def _recorded(data: DataRecord, split: str) -> dict[str, int]:
    return {name: count for name, count in data.counts.get(split, {}).items() if count}


def _check_figures(
    path: Path, result: RunResult, predictions: Predictions, context: VerificationContext
) -> None:
    """Compute every metric again and compare, test and validation."""
    report, stored = context.report, {"test": result.metrics, "validation": result.validation}
    primary = result.spec.protocol.metric
    for split, values in stored.items():
        if primary not in values:
            report.wrong(
                path, "metrics", f"{primary} on {split}, its protocol's metric, is missing"
            )
    for name in sorted({*result.metrics, *result.validation}):
        if name not in context.loaded.metrics:
            report.unchecked[f"metric {name}: no plugin that is loaded offers it"] += 1
            continue
        if any(why_uncomputed(name, values[name]) for values in stored.values() if name in values):
            report.unchecked[f"metric {name}: not computed; `harness score` does it"] += 1
            continue
        classes = result.data.classes if result.data else ()
        try:
            found = figures(
                [name],
                predictions,
                classes,
                context.loaded,
                present_only=result.spec.present_only,
            )
        except HarnessError as error:
            if _raised(name, stored):
                report.unchecked[f"metric {name}: it raises, as it did in the run"] += 1
            else:
                report.wrong(path, "metrics", str(error))
            continue
        _compare(path, name, stored, found, report)


def _compare(
    path: Path,
    name: str,
    stored: Mapping[str, Mapping[str, MetricValue]],
    found: Mapping[str, Mapping[str, MetricValue]],
    report: VerificationReport,
) -> None:
    """A metric's figures in the record against those of its logits."""
    for split in (split for split, values in stored.items() if name in values):
        report.figures += 1
        if fault := _figure_fault(stored[split][name], found[split][name]):
            report.wrong(path, "metrics", f"{name} on {split} is {fault}")


def _raised(name: str, stored: Mapping[str, Mapping[str, MetricValue]]) -> bool:
    """True if every figure of the metric is recorded as undefined because it raised."""
    return all(metric_fault(name, values[name]) for values in stored.values() if name in values)


def _figure_fault(stored: MetricValue, found: MetricValue) -> str:
    if figures_agree(stored, found):
        return ""
    return f"{_shown(stored)}, its logits give {_shown(found)}"


def _shown(figure: MetricValue) -> str:
    value = "undefined" if figure.value is None else f"{figure.value:.10g}"
    return value if figure.by_class is None else f"{value} {figure.by_class}"

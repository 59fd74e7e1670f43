"""Further metrics for finished runs, from their stored logits: nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.api.dataset import Split
from harness.api.execution import Predictions
from harness.api.metric import figure, is_pending, metric_fault, uncomputed
from harness.api.records import ExternalRecord, MetricValue, PluginRecord, RunResult
from harness.errors import HarnessError
from harness.plugins import provenance
from harness.plugins.registry import PluginRegistry
from harness.results.store import Store
from harness.utils.names import choose

SPLITS: tuple[Split, ...] = ("test", "validation")
Further = Mapping[str, Mapping[str, MetricValue]]  # name of a further test set -> its figures


@dataclass(frozen=True)
class Rescored:
    """The outcome of a call.

    Attributes:
        metrics: the metrics that were asked for.
        scored: runs that got a figure they had not.
        unchanged: runs that had all of them.
        faults: (run id, why it stayed as it was).
    """

    metrics: tuple[str, ...]
    scored: int
    unchanged: int
    faults: tuple[tuple[str, str], ...]


def score(
    store: Store, names: Sequence[str], loaded: PluginRegistry, *, replace: bool = False
) -> Rescored:
    """Add metrics to every finished run of a folder, on test and on validation.

    Run ids and predictions stay as they are; each file is changed in one step.

    Args:
        store: the folder.
        names: metrics or globs, as they are registered.
        loaded: where metrics come from.
        replace: compute again what is there already.

    Raises:
        UsageError: a metric is not registered.
        StoreError: a result cannot be read.
    """
    metrics = choose(names, loaded.metrics, "metric")
    scored, unchanged, faults = 0, 0, []
    for result in store.results():
        wanted = [name for name in metrics if replace or not _has(result, name)]
        if not wanted:
            unchanged += 1
            continue
        try:
            _score(store, result, wanted, loaded)
            scored += 1
        except HarnessError as error:
            faults.append((result.run_id, str(error)))
    return Rescored(tuple(metrics), scored, unchanged, tuple(faults))


def figures(
    names: Sequence[str],
    predictions: Predictions,
    classes: Sequence[str],
    loaded: PluginRegistry,
    *,
    present_only: bool = False,
) -> dict[str, dict[str, MetricValue]]:
    """Split ('test', 'validation') -> metric -> its value on the stored logits.

    Raises:
        HarnessError: a metric raised; says whose it is.
    """
    found: dict[str, dict[str, MetricValue]] = {
        split: compute(names, predictions, split, classes, loaded, present_only=present_only)
        for split in SPLITS
    }
    for values in found.values():
        _check_sound(values, loaded)
    return found


def _check_sound(values: Mapping[str, MetricValue], loaded: PluginRegistry) -> None:
    for name, value in values.items():
        if why := metric_fault(name, value):
            owner = loaded.owner("metrics", name)
            raise HarnessError(f"metric {name!r} of {owner} raised {why}")


def compute(
    names: Iterable[str],
    predictions: Predictions,
    split: Split,
    classes: Sequence[str],
    loaded: PluginRegistry,
    *,
    present_only: bool = False,
) -> dict[str, MetricValue]:
    """Metric -> its value on one split; one that raises is undefined, with its error as the reason."""
    logits, targets = predictions.logits[split], predictions.targets[split]
    return {
        name: figure(loaded.metrics[name], logits, targets, classes, present_only=present_only)
        for name in names
    }


def external_figures(
    names: Iterable[str], predictions: Predictions, record: ExternalRecord, loaded: PluginRegistry
) -> dict[str, MetricValue]:
    """Metric -> its value on a further test set; as `compute`."""
    return compute(
        names, predictions, "test", record.classes, loaded, present_only=record.present_only
    )


def _on_external(
    store: Store, result: RunResult, names: Sequence[str], loaded: PluginRegistry
) -> Further:
    return {
        name: external_figures(names, store.external_predictions(result, name), record, loaded)
        for name, record in result.external.items()
    }


def complete(store: Store, result: RunResult, loaded: PluginRegistry) -> None:
    """Compute the figures that a run waits for, as the run would have: one that raises is undefined.

    Raises:
        StoreError: its predictions cannot be read.
    """
    predictions = store.predictions(result)
    classes = result.data.classes if result.data else ()
    names = [name for name in result.metrics if name in loaded.metrics]
    few = result.spec.present_only
    found: dict[str, dict[str, MetricValue]] = {
        split: compute(names, predictions, split, classes, loaded, present_only=few)
        for split in SPLITS
    }
    further = _on_external(store, result, names, loaded)
    store.amend(result, lambda now: _amended(now, found, {}, further))


def give_up(store: Store, result: RunResult, why: str) -> RunResult:
    """Record why a run waits for its figures no longer; returns its record."""
    found: dict[str, dict[str, MetricValue]] = {
        split: {name: uncomputed(name, why) for name in result.metrics} for split in SPLITS
    }
    further = dict.fromkeys(result.external, found["test"])
    store.amend(result, lambda now: _amended(now, found, {}, further) if is_pending(now) else now)
    return store.get(result.run_id)


def _has(result: RunResult, name: str) -> bool:
    """True if the figures are there; one whose metric raised is not."""
    there = [result.metrics.get(name), result.validation.get(name)]
    there += [record.metrics.get(name) for record in result.external.values()]
    return all(value is not None and not metric_fault(name, value) for value in there)


def _score(store: Store, result: RunResult, names: Sequence[str], loaded: PluginRegistry) -> None:
    if result.data is None:
        raise HarnessError("its record does not say what its classes are")
    found = figures(
        names,
        store.predictions(result),
        result.data.classes,
        loaded,
        present_only=result.spec.present_only,
    )
    further = _on_external(store, result, names, loaded)
    for values in further.values():
        _check_sound(values, loaded)
    owners = {f"metric:{name}": _owner(loaded, name) for name in names}
    store.amend(result, lambda now: _amended(now, found, owners, further))


def _amended(
    result: RunResult,
    found: Mapping[str, Mapping[str, MetricValue]],
    owners: Mapping[str, PluginRecord],
    further: Further,
) -> RunResult:
    external = {
        name: record.model_copy(
            update={"metrics": dict(sorted({**record.metrics, **further.get(name, {})}.items()))}
        )
        for name, record in result.external.items()
    }
    return result.model_copy(
        update={
            "metrics": dict(sorted({**result.metrics, **found["test"]}.items())),
            "validation": dict(sorted({**result.validation, **found["validation"]}.items())),
            "plugins": {**result.plugins, **owners},
            "external": external,
        }
    )


def _owner(loaded: PluginRegistry, name: str) -> PluginRecord:
    """The plugin that a later figure comes from: it is no part of the run's own code."""
    info = loaded.owner("metrics", name)
    return provenance.plugin_record(info.plugin, info.module, info.distribution)

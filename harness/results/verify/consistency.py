"""Statements of a record held against each other, the plan, the declarations and the other runs.

Files can be made up together; these are the seams at which that shows.  What no file can show is
named in the report (`NOT_SHOWN`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from harness.api.execution import Predictions
from harness.api.records import EpochRecord, PlannedRun, RunResult, Suite
from harness.plugins import provenance
from harness.plugins.discovery import DISTRIBUTION
from harness.plugins.registry import PluginRegistry
from harness.plugins.validation import KEBAB
from harness.utils.names import first_few

NOT_SHOWN = (
    "that the logits come from the training that is described, and were not made up",
    "that no test image was trained on, and none looked at to choose a setting",
    "that the images were those of the fingerprint, and the code that of the source hashes",
    "that no run was left out before the plan was written",
    "seconds, device and dates, as far as they do not contradict each other",
)
ROUNDING = 1e-9
CLOCKS = timedelta(days=1)  # by which two machines' clocks may differ
_TESTED = re.compile(r"best on validation: phase (?P<phase>.*), epoch (?P<epoch>\S+)")


def record_faults(result: RunResult, loaded: PluginRegistry) -> Iterator[str]:
    """Contradictions within a record, and between it and what the plugins of its code declare."""
    yield from _source_faults(result)
    yield from _training_faults(result, loaded)
    yield from _date_faults(result)
    yield from _declaration_faults(result, loaded)
    yield from _name_faults(result, loaded)


def plan_faults(
    result: RunResult, planned: PlannedRun | None, suite: Suite | None, loaded: PluginRegistry
) -> Iterator[str]:
    """Differences of a run from what was asked for.

    Args:
        result: its record.
        planned: the line of the plan that has its id; None: there is none.
        suite: the suite of the plan that it names; None: there is none.
        loaded: where suites come from.
    """
    if planned is not None and result.data is not None:
        run = PlannedRun.of(result.spec, result.data.modality)
        ours, asked = run.model_dump(), planned.model_dump()
        differ = [name for name in ours if ours[name] != asked[name]]
        if differ:
            yield f"plan.json asks for its run id with another {first_few(differ)}"
    registered = loaded.suites.get(result.suite)
    # A suite file may bear the name of a registered suite; it has another title, or none.
    if suite is None or registered is None or not registered.title:
        return
    if (suite.title, suite.notes) != (registered.title, registered.notes):
        return
    epochs, asked_epochs = result.spec.protocol.epochs, registered.protocol.epochs
    here = result.environment and result.environment.harness == provenance.environment("").harness
    if here and epochs < asked_epochs and not result.shortened:
        yield (
            f"shortened is false, and it had {epochs:g} epochs of the {asked_epochs:g} of suite "
            f"{result.suite!r}"
        )


# -- what a record says twice -----------------------------------------------------------------


def _source_faults(result: RunResult) -> Iterator[str]:
    """Code and starting point stand in the spec, and again beside it."""
    for role, source in sorted(result.spec.sources.items()):
        plugin = result.plugins.get(role)
        if plugin is not None and plugin.source != source:
            yield f"plugins.{role}.source is not sources.{role} of its spec"
    if result.weights is None:
        if result.spec.weights != "none":
            yield "its spec names weights, and it does not say which"
    elif result.weights.sha256 != result.spec.weights:
        yield "weights.sha256 is not the weights of its spec"


def _training_faults(result: RunResult, loaded: PluginRegistry) -> Iterator[str]:
    """Phases, epochs and the tested epoch tell one story."""
    names = {phase.name for phase in result.phases}
    if result.phases and (strange := sorted({epoch.phase for epoch in result.history} - names)):
        yield f"its history has epochs of {first_few(strange)}, which are none of its phases"
    epochs = [epoch.epoch for epoch in result.history]
    if epochs != sorted(epochs):
        yield "the epochs of its history are not in order"
    stepping = [phase for phase in result.phases if phase.kind == "phase" and not phase.skipped]
    if stepping and not sum(phase.steps for phase in stepping):
        yield "it finished without a single step"
    trained = [phase.trainable for phase in result.phases if not phase.skipped]
    # Whoever carries runs out need not count it.
    if result.cost.trainable and result.cost.trainable != max(trained, default=0):
        yield "cost.trainable is not the most that a phase trained"
    figures = result.cost.alone, result.cost.incurred
    if any(seconds < 0 for one in figures for seconds in one.model_dump().values()):
        yield "its cost has negative seconds"
    yield from _tested_faults(result, loaded)


def _tested_faults(result: RunResult, loaded: PluginRegistry) -> Iterator[str]:
    """The tested epoch is in the history, has the validation figure, and none is better."""
    said = _TESTED.fullmatch(result.tested)
    name = result.spec.protocol.metric
    figure = result.validation.get(name)
    if said is None or figure is None or figure.value is None:
        return
    epoch = _epoch(result, said["phase"], said["epoch"])
    solved = {phase.name: phase for phase in result.phases if phase.kind != "phase"}
    if epoch is not None:
        what, score = "epoch", epoch.score
    elif said["phase"] not in solved:
        yield f"it tested {result.tested!r}, of which its history knows nothing"
        return
    else:
        mixed = solved[said["phase"]]
        if mixed.kind != "interpolate":
            return
        scores = (s for a, s in zip(mixed.shares, mixed.scores, strict=False) if a == mixed.share)
        what, score = "share", next(scores, None)
    if score is None or abs(score - figure.value) > ROUNDING:
        yield f"the tested {what}'s score is {score}, {name} on validation {figure.value:.10g}"
        return
    metric = loaded.metrics.get(name)
    if metric is None:
        return
    sign = 1 if metric.higher_is_better else -1
    better = [
        looked
        for looked, one in _looks(result)
        if one is not None and sign * (one - score) > ROUNDING
    ]
    if better:
        yield f"{better[0]} was better on validation than the tested one"


def _looks(result: RunResult) -> Iterator[tuple[str, float | None]]:
    """Every state of the network that was scored on validation and may be tested, with its score."""
    for epoch in result.history:
        yield f"epoch {epoch.epoch:g}", epoch.score
    for phase in result.phases:
        for share, score in zip(phase.shares, phase.scores, strict=False):
            yield f"share {share:g} of {phase.name}", score


def _epoch(result: RunResult, phase: str, number: str) -> EpochRecord | None:
    return next(
        (one for one in result.history if one.phase == phase and f"{one.epoch:g}" == number), None
    )


def _date_faults(result: RunResult) -> Iterator[str]:
    try:
        finished = datetime.fromisoformat(result.finished)
    except ValueError:
        yield f"finished is {result.finished!r}, no date"
        return
    if finished.replace(tzinfo=finished.tzinfo or UTC) > datetime.now(UTC) + CLOCKS:
        yield f"it finished at {result.finished}, which is still to come"


# -- what its plugins declare -----------------------------------------------------------------


def _declaration_faults(result: RunResult, loaded: PluginRegistry) -> Iterator[str]:
    """Data and weights against the declarations of the same code, where it is loaded."""
    spec, data, weights = result.spec, result.data, result.weights
    dataset, backbone = loaded.datasets.get(spec.dataset), loaded.backbones.get(spec.backbone)
    if data is not None and dataset is not None and _same_code(result, loaded, "dataset"):
        yield from _different(
            f"dataset {spec.dataset!r}",
            {
                "data.modality": (data.modality, dataset.modality),
                "data.classes": (data.classes, dataset.classes or data.classes),
                "data.procedural": (data.procedural, dataset.procedural),
                "data.licence": (data.licence, dataset.licence),
            },
        )
    if weights is not None and backbone is not None and _same_code(result, loaded, "backbone"):
        default = backbone.weights
        declared = default is not None and default.sha256 == weights.sha256
        yield from _different(
            f"backbone {spec.backbone!r}",
            {
                "weights.miniature": (weights.miniature, backbone.miniature),
                "weights.name": (
                    weights.name,
                    default.name if default and declared else weights.name,
                ),
            },
        )


def _different(who: str, figures: Mapping[str, tuple[object, object]]) -> Iterator[str]:
    for name, (recorded, declared) in figures.items():
        if recorded != declared:
            yield f"{name} is {_shown(recorded)}, {who} declares {_shown(declared)}"


def _same_code(result: RunResult, loaded: PluginRegistry, role: str) -> bool:
    """True if the plugin that is loaded is the code that the record names."""
    kind, name = {
        "dataset": ("datasets", result.spec.dataset),
        "backbone": ("backbones", result.spec.backbone),
    }[role]
    plugin = result.plugins.get(role)
    return plugin is not None and loaded.source(kind, name) == plugin.source


def _shown(value: object) -> str:
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _name_faults(result: RunResult, loaded: PluginRegistry) -> Iterator[str]:
    """A name that a reader would take for a strategy of the harness."""
    name = result.spec.strategy
    meant = loaded.taken_for(name)
    if meant is not None and meant != name:
        yield f"its strategy {name!r} looks like {meant!r}, which comes with the harness"
    elif not KEBAB.fullmatch(name):
        yield f"its strategy {name!a} has a name that no plugin can give: it is not kebab-case"
    plugin = result.plugins.get("strategy")
    if meant == name and plugin is not None and plugin.distribution != DISTRIBUTION:
        yield (
            f"its strategy {name!r} has the name of one that comes with the harness, and is of "
            f"plugin {plugin.plugin!r} ({plugin.distribution or 'a loose file'})"
        )


# -- what is alike where chance forbids it ----------------------------------------------------


@dataclass
class Repeats:
    """Runs of a folder so far, by the bits of their logits and by their seconds."""

    _logits: dict[bytes, RunResult] = field(default_factory=dict)
    _seconds: dict[tuple[float, ...], RunResult] = field(default_factory=dict)

    def faults(self, result: RunResult, predictions: Predictions) -> Iterator[str]:
        """Contradictions with a run that was given before this one."""
        bits = hashlib.sha256()
        for split in sorted(predictions.logits):
            bits.update(predictions.logits[split].tobytes())
        flat = np.concatenate([one.ravel() for one in predictions.logits.values()])
        if np.isfinite(flat).all() and len(np.unique(flat)) > 1:
            other = self._logits.setdefault(bits.digest(), result)
            if differ := _independent(result, other):
                yield (
                    f"its logits are those of run {other.run_id}, bit for bit, which has another "
                    f"{differ}"
                )
        cost = result.cost.alone
        seconds = cost.train, cost.evaluate, cost.total
        if not result.cost.packed and all(math.isfinite(one) and one > 0 for one in seconds):
            other = self._seconds.setdefault(seconds, result)
            if other is not result:
                yield (
                    f"it took as long as run {other.run_id} to the microsecond, in training, in "
                    "evaluation and in all"
                )


def _independent(one: RunResult, other: RunResult) -> str:
    """The part that sets two runs apart which cannot come to the same bits; '' where they can."""
    if one.spec.data != other.spec.data:
        return "dataset"
    if one.spec.backbone != other.spec.backbone:
        return "backbone"
    if one.spec.start != other.spec.start:
        return "starting point"
    # A solved head has one answer, whatever the seed.
    trained = any(phase.kind == "phase" and phase.steps for phase in one.phases)
    return "seed" if trained and one.spec.seed != other.spec.seed else ""

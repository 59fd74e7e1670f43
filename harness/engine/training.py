"""One run from its spec to its outcome."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from harness.api.dataset import Split
from harness.api.execution import Outcome, Predictions, Resources
from harness.api.metric import figure, uncomputed
from harness.api.records import (
    Cost,
    CostFigures,
    ExternalRecord,
    MetricValue,
    RunResult,
    RunSpec,
    WeightsRecord,
)
from harness.api.strategy import Directive, Phase, PhaseReport, SolveHead
from harness.engine.devices import kernels, own_stream
from harness.engine.evaluate import predict_split
from harness.engine.isolation import isolation
from harness.engine.model import fit_to, merged_state
from harness.engine.phase import PhaseRun
from harness.engine.recovery.course import Course
from harness.engine.seeds import global_seed
from harness.engine.shared import SharedWork
from harness.engine.solver import interpolate, solve_head
from harness.engine.state import RunState, SplitData
from harness.engine.view import StrategyView
from harness.errors import PhaseError, WeightsError

ROUNDING = 1e-6


def run(spec: RunSpec, resources: Resources) -> Outcome:
    """Train as the strategy says, test the checkpoint the protocol chooses.

    Raises:
        PhaseError: the strategy asked for something impossible.
        TrainingError: the loss is no longer finite.
    """
    device = resources.device
    with (
        own_stream(device),
        kernels(spec, device),
        global_seed(spec, "dropout", device),
    ):
        state = RunState(spec, resources)
        _drive(state)
        return _finish(state)


def test_again(spec: RunSpec, resources: Resources, tensors: Mapping[str, Tensor]) -> Outcome:
    """The further test sets, predicted by the weights that a run kept; nothing is trained.

    Its predictions hold the test split too, as these weights predict it here, so that the caller
    can hold them against those of the run.

    Args:
        spec: the run.
        resources: as for `run`.
        tensors: the tested weights, by the names of the network's state.

    Raises:
        WeightsError: they are of another network.
    """
    device = resources.device
    with own_stream(device), kernels(spec, device), global_seed(spec, "dropout", device):
        state = RunState(spec, resources)
        fit_to(state.network.model, tensors)
        own = {name: tensor.shape for name, tensor in state.network.model.state_dict().items()}
        if own != {name: tensor.shape for name, tensor in tensors.items()}:
            raise WeightsError(f"these are not weights of {spec.backbone} after {spec.strategy}")
        state.network.load({name: tensor.to(device) for name, tensor in tensors.items()})
        state.network.touched = 0  # nothing is as at the starting point, so nothing is shared
        test = SplitData(resources, spec, "test")
        predictions = _predictions(state, {"test": predict_split(state, test)})
        external = _predict_external(state)
    records = _score_external(resources, external)
    result = RunResult(
        run_id=spec.run_id,
        suite=resources.suite,
        spec=spec,
        status="ok",
        data=resources.images.record,
        external={
            name: record.model_copy(update={"from_weights": True})
            for name, record in records.items()
        },
    )
    return Outcome(result, predictions, external=external)


def _drive(state: RunState) -> None:
    numerics, shared = isolation.numerics(), SharedWork.of(state.resources.shared)
    course = Course(state, StrategyView(state))
    report: PhaseReport | None = None
    directive = course.first()
    while directive is not None:
        _check(state, directive)
        if isolation.changed_since(numerics) or _reaches_in(directive):
            shared.forget()
        if isinstance(directive, Phase):
            report = PhaseRun(state, directive, course).run()
        elif isinstance(directive, SolveHead):
            report = solve_head(state, directive)
        else:
            report = interpolate(state, directive)
        with isolation.aside():
            state.resources.observer.phase_end(report)
        directive = course.next(report)
    if isolation.changed_since(numerics):
        shared.forget()
    if not state.log.history:
        raise PhaseError(
            f"strategy {state.resources.strategy.name!r} trained nothing: it yielded "
            f"{len(state.log.phases)} phases, none as long as a step"
        )


def _reaches_in(directive: Directive) -> bool:
    """True if code of the strategy gets the network itself, where it may leave something."""
    return isinstance(directive, Phase) and directive.objective is not None


def _check(state: RunState, directive: Directive) -> None:
    strategy = state.resources.strategy.name
    if directive.epochs > state.budget.epochs_left + ROUNDING:
        raise PhaseError(
            f"strategy {strategy!r} has {state.budget.epochs_left:g} epochs left, but phase "
            f"{directive.name!r} asks for {directive.epochs:g}"
        )


def _finish(state: RunState) -> Outcome:
    tested, known = _choose(state)
    test = SplitData(state.resources, state.spec, "test")
    logits: dict[Split, Tensor] = {
        "test": predict_split(state, test),
        "validation": predict_split(state, state.data.validation) if known is None else known,
    }
    predictions = _predictions(state, logits)
    external = _predict_external(state)
    waiting = {name: uncomputed(name) for name in sorted(state.resources.metrics)}
    result = RunResult(
        run_id=state.spec.run_id,
        suite=state.resources.suite,
        spec=state.spec,
        status="ok",
        metrics=waiting,
        validation=waiting,
        external=_external_records(state, waiting),
        history=tuple(state.log.history),
        phases=tuple(state.log.phases),
        tested=tested,
        cost=_cost(state),
        data=state.resources.images.record,
        weights=_weights(state),
    )
    _hand_over(state, Outcome(result, predictions, external=external))
    with state.clock.measure("evaluate"):
        metrics = {split: _metrics(state, predictions, split) for split in logits}
    result = result.model_copy(
        update={
            "metrics": metrics["test"],
            "validation": metrics["validation"],
            "cost": _cost(state),
            "external": _score_external(state.resources, external),
        }
    )
    kept = _kept(state) if state.resources.keep_state else None
    return Outcome(result, predictions, kept, external)


def _hand_over(state: RunState, outcome: Outcome) -> None:
    """Let it be kept before any metric is called, one that ends the process, say."""
    if not outcome.result.metrics:
        return
    began = state.clock.now()
    with isolation.aside():
        state.resources.observer.predicted(outcome)
    state.clock.started += state.clock.now() - began


def _kept(state: RunState) -> dict[str, Tensor]:
    """The tested weights, apart from the network, which the next run may use; LoRA's merged."""
    with torch.no_grad(), state.numerics.autocast():
        return merged_state(state.network.model)


def _choose(state: RunState) -> tuple[str, Tensor | None]:
    """Load the checkpoint to test; returns which one it is and its logits on validation, if known."""
    if state.protocol.checkpoint == "last":
        return "last epoch", None
    best = state.selection.best
    if best is None:
        return f"last epoch: {state.protocol.metric} is undefined on validation", None
    state.network.load(best.tensors)
    return f"best on validation: phase {best.phase}, epoch {best.epoch:g}", best.logits.float()


def _predictions(state: RunState, logits: Mapping[Split, Tensor]) -> Predictions:
    images = state.resources.images
    return Predictions(
        logits={str(split): values.numpy() for split, values in logits.items()},
        targets={str(split): np.asarray(images.labels[split], np.int64) for split in logits},
        rows={str(split): np.asarray(images.rows[split], np.int32) for split in logits},
    )


def _metrics(state: RunState, predictions: Predictions, split: str) -> dict[str, MetricValue]:
    logits, targets = predictions.logits[split], predictions.targets[split]
    classes = state.resources.images.classes
    with isolation.aside():
        return {
            name: figure(metric, logits, targets, classes, present_only=state.spec.present_only)
            for name, metric in sorted(state.resources.metrics.items())
        }


def _cost(state: RunState) -> Cost:
    alone = CostFigures(**state.clock.figures(alone=True))
    return Cost(
        alone=alone,
        incurred=CostFigures(**state.clock.figures(alone=False)),
        peak_bytes=_peak_bytes(state),
        trainable=max(
            (phase.trainable for phase in state.log.phases if not phase.skipped), default=0
        ),
        images_per_second=round(state.log.trained_samples / alone.train, 3)
        if alone.train
        else None,
        looks=state.budget.looks,
        resumed=state.resumed,
    )


def _peak_bytes(state: RunState) -> int | None:
    """Most bytes of a card that the run took; what others recorded and it replayed are among them."""
    device, pool = state.resources.device, state.network.graphs.pool
    if torch.device(device).type != "cuda":
        return None
    peak, idle = torch.cuda.max_memory_allocated(device), pool.idle_bytes()
    if pool.recordings == state.recordings:
        return peak + idle
    # While it recorded, the allocator counted what the recordings work in.
    return max(peak, torch.cuda.memory_allocated(device) + idle)


def _weights(state: RunState) -> WeightsRecord:
    start, backbone = state.resources.start, state.resources.backbone
    if start is not None:
        return start.record
    return WeightsRecord(name="none", sha256="none", miniature=backbone.miniature)


# -- further test sets, when all that the run itself is has been done ---------------------------


def _predict_external(state: RunState) -> dict[str, Predictions]:
    """Name -> predictions of a further test set, as those of `test`; no part of the run's cost."""
    found = {}
    for name, part in state.resources.images.external.items():
        with state.clock.aside():
            logits = predict_split(state, SplitData(state.resources, state.spec, "test", name))
        found[name] = Predictions(
            logits={"test": logits.numpy()},
            targets={"test": np.asarray(part.labels, np.int64)},
            rows={"test": np.asarray(part.rows, np.int32)},
        )
    return found


def _external_records(
    state: RunState, metrics: Mapping[str, MetricValue]
) -> dict[str, ExternalRecord]:
    """The records of all further test sets with these figures in each."""
    given = state.resources.images.external.items()
    return {name: part.record.model_copy(update={"metrics": metrics}) for name, part in given}


def _score_external(
    resources: Resources, external: Mapping[str, Predictions]
) -> dict[str, ExternalRecord]:
    """The records of further test sets with the figures of their predictions."""
    found = {}
    for name, predictions in external.items():
        record = resources.images.external[name].record
        logits, targets = predictions.logits["test"], predictions.targets["test"]
        few = record.present_only
        with isolation.aside():
            metrics = {
                each: figure(metric, logits, targets, record.classes, present_only=few)
                for each, metric in sorted(resources.metrics.items())
            }
        found[name] = record.model_copy(update={"metrics": metrics})
    return found

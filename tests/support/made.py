"""Valid records made up for tests: no training, every figure chosen by the test."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.api.records import (
    Cost,
    CostFigures,
    DataRecord,
    Environment,
    Failure,
    MetricValue,
    PhaseRecord,
    Plan,
    PlannedRun,
    Protocol,
    RunResult,
    RunSpec,
    Suite,
    WeightsRecord,
)

PROTOCOL = Protocol(name="demo", epochs=15.0)
MODALITIES = {
    "demo-xray": "xray",
    "demo-mri": "mri",
    "demo-histology": "histology",
    "demo-dermoscopy": "dermoscopy",
    "demo-endoscopy": "endoscopy",
}
BACKBONES = ("densenet121-mini", "resnet50-mini", "vgg19-mini")
STRATEGIES = (
    "auto-rgn",
    "full-ft",
    "gradual-first-last",
    "gradual-last-first",
    "l1-sp",
    "l2-sp",
    "linear-probe",
    "lp-ft",
)


def sha(*parts: object) -> str:
    """64 hex digits that stand for a file."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def made_spec(
    dataset: str = "demo-xray",
    backbone: str = "resnet50-mini",
    strategy: str = "full-ft",
    seed: int = 0,
    **changes: Any,
) -> RunSpec:
    """A spec of the demo; `weights=None` takes the backbone's usual file."""
    given = {
        "settings": {},
        "protocol": PROTOCOL,
        "data": sha("data", dataset),
        "weights": sha("weights", backbone),
        "sources": {"backbone": sha("code", backbone), "strategy": sha("code", strategy)},
        "engine": 1,
        **changes,
    }
    return RunSpec(dataset=dataset, backbone=backbone, strategy=strategy, seed=seed, **given)


def made_result(
    dataset: str = "demo-xray",
    backbone: str = "resnet50-mini",
    strategy: str = "full-ft",
    seed: int = 0,
    value: float | None = 0.8,
    *,
    reason: str | None = None,
    metrics: Mapping[str, MetricValue] | None = None,
    spec: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
    seconds: float = 0.4,
    trainable: int = 400_000,
    epochs: float | None = None,
    **changes: Any,
) -> RunResult:
    """A finished run.

    Args:
        value: the balanced accuracy; None with `reason`: undefined.
        metrics: instead of the figures derived from `value`.
        spec, data, weights: fields of the spec, `DataRecord` and `WeightsRecord` to change.
        epochs: how many were trained; None: all the protocol gives.
        changes: fields of the result to change.
    """
    made = made_spec(dataset, backbone, strategy, seed, **(spec or {}))
    budget = made.protocol.epochs
    figure = MetricValue(value=value, reason=reason)
    figures = {"balanced-accuracy": figure, "accuracy": figure}
    fields: dict[str, Any] = {
        "run_id": made.run_id,
        "suite": "demo",
        "spec": made,
        "status": "ok",
        "metrics": dict(metrics) if metrics is not None else figures,
        "validation": {"balanced-accuracy": figure},
        "phases": (_phase(trainable, budget, budget if epochs is None else epochs),),
        "tested": "best",
        "cost": _cost(seconds, trainable),
        "data": made_data(made, **(data or {})),
        "weights": made_weights(made, **(weights or {})),
        "environment": Environment(harness="0.1.0", python="3.11", device="cpu", commit="c0ffee"),
        "finished": "2025-01-01T00:00:00Z",
    }
    return RunResult(**{**fields, **changes})


def made_failure(
    dataset: str = "demo-xray",
    backbone: str = "resnet50-mini",
    strategy: str = "full-ft",
    seed: int = 0,
    message: str = "the loss is nan\nsecond line",
    **changes: Any,
) -> RunResult:
    """A run that raised in its second phase."""
    error = Failure(
        kind="TrainingError", message=message, traceback="File x", phase="tune", step=17
    )
    given = {"status": "failed", "error": error, "metrics": {}, "validation": {}, **changes}
    return made_result(dataset, backbone, strategy, seed, **given)


def made_data(spec: RunSpec, **changes: Any) -> DataRecord:
    given = {
        "modality": MODALITIES.get(spec.dataset, "xray"),
        "classes": ("a", "b"),
        "counts": {
            "train": {"a": 48, "b": 48},
            "validation": {"a": 16, "b": 16},
            "test": {"a": 32, "b": 32},
        },
        "fingerprint": spec.data,
        "split_file": f"splits/{spec.dataset}.json",
        "split_sha256": sha("split", spec.dataset),
        "rule": "official splits",
        "licence": "CC0-1.0",
        "procedural": True,
        **changes,
    }
    return DataRecord(**given)


def made_weights(spec: RunSpec, **changes: Any) -> WeightsRecord | None:
    if spec.weights == "none":
        return None
    given = {
        "name": f"{spec.backbone}-v1",
        "sha256": spec.weights,
        "new": ("head.weight", "head.bias"),
        "licence": "Apache-2.0",
        "miniature": True,
        **changes,
    }
    return WeightsRecord(**given)


def made_plan(
    runs: Iterable[RunSpec | RunResult], suite: Suite | Mapping[str, Any] | None = None
) -> Plan:
    """The plan that asks for exactly these runs."""
    specs = [run.spec if isinstance(run, RunResult) else run for run in runs]
    chosen = suite if isinstance(suite, Suite) else made_suite(**(suite or {}))
    return Plan(suites={chosen.name: chosen}, runs=tuple(made_planned(spec) for spec in specs))


def made_planned(spec: RunSpec) -> PlannedRun:
    return PlannedRun(
        run_id=spec.run_id,
        dataset=spec.dataset,
        modality=MODALITIES.get(spec.dataset, "xray"),
        backbone=spec.backbone,
        strategy=spec.strategy,
        settings=spec.settings,
        protocol=spec.protocol.name,
        seed=spec.seed,
        limit=spec.limit,
        epochs=spec.protocol.epochs,
        weights="none" if spec.weights == "none" else "loaded",
        precision=spec.numeric.precision,
        start=spec.start,
    )


def made_suite(**changes: Any) -> Suite:
    given = {
        "name": "demo",
        "title": "eight strategies, three miniature CNNs, five modalities",
        "protocol": PROTOCOL,
        "notes": ("A demonstration: it shows what a board looks like.",),
        **changes,
    }
    return Suite(**given)


def made_product(
    datasets: Sequence[str] = tuple(MODALITIES),
    backbones: Sequence[str] = BACKBONES,
    strategies: Sequence[str] = STRATEGIES,
    seeds: Sequence[int] = (0,),
    **changes: Any,
) -> list[RunResult]:
    """Every combination, with figures that differ but are always the same."""
    return [
        made_result(
            *cell,
            value=0.5 + int(sha("value", *cell)[:8], 16) / 2**32 * 0.4,
            seconds=0.3 + int(sha("seconds", *cell)[:8], 16) / 2**32 * 0.4,
            trainable=1_000 if cell[2] == "linear-probe" else 400_000,
            **changes,
        )
        for cell in itertools.product(datasets, backbones, strategies, seeds)
    ]


def _phase(trainable: int, planned: float, epochs: float) -> PhaseRecord:
    return PhaseRecord(
        name="tune",
        epochs_planned=planned,
        epochs=epochs,
        steps=round(epochs * 3),
        trainable=trainable,
        cached_stages=0,
        rates={"head": 1.0},
        stopped=epochs < planned,
    )


def _cost(seconds: float, trainable: int) -> Cost:
    figures = CostFigures(train=seconds / 2, evaluate=seconds / 4, load=seconds / 4, total=seconds)
    return Cost(alone=figures, incurred=figures, trainable=trainable, peak_bytes=1_000_000)

"""Nine metrics by numpy, and each as an `evaluate.Metric` module.  None needs the network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from harness import Metric, hookimpl

if TYPE_CHECKING:
    import evaluate
    import numpy as np


def build(name: str) -> evaluate.Metric:
    """The module of a metric; imports evaluate."""
    from harness_metrics.modules import ProbabilityMetric

    return ProbabilityMetric(config_name=name, keep_in_memory=True)


def compute(name: str, probabilities: np.ndarray, targets: np.ndarray) -> Mapping[str, Any]:
    """The same figure without evaluate: a worker that computes figures does not wait for it."""
    from harness_metrics.figures import findings

    return findings(name, probabilities, targets)


def metric(name: str, title: str, **more: Any) -> Metric:  # noqa: ANN401 - fields of a Metric
    """A metric whose figure the function of that name in `figures` computes."""
    return Metric(name, partial(build, name), title=title, direct=partial(compute, name), **more)


METRICS = (
    metric("balanced-accuracy", "Balanced accuracy"),
    metric("accuracy", "Accuracy"),
    metric("macro-f1", "Macro F1"),
    metric("macro-auroc", "Macro AUROC, one against rest"),
    metric("cohen-kappa", "Cohen's kappa", low=-1.0),
    metric("average-precision", "Macro average precision, one against rest"),
    metric("ece", "Expected calibration error, 15 bins", higher_is_better=False),
    metric("brier", "Brier score, summed over classes", higher_is_better=False, high=2.0),
    metric("per-class-recall", "Recall of each class"),
)


@hookimpl
def harness_metrics() -> tuple[Metric, ...]:
    return METRICS

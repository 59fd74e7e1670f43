"""Nine metrics as `evaluate.Metric` modules over scikit-learn.  None of them needs the network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from harness import Metric, hookimpl

if TYPE_CHECKING:
    import evaluate


def build(module: str) -> evaluate.Metric:
    """The `evaluate.Metric` of that class name; imports evaluate and scikit-learn."""
    from harness_metrics import modules

    return getattr(modules, module)(keep_in_memory=True)


METRICS = (
    Metric("balanced-accuracy", partial(build, "BalancedAccuracy"), title="Balanced accuracy"),
    Metric("accuracy", partial(build, "Accuracy"), title="Accuracy"),
    Metric("macro-f1", partial(build, "MacroF1"), title="Macro F1"),
    Metric("macro-auroc", partial(build, "MacroAuroc"), title="Macro AUROC, one against rest"),
    Metric("cohen-kappa", partial(build, "CohenKappa"), title="Cohen's kappa", low=-1.0),
    Metric(
        "average-precision",
        partial(build, "AveragePrecision"),
        title="Macro average precision, one against rest",
    ),
    Metric(
        "ece",
        partial(build, "ExpectedCalibrationError"),
        higher_is_better=False,
        title="Expected calibration error, 15 bins",
    ),
    Metric(
        "brier",
        partial(build, "Brier"),
        higher_is_better=False,
        title="Brier score, summed over classes",
        high=2.0,
    ),
    Metric("per-class-recall", partial(build, "PerClassRecall"), title="Recall of each class"),
)


@hookimpl
def harness_metrics() -> tuple[Metric, ...]:
    return METRICS

"""Nine `evaluate.Metric` modules.

Import this only when a metric is computed: it is slow to load.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics as sk

from harness import DataError, Undefined

BINS = 15
ROUNDING = 1e-3  # what the sum of probabilities may differ from 1 by


class ProbabilityMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """A figure of probabilities [N, C] and class numbers [N].

    A class that no sample belongs to leaves an average over classes undefined: it is never
    counted as 0, nor quietly left out, which would be another quantity under the same name.
    """

    key: ClassVar[str]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or self.key,
            citation="",
            inputs_description="predictions: probabilities in class order; references: class numbers.",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _build_data_dir(self) -> str:
        """`evaluate` would make a folder in the user's cache; everything here stays in memory."""
        return str(self._data_dir_root)

    def compute(
        self,
        *,
        predictions: ArrayLike | None = None,
        references: ArrayLike | None = None,
        **rest: object,
    ) -> dict[str, Any]:
        """A mapping that holds the figure under `key`; two arrays are taken as they are.

        Everything else, batches added before included, goes the way of `evaluate` through an
        Arrow table, which copies every number and costs several times the figure itself.
        """
        plain = self.writer is None and not rest
        if plain and isinstance(predictions, np.ndarray) and isinstance(references, np.ndarray):
            return self._compute(predictions=predictions, references=references)
        found: dict[str, Any] = evaluate.Metric.compute(
            self, predictions=predictions, references=references, **rest
        )
        return found

    def _compute(self, *, predictions: ArrayLike, references: ArrayLike) -> dict[str, Any]:
        probabilities = np.asarray(predictions, dtype=np.float64)
        targets = np.asarray(references, dtype=np.int64)
        check(probabilities, targets)
        return self.findings(probabilities, targets)

    def findings(self, probabilities: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        """What `compute` returns: the value under `key`."""
        return {self.key: self.figure(probabilities, targets)}

    @abstractmethod
    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        """The value for float64 probabilities [N, C] and int64 class numbers [N]."""


def check(probabilities: np.ndarray, targets: np.ndarray) -> None:
    """Refuse what is no prediction: probabilities [N, C] of at least 0 that sum to 1, targets [N].

    Raises:
        Undefined: no sample, or a probability that is not finite.
        DataError: shapes, class numbers or sums that cannot be right.
    """
    if probabilities.size == 0 and targets.size == 0:
        raise Undefined("there is no sample")
    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1]:  # noqa: PLR2004 - [N, C]
        raise DataError(
            f"a metric takes probabilities [N, C] and class numbers [N], "
            f"not {list(probabilities.shape)} and {list(targets.shape)}"
        )
    broken = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if broken:
        raise Undefined(f"{broken} of {len(targets)} samples have a probability that is not finite")
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > ROUNDING:
        raise DataError("a metric takes probabilities: at least 0, and 1 in sum over the classes")
    if targets.min() < 0 or targets.max() >= probabilities.shape[1]:
        raise DataError(
            f"class numbers from {targets.min()} to {targets.max()} do not fit "
            f"probabilities of {probabilities.shape[1]} classes"
        )


def absent(targets: np.ndarray, classes: int) -> str:
    """The classes without a sample, as a sentence for people; empty if all `classes` have one."""
    empty = np.flatnonzero(np.bincount(targets, minlength=classes) == 0)
    if not len(empty):
        return ""
    names = ", ".join(f"class {number}" for number in empty)
    return f"{names} {'has' if len(empty) == 1 else 'have'} no sample among these {len(targets)}"


def need_all(probabilities: np.ndarray, targets: np.ndarray, *, at_least: int = 1) -> None:
    """Raise Undefined unless every class has a sample and there are `at_least` classes."""
    if reason := absent(targets, probabilities.shape[1]):
        raise Undefined(reason)
    if probabilities.shape[1] < at_least:
        raise Undefined("there is only one class")


def one_hot(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """int64 [N, C], 1 where the sample belongs to the class."""
    hot: np.ndarray = np.eye(probabilities.shape[1], dtype=np.int64)[targets]
    return hot


class BalancedAccuracy(ProbabilityMetric):
    """Mean over classes of the share of their samples that were recognised."""

    key = "balanced-accuracy"

    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        need_all(probabilities, targets)
        # As scikit-learn defines it, without its checks: validation asks for this every epoch.
        right = targets[probabilities.argmax(axis=1) == targets]
        sizes = np.bincount(targets, minlength=probabilities.shape[1])
        return float((np.bincount(right, minlength=probabilities.shape[1]) / sizes).mean())


class Accuracy(ProbabilityMetric):
    """Share of samples whose most probable class is theirs."""

    key = "accuracy"

    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        return float(sk.accuracy_score(targets, probabilities.argmax(axis=1)))


class MacroF1(ProbabilityMetric):
    """Mean over classes of 2 TP / (2 TP + FP + FN)."""

    key = "macro-f1"

    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        need_all(probabilities, targets)
        labels = range(probabilities.shape[1])
        return float(
            sk.f1_score(targets, probabilities.argmax(axis=1), labels=labels, average="macro")
        )


class MacroAuroc(ProbabilityMetric):
    """Mean over classes of the area under the ROC curve of the class against all others."""

    key = "macro-auroc"

    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        need_all(probabilities, targets, at_least=2)
        return float(
            sk.roc_auc_score(one_hot(probabilities, targets), probabilities, average="macro")
        )


class CohenKappa(ProbabilityMetric):
    """Agreement beyond chance, unweighted, -1 to 1 (Cohen 1960).

    With all samples of one class it is 0, or 0 / 0, whatever was predicted: undefined.
    """

    key = "cohen-kappa"

    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        if (targets == targets[0]).all():
            raise Undefined(f"all {len(targets)} samples belong to class {targets[0]}")
        labels = range(probabilities.shape[1])
        return float(sk.cohen_kappa_score(targets, probabilities.argmax(axis=1), labels=labels))


class AveragePrecision(ProbabilityMetric):
    """Mean over classes of sum_k (R_k - R_{k-1}) P_k, the class against all others.

    R_k and P_k are recall and precision at the k-th threshold, from the highest down.
    """

    key = "average-precision"

    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        need_all(probabilities, targets, at_least=2)
        return float(
            sk.average_precision_score(
                one_hot(probabilities, targets), probabilities, average="macro"
            )
        )


class ExpectedCalibrationError(ProbabilityMetric):
    """Mean gap between confidence and accuracy: 15 bins of equal width, (low, high], top label.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """

    key = "ece"

    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == targets
        bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
        gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
        return float(np.abs(gaps).sum() / len(targets))


class Brier(ProbabilityMetric):
    """Mean over samples of the squared error summed over classes, 0 to 2 (Brier 1950)."""

    key = "brier"

    def figure(self, probabilities: np.ndarray, targets: np.ndarray) -> float:
        return float(np.square(probabilities - one_hot(probabilities, targets)).sum(axis=1).mean())


class PerClassRecall(BalancedAccuracy):
    """Recall of each class; its value is their mean, the balanced accuracy."""

    key = "per-class-recall"

    def findings(self, probabilities: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        """The mean under `key`, None with a `reason` where it is undefined, and `by_class` always."""
        recalls = sk.recall_score(
            targets,
            probabilities.argmax(axis=1),
            labels=range(probabilities.shape[1]),
            average=None,
            zero_division=np.nan,
        )
        by_class = [None if np.isnan(recall) else float(recall) for recall in recalls]
        reason = absent(targets, probabilities.shape[1])
        value = None if reason else self.figure(probabilities, targets)
        return {self.key: value, "reason": reason, "by_class": by_class}

"""The figures by numpy: functions of probabilities [N, C] and class numbers [N].

A class that no sample belongs to leaves an average over classes undefined: it is never counted as
0, nor quietly left out, which would be another quantity under the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from harness import DataError, Undefined

BINS = 15


def findings(name: str, predictions: ArrayLike, references: ArrayLike) -> dict[str, Any]:
    """The value of a metric under its name; see `Metric.build` for what may stand beside it.

    Raises:
        Undefined: there is no such value for these samples.
        DataError: this is no prediction.
    """
    shares = np.asarray(predictions, dtype=np.float64)
    truth = np.asarray(references, dtype=np.int64)
    check(shares, truth)
    found = FIGURES[name](shares, truth)
    return found if isinstance(found, dict) else {name: found}


def check(shares: np.ndarray, truth: np.ndarray) -> None:
    """Refuse what is no prediction.

    Raises:
        Undefined: no sample, or a probability that is not finite.
        DataError: shapes, class numbers or sums that cannot be right.
    """
    if shares.size == 0 and truth.size == 0:
        raise Undefined("there is no sample")
    if shares.ndim != 2 or truth.shape != shares.shape[:1]:  # noqa: PLR2004 - samples and classes
        raise DataError(
            f"a metric takes probabilities [N, C] and class numbers [N], "
            f"not {list(shares.shape)} and {list(truth.shape)}"
        )
    broken = int((~np.isfinite(shares)).any(axis=1).sum())
    if broken:
        raise Undefined(f"{broken} of {len(truth)} samples have a probability that is not finite")
    if shares.min() < 0 or np.abs(shares.sum(axis=1) - 1).max() > 1e-3:  # noqa: PLR2004 - rounding
        raise DataError("a metric takes probabilities: at least 0, and 1 in sum over the classes")
    if truth.min() < 0 or truth.max() >= shares.shape[1]:
        raise DataError(
            f"class numbers from {truth.min()} to {truth.max()} do not fit "
            f"probabilities of {shares.shape[1]} classes"
        )


def absent(truth: np.ndarray, classes: int) -> str:
    """Which classes have no sample, for people; empty if all have one."""
    empty = np.flatnonzero(np.bincount(truth, minlength=classes) == 0)
    if not len(empty):
        return ""
    names = ", ".join(f"class {number}" for number in empty)
    return f"{names} {'has' if len(empty) == 1 else 'have'} no sample among these {len(truth)}"


def need_all(shares: np.ndarray, truth: np.ndarray, *, at_least: int = 1) -> None:
    """Raise Undefined unless every class has a sample and there are `at_least` classes."""
    if reason := absent(truth, shares.shape[1]):
        raise Undefined(reason)
    if shares.shape[1] < at_least:
        raise Undefined("there is only one class")


def counts(shares: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples of each class, predictions of each class, and right ones: three int64 [C]."""
    guess, classes = shares.argmax(axis=1), shares.shape[1]
    both = (truth, guess, truth[guess == truth])
    own, taken, right = (np.bincount(each, minlength=classes) for each in both)
    return own, taken, right


def balanced_accuracy(shares: np.ndarray, truth: np.ndarray) -> float:
    """Mean over classes of the share of their samples that were recognised."""
    need_all(shares, truth)
    own, _, right = counts(shares, truth)
    return float((right / own).mean())


def accuracy(shares: np.ndarray, truth: np.ndarray) -> float:
    """Share of samples whose most probable class is theirs."""
    return float((shares.argmax(axis=1) == truth).mean())


def macro_f1(shares: np.ndarray, truth: np.ndarray) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN)."""
    need_all(shares, truth)
    own, taken, right = counts(shares, truth)
    return float((2 * right / (own + taken)).mean())


def macro_auroc(shares: np.ndarray, truth: np.ndarray) -> float:
    """Mean over classes of the area under the ROC curve of the class against all others.

    The area is the share of pairs (own, other) in which the own sample has more, ties by half:
    Mann and Whitney's statistic, from the ranks of the own samples.
    """
    need_all(shares, truth, at_least=2)
    areas = []
    for number, column in enumerate(shares.T):
        _, place, ties = np.unique(column, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
        own = truth == number
        size = int(own.sum())
        wins = ranks[own].sum() - size * (size + 1) / 2
        areas.append(wins / (size * (len(truth) - size)))
    return float(np.mean(areas))


def cohen_kappa(shares: np.ndarray, truth: np.ndarray) -> float:
    """Agreement beyond chance, unweighted.

    With all samples of one class it is 0, or 0 / 0, whatever was predicted: undefined.
    """
    if (truth == truth[0]).all():
        raise Undefined(f"all {len(truth)} samples belong to class {truth[0]}")
    own, taken, right = counts(shares, truth)
    chance = float(own @ taken) / len(truth) ** 2
    return float((right.sum() / len(truth) - chance) / (1 - chance))


def average_precision(shares: np.ndarray, truth: np.ndarray) -> float:
    """Mean over classes of sum (R_k - R_{k-1}) P_k, the class against all others.

    k runs over the different scores, the highest first: samples that tie are taken at once.
    """
    need_all(shares, truth, at_least=2)
    averages = []
    for number, column in enumerate(shares.T):
        order = np.argsort(-column, kind="stable")
        last = np.append(np.flatnonzero(np.diff(column[order])), len(truth) - 1)
        hits = np.cumsum(truth[order] == number)[last]
        gains = np.diff(hits, prepend=0) / hits[-1]
        averages.append((gains * hits / (last + 1)).sum())
    return float(np.mean(averages))


def expected_calibration_error(shares: np.ndarray, truth: np.ndarray) -> float:
    """Mean gap between confidence and accuracy: 15 bins of equal width, (low, high], top label.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    confidence = shares.max(axis=1)
    right = shares.argmax(axis=1) == truth
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(truth))


def brier(shares: np.ndarray, truth: np.ndarray) -> float:
    """Mean over samples of the squared error summed over classes, 0 to 2 (Brier 1950)."""
    hot = np.eye(shares.shape[1])[truth]
    return float(np.square(shares - hot).sum(axis=1).mean())


def recalls(shares: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Recall of each class; its value is their mean, the balanced accuracy.

    `by_class` stands also where the mean is undefined: then `reason` says why.
    """
    own, _, right = counts(shares, truth)
    by_class = [hits / size if size else None for hits, size in zip(right, own, strict=True)]
    reason = absent(truth, shares.shape[1])
    value = None if reason else balanced_accuracy(shares, truth)
    return {"per-class-recall": value, "reason": reason, "by_class": by_class}


FIGURES: dict[str, Callable[[np.ndarray, np.ndarray], float | dict[str, Any]]] = {
    "balanced-accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "macro-f1": macro_f1,
    "macro-auroc": macro_auroc,
    "cohen-kappa": cohen_kappa,
    "average-precision": average_precision,
    "ece": expected_calibration_error,
    "brier": brier,
    "per-class-recall": recalls,
}

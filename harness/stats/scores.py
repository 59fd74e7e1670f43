"""The part of each group of a test set in the score of one run, for the metrics that boards compare.

Groups' shares add up to the score.  Accuracy, the Brier score and, once its bins are filled, the
calibration error are sums over images as they stand.  The area under the ROC curve is not: an image
adds how its own logit is placed among those of the other classes (DeLong et al. 1988; by groups,
Obuchowski 1997), which is the first order of what leaving it out would change.

Errors of calibration and Brier are negated: higher is better everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.stats.paired import contributions

BINS = 15  # of the calibration error: equal width, (low, high], top label


@dataclass(frozen=True)
class Scored:
    """A metric that boards compare.

    Attributes:
        higher_is_better: before it is negated.
        widest: the largest difference of two scores.
        every_class: it is defined only where each class has an image.
    """

    higher_is_better: bool
    widest: float
    every_class: bool


SCORED: Mapping[str, Scored] = {
    "balanced-accuracy": Scored(True, 1.0, False),
    "accuracy": Scored(True, 1.0, False),
    "macro-auroc": Scored(True, 1.0, True),
    "ece": Scored(False, 1.0, False),
    "brier": Scored(False, 2.0, False),
}


def group_scores(
    metric: str, shares: np.ndarray, targets: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """The part of each group, [G], groups in the order of `np.unique`.

    Args:
        metric: of SCORED.
        shares: probabilities [N, C].
        targets: class numbers [N].
        groups: a label for each image [N].

    Raises:
        UsageError: a metric that is not of SCORED.
    """
    if metric not in SCORED:
        raise UsageError(f"{metric!r} has no shares of groups; there are: {', '.join(SCORED)}")
    if metric in {"accuracy", "balanced-accuracy"}:
        right = (shares.argmax(axis=1) == targets)[None]
        balanced = metric == "balanced-accuracy"
        whole: np.ndarray = contributions(right, targets, groups, balanced=balanced)[0]
        return whole
    _, member = np.unique(groups, return_inverse=True)
    count = int(member.max()) + 1
    if metric == "macro-auroc":
        return _centred(*_placed(shares, targets), member, count)
    added = IMAGES[metric](shares, targets) / len(targets)
    return -np.bincount(member, weights=added, minlength=count)


def _brier(shares: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Squared distance of each image's probabilities from the truth, summed over classes, [N]."""
    own = shares[np.arange(len(targets)), targets]
    found: np.ndarray = (shares**2).sum(axis=1) - 2 * own + 1
    return found


def _calibration(shares: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Confidence less hit of each image, with the sign that its bin has in all, [N]."""
    confidence = shares.max(axis=1)
    beyond = confidence - (shares.argmax(axis=1) == targets)
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    sums = np.bincount(bins, weights=beyond, minlength=BINS)
    signed: np.ndarray = np.sign(sums)[bins] * beyond
    return signed


IMAGES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "brier": _brier,
    "ece": _calibration,
}


def _placed(shares: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Macro AUROC, one class against the rest, and what each image moves it by, [N]."""
    classes = np.unique(targets)
    moves, total = np.zeros(len(targets)), 0.0
    for klass in classes:
        own = targets == klass
        inside, outside = shares[own, klass], shares[~own, klass]
        above, below = _share_below(inside, outside), 1 - _share_below(outside, inside)
        area = float(above.mean())
        total += area
        moves[own] += (above - area) / len(above)
        moves[~own] += (below - area) / len(below)
    return total / len(classes), moves / len(classes)


def _share_below(of: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Share of `among` that each of `of` exceeds; ties count one half."""
    ordered = np.sort(among)
    less = np.searchsorted(ordered, of, side="left")
    no_more = np.searchsorted(ordered, of, side="right")
    found: np.ndarray = (less + no_more) / (2 * len(among))
    return found


def _centred(score: float, moves: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    """The score spread evenly over the groups, with what the images of each move it by."""
    return score / count + np.bincount(member, weights=moves, minlength=count)

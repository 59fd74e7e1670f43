"""Agreement of stored predictions with two replays that round differently from each other.

Another machine's kernels round differently, so a run that was made elsewhere comes back with other
bits.  How far that may move its classes and figures is measured, not assumed: the run is made twice
here, and what the two replays differ by is what the record may differ by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from harness.api.execution import Predictions
from harness.api.metric import softmax
from harness.api.records import MetricValue
from harness.results.merge import figures_agree
from harness.stats.estimate import holm
from harness.utils.names import first_few

LEVEL = 0.05  # of the tests of all figures together
SWAPS = 199  # random exchanges of rows: the least p-value is 1 in 200
# Assumed: replays of which more classes than this differ say nothing about a third run.
CHAOS = 0.1

Figures = Callable[[Predictions], Mapping[str, MetricValue]]


@dataclass(frozen=True)
class Agreement:
    """Agreement of a record with its replays.

    Attributes:
        holds: the record differs from them no more than they differ from each other.
        difference: mean absolute difference of the probabilities from the nearer replay.
        told: for people, without a subject: 'its classes differ in 1 of 144 predictions, ...'.
    """

    holds: bool
    difference: float
    told: str


def find_agreement(
    stored: Predictions, replays: tuple[Predictions, Predictions], figures: Figures
) -> Agreement:
    """Compare predicted classes, then every figure of the test samples with a paired test.

    Classes: the record may differ from the nearer replay in as many predictions as the replays
    differ in.  Figures: one that lies further from the nearer replay's than the replays' lie apart
    is tested by exchanging the two sides of random rows (Fisher's randomization test, two-sided,
    adjusted over all figures by Holm).

    Args:
        stored: of the record.
        replays: of the same run, made twice here by kernels that round differently.
        figures: metric -> its value on the test rows of some predictions.
    """
    first, second = replays
    total = sum(len(logits) for logits in stored.logits.values())
    own = _classes_differ(first, second)
    nearer = min(
        replays, key=lambda one: (_classes_differ(stored, one), mean_distance(stored, one))
    )
    away = _classes_differ(stored, nearer)
    told = f"its classes differ in {away} of {total} predictions, those of the replays in {own}"
    difference = mean_distance(stored, nearer)
    if own > CHAOS * total:
        return Agreement(False, difference, f"{told}: too many for either to confirm anything")
    if away > own:
        values = figures(stored), figures(first), figures(second)
        return Agreement(False, difference, told + _moved_most(*values))
    rejected = _rejected(stored, nearer, replays, figures)
    if rejected:
        return Agreement(
            False, difference, f"{told}; a paired test rejects {first_few(rejected)} of the record"
        )
    return Agreement(
        True, difference, f"{told}; no figure differs by more than a paired test allows"
    )


def _classes_differ(one: Predictions, other: Predictions) -> int:
    return sum(
        int((logits.argmax(axis=1) != other.logits[split].argmax(axis=1)).sum())
        for split, logits in one.logits.items()
    )


def mean_distance(one: Predictions, other: Predictions) -> float:
    """Mean absolute difference of the probabilities, over samples and classes of all splits."""
    gaps = [
        np.abs(softmax(one.logits[split]) - softmax(other.logits[split])).ravel()
        for split in sorted(one.logits)
    ]
    return float(np.mean(np.concatenate(gaps)))


def _moved_most(
    stored: Mapping[str, MetricValue],
    first: Mapping[str, MetricValue],
    second: Mapping[str, MetricValue],
) -> str:
    """`; accuracy is 1 instead of 0.35 and 0.35`: the figure that lies furthest from the replays'."""
    gaps = {name: _gap(stored[name], first[name]) for name in stored}
    if not gaps:
        return ""
    name = max(sorted(gaps), key=gaps.__getitem__)
    ours, theirs = _shown(stored[name]), f"{_shown(first[name])} and {_shown(second[name])}"
    return f"; {name} is {ours} instead of {theirs}"


def _rejected(
    stored: Predictions,
    nearer: Predictions,
    replays: tuple[Predictions, Predictions],
    figures: Figures,
) -> list[str]:
    """The figures of the record that two replays and a paired test do not explain."""
    ours, theirs = figures(stored), figures(nearer)
    first, second = (figures(one) for one in replays)
    asked = [
        name
        for name in sorted(ours)
        if not figures_agree(ours[name], theirs[name])
        and _gap(ours[name], theirs[name]) > _gap(first[name], second[name])
    ]
    if not asked:
        return []
    rng = np.random.default_rng(0)  # the verdict is the same at every call
    rows = len(stored.targets["test"])
    as_far = dict.fromkeys(asked, 1)
    for _ in range(SWAPS):
        swapped = rng.random(rows) < 0.5  # noqa: PLR2004 - a coin
        one = figures(_mixed(stored, nearer, swapped))
        other = figures(_mixed(nearer, stored, swapped))
        for name in asked:
            as_far[name] += _gap(one[name], other[name]) >= _gap(ours[name], theirs[name]) - 1e-12
    p = holm([as_far[name] / (SWAPS + 1) for name in asked])
    return [name for name, value in zip(asked, p, strict=True) if value <= LEVEL]


def _mixed(one: Predictions, other: Predictions, swapped: np.ndarray) -> Predictions:
    """The test rows of `one`, those that are `swapped` from `other`."""
    rows = np.where(swapped[:, None], other.logits["test"], one.logits["test"])
    return Predictions({**one.logits, "test": rows}, one.targets, one.rows)


def _gap(one: MetricValue, other: MetricValue) -> float:
    """The difference of two figures; infinite where only one of them is defined."""
    if one.value is None or other.value is None:
        return 0.0 if one.value is other.value else float("inf")
    return abs(one.value - other.value)


def _shown(value: MetricValue) -> str:
    return "undefined" if value.value is None else f"{value.value:.4g}"

"""Contributions of groups to scores: against scikit-learn, plain loops and a bootstrap by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from harness.errors import UsageError
from harness.stats import SCORED, Gain, estimate_gains, group_scores, strata


def drawn(seed=0, groups=60, classes=3, skill=1.0):
    """Probabilities [N, C] of images in groups of 1 to 4, each group of one class."""
    rng = np.random.default_rng(seed)
    member = np.repeat(np.arange(groups), rng.integers(1, 5, groups))
    targets = member % classes
    logits = rng.normal(size=(len(member), classes)) + rng.normal(size=(groups, classes))[member]
    logits[np.arange(len(member)), targets] += skill
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), targets, member


def auroc(shares, targets):
    classes = shares.shape[1]
    return np.mean([roc_auc_score(targets == k, shares[:, k]) for k in range(classes)])


def brier(shares, targets):
    total = 0.0
    for row, target in zip(shares, targets, strict=True):
        total += sum((p - (k == target)) ** 2 for k, p in enumerate(row))
    return total / len(targets)


def ece(shares, targets):
    """Bin by bin, (low, high]."""
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == targets
    total = 0.0
    for b in range(15):
        own = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if own.any():
            total += own.mean() * abs(confidence[own].mean() - right[own].mean())
    return total


ORACLES = {
    "accuracy": lambda p, y: accuracy_score(y, p.argmax(axis=1)),
    "balanced-accuracy": lambda p, y: balanced_accuracy_score(y, p.argmax(axis=1)),
    "macro-auroc": auroc,
    "ece": lambda p, y: -ece(p, y),
    "brier": lambda p, y: -brier(p, y),
}


@pytest.mark.parametrize("metric", SCORED)
@pytest.mark.parametrize("classes", [2, 3])
def test_groups_add_up_to_the_score(metric, classes):
    shares, targets, member = drawn(classes=classes)
    found = group_scores(metric, shares, targets, member)
    assert found.shape == (60,)
    assert found.sum() == pytest.approx(ORACLES[metric](shares, targets))


def test_equal_probabilities_count_one_half():
    shares = np.array([[0.6, 0.4], [0.6, 0.4], [0.3, 0.7], [0.6, 0.4]])
    targets = np.array([0, 1, 1, 0])
    found = group_scores("macro-auroc", shares, targets, np.arange(4))
    assert found.sum() == pytest.approx(roc_auc_score(targets == 1, shares[:, 1]))


def test_groups_stand_in_the_order_of_their_names():
    shares, targets, member = drawn()
    names = np.array([f"p{59 - group:02}" for group in member])
    for metric in SCORED:
        plain, named = (group_scores(metric, shares, targets, g) for g in (member, names))
        np.testing.assert_allclose(named, plain[::-1])


def test_an_image_moves_an_auroc_as_delong_says():
    """The part that each image adds beyond the even share, for two classes: its placements, centred."""
    shares, targets, _ = drawn(classes=2)
    found = group_scores("macro-auroc", shares, targets, np.arange(len(targets)))
    score = shares[:, 1]
    ahead = np.array(
        [[(a > b) + 0.5 * (a == b) for b in score[targets == 0]] for a in score[targets == 1]]
    )
    area = ahead.mean()
    expected = np.full(len(targets), area / len(targets))
    expected[targets == 1] += (ahead.mean(axis=1) - area) / (targets == 1).sum()
    expected[targets == 0] += (ahead.mean(axis=0) - area) / (targets == 0).sum()
    np.testing.assert_allclose(found, expected)


def bootstrapped(metric, first, second, targets, member, draws=200):
    """Standard error of the difference of two runs, groups drawn anew within class."""
    rng = np.random.default_rng(1)
    rows = [np.flatnonzero(member == group) for group in range(member.max() + 1)]
    kind = np.array([targets[own[0]] for own in rows])
    found = []
    for _ in range(draws):
        picks = np.concatenate(
            [rng.choice(np.flatnonzero(kind == k), (kind == k).sum()) for k in np.unique(kind)]
        )
        chosen = np.concatenate([rows[group] for group in picks])
        found.append(
            metric(first[chosen], targets[chosen]) - metric(second[chosen], targets[chosen])
        )
    return np.std(found)


@pytest.mark.slow
@pytest.mark.parametrize("metric", SCORED)
def test_the_error_of_a_difference_is_the_bootstraps(metric):
    first, targets, member = drawn(skill=1.5, groups=120)
    second, _, _ = drawn(skill=1.0, groups=120)
    second = 0.5 * first + 0.5 * second[np.random.default_rng(2).permutation(len(second))]
    # Sure of themselves: in no bin could the error as well be zero, where its slope has a kink.
    first, second = (one**3 / (one**3).sum(axis=1, keepdims=True) for one in (first, second))
    added = [group_scores(metric, one, targets, member) for one in (first, second)]
    (found,) = estimate_gains(
        [Gain((added[0] - added[1])[None], strata(targets, member), ("a", "b", "c"), 0, None)]
    )
    expected = bootstrapped(ORACLES[metric], first, second, targets, member)
    assert found.se == pytest.approx(expected, rel=0.2)


def test_an_unknown_metric_is_refused():
    with pytest.raises(UsageError, match="'kappa' has no shares of groups; there are: balanced"):
        group_scores("kappa", *drawn())

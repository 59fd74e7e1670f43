"""The paired bootstrap, against scikit-learn, t tests and the truth of simulations."""

import runpy

import numpy as np
import pytest
from places import SIMULATIONS
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from harness.errors import UsageError
from harness.stats import Estimate, compare, mean_of, resample

TRUTH = runpy.run_path(str(SIMULATIONS / "truth.py"))


def within(hits, repetitions, share):
    """Whether so many hits may come of this share (two-sided, 1 in 1000)."""
    return stats.binomtest(int(hits), repetitions, share).pvalue > 0.001


def sampled(seed=0, n=240, seeds=3, columns=4, classes=3):
    """Predictions [S, K, N] that are right in 3 of 4 samples, with targets and groups of 1 to 4."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n), rng.integers(1, 5, n))[:n]
    targets = rng.integers(0, classes, n)  # groups hold several classes
    right = rng.random((seeds, columns, n)) < 0.75
    return np.where(right, targets, (targets + 1) % classes), targets, groups


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "oracle"),
    [("balanced-accuracy", balanced_accuracy_score), ("accuracy", accuracy_score)],
)
def test_named_metrics_are_scikit_learns_in_every_draw(metric, oracle):
    outputs, targets, groups = sampled()
    fast = resample(outputs, targets, groups, metric=metric, resamples=30)
    slow = resample(outputs, targets, groups, metric=lambda o, t: oracle(t, o), resamples=30)
    np.testing.assert_allclose(fast.points, slow.points, atol=1e-12)
    np.testing.assert_allclose(fast.draws, slow.draws, atol=1e-12)
    assert np.ptp(fast.draws, axis=0).min() > 0


def test_any_metric_of_probabilities():
    rng = np.random.default_rng(0)
    outputs, targets = rng.random((2, 2, 50, 3)), rng.integers(0, 3, 50)
    found = resample(outputs, targets, metric=lambda o, t: o[:, 0].mean(), resamples=20)
    np.testing.assert_allclose(found.points, outputs[..., 0].mean(axis=2))


def test_the_error_is_the_standard_error_of_paired_differences():
    """One seed, one class, no groups: the textbook formula."""
    rng = np.random.default_rng(0)
    outputs = (rng.random((1, 2, 400)) < [[[0.8], [0.7]]]).astype(int)
    difference = outputs[0, 0] - outputs[0, 1]
    found = resample(outputs, np.ones(400, int), resamples=20_000).difference(0, 1)
    assert found.value == pytest.approx(difference.mean())
    assert found.se == pytest.approx(difference.std(ddof=1) / 20, rel=0.02)
    assert (found.df, found.seeds) == (399, 1)


@pytest.mark.slow
def test_without_image_noise_it_is_the_t_test_over_seeds():
    scores = np.array([0.81, 0.84, 0.80, 0.86, 0.79])
    outputs = np.full((5, 2, 40), 0.8)
    outputs[:, 0] = scores[:, None]
    found = resample(
        outputs, np.arange(40) % 2, metric=lambda o, _: o.mean(), resamples=20_000
    ).difference(0, 1)
    assert found.df == pytest.approx(4, rel=0.05)
    assert found.se == pytest.approx(scores.std(ddof=1) / 5**0.5, rel=0.02)


def test_image_noise_is_counted_once():
    """Runs that differ by independent noise alone: seeds times samples are one large sample."""
    rng = np.random.default_rng(0)
    errors, sizes = [], []
    for _ in range(40):
        outputs = (rng.random((10, 2, 300)) < 0.8).astype(int)
        found = resample(outputs, np.ones(300, int), resamples=400).difference(0, 1)
        errors.append(found.se)
        sizes.append((2 * 0.8 * 0.2 / 3000) ** 0.5)
    # Never below, for what seeds spread by chance is kept; drawing both together gives 1.7.
    assert 1.0 <= np.mean(errors) / np.mean(sizes) < 1.25


def test_no_interval_leaves_what_is_possible():
    """Two seeds that disagree: Student's t of one degree reaches far beyond a score's range."""
    targets = np.arange(40) % 2
    outputs = np.stack([np.stack([targets, 1 - targets]), np.stack([targets, targets])])
    found = resample(outputs, targets)
    difference = found.difference(0, 1)
    assert difference.value + 12 * difference.se > 1
    assert difference.interval(0.999) == (-1, 1)
    twice = found.beside(resample(outputs[:, ::-1], targets)).contrast([1, -1, -1, 1])
    assert twice.bound(0.99999) == 2
    assert mean_of([difference, twice]).bound(0.99999) == 1.5
    free = resample(
        outputs, targets, metric=lambda o, t: accuracy_score(t, o), resamples=20
    ).difference(0, 1)
    assert free.bound(0.999) > 1


def test_groups_stay_together_and_keep_to_their_class():
    """The metric sees whole groups only, and in each class one group fewer than there are."""
    groups = np.repeat(np.arange(12), 3)
    targets = np.repeat([0, 1], 18)
    seen = []

    def spy(outputs, targets):
        names, counts = np.unique(outputs, return_counts=True)
        seen.append((counts % 3 == 0).all() and (np.bincount(targets) == [15, 15]).all())
        return float(len(names))

    resample(np.tile(groups, (1, 1, 1)), targets, groups, metric=spy, resamples=50)
    assert len(seen) == 51
    assert all(seen[1:])


def test_a_draw_depends_on_nothing_but_groups_classes_and_seeds():
    outputs, targets, groups = sampled()
    full = resample(outputs, targets, groups)
    again = resample(outputs[:, [2, 0]], targets, groups)
    np.testing.assert_array_equal(again.draws, full.draws[:, :, [2, 0]])
    order = np.random.default_rng(1).permutation(len(targets))
    shuffled = resample(outputs[:, :, order], targets[order], groups[order])
    np.testing.assert_array_equal(shuffled.draws, full.draws)
    beside = resample(outputs[:, :1], targets, groups).beside(
        resample(outputs[:, 1:], targets, groups)
    )
    np.testing.assert_array_equal(beside.draws, full.draws)


def test_a_contrast_is_what_its_own_draws_say():
    """The covariances of columns give what each weighted sum's draws give one by one."""
    outputs, targets, groups = sampled(n=90)
    found = resample(outputs, targets, groups)
    for weights in ([1, -1, 0, 0], [1, 0, -0.5, -0.5], [1, -1, -1, 1]):
        points, draws = found.points @ weights, found.draws @ weights
        between, within = points.var(ddof=1), draws.var(axis=1, ddof=1).mean()
        factor = (3 / 2 * max(0, 2 * between - within) / within) ** 0.5
        together = (draws * (1 + factor * (3 * found.seeds - 1))).mean(axis=1)
        assert found.contrast(weights).value == pytest.approx(points.mean())
        assert found.contrast(weights).se == pytest.approx(together.std(), rel=1e-9)


def test_equal_columns_do_not_differ():
    outputs, targets, groups = sampled()
    outputs[:, 1] = outputs[:, 0]
    outputs[:, 2] = outputs[::-1, 0]  # the same runs under other seeds
    found = resample(outputs, targets, groups)
    assert found.difference(1, 0) == Estimate(0.0, 0.0, found.df + 2, 3, widest=1.0)
    assert found.difference(2, 0).p == 1.0


def test_constant_predictors_give_no_warning_and_no_false_certainty():
    """Four samples that all differ are a coin thrown four times, not a proof."""
    targets = np.array([0, 0, 1, 1])
    outputs = np.stack([targets, np.zeros(4, int)])[None]
    found = resample(outputs, targets).difference(0, 1)
    assert found.value == 0.5
    assert found.p > 0.05


@pytest.mark.parametrize("tamper", ["short targets", "no columns", "nan"])
def test_bad_input_is_refused(tamper):
    outputs, targets, groups = sampled()
    metric = "accuracy"
    if tamper == "short targets":
        targets = targets[1:]
    elif tamper == "no columns":
        outputs = outputs[:, :0]
    else:
        metric = lambda o, t: np.nan  # noqa: E731
    with pytest.raises(UsageError):
        resample(outputs, targets, groups, metric=metric, resamples=2)


def test_columns_of_other_test_sets_do_not_stand_side_by_side():
    outputs, targets, groups = sampled()
    with pytest.raises(UsageError, match="side by side"):
        resample(outputs, targets, groups).beside(resample(outputs, targets))


def identical(rng, columns, *, seeds=5, samples=300, spread=0.01):
    """Runs of `columns` strategies of the same skill, as predictions of two classes, with groups."""
    ease = rng.normal(size=samples)
    right = [
        TRUTH["runs"](rng.normal(size=(seeds, 1 + samples)), ease, spread=spread)
        for _ in range(columns)
    ]
    targets = np.arange(samples) % 2
    groups = np.arange(samples) // 2 // 2 * 2 + targets  # pairs of samples of one class
    return np.where(np.stack(right, axis=1), targets, 1 - targets), targets, groups


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    repetitions = 400
    hits = 0
    for _ in range(repetitions):
        low, high = resample(*identical(rng, 2), resamples=300).difference(0, 1).interval()
        hits += low <= 0 <= high
    assert stats.binomtest(hits, repetitions, 0.95, alternative="less").pvalue > 0.01
    assert hits / repetitions < 0.99


def test_identical_strategies_are_told_apart_in_five_percent_of_cells_at_most():
    rng = np.random.default_rng(0)
    repetitions = 120
    alarms = 0
    for _ in range(repetitions):
        found = resample(*identical(rng, 8), resamples=300)
        family = compare({str(column): found.difference(column, 0) for column in range(1, 8)})
        alarms += any(one.verdict != "undecided" for one in family.values())
    assert stats.binomtest(alarms, repetitions, 0.05, alternative="greater").pvalue > 0.01


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    outputs, targets, groups = identical(rng, 2)
    worse = rng.random((5, 300)) < 0.15
    outputs[:, 1] = np.where(worse, 1 - targets, outputs[:, 1])
    found = compare({"b": resample(outputs, targets, groups).difference(1, 0)})
    assert found["b"].verdict == "worse"

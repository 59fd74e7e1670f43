from __future__ import annotations

import itertools
import runpy

import numpy as np
import pandas as pd
import pytest
from autorank import autorank
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SIMULATIONS
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from statsmodels.stats.multitest import multipletests

from harness.errors import UsageError
from harness.stats import (
    Estimate,
    compare,
    compare_blocks,
    critical_difference,
    friedman,
    holm,
    interquartile_mean,
    mean_of,
    nemenyi,
    probability_of_improvement,
    rank,
    resample,
    wilcoxon,
    win_rate,
)
from harness.stats.ranks import average_ranks, range_exceeds

TRUTH = runpy.run_path(str(SIMULATIONS / "truth.py"))

# Four strategies in 14 blocks, with ties, one block constant.
TABLE = np.array(
    [
        [0.81, 0.84, 0.79, 0.90],
        [0.70, 0.71, 0.70, 0.69],
        [0.95, 0.97, 0.96, 0.96],
        [0.62, 0.66, 0.65, 0.65],
        [0.88, 0.89, 0.88, 0.90],
        [0.93, 0.93, 0.91, 0.93],
        [0.66, 0.67, 0.60, 0.68],
        [0.58, 0.58, 0.56, 0.62],
        [0.77, 0.83, 0.86, 0.87],
        [1.00, 1.00, 1.00, 1.00],
        [0.94, 0.96, 0.97, 0.96],
        [0.61, 0.66, 0.62, 0.67],
        [0.97, 0.98, 0.97, 0.98],
        [0.95, 0.97, 0.94, 0.96],
    ]
)
P_VALUES = [0.01, 0.04, 0.03, 0.005, 0.2, 0.9, 1.0, 0.0007, 0.03]


def within(hits, repetitions, share):
    """Whether so many hits may come of this share (two-sided, 1 in 1000)."""
    return stats.binomtest(int(hits), repetitions, share).pvalue > 0.001


# Estimates, Holm, verdicts


def test_an_estimate_is_students():
    estimate = Estimate(value=0.03, se=0.01, df=4, seeds=5)
    assert estimate.interval() == pytest.approx(stats.t(4, 0.03, 0.01).interval(0.95))
    assert estimate.p == pytest.approx(2 * stats.t(4).sf(3))
    assert Estimate(0.0, 0.0, 4, 5).p == 1.0
    normal = Estimate(0.03, 0.01, np.inf, 5)
    assert normal.bound(0.975) == pytest.approx(0.03 + 0.01 * stats.norm.ppf(0.975))


def test_mean_of_two_samples_is_welch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=6), 3 * rng.normal(size=9)
    single = [Estimate(s.mean(), s.std(ddof=1) / len(s) ** 0.5, len(s) - 1, 5) for s in (x, -y)]
    welch = stats.ttest_ind(x, y, equal_var=False)
    mean = mean_of(single)
    assert 2 * mean.value == pytest.approx(x.mean() - y.mean())
    assert mean.df == pytest.approx(welch.df)
    assert mean.p == pytest.approx(welch.pvalue)


def test_holm_agrees_with_statsmodels():
    # statsmodels 0.15.0, multipletests(method="holm")
    assert holm(P_VALUES) == pytest.approx([0.07, 0.18, 0.18, 0.04, 0.6, 1.0, 1.0, 0.0063, 0.18])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_by_its_definition(p):
    order = np.argsort(p, kind="stable")
    steps = [(len(p) - i) * p[j] for i, j in enumerate(order)]
    expected = np.empty(len(p))
    expected[order] = np.minimum(1, np.maximum.accumulate(steps))
    assert holm(p) == pytest.approx(expected.tolist())


def test_verdicts_follow_holm_and_need_three_seeds():
    sure = Estimate(0.05, 0.01, 100, 5)
    close = Estimate(-0.022, 0.01, 100, 5)  # p = .03: not with a second test beside it
    found = compare({"a": sure, "b": close, "c": Estimate(0.0, 0.0, 100, 5)})
    assert [found[name].verdict for name in "abc"] == ["better", "undecided", "undecided"]
    assert compare({"b": close})["b"].verdict == "worse"
    for seeds, verdict in ((1, "undecided"), (2, "undecided"), (3, "better")):
        assert compare({"a": Estimate(0.05, 0.01, 100, seeds)})["a"].verdict == verdict
    assert (found["a"].low, found["a"].high) == pytest.approx(sure.interval())


# Bootstrap


def sampled(seed=0, n=240, seeds=3, columns=4, classes=3):
    """Predictions [S, K, N] that are right in 3 of 4 samples, with targets and groups of 1 to 4."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n), rng.integers(1, 5, n))[:n]
    targets = rng.integers(0, classes, n)  # groups hold several classes
    right = rng.random((seeds, columns, n)) < 0.75
    return np.where(right, targets, (targets + 1) % classes), targets, groups


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


# Blocks


def test_ranks_share_places():
    assert rank(np.array([[0.3, 0.9, 0.9, 0.1], [0.1 + 0.2, 0.3, 0.1, 0.2]])).tolist() == [
        [3, 1.5, 1.5, 4],
        [1.5, 1.5, 4, 3],
    ]


def test_friedman_agrees_with_scipy():
    expected = stats.friedmanchisquare(*TABLE.T)
    found = friedman(TABLE)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_friedman_of_constant_blocks():
    assert friedman(np.ones((4, 3))).p == 1.0
    assert nemenyi(np.ones((4, 3)), "abc").cliques == (("a", "b", "c"),)


def test_nemenyi_agrees_with_scikit_posthocs():
    # scikit-posthocs 0.17.1, posthoc_nemenyi_friedman
    expected = [
        [1.0, 0.022387257138649086, 0.983253615825105, 0.01795599012673066],
        [0.022387257138649086, 1.0, 0.06168325891240056, 0.999859449385133],
        [0.983253615825105, 0.06168325891240056, 1.0, 0.05097606371177521],
        [0.01795599012673066, 0.999859449385133, 0.05097606371177521, 1.0],
    ]
    np.testing.assert_allclose(nemenyi(TABLE, "abcd").p, expected, rtol=1e-9)


def test_critical_difference_agrees_with_autorank():
    # autorank 1.3.0, which rounds its quantiles
    published = {(4, 14): 1.253551, (8, 15): 2.710884, (8, 5): 4.695389, (3, 10): 1.048136}
    for (k, n), value in published.items():
        assert critical_difference(k, n) == pytest.approx(value, rel=2e-5)


def test_critical_values_are_those_of_demsar_2006():
    """His table 5 (a): two-tailed Nemenyi, 5 %."""
    table = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102}
    for k, value in (table | {10: 3.164}).items():
        found = critical_difference(k, 14) / (k * (k + 1) / (6 * 14)) ** 0.5
        assert found == pytest.approx(value, abs=1e-3)  # he cuts off


def test_cliques_by_hand():
    """Mean ranks 1, 2.5, 2.5, 4 in 20 blocks, critical difference 1.05: only the two in between."""
    table = np.array([[4, 3, 2, 1], [4, 2, 3, 1]] * 10)
    assert nemenyi(table, "abcd").cliques == (("b", "c"),)
    # In 8 blocks it is 1.66: both ends reach the middle, and not each other.
    assert nemenyi(table[:8], "abcd").cliques == (("a", "b", "c"), ("b", "c", "d"))


def brute_wilcoxon(values):
    """All signs of the nonzero ranks, one by one."""
    values = np.asarray(values, float)
    ranks = stats.rankdata(np.abs(values))[values != 0]
    observed = ranks[values[values != 0] > 0].sum()
    sums = [np.dot(ranks, signs) for signs in itertools.product([0, 1], repeat=len(ranks))]
    low, high = np.mean(np.array(sums) <= observed), np.mean(np.array(sums) >= observed)
    return min(1.0, 2 * min(low, high))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_wilcoxon_with_ties_and_zeros_is_exact(values):
    assert wilcoxon(values) == pytest.approx(brute_wilcoxon(values))


def test_wilcoxon_agrees_with_scipy():
    values = np.random.default_rng(0).normal(0.3, size=30)
    assert wilcoxon(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)
    # scipy 1.17.1, zero_method="pratt", PermutationMethod(n_resamples=inf)
    expected = [0.0009765625, 0.9296875, 0.00244140625]
    found = [wilcoxon(TABLE[:, column] - TABLE[:, 0]) for column in (1, 2, 3)]
    assert found == pytest.approx(expected)
    assert wilcoxon([0.0, 0.0]) == 1.0


def test_blocks_against_the_control():
    scores = dict(zip("abcd", TABLE.T.tolist(), strict=True))
    found = compare_blocks(scores, control="a")
    assert found.wilcoxon is not None
    assert {name: test.verdict for name, test in found.wilcoxon.items()} == {
        "b": "better",
        "c": "undecided",
        "d": "better",
    }
    assert found.wilcoxon["b"].p == pytest.approx(3 * 0.0009765625)
    assert found.ranks == pytest.approx({"a": 3.25, "b": 26 / 14, "c": 43 / 14, "d": 25.5 / 14})
    assert compare_blocks(scores, control=None).wilcoxon is None
    assert found.note == ""


def test_five_blocks_cannot_reject_and_say_so():
    table = np.arange(8.0)[None] + np.zeros((5, 1))
    found = compare_blocks(dict(zip("abcdefgh", table.T.tolist(), strict=True)), control="a")
    assert found.wilcoxon is not None
    assert {test.verdict for test in found.wilcoxon.values()} == {"undecided"}
    assert found.note == (
        "N = 5: Wilcoxon's p is at least 0.062 and Holm asks for 0.0071: it cannot reject; "
        "Nemenyi asks for 4.70 of at most 7 ranks between two."
    )
    two = compare_blocks({"a": [1.0, 2.0], "b": [2.0, 3.0], "c": [0.0, 1.0]}, control="a")
    assert two.note.endswith(
        "Nemenyi's critical difference is 2.34 of at most 2 ranks: it cannot reject."
    )


@pytest.mark.parametrize(
    "scores",
    [
        {"a": [0.1, np.nan], "b": [0.2, 0.3]},
        {"a": [0.1, np.inf], "b": [0.2, 0.3]},
        {"a": [0.1, 0.2], "b": [0.2]},
        {"a": [0.1], "b": [0.2]},
        {"a": [0.1, 0.2]},
        {"a": [], "b": []},
    ],
)
def test_incomplete_tables_are_refused(scores):
    with pytest.raises(UsageError):
        compare_blocks(scores, control="a")


def test_tests_across_blocks_of_identical_strategies_err_in_five_percent():
    rng = np.random.default_rng(0)
    repetitions = 200
    omnibus = against = pairs = 0
    for _ in range(repetitions):
        table = rng.normal(size=(15, 8)) + rng.normal(size=(15, 1))
        names = "abcdefgh"
        found = compare_blocks(dict(zip(names, table.T.tolist(), strict=True)), control="a")
        assert found.wilcoxon is not None
        omnibus += found.friedman.p < 0.05
        against += any(test.verdict != "undecided" for test in found.wilcoxon.values())
        pairs += np.min(found.nemenyi.p) < 0.05
    assert within(omnibus, repetitions, 0.05)
    assert stats.binomtest(int(against), repetitions, 0.05, alternative="greater").pvalue > 0.01
    assert stats.binomtest(int(pairs), repetitions, 0.05, alternative="greater").pvalue > 0.01


# Summaries


def test_interquartile_mean_is_scipys():
    scores = np.random.default_rng(0).normal(size=(5, 15))
    found = interquartile_mean(scores)
    assert found.value == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))
    assert found == interquartile_mean(scores)
    draws = [
        stats.trim_mean(scores[rows, np.arange(15)], 0.25, axis=None)
        for rows in np.random.default_rng(1).integers(5, size=(2000, 5, 15))
    ]
    expected = np.quantile(draws, [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.02)


def test_probability_of_improvement_is_mann_whitneys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (5, 6)).astype(float), rng.integers(0, 4, (3, 6)).astype(float)
    expected = [stats.mannwhitneyu(x[:, c], y[:, c]).statistic / 15 for c in range(6)]
    found = probability_of_improvement(x, y)
    assert found.value == pytest.approx(np.mean(expected))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    mirrored = probability_of_improvement(y, x)
    assert mirrored.value == pytest.approx(1 - found.value)


def test_the_shorter_float_moves_no_bit_of_a_probability(monkeypatch):
    x, y = np.random.default_rng(8).integers(0, 4, size=(2, 5, 40)) / 10
    short = probability_of_improvement(x, y)
    monkeypatch.setattr("harness.stats.aggregate.EXACT", 0)
    assert probability_of_improvement(x, y) == short
    assert short.low < short.value < short.high


def test_one_seed_has_no_interval():
    one = np.random.default_rng(0).normal(size=(1, 15))
    for found in (interquartile_mean(one), probability_of_improvement(one, one)):
        assert (found.low, found.high) == (None, None)
    assert probability_of_improvement(one, one).value == 0.5


def test_win_rate_has_the_exact_interval():
    # statsmodels 0.15.0, proportion_confint(method="beta")
    expected = {
        0: (0.0, 0.21801936091053403),
        11: (0.4489967589630295, 0.9221284537089565),
        12: (0.5191088661931469, 0.9566879948941635),
        15: (0.7819806390894659, 1.0),
    }
    for wins, interval in expected.items():
        found = win_rate([0.02] * wins + [-0.02] * (15 - wins))
        assert (found.low, found.high) == pytest.approx(interval)
        assert (found.wins, found.losses, found.cells) == (wins, 15 - wins, 15)


def test_a_point_is_no_win():
    found = win_rate([0.81 - 0.80, 0.80 - 0.81, 0.0101, -0.0101])
    assert (found.wins, found.losses) == (1, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: win_rate([0.1, np.nan]),
        lambda: win_rate([]),
        lambda: wilcoxon([np.nan, 0.1]),
        lambda: interquartile_mean(np.array([[np.nan, 1.0]])),
        lambda: probability_of_improvement(np.ones((2, 2)), np.full((2, 2), np.nan)),
        lambda: probability_of_improvement(np.ones((2, 2)), np.ones((2, 3))),
        lambda: holm([0.1, np.nan]),
    ],
)
def test_what_is_not_there_is_refused(call):
    with pytest.raises(UsageError):
        call()


# Live oracles, where they are installed


def test_holm_beside_statsmodels():
    p = np.random.default_rng(0).random(50) ** 3
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_nemenyi_beside_scikit_posthocs():
    table = np.random.default_rng(0).normal(size=(15, 8))
    expected = posthoc_nemenyi_friedman(table).to_numpy()
    np.testing.assert_allclose(nemenyi(table, "abcdefgh").p, expected, atol=1e-9)


def test_blocks_beside_autorank(capsys):
    """Friedman's p, mean ranks and the critical difference, of scores that are far from normal."""
    table = np.random.default_rng(0).gamma(0.5, size=(15, 8)) + np.linspace(0, 1, 8)
    names = list("abcdefgh")
    expected = autorank(
        pd.DataFrame(table, columns=names),
        force_mode="nonparametric",
        order="descending",
        verbose=False,
    )
    capsys.readouterr()  # it prints, asked or not
    found = compare_blocks({name: table[:, i].tolist() for i, name in enumerate(names)}, "a")
    assert (expected.omnibus, expected.posthoc) == ("friedman", "nemenyi")
    assert found.friedman.p == pytest.approx(expected.pvalue)
    assert found.ranks == pytest.approx(expected.rankdf["meanrank"].to_dict())
    assert found.nemenyi.difference == pytest.approx(expected.cd, rel=2e-5)


@given(st.integers(2, 30), st.floats(0, 12))
@settings(max_examples=20, deadline=None)
def test_the_studentized_range_is_scipys(k, width):
    expected = stats.studentized_range.sf(width, k, np.inf)
    assert range_exceeds(np.array(width), k) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_ranks_are_scipys(values):
    given = np.array(values, dtype=float)
    np.testing.assert_array_equal(average_ranks(given), stats.rankdata(given))

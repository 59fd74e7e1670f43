"""Estimates, Holm and verdicts, against scipy and statsmodels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.errors import UsageError
from harness.stats import Estimate, benjamini_hochberg, holm, mean_of
from harness.stats.estimate import refuse_nan

P_VALUES = [0.01, 0.04, 0.03, 0.005, 0.2, 0.9, 1.0, 0.0007, 0.03]


def test_an_estimate_is_students():
    estimate = Estimate(value=0.03, se=0.01, df=4, seeds=5)
    assert estimate.interval() == pytest.approx(stats.t(4, 0.03, 0.01).interval(0.95))
    assert estimate.p == pytest.approx(2 * stats.t(4).sf(3))
    assert Estimate(0.0, 0.0, 4, 5).p == 1.0
    normal = Estimate(0.03, 0.01, np.inf, 5)
    assert normal.bound(0.975) == pytest.approx(0.03 + 0.01 * stats.norm.ppf(0.975))


def test_no_bound_lies_beyond_what_can_be():
    wide = Estimate(0.5, 0.1, 1, 2, widest=1.0)
    assert 0.5 + 0.1 * stats.t(1).ppf(0.999) > 1
    assert wide.interval(0.998) == (-1.0, 1.0)
    within = stats.t(1, 0.5, 0.1).interval(0.5)
    assert wide.interval(0.5) == pytest.approx(within)
    assert Estimate(0.5, 0.1, 1, 2).bound(0.999) > 1


def test_a_mean_has_the_fewest_seeds_and_the_mean_of_the_limits():
    one, other = Estimate(0.5, 0.1, 4, 5, widest=1.0), Estimate(-0.1, 0.2, 9, 3, widest=2.0)
    assert (mean_of([one, other]).seeds, mean_of([one, other]).widest) == (3, 1.5)
    assert mean_of([one, Estimate(0.0, 0.1, 4, 5)]).widest is None
    still = mean_of([Estimate(0.25, 0.0, 4, 5), Estimate(0.5, 0.0, 4, 5)])
    assert (still.value, still.se, still.df) == (0.375, 0.0, np.inf)


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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_benjamini_and_hochberg_is_scipys(p):
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p).tolist())
    assert benjamini_hochberg([]) == []


def test_the_least_step_is_taken_off_the_value():
    estimate = Estimate(0.03, 0.01, 4, 5, step=0.01)
    assert estimate.p == pytest.approx(2 * stats.t(4).sf(2))
    assert Estimate(-0.01, 0.01, 4, 5, step=0.01).p == 1.0
    assert estimate.interval() == pytest.approx(stats.t(4, 0.03, 0.01).interval(0.95))


def test_one_side_against_a_threshold():
    estimate = Estimate(0.03, 0.01, 4, 5)
    assert estimate.exceeds(0.01) == pytest.approx(stats.t(4).sf(2))
    assert estimate.mirrored().exceeds(-0.01) == pytest.approx(stats.t(4).cdf(2))
    without_doubt = Estimate(0.03, 0.0, 4, 5)
    assert (without_doubt.exceeds(0.01), without_doubt.exceeds(0.03)) == (0.0, 1.0)


def test_an_estimate_of_one_seed_names_its_basis():
    assert Estimate(0.0, 0.1, 4, 1).basis == "test images only"
    assert Estimate(0.0, 0.1, 4, 2).basis == "images and seeds"


def test_what_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"^p-values: 1 of 3 are not finite, the first at .1,"):
        holm([0.1, np.nan, 0.2])
    with pytest.raises(UsageError, match=r"^scores: there are none"):
        refuse_nan(np.array([]), "scores")


def test_holm_beside_statsmodels():
    p = np.random.default_rng(0).random(50) ** 3
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist())

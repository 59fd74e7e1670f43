"""Estimates, Holm and verdicts, against scipy and statsmodels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.errors import UsageError
from harness.stats import Estimate, compare, holm, mean_of
from harness.stats.estimate import decide, refuse_nan

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


def test_verdicts_follow_holm_and_need_three_seeds():
    sure = Estimate(0.05, 0.01, 100, 5)
    close = Estimate(-0.022, 0.01, 100, 5)  # p = .03: not with a second test beside it
    found = compare({"a": sure, "b": close, "c": Estimate(0.0, 0.0, 100, 5)})
    assert [found[name].verdict for name in "abc"] == ["better", "undecided", "undecided"]
    assert compare({"b": close})["b"].verdict == "worse"
    for seeds, verdict in ((1, "undecided"), (2, "undecided"), (3, "better")):
        assert compare({"a": Estimate(0.05, 0.01, 100, seeds)})["a"].verdict == verdict
    assert (found["a"].low, found["a"].high) == pytest.approx(sure.interval())
    assert [(one.value, one.seeds) for one in found.values()] == [(0.05, 5), (-0.022, 5), (0.0, 5)]
    assert [found[name].p for name in "abc"] == pytest.approx(
        [3 * 2 * stats.t(100).sf(5), 2 * 2 * stats.t(100).sf(2.2), 1.0]
    )
    assert compare({"b": close}, level=0.99)["b"].verdict == "undecided"
    assert compare({"b": close}, level=0.99)["b"].low == pytest.approx(close.interval(0.99)[0])


def test_a_verdict_needs_a_direction_and_a_small_p():
    assert [decide(value, 0.01) for value in (1.0, 0.1, 0.0, -0.1)] == [
        "better",
        "better",
        "undecided",
        "worse",
    ]
    assert decide(0.1, 1 - 0.95) == "better"
    assert decide(0.1, 0.06) == decide(-0.1, 0.06) == "undecided"


def test_what_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"^p-values: 1 of 3 are not finite, the first at .1,"):
        holm([0.1, np.nan, 0.2])
    with pytest.raises(UsageError, match=r"^scores: there are none"):
        refuse_nan(np.array([]), "scores")


def test_holm_beside_statsmodels():
    p = np.random.default_rng(0).random(50) ** 3
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist())

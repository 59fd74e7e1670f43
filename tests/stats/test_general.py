"""Datasets in general, and places: against the t test, hand computation, and small simulations."""

import numpy as np
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.stats import general_pairs, in_general, rank_sets


def test_one_strategy_is_the_t_test_over_datasets():
    gains = np.array([[0.03], [0.01], [0.04], [0.0], [0.02]])
    (found,) = in_general(gains, seeds=3)
    expected = stats.ttest_1samp(gains[:, 0], 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_no_strategy_is_taken_to_vary_less_than_it_does():
    rng = np.random.default_rng(0)
    gains = rng.normal(0, 0.02, (5, 7))
    gains[:, 3] *= 4
    found = in_general(gains, seeds=3)
    own = gains.std(axis=0, ddof=1) / 5**0.5
    assert all(one.se >= error - 1e-12 for one, error in zip(found, own, strict=True))
    assert min(one.se for one in found) > own.min()
    assert all(4 <= one.df <= 16 for one in found)


def test_strategies_that_vary_alike_lend_all_they_know():
    """Variances that differ no more than chance has it: their mean, with all degrees there are."""
    base = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    gains = np.stack([np.roll(base, shift) for shift in range(5)], axis=1) / 100
    found = in_general(gains, seeds=3)
    assert [one.se for one in found] == pytest.approx([0.025**0.5 * 0.1 / 5**0.5] * 5)
    assert {one.df for one in found} == {12.0}  # 4 x (1 + 5) / 2: gains share the control


def test_three_datasets_say_nothing_of_others():
    assert in_general(np.zeros((3, 2)), seeds=3) == [None, None]
    with pytest.raises(UsageError, match="at least four"):
        general_pairs(np.zeros((3, 2)))
    with pytest.raises(UsageError):
        in_general(np.array([[np.nan], [0], [0], [0]]), seeds=3)


def test_pairs_by_hand():
    scores = np.array([[0.9, 0.8, 0.7], [0.8, 0.8, 0.5], [0.7, 0.6, 0.6], [0.9, 0.7, 0.6]])
    found = general_pairs(scores)
    variances = [np.var(scores[:, i] - scores[:, j], ddof=1) for i, j in ((0, 1), (0, 2), (1, 2))]
    for (i, j), own in zip(((0, 1), (0, 2), (1, 2)), variances, strict=True):
        error = (max(own, np.mean(variances)) / 4) ** 0.5
        t = abs(scores[:, i].mean() - scores[:, j].mean()) / error
        assert found[i, j] == found[j, i] == pytest.approx(2 * stats.t(4.5).sf(t))
    assert found.diagonal().tolist() == [1, 1, 1]


def test_places_by_hand():
    """a beats b and c, which cannot be told apart; d is beaten by a only."""
    p = np.ones((4, 4))
    for i, j in ((0, 1), (0, 2), (0, 3)):
        p[i, j] = p[j, i] = 0.001
    assert rank_sets([0.9, 0.8, 0.79, 0.5], p) == [(1, 1), (2, 4), (2, 4), (2, 4)]
    p[1, 3] = p[3, 1] = 0.001
    assert rank_sets([0.9, 0.8, 0.79, 0.5], p) == [(1, 1), (2, 3), (2, 4), (3, 4)]
    assert rank_sets([0.9, 0.8], np.full((2, 2), 0.051)) == [(1, 2), (1, 2)]


def test_places_are_adjusted_for_all_pairs():
    p = np.full((4, 4), 0.04)  # six pairs: none is sure
    assert rank_sets([4, 3, 2, 1], p) == [(1, 4)] * 4

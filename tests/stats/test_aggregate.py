"""Summaries over blocks, against scipy."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.stats import benjamini_hochberg, expected_best, holm, probability_of_improvement


def test_probability_of_improvement_is_mann_whitneys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (5, 6)).astype(float), rng.integers(0, 4, (3, 6)).astype(float)
    expected = [stats.mannwhitneyu(x[:, c], y[:, c]).statistic / 15 for c in range(6)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(expected))
    assert probability_of_improvement(y, x) == pytest.approx(1 - np.mean(expected))


def test_sums_that_differ_in_the_last_place_are_ties():
    assert probability_of_improvement(np.array([[0.1 + 0.2]]), np.array([[0.3]])) == 0.5


@pytest.mark.parametrize("values", [[0.7], [0.3, 0.1, 0.2], [0.5, 0.5, 0.9, 0.1]])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_expected_best_is_the_mean_over_all_draws(values, n):
    """K values drawn n times with replacement: all K^n draws are as likely."""
    draws = list(product(values, repeat=n))
    expected = sum(max(draw) for draw in draws) / len(draws)
    assert expected_best(values, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: probability_of_improvement(np.ones((2, 2)), np.full((2, 2), np.nan)),
        lambda: probability_of_improvement(np.ones((2, 2)), np.ones((2, 3))),
        lambda: expected_best([], 1),
        lambda: expected_best([0.5, np.nan], 1),
        lambda: expected_best([0.5], 0),
        lambda: holm([0.1, np.nan]),
        lambda: benjamini_hochberg([0.1, np.nan]),
    ],
)
def test_what_is_not_there_is_refused(call):
    with pytest.raises(UsageError):
        call()

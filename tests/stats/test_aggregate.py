"""Summaries over blocks, against scipy."""

import numpy as np
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.stats import benjamini_hochberg, holm, probability_of_improvement


def test_probability_of_improvement_is_mann_whitneys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (5, 6)).astype(float), rng.integers(0, 4, (3, 6)).astype(float)
    expected = [stats.mannwhitneyu(x[:, c], y[:, c]).statistic / 15 for c in range(6)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(expected))
    assert probability_of_improvement(y, x) == pytest.approx(1 - np.mean(expected))


def test_sums_that_differ_in_the_last_place_are_ties():
    assert probability_of_improvement(np.array([[0.1 + 0.2]]), np.array([[0.3]])) == 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: probability_of_improvement(np.ones((2, 2)), np.full((2, 2), np.nan)),
        lambda: probability_of_improvement(np.ones((2, 2)), np.ones((2, 3))),
        lambda: holm([0.1, np.nan]),
        lambda: benjamini_hochberg([0.1, np.nan]),
    ],
)
def test_what_is_not_there_is_refused(call):
    with pytest.raises(UsageError):
        call()

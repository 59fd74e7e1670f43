"""Summaries over blocks, against scipy."""

import numpy as np
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.stats import holm, interquartile_mean, probability_of_improvement, wilcoxon, win_rate


@pytest.mark.slow
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

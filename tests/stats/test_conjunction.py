"""In how many cells something holds, against scipy and by counting."""

import numpy as np
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.stats import partial_conjunction, share

P = [0.001, 0.02, 0.03, 0.04, 0.2, 0.5, 0.9]


@pytest.mark.parametrize("least", range(1, 8))
def test_cells_that_stand_alone_are_fishers(least):
    expected = stats.combine_pvalues(sorted(P)[least - 1 :]).pvalue
    assert partial_conjunction(P, least) == pytest.approx(expected)
    assert partial_conjunction(P[::-1], least, [1] * 7) == pytest.approx(expected)


def test_related_cells_are_browns():
    """Two datasets of three cells and one of one: of four cells, three may be of one dataset."""
    found = partial_conjunction(P, 4, [3, 3, 1])
    variance = 4 * 4 + 2 * 3 * (3.25 * 0.3 + 0.75 * 0.3**2)
    scale, df = variance / (2 * 8), 2 * 8**2 / variance
    statistic = -2 * np.log(sorted(P)[3:]).sum()
    assert found == pytest.approx(stats.chi2(df).sf(statistic / scale))
    assert partial_conjunction([0.001] * 7, 4, [3, 3, 1]) > partial_conjunction([0.001] * 7, 4)


def test_a_share_counts_what_is_sure_on_both_sides():
    holds = [1e-30] * 9 + [0.5] * 6
    fails = [1.0] * 9 + [0.5] * 3 + [1e-30] * 3
    found = share(holds, fails, [3] * 5, 0.025)
    assert (found.low, found.high, found.cells) == (9, 12, 15)


def test_nothing_known_is_the_whole_range():
    found = share([0.5] * 15, [0.5] * 15, [3] * 5, 0.025)
    assert (found.low, found.high) == (0, 15)


def test_a_number_below_is_shown_with_every_number():
    """The lower end is at least u only where all smaller numbers are rejected, too."""
    rng = np.random.default_rng(0)
    for p in rng.random((20, 9)) ** 4:
        found = share(p, 1 - p, [3] * 3, 0.025)
        rejected = [partial_conjunction(p, u, [3] * 3) <= 0.025 for u in range(1, 10)]
        assert found.low == next((u for u, one in enumerate(rejected) if not one), 9)


@pytest.mark.slow
def test_the_least_favourable_case_errs_in_two_and_a_half_percent():
    """7 of 15 cells hold beyond doubt, 8 just do not; cells of a dataset go together."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        shared = np.repeat(rng.normal(size=5), 3)
        z = 0.7**0.5 * rng.normal(size=15) + 0.3**0.5 * shared
        p = stats.norm.sf(z + np.r_[np.full(7, 9.0), np.zeros(8)])
        hits += partial_conjunction(p, 8, [3] * 5) <= 0.025
    assert stats.binomtest(hits, 1000, 0.025, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("call", [lambda: partial_conjunction(P, 0), lambda: partial_conjunction(P, 8),
                                  lambda: partial_conjunction([np.nan], 1)])  # fmt: skip
def test_what_cannot_be_is_refused(call):
    with pytest.raises(UsageError):
        call()

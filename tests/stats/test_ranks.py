"""Ranks across datasets, against scipy, scikit-posthocs and autorank."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.errors import UsageError
from harness.stats import compare_blocks, critical_difference, friedman, nemenyi, rank
from harness.stats.ranks import average_ranks, range_exceeds

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


def test_blocks_hold_mean_ranks():
    found = compare_blocks(dict(zip("abcd", TABLE.T.tolist(), strict=True)))
    assert found.ranks == pytest.approx({"a": 3.25, "b": 26 / 14, "c": 43 / 14, "d": 25.5 / 14})
    assert found.blocks == 14
    assert found.note == ""


def test_too_few_datasets_to_tell_anything_apart_say_so():
    found = compare_blocks({"a": [1.0, 2.0], "b": [2.0, 3.0], "c": [0.0, 1.0]})
    assert found.note == (
        "N = 2: Nemenyi's critical difference is 2.34 of at most 2 ranks: it cannot reject."
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
        compare_blocks(scores)


@pytest.mark.slow
def test_tests_across_blocks_of_identical_strategies_err_in_five_percent():
    rng = np.random.default_rng(0)
    repetitions = 200
    omnibus = pairs = 0
    for _ in range(repetitions):
        table = rng.normal(size=(15, 8)) + rng.normal(size=(15, 1))
        names = "abcdefgh"
        found = compare_blocks(dict(zip(names, table.T.tolist(), strict=True)))
        omnibus += found.friedman.p < 0.05
        pairs += np.min(found.nemenyi.p) < 0.05
    assert stats.binomtest(int(omnibus), repetitions, 0.05).pvalue > 0.001
    assert stats.binomtest(int(pairs), repetitions, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.slow
def test_nemenyi_beside_scikit_posthocs():
    from scikit_posthocs import posthoc_nemenyi_friedman  # slow to import

    table = np.random.default_rng(0).normal(size=(15, 8))
    expected = posthoc_nemenyi_friedman(table).to_numpy()
    np.testing.assert_allclose(nemenyi(table, "abcdefgh").p, expected, atol=1e-9)


@pytest.mark.slow
def test_blocks_beside_autorank(capsys):
    """Friedman's p, mean ranks and the critical difference, of scores that are far from normal."""
    import pandas as pd
    from autorank import autorank  # slow to import

    table = np.random.default_rng(0).gamma(0.5, size=(15, 8)) + np.linspace(0, 1, 8)
    names = list("abcdefgh")
    expected = autorank(
        pd.DataFrame(table, columns=names),
        force_mode="nonparametric",
        order="descending",
        verbose=False,
    )
    capsys.readouterr()  # it prints, asked or not
    found = compare_blocks({name: table[:, i].tolist() for i, name in enumerate(names)})
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

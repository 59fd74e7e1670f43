"""The board's one error rate, by p-values that were counted out by hand."""

import pytest

from harness.stats import Estimate, judge, least_found


def sure(p, value=0.05, seeds=3):
    """An estimate with this two-sided p."""
    from scipy.stats import norm

    return Estimate(value, abs(value) / norm.isf(p / 2), float("inf"), seeds)


def judged(cells, averages, general=None, **options):
    return judge(cells, averages, general or dict.fromkeys(averages), **options)


def test_averages_are_adjusted_after_holm_at_three_hundredths():
    averages = {"a": sure(0.009), "b": sure(0.016, -0.05), "c": sure(0.2)}
    found = judged([], averages).averages
    # Holm: .009 x 3, .016 x 2, .2; times 5/3.
    assert [found[n].p for n in "abc"] == pytest.approx([0.045, 0.16 / 3, 1 / 3])
    assert [found[n].verdict for n in "abc"] == ["better", "undecided", "undecided"]
    assert judged([], {"b": sure(0.016, -0.05)}).averages["b"].verdict == "worse"


def test_cells_are_asked_in_two_ways():
    """Four cells; `a` is found on average, `b` is not."""
    cells = [("a", sure(0.001)), ("a", sure(0.014)), ("b", sure(0.004)), ("b", sure(0.9))]
    averages = {"a": sure(0.001), "b": sure(0.5)}
    found = judged(cells, averages).cells
    # All four by BH: .001 x 4, .014 x 4/3, .004 x 2, .9; times 5/2.
    # Those of a by BH: .001 x 2, .014; times 5/3, times two strategies over one found.
    expected = [min(0.004 * 2.5, 0.002 * 10 / 3), min(0.014 * 10 / 3, 0.056 / 3 * 2.5), 0.02, 1.0]
    assert [one.p for one in found] == pytest.approx(expected)
    assert [one.verdict for one in found] == ["better", "better", "better", "undecided"]
    unfound = judged(cells, averages | {"a": sure(0.5)}).cells
    assert unfound[0].p == pytest.approx(0.004 * 2.5)
    assert unfound[1].verdict == "better"  # .0467 by all four


def test_tracks_share_the_rate():
    averages, cells = {"a": sure(0.02)}, [("a", sure(0.015))]
    one, two = (judged(cells, averages, tracks=n) for n in (1, 2))
    assert (one.averages["a"].verdict, two.averages["a"].verdict) == ("better", "undecided")
    assert two.averages["a"].p == pytest.approx(2 * one.averages["a"].p)
    assert (one.cells[0].verdict, two.cells[0].verdict) == ("better", "undecided")


def test_datasets_in_general_are_asked_only_of_what_these_show():
    averages = {"a": sure(0.001), "b": sure(0.5), "c": sure(0.001)}
    general = {"a": sure(0.01), "b": sure(0.001), "c": None}
    found = judged([], averages, general).general
    assert found["c"] is None
    assert (found["a"].verdict, found["b"].verdict) == ("better", "undecided")
    assert found["a"].p == pytest.approx(0.01)  # Holm of two: the second
    assert found["a"].basis == "datasets"


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_are_not_tested(seeds):
    few, many = sure(1e-9, seeds=seeds), sure(0.015)
    found = judged([("a", few), ("b", many)], {"a": few, "b": many}, {"a": few, "b": many})
    for one in (found.cells[0], found.averages["a"], found.general["a"]):
        assert (one.p, one.verdict) == (None, "untested")
    assert found.averages["a"].basis == ("test images only" if seeds == 1 else "images and seeds")
    # They cost the others nothing.
    assert found.averages["b"].p == pytest.approx(0.015 * 5 / 3)
    assert (found.averages["a"].low, found.averages["a"].high) == pytest.approx(few.interval())


def test_no_difference_is_no_verdict():
    found = judged([("a", Estimate(0.0, 0.0, 9, 3))], {"a": Estimate(0.0, 0.0, 9, 3)})
    assert found.averages["a"].verdict == found.cells[0].verdict == "undecided"


@pytest.mark.parametrize("df", [4, 30, 1e9])
@pytest.mark.parametrize("tracks", [1, 2])
def test_the_least_gain_that_is_found_is_found_in_four_of_five(df, tracks):
    """Four in five draws lie above this value, which is decided just so, others being nothing."""
    from scipy.stats import t

    least = least_found(Estimate(0.0, 0.01, df, 3), 7, tracks)
    fifth = Estimate(least + t.ppf(0.2, df) * 0.01, 0.01, df, 3)
    averages = {"a": fifth} | {name: Estimate(0.001, 0.01, df, 3) for name in "bcdefg"}
    assert judged([], averages, tracks=tracks).averages["a"].p == pytest.approx(0.05)
    assert least_found(Estimate(0.3, 0.01, df, 3), 7, tracks) == least  # whatever was measured


def test_a_step_makes_the_least_gain_larger():
    plain, stepped = (least_found(Estimate(0, 0.01, 9, 3, step=step), 7) for step in (0, 0.002))
    assert stepped == pytest.approx(plain + 0.002)

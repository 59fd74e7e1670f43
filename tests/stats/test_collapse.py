"""The collapse rule at the edges of its five conditions."""

import numpy as np
import pytest
from simulated import collapse, worlds

from harness.stats import collapsed

TARGETS = np.repeat([0, 1], 100)  # sd of a run: (.04^2 + .25 / 200)^.5 = .0534
SD = (0.04**2 + 0.25 / 200) ** 0.5


def run(right_of_0, right_of_1):
    """Class numbers, with so many of each class right."""
    return np.where(
        np.concatenate([np.arange(100) < right_of_0, np.arange(100) < right_of_1]),
        TARGETS,
        1 - TARGETS,
    )


def said(before, after, **options):
    return collapsed(np.array(before), np.array(after), TARGETS, **options)[0]


CONSTANT = np.zeros(200, dtype=int)


def test_one_constant_run_of_several():
    least = 0.5 + 2.5 * SD  # .6336
    above, below = run(64, 63), run(63, 63)
    assert (2 * 64 - 1) / 200 > least > 0.63
    good = run(85, 85)
    assert said([above, above], [CONSTANT, good]) == "1 of 2 runs predict one class only"
    assert said([above, below], [CONSTANT, good]) == ""
    assert said([good, below], [CONSTANT, good]) == ""  # no run may be near chance
    assert said([good] * 2, [good] * 2) == ""


def test_all_runs_constant_need_only_a_baseline_above_chance():
    weak = run(53, 52)
    assert said([weak] * 2, [CONSTANT] * 2) == "every run predicts one class only"
    assert said([weak], [CONSTANT]) == ""  # a single one is not enough
    assert said([run(50, 50)] * 2, [CONSTANT] * 2) == ""


def test_a_baseline_that_is_nearly_constant_itself_does_not_count():
    """More than 90 % of its predictions in one class."""
    nearly = run(99, 15)  # 184 of 200 are class 0
    assert said([nearly] * 2, [CONSTANT] * 2) == ""
    assert said([run(99, 21)] * 2, [CONSTANT] * 2) == "every run predicts one class only"


def test_where_most_samples_are_of_one_class_so_may_most_predictions_be():
    targets = np.repeat([0, 1], [190, 10])  # allowed: 1 - (1 - .95) / 2 = 97.5 %
    before = np.zeros((3, 200), dtype=int)
    before[:, 191:] = 1  # 9 of 10 right; 191 of 200 predictions are class 0
    assert (
        collapsed(before, np.zeros_like(before), targets)[0] == "3 of 3 runs predict one class only"
    )


def test_no_better_than_chance():
    """Four standard deviations of a difference of means: with three runs, .1745."""
    fall = 4 * SD * (2 / 3) ** 0.5
    assert 0.17 < fall < 0.18
    chance = run(50, 50)
    assert said([run(68, 68)] * 3, [chance] * 3) == "no better than chance"
    assert said([run(67, 67)] * 3, [chance] * 3) == ""
    assert said([run(68, 68)] * 3, [run(51, 50)] * 3) == ""  # a little better


def test_the_worst_run_no_better_than_chance():
    """Four standard deviations of a difference of two runs: .302."""
    chance, good = run(50, 50), run(90, 90)
    assert said([run(81, 80)] * 3, [chance, good, good]) == "its worst run is no better than chance"
    assert said([run(80, 80)] * 3, [chance, good, good]) == ""


def test_all_wrong_on_six_groups_is_a_collapse():
    assert said([run(80, 80)], [1 - TARGETS]) == "no better than chance"


def test_a_baseline_whose_runs_vary_much_is_told_less_from_chance():
    steady, varying = [run(70, 70)] * 3, [run(64, 64), run(70, 70), run(85, 85)]
    good = run(85, 85)
    assert said(steady, [CONSTANT, good])
    assert said(varying, [CONSTANT, good]) == ""
    assert said(steady, [CONSTANT, good], spread=0.1) == ""


def test_accuracy_counts_from_the_largest_class():
    targets = np.repeat([0, 1], [150, 50])
    before = np.where(np.arange(200) < 190, targets, 0)  # 190 of 200: .2 above .75
    assert collapsed(before[None], np.zeros((1, 200), int), targets, balanced=False)[0]
    weak = np.zeros((1, 200), int)
    weak[0, 190:] = 1  # 160 of 200: .05 above
    assert collapsed(weak, np.zeros((1, 200), int), targets, balanced=False)[0] == ""


def test_a_test_set_of_one_class_cannot_show_a_collapse():
    ones = np.ones((3, 7), dtype=int)
    assert collapsed(ones, ones, ones[0]) == ("", "")


@pytest.mark.parametrize("before", [run(52, 52), CONSTANT])
def test_a_weak_baseline_is_said(before):
    found, note = collapsed(np.array([before]), np.array([CONSTANT]), TARGETS)
    assert found == ""
    assert "too weak to tell" in note
    assert collapsed(np.array([run(90, 90)]), np.array([run(80, 80)]), TARGETS) == ("", "")


# Small versions of benchmarks/simulations/collapse.py


def named(name, skill, bias, seeds, way=None, calls=200):
    """In how many calls the rule speaks."""
    targets = worlds.test_set(name).targets
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(calls):
        runs = collapse.predict(rng, targets, 2 * seeds, skill, bias)
        after = runs[seeds:] if way is None else way(runs[seeds:], targets)
        found += bool(collapsed(runs[:seeds], after, targets)[0])
    return found


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", ["real-mri", "3 of a class"])
def test_weak_but_honest_cells_are_left_in_peace(name, seeds):
    """Up to a run's sd of 4.5 points none in 500 was named: two in 200 are already too many."""
    assert named(name, 0.6, 0.5, seeds) <= 1


@pytest.mark.parametrize("way", [collapse.constant, collapse.wrong])
@pytest.mark.parametrize("name", ["real-mri", "real-histology", "3 of a class"])
def test_a_collapse_is_always_seen_where_the_baseline_is_clear_of_chance(name, way):
    assert named(name, 1.8, 0.3, 3, way) == 200

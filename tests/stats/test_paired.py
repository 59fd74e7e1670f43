"""One cell by itself, worked out by hand."""

import numpy as np
import pytest

from harness.stats import Pair, contributions, measure
from harness.stats.paired import centred

BEFORE = np.array([[0.2, 0.1, 0.0, 0.05], [0.2, 0.2, 0.0, 0.05]])
AFTER = np.array([[0.2, 0.1, 0.1, 0.05], [0.4, 0.1, 0.1, 0.05]])


@pytest.mark.parametrize(
    ("balanced", "added"),
    [
        # Of class 5 there are three samples and of class 9 one: a sixth each, and a half.
        (True, [[1 / 2, 1 / 3], [1 / 6, 1 / 6]]),
        (False, [[1 / 4, 1 / 2], [1 / 4, 1 / 4]]),
    ],
)
def test_what_each_group_adds_to_the_accuracy(balanced, added):
    right = np.array([[True, False, True, True], [False, True, True, False]])
    targets, groups = np.array([5, 5, 5, 9]), np.array(["b", "a", "b", "a"])
    assert contributions(right, targets, groups, balanced=balanced) == pytest.approx(
        np.array(added)
    )


def test_two_runs_a_side():
    found = measure(Pair(BEFORE, AFTER))
    assert found.moved == pytest.approx([0.1, -0.05, 0.1, 0])
    assert found.value == pytest.approx(0.15)
    assert found.step == pytest.approx(0.05)  # the last group has not moved: that is no step
    assert found.churn == pytest.approx((0.1 + 0.4) / 2)
    assert (found.same, found.factor, found.df) == (False, 1.0, 2)
    # Scores .35 and .45, .45 and .65; groups vary by .01 (the first) and .0025 (the second).
    assert found.variance == pytest.approx((0.005 + 0.02) / 2)
    assert found.noise == pytest.approx(0.0125)
    assert found.pooled == pytest.approx((2 * 0.0125 + 0.01 + 0.0025 + 0.01) / 3)
    assert found.noise_df == pytest.approx((4 * 0.0125**2 / (0.01**2 + 0.0025**2) - 2) * 3 / 2)


def test_the_same_runs_twice_say_no_more_than_once():
    found = measure(Pair(BEFORE, BEFORE))
    assert (found.same, found.churn, found.value, found.step, found.df) == (True, 0, 0, 0, 1)
    assert [found.variance, found.noise, found.pooled] == pytest.approx([0.005] * 3)
    assert found.noise_df == pytest.approx(1)


def test_one_run_a_side_says_nothing_of_runs():
    found = measure(Pair(BEFORE[:1], AFTER[:1]))
    assert (found.df, found.variance, found.noise, found.noise_df) == (0, 0, 0, np.inf)
    assert found.pooled == pytest.approx(0.1**2 / 2)


def test_a_group_that_is_alone_in_its_class_counts_as_a_whole():
    assert centred(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])) == (4 + 25, 1.0)

"""The verdict on a change at its limits: a tolerance of one point, 5 % in all; and what it is told.

The cells of the second part have 800 samples of class 0 and 200 of class 1.
"""

from dataclasses import replace

import numpy as np
import pytest

from harness.results.gate import check
from harness.results.gate.records import FamilyReport, GateCell, GateRun, Rules
from harness.stats import Change

UNKNOWN = "one seed a side: the spread of seeds is not known"
LOSS = {"value": -0.011, "low": -0.02, "p_worse": 0.05}
GAIN = {"value": 0.011, "high": 0.02, "p_better": 0.05}


def judged(*, beyond=False, **given):
    change = {
        "value": 0.0, "low": -0.2, "high": 0.2, "p_worse": 1.0, "p_better": 1.0,
        "worse_beyond": 1.0, "better_beyond": 1.0, "level": 0.05, "churn": 0.5, "basis": "runs",
        "sight": None,
    }  # fmt: skip
    return check._compare(Change(**change | given), Rules(beyond_images=beyond), 0.01)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, ("inconclusive", "")),
        ({"basis": "same"}, ("equal", "as many samples of each group are right")),
        # So few samples differ that no change could be larger than the tolerance.
        ({"churn": 0.01}, ("equal", "")),
        ({"churn": 0.0101}, ("inconclusive", "")),
        # The interval lies within it.
        ({"low": -0.01, "high": 0.01}, ("equal", "")),
        ({"low": -0.01, "high": 0.01, "basis": "images"}, ("equal", UNKNOWN)),
        ({"low": -0.0101, "high": 0.01}, ("inconclusive", "")),
        ({"low": -0.01, "high": 0.0101}, ("inconclusive", "")),
        (LOSS, ("worse", "")),
        (LOSS | {"p_worse": 0.0501}, ("inconclusive", "")),
        (LOSS | {"value": -0.01}, ("inconclusive", "")),
        (LOSS | {"basis": "stated"}, ("worse", "")),
        (LOSS | {"basis": "images"}, ("inconclusive", UNKNOWN)),
        (
            LOSS | {"basis": "lent"},
            ("suspect", f"{UNKNOWN}; if it is that of the other cells, this one is worse"),
        ),
        (GAIN, ("better", "")),
        (GAIN | {"p_better": 0.0501}, ("inconclusive", "")),
        (GAIN | {"value": 0.01}, ("inconclusive", "")),
        (GAIN | {"basis": "stated"}, ("better", "")),
        (GAIN | {"basis": "lent"}, ("inconclusive", UNKNOWN)),
        (LOSS | {"beyond": True}, ("inconclusive", "")),
        (LOSS | {"beyond": True, "p_worse": 1.0, "worse_beyond": 0.05}, ("worse", "")),
        (LOSS | {"p_worse": 1.0, "worse_beyond": 0.05}, ("inconclusive", "")),
        (GAIN | {"beyond": True}, ("inconclusive", "")),
        (GAIN | {"beyond": True, "p_better": 1.0, "better_beyond": 0.05}, ("better", "")),
        (GAIN | {"p_better": 1.0, "better_beyond": 0.05}, ("inconclusive", "")),
    ],
)
def test_the_verdict_at_its_limits(given, verdict):
    assert judged(**given) == verdict


SIZES = (800, 200)
WEAK = "predicts one class only; the baseline is too weak to tell whether that is a collapse"
PERFECT = (800, 200)


def cell(*right, **options):
    """One run for each pair: how many samples of class 0 and of class 1 it gets right."""
    targets = np.repeat([0, 1], SIZES)
    place = np.concatenate([np.arange(size) for size in SIZES])
    runs = tuple(
        GateRun(seed, predicted=np.where(place < np.repeat(counts, SIZES), targets, 1 - targets))
        for seed, counts in enumerate(right)
    )
    return replace(GateCell({}, "cpu", np.arange(1000), targets, runs), **options)


def judge(before, after, **rules):
    (found,) = check.check({"c": before}, {"c": after}, Rules(**rules)).cells
    return found


@pytest.mark.parametrize(
    ("before", "after", "accuracy", "balanced"),
    [
        # 80 % are right, as many as are of class 0; the mean recall falls from 1 to .69.
        (PERFECT, (699, 100), "collapsed", "worse"),
        # The mean recall falls from .9 to .4975; 78 % are right, and 90 % were: no clear fall.
        ((720, 180), (780, 4), "worse", "collapsed"),
    ],
)
def test_a_collapse_is_one_of_the_metric_that_is_compared(before, after, accuracy, balanced):
    sides = cell(*[before] * 3), cell(*[after] * 3)
    assert judge(*sides, metric="accuracy").verdict == accuracy
    assert judge(*sides, metric="balanced-accuracy").verdict == balanced


@pytest.mark.parametrize(
    ("points", "verdict"),
    [(None, "collapsed"), (0.0, "collapsed"), (2.0, "collapsed"), (10.0, "worse")],
)
def test_a_stated_spread_of_seeds_counts_for_a_collapse(points, verdict):
    """From 1 to .5 with one seed a side: 4 standard deviations of a difference at ten points."""
    assert judge(cell(PERFECT), cell((399, 100)), seed_spread=points).verdict == verdict


@pytest.mark.parametrize(
    ("before", "after", "verdict", "reason"),
    [
        ([(800, 0)] * 3, [(800, 0)] * 3, "equal", f"the same samples are right; {WEAK}"),
        ([(780, 20)], [(800, 0)], "inconclusive", f"{UNKNOWN}; {WEAK}"),
        ([(780, 20), (780, 24)], [(800, 0)] * 2, "worse", WEAK),
    ],
)
def test_a_note_stands_behind_the_reason(before, after, verdict, reason):
    found = judge(cell(*before), cell(*after))
    assert (found.verdict, found.reason) == (verdict, reason)


def test_every_seed_of_no_finite_numbers_is_named():
    broken = cell(*[PERFECT] * 3)
    broken = replace(broken, runs=tuple(replace(one, finite=one.seed == 1) for one in broken.runs))
    found = judge(cell(*[PERFECT] * 3), broken)
    assert found.reason == "seed 0, 2: outputs that are no finite numbers"


def test_every_seed_that_vanished_is_named():
    before = cell(*[PERFECT] * 3)
    found = judge(before, replace(before, runs=before.runs[1:2]))
    assert (found.verdict, found.reason) == ("vanished", "seed 0, 2")


def test_all_that_is_other_is_named():
    before = cell(PERFECT, facts={"data": "d", "protocol": "p"})
    after = replace(before, facts={"data": "e"}, targets=1 - before.targets)
    assert judge(before, after).reason == "other data, protocol, targets"


@pytest.mark.parametrize(
    ("metric", "before", "after", "change"),
    [("accuracy", 0.99, 0.95, -0.04), ("balanced-accuracy", 0.975, 0.875, -0.1)],
)
def test_scores_and_their_change_are_those_of_the_metric(metric, before, after, change):
    found = judge(cell(*[(800, 190)] * 3), cell(*[(800, 150)] * 3), metric=metric)
    assert (found.before, found.after) == pytest.approx((before, after))
    assert found.change is not None
    assert found.change.value == pytest.approx(change)


@pytest.mark.parametrize(
    ("before", "after", "verdict", "beyond"),
    [
        ((700, 170), (600, 130), "worse", True),
        ((600, 130), (700, 170), "better", True),
        ((700, 170), (690, 172), "equal", None),
    ],
)
def test_only_what_is_worse_or_better_may_be_so_on_other_images(before, after, verdict, beyond):
    found = judge(cell(*[before] * 3), cell(*[after] * 3))
    assert (found.verdict, found.beyond) == (verdict, beyond)


ONE, SAME, THREE, MORE = (
    ([PERFECT], [(790, 200)]),
    ([PERFECT], [PERFECT]),
    ([PERFECT] * 3, [(790, 200)] * 3),
    ([PERFECT], [(790, 200)] * 2),
)
UNUSED = "--seed-spread is not used: no cell that is compared has one seed a side"
TOLD = (
    "cells of one seed a side (2 that differ): nothing tells how much seeds spread, so only a "
    "collapse or a family fails; state it with --seed-spread, or train three seeds"
)


@pytest.mark.parametrize(
    ("sides", "points", "notes"),
    [
        ((ONE, ONE, SAME, THREE, MORE), None, (TOLD,)),
        ((ONE, ONE, SAME, THREE, MORE), 2.0, ()),
        ((SAME, THREE, MORE), None, ()),
        ((SAME, THREE), 2.0, ()),
        ((THREE, MORE), 2.0, (UNUSED,)),
        ((THREE, MORE), None, ()),
    ],
)
def test_what_is_noted_of_cells_of_one_seed(sides, points, notes):
    before, after = (
        {f"c{number}": cell(*side[half]) for number, side in enumerate(sides)} for half in (0, 1)
    )
    # A cell of one seed that is not compared needs no spread.
    before["moved"] = cell(PERFECT, facts={"data": "d"})
    after["moved"] = cell((790, 200), facts={"data": "e"})
    assert check.check(before, after, Rules(seed_spread=points)).notes == notes


def test_a_family_says_how_many_points_it_lost():
    lost = FamilyReport("strategy b", "worse", "", 15, 0.9, 0.8766, -0.0234, 0.5, None, fails=True)
    assert list(check._failures([], [lost])) == [
        "strategy b: worse by 2.3 points on average over 15 cells, from 90.0 % to 87.7 %",
        "nothing could be compared",
    ]

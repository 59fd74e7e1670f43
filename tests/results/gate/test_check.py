from __future__ import annotations

import runpy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from places import SIMULATIONS
from scipy import stats

from harness.errors import StoreError, UsageError
from harness.results.gate.check import check
from harness.results.gate.records import GateCell, GateRun, Rules
from harness.stats import Pair, compare_pairs, contributions

RUNS = runpy.run_path(str(SIMULATIONS / "truth.py"))["runs"]
ACCURACY = Rules(metric="accuracy")
N = 400


def cell(right, **options):
    """A cell from whether each run got each sample right, [S, N]; two classes take turns."""
    right = np.asarray(right, dtype=bool)
    targets = np.arange(right.shape[1]) % 2
    runs = tuple(
        GateRun(seed, predicted=np.where(row, targets, 1 - targets), seconds=10.0)
        for seed, row in enumerate(right)
    )
    given = {"facts": {"data": "d", "protocol": "p"}, "device": "cpu"} | options
    return GateCell(samples=np.arange(len(targets)), targets=targets, runs=runs, **given)


def runs(accuracy=0.85, seeds=3, samples=N, seed=0, spread=0.0):
    """Runs whose samples are equally easy in every call."""
    ease = np.random.default_rng(99).normal(size=samples)
    normals = np.random.default_rng(seed).normal(size=(seeds, 1 + samples))
    return RUNS(normals, ease, accuracy=accuracy, spread=spread)


def judge(before, after, rules=ACCURACY):
    """The only cell's report, and whether the gate fails."""
    report = check({"c": before}, {"c": after}, rules)
    (found,) = report.cells
    return found, bool(report.failures)


def flip(right, lost=0, won=0):
    """The same runs, but every one loses and wins so many samples."""
    changed = right.copy()
    for row in changed:
        row[np.flatnonzero(row)[:lost]] = False
        row[np.flatnonzero(~row)[lost : lost + won]] = True
    return changed


# Verdicts


def test_the_same_bits_are_equal():
    found, failed = judge(cell(runs()), cell(runs()))
    assert (found.verdict, failed) == ("equal", False)
    assert found.change is not None
    assert (found.change.value, found.change.p_worse) == (0.0, 1.0)
    assert found.reason == "the same samples are right"
    assert found.before == found.after == pytest.approx(runs().mean())


def test_one_changed_sample_is_still_equal():
    found, failed = judge(cell(runs()), cell(flip(runs(), lost=1)))
    assert (found.verdict, failed) == ("equal", False)


@pytest.mark.parametrize(
    ("lost", "won", "verdict"), [(40, 0, "worse"), (0, 40, "better"), (20, 20, "inconclusive")]
)
def test_losses_and_gains(lost, won, verdict):
    found, failed = judge(cell(runs()), cell(flip(runs(), lost, won)))
    assert (found.verdict, failed) == (verdict, verdict == "worse")
    assert found.change is not None
    assert found.change.value == pytest.approx((won - lost) / N)
    assert found.change.low < found.change.value < found.change.high
    assert found.seeds == (3, 3)


def test_a_significant_loss_within_the_tolerance_passes():
    rules = Rules(metric="accuracy", tolerances={"xray/*": 5.0, "*": 12.0})
    before, after = cell(runs()), cell(flip(runs(), lost=40))
    report = check({"xray/a": before, "mri/a": before}, {"xray/a": after, "mri/a": after}, rules)
    assert [(found.cell, found.verdict, found.tolerance) for found in report.cells] == [
        ("mri/a", "inconclusive", 12.0),
        ("xray/a", "worse", 5.0),
    ]
    assert report.failures == ("xray/a: worse",)


def test_balanced_accuracy_weighs_classes():
    targets = np.array([0] * 90 + [1] * 10)
    before = np.ones((1, 100), dtype=bool)
    after = before.copy()
    after[0, 90:95] = False
    for balanced, value in ((True, -0.25), (False, -0.05)):
        old, new = (
            contributions(right, targets, np.arange(100), balanced=balanced)
            for right in (before, after)
        )
        (change,) = compare_pairs([Pair(old, new)])
        assert change.value == pytest.approx(value)
        assert old.sum() == pytest.approx(1.0)


def test_one_seed_is_mcnemars_test():
    """3 samples won, 11 lost: statsmodels 0.15.0, mcnemar(exact=False, correction=True)."""
    before = np.array([[True] * 60 + [True] * 11 + [False] * 3 + [False] * 26])
    after = np.array([[True] * 60 + [False] * 11 + [True] * 3 + [False] * 26])
    found, _ = judge(cell(before), cell(after))
    assert found.change is not None
    assert found.change.p_worse == pytest.approx(0.0613688291394023 / 2)
    assert found.reason == "one seed a side: the spread of seeds is not known"


def test_seeds_are_the_t_test_between_runs():
    """Runs that shift as a whole: only the second level is left, a t-test over three runs a side."""
    rng = np.random.default_rng(0)
    sides = [
        rng.random((3, 2000)) < rate for rate in ([[0.7], [0.8], [0.9]], [[0.6], [0.65], [0.8]])
    ]
    found, _ = judge(cell(sides[0]), cell(sides[1]))
    expected = stats.ttest_ind(sides[1].mean(axis=1), sides[0].mean(axis=1), alternative="less")
    assert found.change is not None
    assert found.change.p_worse == pytest.approx(expected.pvalue, rel=0.05)
    assert found.verdict == "inconclusive"  # ten points lost, and seeds explain them


def test_groups_count_once():
    """Twenty groups of twenty samples that change together are twenty observations."""
    groups = np.repeat(np.arange(20), 20)
    before = np.ones((1, N), dtype=bool)
    after = before.copy()
    after[0, :80] = False
    alone, _ = judge(cell(before), cell(after))
    together, _ = judge(cell(before, groups=groups), cell(after, groups=groups))
    assert alone.change is not None
    assert together.change is not None
    assert alone.change.p_worse < 1e-6
    assert together.change.p_worse > 0.05


def test_more_cells_ask_for_more():
    after = cell(flip(runs(), lost=8))
    (few,) = check({"0": cell(runs())}, {"0": after}, ACCURACY).cells
    names = [str(number) for number in range(20)]
    many = check(dict.fromkeys(names, cell(runs())), dict.fromkeys(names, after), ACCURACY).cells
    assert few.verdict == "worse"
    assert {found.verdict for found in many} == {"inconclusive"}
    same = dict.fromkeys(names[1:], cell(runs()))  # cells that cannot raise an alarm cost nothing
    (first, *rest) = check({"0": cell(runs())} | same, {"0": after} | same, ACCURACY).cells
    assert first.verdict == "worse"
    assert {found.verdict for found in rest} == {"equal"}


# Cells that cannot be compared


def failing(given, seed, failure="CUDA out of memory"):
    return replace(
        given,
        runs=tuple(
            GateRun(seed, failure=failure) if run.seed == seed else run for run in given.runs
        ),
    )


def without(given, seed):
    return replace(given, runs=tuple(run for run in given.runs if run.seed != seed))


def test_a_run_that_fails_now_fails_the_gate():
    found, failed = judge(cell(runs()), failing(cell(runs()), seed=1))
    assert (found.verdict, found.reason) == ("newly-failing", "seed 1: CUDA out of memory")
    assert failed
    assert found.change is None
    assert found.after is not None  # of the two that are left


def test_a_run_that_failed_before_too_does_not():
    before, after = failing(cell(runs()), 1), failing(cell(runs()), 1)
    assert judge(before, after)[0].verdict == "equal"


@pytest.mark.parametrize("after", [{}, {"c": without(cell(runs()), 2)}])
def test_what_vanished_fails_the_gate(after):
    report = check({"c": cell(runs()), "d": cell(runs())}, {"d": cell(runs())} | after, ACCURACY)
    assert report.cells[0].verdict == "vanished"
    reason = "seed 2" if after else "not in the candidate"
    assert report.failures == (f"c: vanished ({reason})",)


def test_new_cells_pass_but_are_nothing_to_compare():
    report = check({}, {"c": cell(runs())}, ACCURACY)
    assert report.cells[0].verdict == "new"
    assert report.failures == ("nothing could be compared",)
    both = check({"d": cell(runs())}, {"c": cell(runs()), "d": cell(runs())}, ACCURACY)
    assert both.failures == ()
    healed, failed = judge(failing(cell(runs(seeds=1)), 0), cell(runs(seeds=1)))
    assert (healed.verdict, healed.reason, failed) == ("new", "failed in the baseline", True)


def test_failures_on_both_sides_are_not_comparable():
    given = failing(cell(runs(seeds=1)), 0)
    found, _ = judge(given, given)
    assert (found.verdict, found.reason) == ("not-comparable", "no finished run on either side")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"facts": {"data": "other", "protocol": "p"}}, "other data"),
        ({"facts": {"data": "d"}}, "other protocol"),
        ({"samples": np.arange(1, N + 1)}, "other test samples"),
        ({"groups": np.arange(N) // 2}, "other groups"),
    ],
)
def test_other_things_are_not_compared(change, reason):
    report = check({"c": cell(runs())}, {"c": replace(cell(runs()), **change)}, ACCURACY)
    assert (report.cells[0].verdict, report.cells[0].reason) == ("not-comparable", reason)
    assert report.failures == ("nothing could be compared",)


def test_nothing_at_all_fails():
    assert check({}, {}).failures == ("nothing could be compared",)


def test_contradictory_cells_are_refused():
    with pytest.raises(StoreError, match="two runs of one seed"):
        replace(cell(runs()), runs=cell(runs()).runs + cell(runs()).runs[:1])
    with pytest.raises(StoreError, match="seed 0"):
        replace(cell(runs()), runs=(GateRun(0),))
    with pytest.raises(StoreError, match="seed 0"):
        replace(cell(runs()), runs=(GateRun(0, predicted=np.zeros(3, int)),))


@pytest.mark.parametrize(
    "rules", [{"metric": "macro-f1"}, {"tolerances": {"*": -1.0}}, {"cost": float("nan")}]
)
def test_bad_rules_are_refused(rules):
    with pytest.raises(UsageError):
        Rules(**rules)


# Cost


def timed(seconds, **change):
    given = cell(runs())
    timed_runs = tuple(
        replace(run, seconds=value, **change)
        for run, value in zip(given.runs, seconds, strict=True)
    )
    return replace(given, runs=timed_runs)


@pytest.mark.parametrize(
    ("seconds", "tolerance", "verdict"),
    [
        ((10, 30, 11), 0.2, "equal"),
        ((13, 13, 9), 0.2, "worse"),
        ((8, 8, 8), 0.2, "better"),
        ((13, 13, 13), None, "not-judged"),
    ],
)
def test_cost_is_the_ratio_of_median_seconds(seconds, tolerance, verdict):
    rules = Rules(metric="accuracy", cost=tolerance)
    found, failed = judge(timed((10, 10, 99)), timed(seconds), rules)
    assert found.cost.verdict == verdict
    assert found.cost.ratio == pytest.approx(np.median(seconds) / 10)
    assert failed == (verdict == "worse")
    assert found.verdict == "equal"


def test_cost_failures_say_how_much():
    report = check({"c": timed((10,) * 3)}, {"c": timed((15,) * 3)}, Rules(cost=0.2))
    assert report.failures == ("c: costs 1.50 times as much",)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (replace(timed((99,) * 3), device="cuda"), "cpu and cuda"),
        (timed((99,) * 3, packed=True), "runs that shared a device"),
        (timed((None,) * 3), "seconds are not known"),
        (timed((99, None, 99)), "seconds are not known"),
    ],
)
def test_cost_is_not_compared_across_hardware_or_when_packed(after, reason):
    found, failed = judge(timed((10,) * 3), after, Rules(metric="accuracy", cost=0.2))
    assert (found.cost.verdict, found.cost.ratio) == ("not-comparable", None)
    assert found.cost.reason == reason
    assert not failed


# How often it errs: small versions of benchmarks/simulations/gate.py


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_the_simulated_truth_is_what_it_says(spread):
    """Decision 26's cell: accuracy .85; 12 % of the images disagree between seeds without luck."""
    rng = np.random.default_rng(0)
    right = RUNS(rng.normal(size=(300, 20_001)), rng.normal(size=20_000), spread=spread)
    scores = right.mean(axis=1)
    disagreement = np.mean([(one != other).mean() for one, other in pairwise(right)])

    assert scores.mean() == pytest.approx(0.85, abs=0.01)
    if spread:
        assert scores.std() == pytest.approx(spread, rel=0.15)
    else:
        assert disagreement == pytest.approx(0.12, abs=0.005)


def alarm(rng, spreads, samples=500, loss=0.0):
    """Whether the gate fails on cells with this spread of seeds, the first of which loses."""
    before, after = {}, {}
    for index, spread in enumerate(spreads):
        ease, normals = rng.normal(size=samples), rng.normal(size=(2, 3, 1 + samples))
        lost = loss if index == 0 else 0.0
        before[str(index)] = cell(RUNS(normals[0], ease, spread=spread))
        after[str(index)] = cell(RUNS(normals[1], ease, spread=spread, accuracy=0.85 - lost))
    return bool(check(before, after, ACCURACY).failures)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spreads", [(0.0,), (0.01,), (0.03,), (0.0,) * 6, (0.01,) * 6, (0.0, 0.0, 0.0, 0.0, 0.0, 0.03)]
)
def test_false_alarms_are_five_percent_of_calls_at_most(spreads):
    rng = np.random.default_rng(0)
    repetitions = 200 if len(spreads) == 1 else 100
    alarms = sum(alarm(rng, spreads) for _ in range(repetitions))
    assert stats.binomtest(alarms, repetitions, 0.05, alternative="greater").pvalue > 0.01


def test_a_loss_of_three_points_is_seen():
    rng = np.random.default_rng(0)
    alarms = sum(alarm(rng, (0.0,), loss=0.03) for _ in range(200))
    assert stats.binomtest(alarms, 200, 0.75, alternative="less").pvalue > 0.01


def test_cells_lend_each_other_what_they_know_of_seeds():
    """One seed a side in a cell, three in others: its error is theirs."""
    rng = np.random.default_rng(0)
    pairs = []
    for seeds in (3, 3, 3, 1):
        sides = [
            RUNS(rng.normal(size=(seeds, 501)), rng.normal(size=500), spread=0.03) for _ in "ab"
        ]
        added = [contributions(s, np.zeros(500), np.arange(500), balanced=False) for s in sides]
        pairs.append(Pair(*added))
    lent, alone = compare_pairs(pairs)[-1], compare_pairs(pairs[-1:])[0]
    assert lent.seeds_tested
    assert not alone.seeds_tested
    assert lent.high - lent.low > 2 * (alone.high - alone.low)

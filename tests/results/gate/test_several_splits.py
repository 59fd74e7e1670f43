"""Cells whose runs were made on several splits: each run beside that of its split and seed."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from harness.errors import UsageError
from harness.results.gate import report
from harness.results.gate.check import check
from harness.results.gate.records import GateCell, GateRun, Rules
from harness.stats import compare_pairs, measure

FACTS = {"data": "d", "protocol": "p", "limit": "None", "starting weights": "w"}
PLACE = ("mri", "resnet50", "lp-ft")


def part(split, samples, targets, runs, groups=None):
    return GateCell(
        facts=FACTS, device="cpu", samples=np.array(samples), targets=np.array(targets),
        groups=None if groups is None else np.array(groups), place=PLACE, split=split,
        runs=tuple(GateRun(seed, predicted=np.array(found)) for seed, found in runs.items()),
    )  # fmt: skip


def cell(*parts):
    return replace(parts[0], more=tuple(parts[1:]))


def two_splits(first, second):
    """Two splits of four images each, one seed on each; image c is tested in both."""
    return cell(
        part(0, ["a", "b", "c", "d"], [0, 0, 1, 1], {0: first}),
        part(1, ["c", "e", "f", "g"], [1, 0, 0, 1], {1: second}),
    )


def test_a_group_adds_what_it_added_where_it_was_tested_and_nothing_elsewhere():
    before, after = two_splits([0, 0, 1, 1], [1, 0, 0, 1]), two_splits([0, 1, 1, 1], [0, 0, 0, 0])
    pair = before.against(after, "accuracy")
    names = ["a", "b", "c", "d", "e", "f", "g"]
    quarter = 0.25
    right = {"before": ["abcd", "cefg"], "after": ["acd", "ef"]}
    for side, runs in right.items():
        expected = [[quarter * (name in run) for name in names] for run in runs]
        assert getattr(pair, side).tolist() == expected
    assert pair.strata.tolist() == [0, 0, 1, 1, 0, 0, 1]


def test_the_error_is_that_of_paired_differences():
    rng = np.random.default_rng(0)
    splits = 6
    parts = ([], [])
    scores = np.zeros((2, splits))
    for split in range(splits):
        names = [f"{split}-{n}" for n in range(40)]
        targets = np.arange(40) % 2
        luck = rng.normal(0, 0.1)
        for side in (0, 1):
            right = rng.random(40) < 0.75 + luck
            scores[side, split] = right.mean()
            parts[side].append(
                part(split, names, targets, {split: np.where(right, targets, 1 - targets)})
            )
    pair = cell(*parts[0]).against(cell(*parts[1]), "accuracy")
    found = measure(pair)
    differences = scores[1] - scores[0]
    assert found.df == splits - 1
    assert found.value == pytest.approx(differences.mean())
    assert found.variance == pytest.approx(differences.var(ddof=1) / 2)
    assert found.variance * found.factor == pytest.approx(differences.var(ddof=1) / splits)
    t = ttest_rel(scores[1], scores[0])
    assert found.value / (found.variance * found.factor) ** 0.5 == pytest.approx(t.statistic)


def test_what_splits_share_is_no_noise():
    """Both sides are 20 points lower on one split: the difference is not less sure for it."""
    easy, hard = [0, 0, 1, 1], [1, 0, 1, 1]
    plain = measure(
        two_splits(easy, [1, 0, 0, 1]).against(two_splits(easy, [1, 0, 0, 1]), "accuracy")
    )
    shifted = measure(
        two_splits(hard, [1, 0, 0, 1]).against(two_splits(hard, [1, 0, 0, 1]), "accuracy")
    )
    assert plain.same
    assert shifted.same
    assert shifted.variance == plain.variance == 0


def simulated(rng, splits=3, groups=60, lost=0.0):
    """A cell of three splits with a seed each; every side has its own luck on every image."""
    sides = ([], [])
    for split in range(splits):
        names = [f"{split}-{n}" for n in range(groups)]
        targets = np.arange(groups) % 2
        ease = rng.beta(4, 1.5, groups)
        for side, loss in ((0, 0.0), (1, lost)):
            right = rng.random(groups) < np.clip(ease + rng.normal(0, 0.02) - loss, 0, 1)
            sides[side].append(
                part(split, names, targets, {split: np.where(right, targets, 1 - targets)})
            )
    return cell(*sides[0]), cell(*sides[1])


@pytest.mark.slow
def test_same_code_raises_few_alarms_and_a_loss_is_seen():
    """200 calls of 24 cells; above 21 false alarms would be more than 5 % with 99.9 %."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(200):
        cells = [measure(a.against(b, "accuracy")) for a, b in (simulated(rng) for _ in range(24))]
        alarms += any(one.p_worse <= one.level for one in compare_pairs(cells))
    assert alarms <= 21
    before, after = {}, {}
    for number in range(24):
        before[f"{number}"], after[f"{number}"] = simulated(rng, lost=0.25)
    report = check(before, after, Rules("accuracy"))
    assert any("worse" in failure for failure in report.failures)


def test_a_lost_split_a_lost_seed_and_other_data_are_named():
    whole = two_splits([0, 0, 1, 1], [1, 0, 0, 1])
    first = part(0, ["a", "b", "c", "d"], [0, 0, 1, 1], {0: [0, 0, 1, 1]})
    (report,) = check({"x": whole}, {"x": first}).cells
    assert (report.verdict, report.reason) == ("vanished", "split 1")
    failed = part(1, ["c", "e", "f", "g"], [1, 0, 0, 1], {})
    failed = replace(failed, runs=(GateRun(1, failure="the loss is nan"),))
    (report,) = check({"x": whole}, {"x": cell(first, failed)}).cells
    assert (report.verdict, report.reason) == ("newly-failing", "seed 1, split 1: the loss is nan")
    other = replace(whole.more[0], facts={**FACTS, "data": "e"})
    (report,) = check({"x": whole}, {"x": cell(first, other)}).cells
    assert (report.verdict, report.reason) == ("not-comparable", "other data")


def test_a_collapse_on_one_split_is_named_with_it():
    targets = [0, 1] * 20
    names = [f"s{n}" for n in range(40)]
    good = cell(*(part(k, names, targets, {k: targets}) for k in range(3)))
    bad = cell(
        part(0, names, targets, {0: targets}), part(1, names, targets, {1: targets}),
        part(2, names, targets, {2: [0] * 40}),
    )  # fmt: skip
    (report,) = check({"x": good}, {"x": bad}).cells
    assert report.verdict == "collapsed"
    assert report.reason.endswith("split 2")


def test_seeds_are_counted_over_splits_and_the_figure_is_their_mean():
    whole = two_splits([0, 0, 1, 1], [1, 0, 0, 0])
    (report,) = check({"x": whole}, {"x": whole}, Rules("accuracy")).cells
    assert (report.verdict, report.seeds) == ("equal", (2, 2))
    assert report.images == 7  # c is tested in both
    assert report.before == pytest.approx((1.0 + 0.75) / 2)


def single(runs):
    return replace(part(0, ["a", "b", "c", "d"], [0, 0, 1, 1], {0: [0, 0, 1, 1]}), runs=runs)


def run_of(seed, found):
    return GateRun(seed, predicted=np.array(found))


RIGHT = [0, 0, 1, 1]


def test_a_lost_seed_fails_unless_told_otherwise_and_then_the_rest_is_compared():
    before = {"x": single((run_of(0, RIGHT), run_of(1, RIGHT)))}
    after = {"x": single((run_of(0, RIGHT),))}
    strict = check(before, after)
    assert strict.failures[0] == (
        "x: vanished (seed 1): 100.0 % before (n = 2 runs), 100.0 % after (n = 1 run)"
    )
    assert strict.left_out == ()
    told = check(before, after, Rules(fail_on=("worse",)))
    (cell_report,) = told.cells
    assert (cell_report.verdict, cell_report.seeds, told.failures) == ("equal", (1, 1), ())
    assert told.left_out == (
        "what the candidate lacks in 1 cells (x: seed 1)",
        "from what fails, by --fail-on: collapsed, newly-failing, vanished, not-comparable",
    )


LENIENT = Rules(fail_on=("worse",))


def test_what_both_sides_have_is_compared_and_nothing_else():
    """A seed that the candidate alone has is not set against one that it lacks."""
    before = single((run_of(0, RIGHT), run_of(1, RIGHT)))
    after = single((run_of(0, RIGHT), run_of(2, [1, 1, 0, 0])))
    (found,) = check({"x": before}, {"x": after}, LENIENT).cells
    assert (found.verdict, found.seeds, found.after) == ("equal", (1, 1), 1.0)


def test_a_seed_lost_on_one_split_is_left_out_there_alone():
    whole = cell(
        part(0, ["a", "b"], [0, 1], {0: [0, 1], 1: [0, 1]}),
        part(1, ["c", "d"], [0, 1], {0: [0, 1], 1: [0, 1]}),
    )
    rest = cell(whole.parts[0], replace(whole.parts[1], runs=whole.parts[1].runs[:1]))
    told = check({"x": whole}, {"x": rest}, LENIENT)
    assert (told.cells[0].verdict, told.cells[0].seeds) == ("equal", (3, 3))
    assert told.left_out[0] == "what the candidate lacks in 1 cells (x: seed 1, split 1)"


def test_a_cell_of_which_both_sides_have_nothing_has_vanished_and_is_no_failure():
    """It said that no run had finished on either side."""
    before = {"x": single((run_of(0, RIGHT),)), "y": single((run_of(0, RIGHT),))}
    after = {"x": single((run_of(1, RIGHT),)), "y": single((run_of(0, RIGHT),))}
    told = check(before, after, LENIENT)
    assert [(one.verdict, one.reason) for one in told.cells] == [
        ("vanished", "seed 0"), ("equal", "the same samples are right")
    ]  # fmt: skip
    assert told.failures == ()


def test_a_run_that_fails_now_is_not_counted_as_one_that_is_lacking():
    before = {"x": single((run_of(0, RIGHT),)), "y": single((run_of(0, RIGHT),))}
    after = before | {"x": single((GateRun(0, failure="out of memory"),))}
    told = check(before, after, LENIENT)
    assert [one.verdict for one in told.cells] == ["newly-failing", "equal"]
    assert (len(told.left_out), told.failures) == (1, ())  # what does not fail, and no more


def test_five_cells_that_lack_something_are_named_and_the_others_counted():
    names = [f"c{number}" for number in range(7)]
    before = dict.fromkeys(names, single((run_of(0, RIGHT), run_of(1, RIGHT))))
    after = dict.fromkeys(names, single((run_of(0, RIGHT),)))
    shown = "; ".join(f"{name}: seed 1" for name in names[:5])
    lost, _ = check(before, after, LENIENT).left_out
    assert lost == f"what the candidate lacks in 7 cells ({shown}; and 2 more)"
    lost, _ = check(
        *[{name: side[name] for name in names[:5]} for side in (before, after)], LENIENT
    ).left_out
    assert lost == f"what the candidate lacks in 5 cells ({shown})"


def test_what_is_not_comparable_passes_where_only_worse_fails():
    before = {"x": single((run_of(0, RIGHT),)), "y": single((run_of(0, RIGHT),))}
    after = before | {"x": replace(before["x"], facts={"data": "other"})}
    assert check(before, after).failures[0].startswith("x: not-comparable")
    told = check(before, after, LENIENT)
    assert told.cells[0].verdict == "not-comparable"
    assert told.failures == ()


def test_a_split_that_is_lost_is_left_out_too():
    whole = two_splits(RIGHT, [1, 0, 0, 1])
    rest = replace(whole, more=())
    told = check({"x": whole}, {"x": rest}, Rules(fail_on=("worse", "collapsed")))
    assert told.cells[0].seeds == (1, 1)
    assert "x: split 1" in told.left_out[0]


def test_cells_of_a_glob_are_compared_and_the_others_counted():
    cells = {name: single((run_of(0, RIGHT),)) for name in ("mri/a", "mri/b", "xray/a")}
    told = check(cells, cells, Rules(cells=("mri/*",)))
    assert [one.cell for one in told.cells] == ["mri/a", "mri/b"]
    assert told.left_out == ("1 of 3 cells, by --cells mri/*",)
    told = check(cells, cells, Rules(cells=("xray/*", "mri/b")))
    assert [one.cell for one in told.cells] == ["mri/b", "xray/a"]
    assert told.left_out == ("1 of 3 cells, by --cells xray/*, mri/b",)
    assert check(cells, cells, Rules(cells=("*",))).left_out == ()
    with pytest.raises(UsageError, match=r"--cells mir/\*: there is no such cell"):
        check(cells, cells, Rules(cells=("mir/*",)))


def test_a_verdict_that_does_not_fail_is_still_shown():
    before = {"x": single((run_of(0, RIGHT),))}
    after = {"x": single((GateRun(0, failure="out of memory"),))}
    assert check(before, after).failures[0].startswith("x: newly-failing")
    told = check(before, after, Rules(fail_on=("worse", "vanished")))
    assert told.cells[0].verdict == "newly-failing"
    assert not any("newly-failing" in one for one in told.failures)


def test_an_unknown_verdict_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"--fail-on wrse.*'worse'"):
        Rules(fail_on=("wrse",))


def test_the_first_line_says_what_was_left_out():
    cells = {name: single((run_of(0, RIGHT),)) for name in ("mri/a", "xray/a")}
    told = check(cells, cells, Rules(cells=("mri/*",)))
    first = "left out: 1 of 2 cells, by --cells mri/*"
    assert report.terminal(told).splitlines()[0] == first
    assert report.markdown(told).splitlines()[2] == f"- {first}"

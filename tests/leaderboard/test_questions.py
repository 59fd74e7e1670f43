"""Questions of a folder: who is ranked over what, whatever other calls asked for."""

import itertools

import pytest
from made import made_plan, made_result

from harness.api.records import Plan
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.questions import describe_change
from harness.leaderboard.render import formats
from harness.results.store import extended

ROWS = ("full-ft", "l2-sp", "lp-ft")
VALUES = {"full-ft": 0.7, "l2-sp": 0.8, "lp-ft": 0.9, "linear-probe": 0.6}


def results(datasets, strategies=ROWS, seeds=(0,)):
    """A finished run for every combination."""
    return [
        made_result(dataset, strategy=strategy, seed=seed, value=VALUES[strategy])
        for dataset, strategy, seed in itertools.product(datasets, strategies, seeds)
    ]


def asked(*calls):
    """The plan after these calls, each a list of runs."""
    plan = Plan()
    for runs in calls:
        plan = extended(plan, made_plan(runs))
    return plan


def ranked(board):
    """Question -> the ranked rows of its track, best first."""
    return {
        track.question: [row.label for row in track.rows if row.ranked] for track in board.tracks
    }


XRAY, MRI = results(["demo-xray"]), results(["demo-mri"])
BOTH = "demo-mri, demo-xray"


def test_a_second_dataset_for_all_rows_is_one_question():
    board = build_leaderboard([*XRAY, *MRI], asked(XRAY, MRI))
    assert ranked(board) == {"": ["lp-ft", "l2-sp", "full-ft"]}
    assert board == build_leaderboard([*XRAY, *MRI], asked([*XRAY, *MRI]))


def test_rows_that_were_not_asked_for_more_stay_ranked():
    more = results(["demo-xray", "demo-mri"], ("full-ft", "l2-sp"))
    board = build_leaderboard([*XRAY, *more], asked(XRAY, more))
    assert ranked(board) == {
        "demo-xray": ["lp-ft", "l2-sp", "full-ft"],
        BOTH: ["l2-sp", "full-ft"],
    }
    assert [track.wanted for track in board.tracks] == [1, 2]
    assert board.tracks[0].title.endswith("; over demo-xray")
    assert len({track.id for track in board.tracks}) == 2


def test_rows_with_nothing_in_common_are_two_questions():
    """Before, neither was ranked: no row had both."""
    other = results(["demo-mri"], ("linear-probe", "full-ft"))
    board = build_leaderboard([*XRAY, *other], asked(XRAY, other))
    assert ranked(board) == {
        "demo-xray": ["lp-ft", "l2-sp", "full-ft"],
        "demo-mri": ["full-ft", "linear-probe"],
        BOTH: ["full-ft"],
    }


@pytest.mark.parametrize("made", [0, 1, 2])
def test_while_later_runs_are_not_made_the_earlier_ranking_stays(made):
    board = build_leaderboard([*XRAY, *MRI[:made]], asked(XRAY, MRI))
    found = ranked(board)
    assert found.pop("demo-xray") == ["lp-ft", "l2-sp", "full-ft"]
    (rest,) = found.values()
    assert sorted(rest) == sorted(ROWS[:made])
    assert board.tracks[0].question == "demo-xray"


def test_a_failed_run_of_a_later_call_leaves_the_earlier_ranking():
    failed = MRI[2].model_copy(update={"status": "failed"})
    board = build_leaderboard([*XRAY, *MRI[:2]], asked(XRAY, MRI), [failed])
    assert ranked(board)["demo-xray"] == ["lp-ft", "l2-sp", "full-ft"]


def test_seeds_may_be_the_question():
    more = results(["demo-xray"], ("full-ft", "lp-ft"), (0, 1, 2))
    board = build_leaderboard([*XRAY, *more], asked(XRAY, more))
    assert ranked(board) == {
        "seed 0": ["lp-ft", "l2-sp", "full-ft"],
        "seeds 0, 1, 2": ["lp-ft", "full-ft"],
    }


def test_shards_of_one_plan_are_one_question():
    """Each names some of the runs of every row."""
    whole = results(["demo-xray", "demo-mri"], seeds=(0, 1))
    parts = (0, 3, 4, 7), (1, 5, 8, 10), (2, 6, 9, 11)
    shards = [[whole[n] for n in part] for part in parts]
    board = build_leaderboard(whole, asked(*shards))
    assert ranked(board) == {"": ["lp-ft", "l2-sp", "full-ft"]}
    assert board == build_leaderboard(whole, asked(whole))
    some = build_leaderboard([*shards[0], *shards[1]], asked(*shards[:2]))
    assert [track.question for track in some.tracks] == [""]


def test_a_later_strategy_for_the_same_units_is_in_the_same_ranking():
    more = results(["demo-xray"], ("linear-probe",))
    board = build_leaderboard([*XRAY, *more], asked(XRAY, more))
    assert ranked(board) == {"": ["lp-ft", "l2-sp", "full-ft", "linear-probe"]}


def test_the_order_of_runs_is_nothing():
    more = results(["demo-xray", "demo-mri"], ("full-ft", "l2-sp"))
    runs, plan = [*XRAY, *more[:3]], asked(XRAY, more)
    turned = plan.model_copy(update={"runs": plan.runs[::-1]})
    assert build_leaderboard(runs, plan) == build_leaderboard(runs[::-1], turned)


@pytest.mark.parametrize("name", sorted(formats.FORMATS))
def test_every_format_shows_them(name):
    more = results(["demo-xray", "demo-mri"], ("full-ft", "l2-sp"))
    text = formats.render(build_leaderboard([*XRAY, *more], asked(XRAY, more)), name)
    if name not in {"csv", "claims"}:  # which list runs and answers
        assert "over demo-xray" in text
        assert f"over {BOTH}" in text


def test_a_line_of_a_plan_keeps_the_call_that_asked_first():
    plan = asked(XRAY, [*XRAY, *MRI], MRI)
    assert [line.call for line in plan.runs] == [0, 0, 0, 1, 1, 1]
    assert '"call"' not in asked(XRAY).model_dump_json()


def test_a_call_is_told_what_its_folder_will_rank():
    more = results(["demo-xray", "demo-mri"], ("full-ft", "l2-sp"))
    told = describe_change(asked(XRAY), asked(XRAY, more)).splitlines()
    assert told[1:3] == [f"  2 rows over {BOTH}", "  3 rows over demo-xray"]


def test_a_new_protocol_is_told():
    short = [made_result("demo-xray", strategy=name, spec={"limit": 8}, value=0.5) for name in ROWS]
    told = describe_change(asked(XRAY), asked(XRAY, short)).splitlines()
    assert told[1:3] == ["  3 rows, full data", "  3 rows, at most 8 images a split"]


@pytest.mark.parametrize(
    "calls",
    [[XRAY], [XRAY, XRAY], [XRAY, results(["demo-xray"], ("linear-probe",))]],
    ids=["nothing before", "asked before", "another row"],
)
def test_nothing_is_told_where_the_question_stays(calls):
    assert describe_change(asked(*calls[:-1]), asked(*calls)) == ""

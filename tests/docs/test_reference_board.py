"""The page of the reference board: every sentence follows from the files, and the files are there."""

import sys
from dataclasses import replace

import pytest
from made import made_result
from places import ROOT

from harness.api.leaderboard import (
    Block,
    BlockFigure,
    DataNote,
    Leaderboard,
    Row,
    Track,
    TunedRow,
)
from harness.api.records import Protocol, Suite, Tuning

DOCS, RESULTS = ROOT / "docs", ROOT / "benchmarks" / "results" / "real-small"
PROTOCOL = Protocol(name="real-small", crop=128, resize=146)
SETS = ("real-mri", "real-xray")


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(DOCS))
    try:
        import reference_board
    finally:
        sys.path.remove(str(DOCS))
    return reference_board


def row(strategy, values, *, ranked=True, tuning=None):
    figures = tuple(
        BlockFigure(block=name, value=one) for name, one in zip(SETS, values, strict=True)
    )
    return Row(
        label=strategy, strategy=strategy, settings={}, source="", ranked=ranked, runs=6 if ranked else 5,
        wanted=6, value=sum(values) / 2 if ranked else None, blocks=figures if ranked else (), tuning=tuning,
    )  # fmt: skip


def judged(value, low, high, verdict):
    return {"value": value, "low": low, "high": high, "verdict": verdict}


def cells(row, *verdicts):
    return [
        {"row": row, "block": block, "verdict": verdict}
        for block, verdict in zip(SETS, verdicts, strict=True)
    ]


STATISTICS = {
    "differences": [*cells("lp-ft", "better", "undecided"), *cells("auto-rgn", "worse", "worse")],
    "averages": {
        "lp-ft": {
            "these": judged(0.0125, 0.002, 0.023, "better"),
            "general": judged(0.0125, -0.03, 0.055, "undecided"),
        },
        "auto-rgn": {"these": judged(-0.04, -0.061, -0.019, "worse"), "general": None},
    },
    "ranks": {"lp-ft": {"these": [1, 2]}, "full-ft": {"these": [1, 2]}, "auto-rgn": {"these": [3, 3]}},
}  # fmt: skip


def made_facts(script, **changes):
    tuned = TunedRow(trials=4, chosen={"1.0": 2, "0.3": 4}, edge=0.25, last_epoch=0.5)
    track = Track(
        id="t", title="tuned", protocol=PROTOCOL, protocol_digest="", epochs=8, limit=None,
        shortened=False, precision="bf16", weights="pretrained", engine=3, control="full-ft",
        seeds=(0, 1, 2), wanted=18, tuned=True,
        blocks=tuple(
            Block(
                label=name, dataset=name, backbone="resnet50", modality="mri", data="", weights="",
                source="", seeds=(0, 1, 2),
            )
            for name in SETS
        ),
        rows=(
            row("lp-ft", (0.81, 0.7), tuning=tuned),
            row("full-ft", (0.79, 0.72)),
            row("auto-rgn", (0.76, 0.67)),
            row("l2-sp", (0.0, 0.0), ranked=False),
        ),
    )  # fmt: skip
    data = tuple(
        DataNote(
            label=name, dataset=name, modality="mri", classes=2, images={"test": 90}, rule="",
            fingerprint="", split_sha256="", licence=f"licence of {name}", source="https://example.org",
            problems=("a selection",),
        )
        for name in SETS
    )  # fmt: skip
    suite = Suite(
        name="real-small", datasets=SETS, backbones=("resnet50",), seeds=(0, 1, 2), labels=("200",),
        strategies=("full-ft", "lp-ft", "auto-rgn", "l2-sp"), protocol=PROTOCOL, splits="paired",
        notes=("Start: made again. Nothing can be passed on.",), tuning=Tuning(grid=(0.3, 1.0)),
    )  # fmt: skip
    board = Leaderboard(
        title="b", suites=("real-small",), metric="balanced-accuracy", higher_is_better=True,
        control="full-ft", tracks=(track,), data=data, statistics={"t": STATISTICS},
    )  # fmt: skip
    simple = [
        {"dataset": name, "majority": 0.5, "colour": 0.6 + 0.02 * split}
        for name in SETS
        for split in range(3)
    ]
    one = {
        "dataset": "real-mri",
        "strategy": "linear-probe",
        "rate": 0.3,
        "test": 0.7,
        "noise_by": "own runs",
        "runs": [{"seconds": 20.4}, {"seconds": 0.2}],
    }
    anchor = [
        one | {"stored": 0.69, "difference": 1.0, "noise": 2.0},
        one
        | {
            "rate": 1.0,
            "stored": 0.64,
            "difference": 6.0,
            "noise": 2.0,
            "noise_by": "runs of its strategy",
        },
        one | {"rate": 3.0, "stored": None, "difference": None, "noise": None},
    ]
    given = script.Facts(
        board=board, suite=suite, whole=SETS, asked=48, results=[made_result(seconds=1800.0)] * 47,
        least={"t": {"lp-ft": 0.0234, "auto-rgn": 0.03}}, simple=simple, anchor=anchor,
        log="12:00 harness bench real-small",
    )  # fmt: skip
    return replace(given, **changes)


def lines(script, facts):
    return script.page(facts).splitlines()


def test_the_page_begins_with_what_is_there_and_what_the_start_is(script):
    found = lines(script, made_facts(script))
    assert found[2] == (
        "47 of 48 runs of the suite `real-small` are there: four strategies at 2 rates, 3 seeds, "
        "on these two sets, resnet50, 128 px, 200 images."
    )
    assert found[3] == "Start: made again. Nothing can be passed on."
    planned = lines(script, made_facts(script, asked=47))  # all that was asked for is not all
    assert planned[2].startswith("47 of 48 runs")
    every = {"results": [made_result()] * 48, "whole": (*SETS, "real-histology")}
    whole = lines(script, made_facts(script, **every))
    assert whole[2].startswith("All 48 runs")
    assert whole[4].startswith(
        "[By rule](conclusions.md): Ahead of full-ft on average over these 2 "
    )
    assert whole[5] == "Left out of the suite's sets: real-histology."


def test_gains_are_said_by_their_verdicts(script):
    found = lines(script, made_facts(script))
    assert (
        "- Tuned: +1.2 [+0.2, +2.3] points over full-ft on average, decided: better; of two sets "
        "1 better, 1 undecided. On sets like these in general +1.2 [-3.0, +5.5], undecided."
    ) in found
    assert (
        "- Tuned: -4.0 [-6.1, -1.9] points over full-ft on average, decided: worse; of two sets 2 worse."
    ) in found


def test_places_of_one_seed_are_said_to_be_over_test_images_only(script):
    facts = made_facts(script)
    said = "Places hold for other test images only"
    of_one = {"t": STATISTICS | {"basis": "test images only"}}
    board = facts.board.model_copy(update={"statistics": of_one})
    assert said in script.page(replace(facts, board=board))
    assert said not in script.page(facts)


def test_nothing_is_said_of_what_is_incomplete(script):
    facts = made_facts(script)
    averages = {"auto-rgn": STATISTICS["averages"]["auto-rgn"]}
    board = facts.board.model_copy(
        update={"statistics": {"t": STATISTICS | {"averages": averages}}}
    )
    found = lines(script, replace(facts, board=board))
    assert "- Tuned: without statistics: nothing is said of its average gain." in found
    assert "Not ranked: l2-sp, 5 of 6 runs." in found
    (track,) = facts.board.tracks
    rows = (row("full-ft", (0.0, 0.0), ranked=False), *(track.rows[0], *track.rows[2:]))
    without = track.model_copy(update={"rows": rows, "control": None})
    board = facts.board.model_copy(update={"tracks": (without,), "statistics": {}})
    said = "- Tuned: full-ft has 5 of 6 runs: nothing is said of its average gain."
    assert lines(script, replace(facts, board=board)).count(said) == 2  # of lp-ft and of auto-rgn
    empty = facts.board.model_copy(update={"statistics": None})
    said = script.page(replace(facts, board=empty, least={}))
    assert "- Tuned: too few complete rows: not answered." in said
    assert "## What it could have decided" not in said


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        (
            STATISTICS["differences"],  # lp-ft is never worse
            "whether one is ahead everywhere is undecided, it may be lp-ft",
        ),
        (
            [*cells("lp-ft", "better", "worse"), *cells("auto-rgn", "worse", "undecided")],
            "decided: none is, each is worse than another on some set",
        ),
        (
            [*cells("lp-ft", "undecided", "worse"), *cells("auto-rgn", "worse", "worse")],
            "whether one is ahead everywhere is undecided, it may be full-ft",
        ),
        (
            [*cells("lp-ft", "undecided", "undecided"), *cells("auto-rgn", "undecided", "worse")],
            "whether one is ahead everywhere is undecided, it may be lp-ft or full-ft",
        ),
    ],
)
def test_who_is_ahead_everywhere_is_said_by_verdicts_alone(script, differences, said):
    facts = made_facts(script)
    board = facts.board.model_copy(
        update={"statistics": {"t": STATISTICS | {"differences": differences}}}
    )
    highest = "The highest mean: full-ft on real-xray; lp-ft on real-mri."
    assert f"- Tuned: {said}. {highest}" in lines(script, replace(facts, board=board))


def test_the_tables_hold_the_rows_and_the_grey_ones(script):
    found = lines(script, made_facts(script))
    assert (
        "| lp-ft | 0.755 | +1.2 [+0.2, +2.3] | better | 1 / 1 / 0 | 1 to 2 | 4 x 0.3, 2 x 1.0 | 25% | 50% |"
    ) in found
    assert "| full-ft | 0.755 | the control |  |  | 1 to 2 | - | - | - |" in found
    assert "| *majority class* | *0.500* | *0.500* |" in found
    assert "| *brightness and colour* | *0.620* | *0.620* |" in found
    assert "| lp-ft | 2.3 |" in found  # the least gain


def test_an_interval_that_leaves_out_zero_and_decides_nothing_is_explained(script, monkeypatch):
    assert "may be undecided" not in script.page(made_facts(script))
    lp_ft = {**STATISTICS["averages"]["lp-ft"], "these": judged(0.0125, 0.002, 0.023, "undecided")}
    monkeypatch.setitem(STATISTICS["averages"], "lp-ft", lp_ft)
    found = script.page(made_facts(script))
    assert "one that leaves out 0 may be undecided" in found


def test_a_grid_that_ends_too_early_is_told(script):
    found = script.page(made_facts(script))
    assert "The edge of the grid was chosen in more than a fifth of the runs of lp-ft:" in found


def test_the_anchor_is_held_against_what_seeds_do(script):
    said = script.page(made_facts(script))
    assert (
        "trained 3 cells again, on the images of seed 0 and with 6 seeds of its own in all" in said
    )
    assert "1 of 2 differ from the stored run by less than twice" in said
    assert "over that deviation: 2.15;" in said  # the root of (.5 ** 2 + 3 ** 2) / 2
    assert "Of 1 cell no run is stored." in said
    assert "| real-mri | linear-probe | 0.3 | 0.700 | 2 | 0.690 | +1.0 | 2.0 | 21 |" in said
    assert "| real-mri | linear-probe | 1 | 0.700 | 2 | 0.640 | +6.0 | *2.0* | 21 |" in said
    assert "| real-mri | linear-probe | 3 | 0.700 | 2 | - | - | - | 21 |" in said


def test_the_page_says_what_verify_says_of_runs_that_are_not_made(script):
    said = "the 1 run that the plan has and nobody made yet"
    assert said in script.page(made_facts(script))
    assert "nobody made yet" not in script.page(made_facts(script, asked=47))


def test_runs_that_the_plan_does_not_rank_yet_are_told_and_hide_none_that_lacks(script):
    found = script.page(made_facts(script, asked=45, early=3))
    assert "\n3 of the runs are of rows whose other runs are still to come" in found
    assert "the 1 run that the plan has and nobody made yet" in found
    assert "still to come" not in script.page(made_facts(script))


def test_each_set_has_its_licence_and_the_log_stands_there(script):
    facts = made_facts(script)
    for said in (script.page(facts), script.licences(facts)):
        for name in SETS:
            assert (
                f"| {name} | licence of {name} | https://example.org | 90 | a selection |" in said
            )
    assert "47 runs, 23.5 hours of training" in script.page(facts)
    assert script.page(facts).endswith("```text\n12:00 harness bench real-small\n```\n")


@pytest.mark.slow
def test_the_page_agrees_with_the_files(script):
    assert script.PAGE.is_file() == RESULTS.is_dir(), f"run `{script.COMMAND}`"
    if RESULTS.is_dir():
        facts = script.read(RESULTS)
        assert script.PAGE.read_text() == script.page(facts), f"run `{script.COMMAND}`"
        assert (RESULTS / script.LICENCES).read_text() == script.licences(facts)

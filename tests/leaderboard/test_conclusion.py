"""The conclusion of a board: every state of docs/conclusions.md and the sentences it has there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made import PROTOCOL, made_failure, made_plan, made_product, made_result

from harness.api.records import MetricValue
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.conclusion import conclude
from harness.results.store import extended
from harness.utils import text

PAGE = Path(__file__).parents[2] / "docs" / "conclusions.md"
REAL = {"data": {"procedural": False}, "weights": {"miniature": False}}


def judged(value, low, high, verdict="undecided", basis="images and seeds"):
    points = {"value": value / 100, "low": low / 100, "high": high / 100}
    return points | {"verdict": verdict, "seeds": 3, "p": 0.5, "basis": basis}


def over(basis, averages):
    return {row: one | {"basis": basis} for row, one in averages.items()}


def board(
    *, seeds=(0, 1, 2), splits=(0,), datasets=("demo-mri", "demo-xray"), averages=None, general=None,
    ranks=None, rows=("full-ft", "lp-ft", "l2-sp"), spec=None, made=None, **more,
):  # fmt: skip
    """A board of real networks and images on which only the statistics are chosen by the test."""
    made = made or REAL
    runs = []
    for split in splits:
        drawn = (spec or {}) | {"protocol": PROTOCOL.model_copy(update={"split_seed": split})}
        runs += made_product(datasets, ("resnet50-mini",), rows, seeds, spec=drawn, **made)
    runs += more.pop("runs", [])
    failed, lacking = more.pop("failed", []), more.pop("lacking", [])
    later = more.pop("later", [])
    plan = made_plan([*runs, *failed, *lacking], more)
    if later:
        plan = extended(plan, made_plan(later, more))
    found = build_leaderboard([*runs, *later], plan, failed)
    statistics = {
        track.id: {
            "averages": {
                row: {"these": one, "general": (general or {}).get(row)}
                for row, one in (averages or {}).items()
            },
            "ranks": {row: {"these": places} for row, places in (ranks or {}).items()},
        }
        for track in found.tracks[:1]
    }
    return found.model_copy(update={"statistics": statistics})


UNDECIDED = {"lp-ft": judged(2.0, -1.0, 5.0), "l2-sp": judged(0.4, -2.0, 2.8)}
AHEAD = {"lp-ft": judged(3.1, 1.2, 5.0, "better"), "l2-sp": judged(0.4, -2.0, 2.8)}
BEHIND = {"lp-ft": judged(-3.1, -5.0, -1.2, "worse"), "l2-sp": judged(-0.9, -1.6, -0.2, "worse")}
NONE = {"balanced-accuracy": MetricValue(value=None, reason="one class")}
SPLITS = "images, seeds and splits"
STATES = {
    "one seed": lambda: board(seeds=(0,), averages=over("test images only", UNDECIDED)),
    "two seeds": lambda: board(seeds=(0, 1), averages=UNDECIDED),
    "two splits with one seed": lambda: board(
        seeds=(0,), splits=(0, 1), averages=over(SPLITS, UNDECIDED)
    ),
    "nothing apart": lambda: board(averages=UNDECIDED),
    "nothing apart, three splits with two seeds": lambda: board(
        seeds=(0, 1), splits=(0, 1, 2), averages=over(SPLITS, UNDECIDED)
    ),
    "nothing apart, hardly decidable": lambda: board(
        averages={"lp-ft": judged(0.2, -3.0, 3.4), "l2-sp": judged(0.1, -2.0, 2.2)}
    ),
    "nothing apart, an interval beside zero": lambda: board(
        averages={"lp-ft": judged(-2.2, -4.2, -0.2), "l2-sp": judged(0.1, -2.0, 2.2)}
    ),
    "one ahead of all": lambda: board(
        averages=AHEAD, ranks={"lp-ft": [1, 1], "full-ft": [2, 3], "l2-sp": [2, 3]}
    ),
    "some ahead": lambda: board(
        averages=AHEAD | {"l2-sp": judged(2.2, 0.4, 4.0, "better")},
        ranks={"lp-ft": [1, 2], "full-ft": [3, 3], "l2-sp": [1, 2]},
    ),
    "some ahead, some behind": lambda: board(
        averages=AHEAD | {"l2-sp": judged(-4.0, -6.0, -2.0, "worse")}
    ),
    "ahead in general": lambda: board(
        averages=AHEAD, general={"lp-ft": judged(3.1, 0.3, 5.9, "better")}
    ),
    "not ahead in general": lambda: board(
        averages=AHEAD, general={"lp-ft": judged(3.1, -2.0, 8.2)}
    ),
    "some behind": lambda: board(
        averages=UNDECIDED | {"l2-sp": judged(-4.0, -6.0, -2.0, "worse")}
    ),
    "control best": lambda: board(averages=BEHIND),
    "one dataset": lambda: board(datasets=("demo-mri",), averages=AHEAD),
    "incomplete": lambda: board(
        averages=UNDECIDED,
        runs=[made_result("demo-mri", "resnet50-mini", "auto-rgn", **REAL)],
    ),
    "failed runs": lambda: board(
        averages=UNDECIDED,
        failed=[
            made_failure(name, "resnet50-mini", "auto-rgn", seed, **REAL)
            for name in ("demo-mri", "demo-xray")
            for seed in (0, 1, 2)
        ],
    ),
    "missing runs": lambda: board(
        averages=UNDECIDED,
        lacking=[made_result("demo-mri", "resnet50-mini", "auto-rgn", n, **REAL) for n in (0, 1)],
    ),
    "undefined figures": lambda: board(
        averages=UNDECIDED,
        runs=[
            made_result(name, "resnet50-mini", "auto-rgn", seed, **REAL, metrics=NONE)
            for name in ("demo-mri", "demo-xray")
            for seed in (0, 1, 2)
        ],
    ),
    "control alone": lambda: board(rows=("full-ft",), averages={}),
    "another question": lambda: board(
        averages=AHEAD,
        seeds=(0, 1, 2),
        later=made_product(("demo-histology",), ("resnet50-mini",), ("full-ft",), (0, 1, 2), **REAL),
    ),
    "control incomplete": lambda: board(rows=("lp-ft", "l2-sp"), averages={}, runs=[
        made_result("demo-mri", "resnet50-mini", "full-ft", **REAL)
    ]),
    "no control": lambda: board(rows=("lp-ft", "l2-sp"), averages={}),
    "no run": lambda: build_leaderboard(
        [], made_plan(made_product(("demo-mri",), ("resnet50-mini",), ("full-ft",), (0,)))
    ).model_copy(update={"statistics": {}}),
    "procedural": lambda: board(
        averages=UNDECIDED, made={"data": {"procedural": True}, "weights": {"miniature": True}}
    ),
    "limited": lambda: board(averages=UNDECIDED, spec={"limit": 16}),
    "shortened": lambda: board(averages=UNDECIDED, made=REAL | {"shortened": True}),
    "random weights": lambda: board(averages=UNDECIDED, spec={"weights": "none"}),
}  # fmt: skip


def table():
    """State -> the sentences that docs/conclusions.md gives it."""
    found = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 and cells[0] in STATES:
            found[cells[0]] = cells[1]
    return found


@pytest.mark.parametrize("state", STATES)
def test_the_table_in_the_docs_says_what_is_said(state):
    assert " ".join(conclude(STATES[state]())) == table()[state]


def test_every_row_of_the_table_is_tested():
    text = PAGE.read_text().partition("| state |")[2]
    rows = [line.split("|")[1].strip() for line in text.splitlines()[2:] if line.startswith("|")]
    assert rows == list(STATES)


@pytest.mark.parametrize("state", STATES)
def test_no_difference_without_its_interval_and_no_adjective(state):
    text = " ".join(conclude(STATES[state]()))
    for word in ("best", "good", "strong", "clear", "significant", "superior", "promising"):
        assert not re.search(rf"\b{word}\b", text)
    numbers = re.findall(r"[+-]\d+\.\d", re.sub(r"\[[^]]*\]", "[]", text))
    assert len(numbers) == len(re.findall(r"[+-]\d+\.\d \[", text))


def test_tuned_rows_come_first_and_the_common_rate_is_told_beside_them():
    runs = made_product(("demo-mri",), ("resnet50-mini",), ("full-ft", "lp-ft"), (0, 1, 2), **REAL)
    plan = made_plan(runs)
    lines = tuple(line.model_copy(update={"trial": 0, "tuned": ("rate",)}) for line in plan.runs)
    found = build_leaderboard(runs, plan.model_copy(update={"runs": lines}))
    tuned, plain = (track.id for track in found.tracks)
    statistics = {
        tuned: {"averages": {"lp-ft": {"these": judged(3.0, 1.0, 5.0, "better"), "general": None}}},
        plain: {"averages": {"lp-ft": {"these": judged(-1.0, -3.0, 1.0), "general": None}}},
    }
    told = conclude(found.model_copy(update={"statistics": statistics}))
    assert told[0] == "Ahead of full-ft on demo-mri, in points: lp-ft +3.0 [+1.0, +5.0]."
    assert told[-1] == (
        "Under one common rate: no strategy is shown to differ from full-ft on demo-mri: the "
        "largest difference, in points, is lp-ft -1.0 [-3.0, +1.0]."
    )


def test_without_statistics_nothing_is_concluded():
    runs = made_product(("demo-mri",), ("resnet50-mini",), ("full-ft", "lp-ft"), (0, 1, 2))
    assert PROTOCOL.name == "demo"
    assert conclude(build_leaderboard(runs)) == ()


def test_more_strategies_than_three_are_counted():
    names = ("lp-ft", "l2-sp", "l1-sp", "auto-rgn")
    ahead = {name: judged(3 + n, 1, 5 + 2 * n, "better") for n, name in enumerate(names)}
    told = conclude(board(rows=("full-ft", *names), averages=ahead))
    assert told[0].endswith(
        "auto-rgn +6.0 [+1.0, +11.0], l1-sp +5.0 [+1.0, +9.0], l2-sp +4.0 [+1.0, +7.0], and 1 more."
    )


def test_the_block_with_fewest_seeds_decides():
    more = made_product(("demo-mri",), ("resnet50-mini",), ("full-ft", "lp-ft"), (2,), **REAL)
    told = conclude(board(seeds=(0, 1), rows=("full-ft", "lp-ft"), averages=UNDECIDED, runs=more))
    assert told[0].startswith("2 seeds decide nothing")


def test_a_first_place_that_one_row_alone_may_have_is_no_sentence():
    ranks = {"lp-ft": [1, 2], "full-ft": [2, 3], "l2-sp": [2, 3]}
    told = " ".join(conclude(board(averages=AHEAD, ranks=ranks)))
    assert "place" not in told
    assert "every other strategy" not in told


def test_no_difference_at_all_takes_no_seeds():
    told = conclude(board(averages={"lp-ft": judged(0, 0, 0), "l2-sp": judged(0, 0, 0)}))
    assert len(told) == 1
    assert "No strategy is shown to differ" in told[0]


@pytest.mark.parametrize(
    ("half", "said"),
    [
        (1.0, None),  # three seeds are enough: not seeds are what is uncertain
        (1.01, "it takes at least 1 seed more"),
        (4.08, "it takes at least 47 seeds more"),  # 3 * 4.08 ** 2 is 49.9
        (4.09, "More seeds alone would not decide"),  # 50.2: more than 50 are no advice
    ],
)
def test_seeds_that_would_decide_grow_with_the_square_of_the_interval(half, said):
    told = conclude(board(averages={"lp-ft": judged(1.0, 1 - half, 1 + half)}))
    assert len(told) == 1 if said is None else said in told[1]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(59.4, "59 s"), (60, "1 min"), (3599, "60 min"), (3600, "1.0 h"), (5400, "1.5 h")],
)
def test_a_duration_is_told_in_its_unit(seconds, said):
    assert text.duration(seconds) == said


def tuned_board(**untuned):
    """A tuned track beside one under a common rate, which may differ by more than that."""
    runs = made_product(("demo-mri",), ("resnet50-mini",), ("full-ft", "lp-ft"), (0, 1, 2), **REAL)
    plan = made_plan(runs)
    lines = tuple(line.model_copy(update={"trial": 0, "tuned": ("rate",)}) for line in plan.runs)
    found = build_leaderboard(runs, plan.model_copy(update={"runs": lines}))
    tuned, plain = found.tracks
    plain = plain.model_copy(update=untuned)
    trials = [
        row.model_copy(update={"tuning": row.tuning.model_copy(update={"trials": 4})})
        for row in tuned.rows
    ]
    statistics = {
        one.id: {"averages": {"lp-ft": {"these": judged(2.0, -1.0, 5.0), "general": None}}}
        for one in (tuned, plain)
    }
    tracks = (tuned.model_copy(update={"rows": tuple(trials)}), plain)
    return found.model_copy(update={"tracks": tracks, "statistics": statistics})


def test_the_common_rate_is_told_of_the_same_question_only():
    assert conclude(tuned_board())[-1].startswith("Under one common rate: ")
    for other in ({"limit": 16}, {"precision": "bf16"}, {"weights": "none"}, {"engine": 9}):
        assert not any("common rate" in one for one in conclude(tuned_board(**other)))


def test_one_more_seed_of_a_tuned_row_costs_all_its_trials():
    """Two rows in one block, four trials each, four seeds more."""
    found = tuned_board()
    one = [row.spend.median_seconds for row in found.tracks[0].rows]
    seconds = sum(one) / 2 * 2 * 4 * 4
    assert f"at least 4 seeds more (about {seconds:.0f} s of computing)" in conclude(found)[1]


def test_several_splits_of_one_seed_are_not_called_one_seed():
    for splits, said in (((0,), True), ((0, 1), False)):
        track = board(seeds=(0,), splits=splits, averages=UNDECIDED).tracks[0]
        assert any(one.startswith("One seed") for one in track.banners) == said

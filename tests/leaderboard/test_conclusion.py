"""The conclusion of a board: every state of docs/conclusions.md and the sentences it has there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made import PROTOCOL, made_failure, made_plan, made_product, made_result

from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.conclusion import conclude
from harness.results.store import extended

PAGE = Path(__file__).parents[2] / "docs" / "conclusions.md"
REAL = {"data": {"procedural": False}, "weights": {"miniature": False}}


def judged(value, low, high, verdict="undecided", seeds=3):
    points = {"value": value / 100, "low": low / 100, "high": high / 100}
    return points | {"verdict": verdict, "seeds": seeds, "p": 0.5, "basis": "images and seeds"}


def board(
    *, seeds=(0, 1, 2), datasets=("demo-mri", "demo-xray"), averages=None, general=None,
    ranks=None, rows=("full-ft", "lp-ft", "l2-sp"), spec=None, made=None, **more,
):  # fmt: skip
    """A board of real networks and images on which only the statistics are chosen by the test."""
    made = made or REAL
    runs = made_product(datasets, ("resnet50-mini",), rows, seeds, spec=spec or {}, **made)
    runs += more.pop("runs", [])
    failed = more.pop("failed", [])
    later = more.pop("later", [])
    plan = made_plan([*runs, *failed], more)
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
STATES = {
    "one seed": lambda: board(seeds=(0,), averages=UNDECIDED),
    "two seeds": lambda: board(seeds=(0, 1), averages=UNDECIDED),
    "nothing apart": lambda: board(averages=UNDECIDED),
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

"""A small board with everything that has a place on one, and the tables of its markdown."""

import itertools

from made import BACKBONES, made_failure, made_plan, made_product, made_result

from harness.api.leaderboard import ClaimAnswer
from harness.api.records import MetricValue
from harness.leaderboard.build import build_leaderboard


def small_board():
    """Two tracks, a failure, an undefined figure, a superseded run, everything that has a place."""
    runs = made_product(
        ("demo-mri", "demo-xray"),
        BACKBONES[:2],
        ("full-ft", "linear-probe", "lp-ft"),
        (0, 1),
        data={
            "source": "hf://example/set",
            "revision": "c1a67c18df1a52ec",
            "problems": ("no patient ids",),
        },
    )
    runs += made_product(
        ("demo-mri",), BACKBONES[:1], ("full-ft", "lp-ft"), spec={"limit": 20}, epochs=4
    )
    undefined = {
        "balanced-accuracy": MetricValue(value=None, reason="class b is not in test"),
        "per-class-recall": MetricValue(value=0.5, by_class={"a": 0.5, "b": None}),
    }
    runs += [
        made_result(
            "demo-mri", BACKBONES[0], "l2-sp", seed, 0.7, spec={"settings": {"alpha": alpha}}
        )
        for seed in (0, 1)
        for alpha in (0.01, 0.1)
    ]
    runs.append(made_result("demo-xray", BACKBONES[0], "auto-rgn", metrics=undefined))
    failed = made_failure("demo-xray", BACKBONES[1], "auto-rgn")
    plan = made_plan(
        [*runs, failed],
        {"assumed": {"lr": "the authors' next paper", "patience": "the authors' next paper"}},
    )
    return with_evidence(
        build_leaderboard([*runs, made_result(spec={"engine": 7})], plan, [failed])
    )


def with_evidence(board):
    """The board with statistics of its first track and three claims, made up."""
    track = board.tracks[0]
    shared = {"unit": "points", "cells": 4, "of": 4, "seeds": 5}
    answers = (
        ClaimAnswer(
            claim="a", text="it helps by 1 % & more", verdict="undecided", reason="2 of 5 seeds",
            effect=1.25, low=-1.0, high=3.0, detail="nearest: x_y", average=-0.5, average_low=-1.5,
            average_high=0.4, average_of="x_y over full-ft", basis="test images only", **shared,
        ),
        ClaimAnswer(
            claim="b", text="it wins", verdict="supported", effect=0.8, low=0.6, high=0.9,
            track=track.title, **{**shared, "unit": "share of cells"},
        ),
        ClaimAnswer(
            claim="c", text="it is", verdict="undecided", reason="0 of 4 cells", effect=None,
            low=None, high=None, **{**shared, "cells": 0},
        ),
    )  # fmt: skip
    names = [row.label for row in track.rows if row.ranked]
    others = [name for name in names if name != track.control]
    gain = {"value": 0.01, "low": -0.01, "high": 0.03, "seeds": 3, "basis": "images and seeds"}
    verdicts = dict(zip(others, itertools.cycle(["better", "undecided", "worse"])))
    judged = {name: {**gain, "p": 0.04, "verdict": verdict} for name, verdict in verdicts.items()}
    statistics = {
        "rules": 2,
        "level": 0.95,
        "basis": "images and seeds",
        "cells": 4,
        "datasets": 2,
        "differences": [
            {"row": name, "block": track.blocks[0].label, **one} for name, one in judged.items()
        ],
        "averages": {name: {"these": one, "general": None} for name, one in judged.items()},
        "others": {
            "ece": {name: {**gain, "p": None, "verdict": "untested"} for name in others},
        },
        "ranks": {
            name: {"these": [1, 1 + place], "general": None} for place, name in enumerate(names)
        },
        "improvement": dict.fromkeys(others, 0.625),
        "comparisons": [
            {
                "scope": scope, "blocks": blocks, "ranks": dict(zip(names, itertools.count(1.0, 0.5), strict=False)),
                "friedman": {"statistic": 4.5, "p": p},
                "nemenyi": {"difference": 1.386, "cliques": [names]},
                "note": note,
            }
            for scope, blocks, p, note in (("", 4, 0.034, ""), (BACKBONES[0], 2, 0.5, "N = 2: too few."))
        ],
    }  # fmt: skip
    return board.model_copy(update={"statistics": {track.id: statistics}, "claims": answers})


def markdown_tables(text):
    """Every table: rows of cells, marks and alignment left out."""
    tables, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
            if not set("".join(cells)) <= set(":-"):
                rows.append(cells)
        elif rows:
            tables.append(rows)
            rows = []
    return tables

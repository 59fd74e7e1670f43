"""The board against pandas and scipy, and every way a row can be incomplete."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import random

import pandas as pd
import pytest
from command import python
from hypothesis import given, settings
from hypothesis import strategies as st
from made import (
    BACKBONES,
    MODALITIES,
    PROTOCOL,
    made_failure,
    made_plan,
    made_product,
    made_result,
    made_spec,
    sha,
)

from harness.api.records import Cost, CostFigures, MetricValue, NumericMode, Plan, PluginRecord
from harness.errors import UsageError
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.render import formats

SHORT = PROTOCOL.model_copy(update={"epochs": 3.0})
THREE = ("full-ft", "linear-probe", "lp-ft")
DATASETS = ("demo-mri", "demo-xray")


def only_track(board):
    (track,) = board.tracks
    return track


def rows(board, track=0):
    return {row.label: row for row in board.tracks[track].rows}


def small(**changes):
    """3 strategies x 2 datasets x 1 backbone x 2 seeds."""
    return made_product(DATASETS, BACKBONES[:1], THREE, seeds=(0, 1), **changes)


def replaced(runs, run):
    """`run` in the place of the one it answers the same for."""
    place = (run.spec.dataset, run.spec.backbone, run.spec.strategy, run.spec.seed)
    rest = [
        r for r in runs if (r.spec.dataset, r.spec.backbone, r.spec.strategy, r.spec.seed) != place
    ]
    assert len(rest) == len(runs) - 1
    return [*rest, run]


# -- figures, against independent oracles -----------------------------------------------------


def frame(runs):
    return pd.DataFrame(
        {
            "dataset": run.spec.dataset,
            "modality": MODALITIES[run.spec.dataset],
            "backbone": run.spec.backbone,
            "strategy": run.spec.strategy,
            "seed": run.spec.seed,
            "value": run.metrics["balanced-accuracy"].value,
            "seconds": run.cost.alone.total,
        }
        for run in runs
    )


@st.composite
def products(draw):
    """A complete product whose few different values make ties."""
    cells = list(
        itertools.product(
            tuple(MODALITIES)[: draw(st.integers(1, 3))],
            BACKBONES[: draw(st.integers(1, 2))],
            ("full-ft", "lp-ft", "l2-sp", "auto-rgn")[: draw(st.integers(1, 4))],
            range(draw(st.integers(1, 3))),
        )
    )
    eighths = draw(st.lists(st.integers(0, 8), min_size=len(cells), max_size=len(cells)))
    return [made_result(*cell, value=n / 8) for cell, n in zip(cells, eighths, strict=True)]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(products(), st.booleans())
def test_means_and_ranks_agree_with_pandas(runs, higher):
    cells = frame(runs).groupby(["modality", "dataset", "backbone", "strategy"]).value.mean()
    cells = cells.round(12).reset_index()
    cells["rank"] = cells.groupby(["dataset", "backbone"]).value.rank(ascending=not higher)

    found = rows(build_leaderboard(runs, higher_is_better=higher))

    overall = cells.groupby("strategy")[["value", "rank"]].mean()
    for label, row in found.items():
        assert row.value == pytest.approx(overall.value[label])
        assert row.mean_rank == pytest.approx(overall["rank"][label])
    for by, attribute in (("modality", "modalities"), ("backbone", "backbones")):
        groups = cells.groupby(["strategy", by])[["value", "rank"]].mean()
        for label, row in found.items():
            shown = {figure.group: figure for figure in getattr(row, attribute)}
            assert sorted(shown) == sorted(set(cells[by]))
            for name, figure in shown.items():
                assert figure.value == pytest.approx(groups.value[label, name])
                assert figure.rank == pytest.approx(groups["rank"][label, name])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(products(), st.booleans())
def test_differences_to_full_ft_agree_with_pandas(runs, higher):
    cells = frame(runs).pivot_table("value", ["dataset", "backbone"], "strategy")
    differences = 100 * cells.sub(cells["full-ft"], axis=0)
    gains = (differences if higher else -differences).round(9)

    for label, row in rows(build_leaderboard(runs, higher_is_better=higher)).items():
        if label == "full-ft":
            assert row.contrast is None
            continue
        assert row.contrast.difference == pytest.approx(differences[label].mean())
        assert row.contrast.better == (gains[label] > 1).sum()
        assert row.contrast.worse == (gains[label] < -1).sum()
        assert row.contrast.equal == len(gains) - row.contrast.better - row.contrast.worse


@settings(max_examples=30, deadline=None)
@given(products())
def test_rows_stand_by_mean_rank_and_share_places(runs):
    found = only_track(build_leaderboard(runs)).rows
    ranks = [row.mean_rank for row in found]
    assert ranks == sorted(ranks)
    assert [row.position for row in found] == pd.Series(ranks).round(9).rank(method="min").tolist()


def test_seeds_are_averaged_before_ranks_are_taken():
    """By single runs a wins two of three; by mean over seeds b wins."""
    values = {"a": (0.6, 0.6, 0.1), "b": (0.5, 0.5, 0.5)}
    runs = [
        made_result(strategy=name, seed=seed, value=value)
        for name, given in values.items()
        for seed, value in enumerate(given)
    ]
    found = rows(build_leaderboard(runs))
    assert (found["b"].mean_rank, found["a"].mean_rank) == (1, 2)


def test_sums_of_seeds_that_differ_in_the_last_place_are_tied():
    assert 0.1 + 0.2 != 0.3
    runs = [made_result(strategy="a", seed=s, value=v) for s, v in enumerate((0.1, 0.2, 0.0))]
    runs += [made_result(strategy="b", seed=s, value=0.1) for s in range(3)]
    assert [row.mean_rank for row in rows(build_leaderboard(runs)).values()] == [1.5, 1.5]


@pytest.mark.parametrize(
    ("value", "counts"),
    [(0.81, (0, 1, 0)), (0.8101, (1, 0, 0)), (0.79, (0, 1, 0)), (0.7899, (0, 0, 1))],
)
def test_a_win_is_more_than_one_point(value, counts):
    runs = [made_result(value=0.8), made_result(strategy="lp-ft", value=value)]
    contrast = rows(build_leaderboard(runs))["lp-ft"].contrast
    assert (contrast.better, contrast.equal, contrast.worse) == counts
    assert contrast.difference == pytest.approx(100 * (value - 0.8))


def test_lower_is_better_turns_ranks_and_wins_but_not_the_sign():
    runs = [made_result(value=0.30), made_result(strategy="lp-ft", value=0.20)]
    board = build_leaderboard(runs, higher_is_better=False)
    assert [row.label for row in only_track(board).rows] == ["lp-ft", "full-ft"]
    contrast = rows(board)["lp-ft"].contrast
    assert contrast.difference == pytest.approx(-10)
    assert (contrast.better, contrast.worse) == (1, 0)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_constant_predictor_is_last_or_tied(seeds):
    runs = made_product(strategies=("full-ft", "lp-ft"), seeds=seeds)
    chance = [
        made_result(d, b, "constant", s, 0.5) for d in MODALITIES for b in BACKBONES for s in seeds
    ]
    last = only_track(build_leaderboard([*runs, *chance])).rows[-1]
    assert (last.label, last.value, last.mean_rank) == ("constant", 0.5, 3.0)

    level = [
        made_result(d, b, "full-ft", s, 0.5) for d in MODALITIES for b in BACKBONES for s in seeds
    ]
    assert {row.mean_rank for row in only_track(build_leaderboard([*level, *chance])).rows} == {1.5}


# -- incomplete rows --------------------------------------------------------------------------


def incomplete(kind):
    """(results, failures, plan) of `small()` where lp-ft lacks demo-xray with seed 1."""
    runs = small()
    gone = made_result("demo-xray", BACKBONES[0], "lp-ft", 1)
    rest = [run for run in runs if run.run_id != gone.run_id]
    place = ("demo-xray", BACKBONES[0], "lp-ft", 1)
    plan = made_plan(runs)
    unplanned = made_plan(rest)
    undefined = {
        "undefined": {"value": None, "reason": "class b is not in test"},
        "not computed": {"metrics": {"accuracy": MetricValue(value=0.9)}},
        "not finite": {"value": float("nan")},
    }
    cases = {
        "missing": (rest, [], plan),
        "failed": (rest, [made_failure(*place)], plan),
        "failed among the results": ([*rest, made_failure(*place)], [], plan),
        "failed, no plan": (rest, [made_failure(*place)], None),
        "out of memory": (rest, [made_failure(*place, status="oom")], plan),
        "timeout without a word": (
            rest,
            [made_failure(*place, status="timeout", error=None)],
            plan,
        ),
        "not asked for": (rest, [], unplanned),
        "no plan": (rest, [], None),
        "superseded": ([*rest, made_result(*place, spec={"engine": 7})], [], plan),
        **{
            name: ([*rest, made_result(*place, **how)], [], plan) for name, how in undefined.items()
        },
    }
    return cases[kind]


REASONS = {
    "missing": ("missing", ""),
    "failed": ("failed", "TrainingError: the loss is nan"),
    "failed among the results": ("failed", "TrainingError: the loss is nan"),
    "failed, no plan": ("failed", "TrainingError: the loss is nan"),
    "out of memory": ("failed", "oom: TrainingError: the loss is nan"),
    "timeout without a word": ("failed", "timeout"),
    "not asked for": None,
    "no plan": None,
    "superseded": ("missing", ""),
    "undefined": ("undefined", "class b is not in test"),
    "not computed": ("undefined", "not computed"),
    "not finite": ("undefined", "the result holds nan"),
}


@pytest.mark.parametrize("kind", REASONS)
def test_an_incomplete_row_is_shown_as_n_of_n_with_the_reason_and_not_ranked(kind):
    results, failures, plan = incomplete(kind)
    board = build_leaderboard(results, plan, failures)
    row = rows(board)["lp-ft"]

    assert (row.ranked, row.runs, row.wanted) == (False, 3, 4)
    assert (row.position, row.mean_rank, row.value, row.contrast) == (None, None, None, None)
    assert all(cell.rank is None for cell in row.blocks)
    assert [cell.block for cell in row.blocks] == [f"demo-mri / {BACKBONES[0]}"]
    if REASONS[kind] is None:
        assert (row.gaps, row.not_asked) == ((), 1)
    else:
        (gap,) = row.gaps
        assert (gap.kind, gap.reason) == REASONS[kind]
        assert (gap.block, gap.seed, row.not_asked) == (f"demo-xray / {BACKBONES[0]}", 1, 0)
    for text in (formats.render(board, "terminal"), formats.render(board, "md")):
        assert "3 of 4" in text
        assert (REASONS[kind] or ("not asked for", ""))[0] in text
        assert (REASONS[kind] or ("", ""))[1] in text.replace("\n  ", " ")


@pytest.mark.parametrize("kind", REASONS)
def test_an_incomplete_row_counts_in_nobodys_rank(kind):
    results, failures, plan = incomplete(kind)
    without = [run for run in small() if run.spec.strategy != "lp-ft"]
    found, expected = (
        rows(build_leaderboard(results, plan, failures)),
        rows(build_leaderboard(without)),
    )
    for label in ("full-ft", "linear-probe"):
        assert found[label].mean_rank == expected[label].mean_rank
        assert found[label].blocks == expected[label].blocks
        assert found[label].contrast == expected[label].contrast


def test_an_incomplete_row_stands_below_the_ranked_ones_whatever_its_figures():
    results, failures, plan = incomplete("missing")
    best = [made_result("demo-mri", BACKBONES[0], "lp-ft", s, 0.99) for s in (0, 1)]
    board = build_leaderboard(replaced(replaced(results, best[0]), best[1]), plan, failures)
    assert [row.ranked for row in only_track(board).rows] == [True, True, False]


def test_groups_that_an_incomplete_row_has_in_full_are_shown_without_a_rank():
    row = rows(build_leaderboard(*incomplete("missing")[::2]))["lp-ft"]
    by_group = {figure.group: figure for figure in row.modalities}
    assert by_group["mri"].value is not None
    assert by_group["mri"].rank is None
    assert by_group["xray"].value is None


def test_no_differences_to_an_incomplete_full_ft():
    runs = [run for run in small() if (run.spec.strategy, run.spec.seed) != ("full-ft", 1)]
    board = build_leaderboard(runs, made_plan(small()))
    track = only_track(board)
    assert track.control is None
    assert track.notes == ("No differences: full-ft is incomplete (2 of 4).",)
    assert all(row.contrast is None for row in track.rows)


def test_no_differences_without_full_ft():
    runs = [run for run in small() if run.spec.strategy != "full-ft"]
    assert only_track(build_leaderboard(runs)).notes == (
        "No differences: full-ft is not in this track.",
    )


def test_a_strategy_of_which_nothing_ran_has_a_row():
    runs = small()
    asked = [made_spec(d, BACKBONES[0], "auto-rgn", s) for d in DATASETS for s in (0, 1)]
    row = rows(build_leaderboard(runs, made_plan([*(r.spec for r in runs), *asked])))["auto-rgn"]
    assert (row.runs, row.wanted, len(row.gaps)) == (0, 4, 4)


def test_nothing_at_all():
    board = build_leaderboard([])
    assert board.tracks == ()
    assert "No runs yet." in formats.render(board, "terminal")
    assert len(formats.render(board, "csv").splitlines()) == 1


# -- what counts ------------------------------------------------------------------------------


def test_a_run_that_succeeded_at_last_is_no_failure():
    runs = small()
    failed = made_failure(runs[0].spec.dataset, BACKBONES[0], runs[0].spec.strategy, 0)
    assert failed.run_id == runs[0].run_id
    board = build_leaderboard(runs, made_plan(runs), [failed])
    assert board == build_leaderboard(runs, made_plan(runs))
    assert board.failed == ()


def test_superseded_runs_are_counted_and_never_ranked():
    runs = small()
    old = small(spec={"engine": 7})
    board = build_leaderboard(
        [*runs, *old], made_plan(runs), [made_failure(spec={"engine": 7}, seed=9)]
    )
    assert board.superseded == len(old) + 1
    assert board.runs == build_leaderboard(runs).runs
    assert "13 run(s) in the folder are no longer asked for" in " ".join(board.notes)


def test_merged_folders_that_hold_the_same_run_count_it_once():
    runs = small()
    assert build_leaderboard([*runs, *runs]) == build_leaderboard(runs)


def test_two_runs_that_answer_the_same_are_counted():
    """They differ in what makes no track: the memory layout."""
    other = made_result(spec={"numeric": NumericMode(layout="channels-last")})
    board = build_leaderboard([made_result(), other])
    assert (board.duplicates, len(board.runs)) == (1, 1)
    assert board.notes[0].startswith("Duplicates: 1 run(s)")


def test_of_two_files_of_one_run_the_later_counts():
    runs = small()
    later = runs[0].model_copy(
        update={
            "finished": "2026-01-01",
            "metrics": {"balanced-accuracy": MetricValue(value=0.123)},
        }
    )
    for order in ([*runs, later], [later, *runs]):
        assert 0.123 in [
            run.metrics["balanced-accuracy"].value for run in build_leaderboard(order).runs
        ]


def test_failed_runs_show_the_first_line_and_no_traceback():
    (failed,) = build_leaderboard([made_failure()]).failed
    assert (failed.error.message, failed.error.traceback) == ("the loss is nan", "")


def test_without_a_plan_n_is_the_union_over_the_runs():
    runs = [*small(), made_result("demo-mri", BACKBONES[1], "lp-ft", 7)]
    assert {row.wanted for row in only_track(build_leaderboard(runs)).rows} == {5}
    assert {row.label: row.not_asked for row in only_track(build_leaderboard(runs)).rows} == {
        "lp-ft": 0,
        "full-ft": 1,
        "linear-probe": 1,
    }


# -- tracks -----------------------------------------------------------------------------------


def test_tracks_are_ranked_apart_and_the_full_one_comes_first():
    groups = [
        small(),
        small(spec={"weights": "none"}),
        small(spec={"protocol": SHORT}, shortened=True),
        small(spec={"limit": 200}),
        small(spec={"limit": 20}),
    ]
    shuffled = [run for runs in reversed(groups) for run in runs]
    board = build_leaderboard(shuffled, made_plan(shuffled))

    shown = [(t.limit, t.shortened, t.weights) for t in board.tracks]
    assert shown == [
        (None, False, "pretrained"),
        (None, False, "none"),
        (None, True, "pretrained"),
        (200, False, "pretrained"),
        (20, False, "pretrained"),
    ]
    for track, runs in zip(board.tracks, groups, strict=True):
        assert track.rows == only_track(build_leaderboard(runs)).rows


def test_a_track_says_on_its_face_what_it_is_not():
    spec = {"limit": 20, "weights": "none", "protocol": SHORT}
    banners = " ".join(only_track(build_leaderboard(small(spec=spec, shortened=True))).banners)
    assert "no result about transfer" in banners
    assert "at most 20 images of each split" in banners
    assert "Shortened: 3 epochs" in banners
    assert "One seed" not in banners
    assert "One seed" in only_track(build_leaderboard([made_result()])).banners[0]


def test_the_board_says_on_its_face_what_it_rests_on():
    runs = small(data={"skipped": ("a.png", "b.png"), "problems": ("no patient ids",)})
    suite = {"notes": ("A note.",), "assumed": {"lr": "elsewhere", "epochs": "elsewhere"}}
    board = build_leaderboard(runs, made_plan(runs, suite))
    assert board.banners[0] == "A note."
    text = " ".join(board.banners)
    for said in (
        "Procedural images:",
        "Miniature networks",
        "demo-mri: 2 bad images were skipped.",
    ):
        assert said in text
    shown = " ".join(formats.render(board, "terminal").split())
    for said in (
        "no patient ids",
        "official splits",
        "epochs, lr: elsewhere",
        runs[0].spec.weights[:8],
    ):
        assert said in shown


def test_of_a_limited_and_a_full_record_the_full_one_is_shown():
    """Counts of a limited run say nothing about the dataset."""
    few = {"train": {"a": 5, "b": 5}, "validation": {"a": 5, "b": 5}, "test": {"a": 5, "b": 5}}
    runs = [made_result(spec={"limit": 10}, data={"counts": few}), made_result()]
    for order in (runs, runs[::-1]):
        (note,) = build_leaderboard(order).data
        assert note.images == {"train": 96, "validation": 32, "test": 64}


def test_recalls_that_are_no_number_become_null():
    recall = MetricValue(value=0.5, by_class={"a": 0.5, "b": float("nan")})
    board = build_leaderboard([made_result(metrics={"balanced-accuracy": recall})])
    assert board.runs[0].metrics["balanced-accuracy"].by_class == {"a": 0.5, "b": None}
    assert rows(board)["full-ft"].ranked


def test_every_run_says_whose_code_it_was():
    installed = PluginRecord(plugin="cl", distribution="conv-lora", version="0.3.1", source="ab")
    loose = PluginRecord(plugin="bitfit", source="cd", dirty=True)
    board = build_leaderboard([made_result(plugins={"strategy": loose, "dataset": installed})])
    assert board.runs[0].plugins == {"strategy": "bitfit (changed)", "dataset": "conv-lora 0.3.1"}
    (row,) = csv.DictReader(io.StringIO(formats.render(board, "csv")))
    assert json.loads(row["plugins"]) == board.runs[0].plugins


def test_suites_without_a_plan_are_named():
    board = build_leaderboard([made_result(), made_result(seed=1, suite="mine")])
    assert (board.title, board.suites) == ("demo; mine", ("demo", "mine"))


def test_real_data_beside_procedural_names_the_procedural_ones():
    runs = [made_result("demo-mri"), made_result("nih", data={"procedural": False})]
    text = " ".join(build_leaderboard(runs).banners)
    assert "Procedural images (demo-mri): drawn" in text


def test_states_of_one_dataset_are_blocks_of_their_own():
    changed = [run for run in small(spec={"data": sha("other")}) if run.spec.dataset == "demo-xray"]
    board = build_leaderboard([*small(), *changed])
    track = only_track(board)
    assert [block.label for block in track.blocks] == [
        f"demo-mri / {BACKBONES[0]}",
        *sorted(
            f"demo-xray / {BACKBONES[0]} (data {data[:8]})"
            for data in (sha("other"), sha("data", "demo-xray"))
        ),
    ]
    assert {row.wanted for row in track.rows} == {6}
    assert {note.label for note in board.data} == {
        "demo-mri",
        f"demo-xray (data {sha('other')[:8]})",
        f"demo-xray (data {sha('data', 'demo-xray')[:8]})",
    }


def test_settings_and_code_of_a_strategy_make_rows():
    runs = [
        *small(),
        *(
            made_result(d, BACKBONES[0], "lp-ft", s, 0.7, spec={"settings": {"probe": 0.3}})
            for d in DATASETS
            for s in (0, 1)
        ),
    ]
    assert set(rows(build_leaderboard(runs))) == {
        "full-ft",
        "linear-probe",
        "lp-ft (probe=unset)",
        "lp-ft (probe=0.3)",
    }


def test_several_full_ft_rows_name_the_one_that_differences_refer_to():
    other = {"sources": {"strategy": sha("mine"), "backbone": sha("code", BACKBONES[0])}}
    runs = [
        *small(),
        *(
            made_result(d, BACKBONES[0], "full-ft", s, 0.7, spec=other)
            for d in DATASETS
            for s in (0, 1)
        ),
    ]
    track = only_track(build_leaderboard(runs))
    first = min(row.label for row in track.rows if row.strategy == "full-ft")
    assert track.control == first
    assert track.notes == (f"Differences refer to {first}.",)
    contrasts = {row.label: row.contrast for row in track.rows}
    assert [label for label, contrast in contrasts.items() if contrast is None] == [first]


# -- cost -------------------------------------------------------------------------------------


def test_cost_adds_up_what_runs_cost_alone():
    runs = small()
    table = frame(runs).groupby("strategy").seconds
    for label, row in rows(build_leaderboard(runs)).items():
        assert row.spend.seconds == pytest.approx(table.sum()[label])
        assert row.spend.median_seconds == pytest.approx(table.median()[label])
    assert rows(build_leaderboard(runs))["linear-probe"].spend.trainable == (1_000, 1_000)


def test_epochs_that_early_stopping_saved_are_shown():
    runs = [made_result(seed=0, epochs=5), made_result(seed=1), made_result(seed=2, epochs=10)]
    spend = rows(build_leaderboard(runs))["full-ft"].spend
    assert (spend.epochs, spend.planned, spend.stopped) == (10.0, 15.0, 2)


def test_packed_runs_have_no_seconds_of_their_own():
    figures = CostFigures(total=1.0)
    packed = made_result(seed=1, cost=Cost(alone=figures, incurred=figures, packed=True))
    track = only_track(build_leaderboard([made_result(), packed]))
    assert (track.rows[0].spend.seconds, track.rows[0].spend.median_seconds) == (None, None)
    assert "no seconds of their own" in " ".join(track.notes)


def test_seconds_of_several_devices_carry_a_note():
    first = made_result()
    environment = first.environment.model_copy(update={"device": "cuda:0"})
    track = only_track(build_leaderboard([first, made_result(seed=1, environment=environment)]))
    assert "Seconds cannot be compared: made on cpu, cuda:0." in track.notes


# -- the metric -------------------------------------------------------------------------------


def test_another_metric_ranks():
    runs = [
        made_result(
            strategy=name,
            metrics={"balanced-accuracy": MetricValue(value=0.5), "ece": MetricValue(value=ece)},
        )
        for name, ece in (("a", 0.2), ("b", 0.1))
    ]
    board = build_leaderboard(runs, metric="ece", higher_is_better=False)
    assert [row.label for row in only_track(board).rows] == ["b", "a"]
    assert board.metric == "ece"


def test_an_unknown_metric_is_an_error_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"balanced-acuracy.*did you mean 'balanced-accuracy'"):
        build_leaderboard([made_result()], metric="balanced-acuracy")


def test_the_metric_is_the_suites_own():
    assert (
        build_leaderboard(
            [made_result()], made_plan([made_result()], {"primary": "accuracy"})
        ).metric
        == "accuracy"
    )


def test_suites_that_disagree_are_ranked_by_the_default():
    one, other = (
        made_plan([], {"primary": "accuracy"}),
        made_plan([], {"name": "x", "primary": "ece"}),
    )
    plan = Plan(suites={**one.suites, **other.suites}, runs=made_plan([made_result()]).runs)
    assert build_leaderboard([made_result()], plan).metric == "balanced-accuracy"


# -- the order of files -----------------------------------------------------------------------


def mixed():
    """Something of everything: tracks, blocks, settings, failures, duplicates, superseded."""
    results = [
        *made_product(DATASETS, BACKBONES[:2], THREE, seeds=(0, 1)),
        *small(spec={"limit": 20}),
        *small(spec={"data": sha("other")}),
        made_result(strategy="l2-sp", spec={"settings": {"alpha": 0.1}}),
        made_result(strategy="l2-sp", spec={"settings": {"alpha": 1.0}}),
        made_result(strategy="l1-sp", value=None, reason="no class b"),
        made_result(strategy="l1-sp", seed=1, value=float("nan")),
    ]
    gone, results = results[3], [*results[:3], *results[4:]]
    twice = results[0].model_copy(update={"finished": "2026-01-01"})
    nan = results[-1].model_copy(update={"tested": "last"})
    failures = [made_failure(strategy="auto-rgn"), made_failure(strategy="auto-rgn", seed=1)]
    plan = made_plan([*results, gone, *failures])
    superseded = [made_result(spec={"engine": 7}), made_result(seed=1, spec={"engine": 7})]
    return [*results, twice, nan, *superseded], failures, plan


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_results_changes_no_byte(rng: random.Random):
    results, failures, plan = mixed()
    expected = [
        formats.render(build_leaderboard(results, plan, failures), name) for name in formats.FORMATS
    ]
    lines = list(plan.runs)
    for shuffled in (results, failures, lines):
        rng.shuffle(shuffled)
    board = build_leaderboard(results, plan.model_copy(update={"runs": tuple(lines)}), failures)
    assert [formats.render(board, name) for name in formats.FORMATS] == expected


def test_ranking_needs_no_heavy_library():
    code = (
        "import sys, harness.leaderboard.build, harness.leaderboard.render.formats;"
        "print({'torch','scipy','sklearn','pandas','datasets','evaluate','numpy'} & set(sys.modules))"
    )
    assert python("-c", code).stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"parts": 4}, " took batches in parts, for lack of memory: the same up to rounding"),
        ({"cost": Cost(resumed=2)}, " went on after an interruption: the seconds hold"),
    ],
    ids=["parts", "resumed"],
)
def test_runs_that_were_made_in_another_way_are_noted(change, note):
    changed = made_result(seed=1).model_copy(update=change)
    before = only_track(build_leaderboard([made_result(), made_result(seed=1)]))
    after = only_track(build_leaderboard([made_result(), changed]))

    assert f"1 run{note}" in " ".join(after.notes)
    assert note not in " ".join(before.notes)


def test_the_id_of_a_track_is_what_it_was_before_there_were_starts():
    """A sha256 over what told tracks apart when the first boards were published."""
    runs = [made_result(seed=seed) for seed in (0, 1)]
    (track,) = build_leaderboard(runs).tracks
    text = (
        f"TrackKey(protocol={track.protocol_digest!r}, limit=None, precision='float32', pretrained=True, "
        "engine=1)"
    )
    assert track.id == hashlib.sha256(text.encode()).hexdigest()[:12]
    begun = [made_result(seed=seed, spec={"start": "imagenet"}) for seed in (0, 1)]
    (other,) = build_leaderboard(begun).tracks
    assert other.id != track.id

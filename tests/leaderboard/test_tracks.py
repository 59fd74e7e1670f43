from __future__ import annotations

import pytest
from made import PROTOCOL, made_plan, made_result, made_spec, sha

from harness.api.records import NumericMode
from harness.leaderboard.labels import block_labels, row_labels, track_names
from harness.leaderboard.tracks import BlockKey, RowKey, sort_runs


def rows(*settings, strategy="l2-sp", source="c0de"):
    from harness.leaderboard.tracks import settings_text

    return [RowKey(strategy, settings_text(values), source) for values in settings]


def test_a_row_is_named_after_its_strategy_where_there_is_one_of_it():
    (row,) = rows({"alpha": 0.1})
    assert row_labels([row]) == {row: "l2-sp"}


def test_rows_of_one_strategy_show_the_settings_that_differ_only():
    first, second = rows({"alpha": 0.1, "beta": 0.01}, {"alpha": 1.0, "beta": 0.01})
    assert row_labels([first, second]) == {first: "l2-sp (alpha=0.1)", second: "l2-sp (alpha=1.0)"}


def test_a_setting_that_a_row_lacks_is_shown_as_unset():
    first, second = rows({}, {"norm": "train"})
    labels = row_labels([first, second])
    assert labels == {first: "l2-sp (norm=unset)", second: "l2-sp (norm=train)"}


def test_texts_that_read_like_other_values_keep_their_quotes():
    labels = row_labels(rows({"a": 1}, {"a": "1"}, {"a": None}, {"a": "null"}, {"a": "unset"}, {}))
    assert sorted(labels.values()) == [
        'l2-sp (a="1")',
        'l2-sp (a="null")',
        'l2-sp (a="unset")',
        "l2-sp (a=1)",
        "l2-sp (a=null)",
        "l2-sp (a=unset)",
    ]


def test_rows_of_one_strategy_show_their_code_where_it_differs():
    first, second = RowKey("lp-ft", "{}", "1a2b3c4d5e"), RowKey("lp-ft", "{}", "99887766aa")
    other = RowKey("full-ft", "{}", "77")
    assert row_labels([first, second, other]) == {
        first: "lp-ft (source 1a2b3c4d)",
        second: "lp-ft (source 99887766)",
        other: "full-ft",
    }


def test_blocks_show_a_hash_only_where_two_states_of_them_occur():
    one = BlockKey("mri", "vgg19", "d" * 64, "w" * 64, "c")
    other_data = one._replace(data="e" * 64)
    alone = BlockKey("xray", "vgg19", "d" * 64, "w" * 64, "c")
    assert block_labels([one, other_data, alone]) == {
        one: "mri / vgg19 (data dddddddd)",
        other_data: "mri / vgg19 (data eeeeeeee)",
        alone: "xray / vgg19",
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"limit": 20},
        {"weights": "none"},
        {"engine": 2},
        {"numeric": NumericMode(precision="bf16")},
        {"protocol": PROTOCOL.model_copy(update={"epochs": 3.0})},
        {"protocol": PROTOCOL.model_copy(update={"lr": 0.5})},
    ],
)
def test_what_makes_a_track(changed):
    found = sort_runs([made_result(), made_result(spec=changed)], None)
    assert len(found.tracks) == 2
    titles = [title for title, _ in track_names(found.tracks)]
    assert len(set(titles)) == 2


@pytest.mark.parametrize(
    "changed",
    [{"data": sha("other")}, {"weights": sha("other")}, {"sources": {"backbone": sha("other")}}],
)
def test_what_makes_a_block(changed):
    (track,) = sort_runs([made_result(), made_result(spec=changed)], None).tracks
    assert len({unit.block for unit in track.units}) == 2


def test_starts_are_blocks_of_one_track_apart_from_plain_runs():
    random = {"start": "none", "weights": "none"}
    runs = [
        made_result(seed=seed, spec=spec)
        for seed in (0, 1)
        for spec in ({}, {"start": "imagenet"}, random)
    ]
    plain, several = sorted(sort_runs(runs, None).tracks, key=lambda track: track.key.starts)
    assert {unit.block.start for unit in plain.units} == {""}
    assert {(unit.block.start, unit.block.weights == "none") for unit in several.units} == {
        ("imagenet", False), ("none", True),
    }  # fmt: skip
    (slots,) = several.runs.values()
    assert len(slots) == 4
    titles = [title for title, _ in track_names([plain, several])]
    assert "pre-trained weights" in titles[0]
    assert "starting points imagenet, none" in titles[1]
    assert sorted(block_labels({unit.block for unit in several.units}).values()) == [
        "demo-xray / resnet50-mini@imagenet", "demo-xray / resnet50-mini@none",
    ]  # fmt: skip


def test_a_planned_run_of_a_start_joins_the_block_of_its_start():
    there = [made_result(spec={"start": name, "weights": sha(name)}) for name in ("a", "b")]
    missing = made_spec(start="b", weights="not fetched", seed=1)
    (track,) = sort_runs(there, made_plan([*there, missing])).tracks
    ((unit,),) = [units for units in track.missing.values() if units]
    assert (unit.block.start, unit.block.weights, unit.seed) == ("b", sha("b"), 1)
    (alone,) = sort_runs([], made_plan([made_spec(start="none", weights="none")])).tracks
    assert (alone.key.starts, {unit.block.start for unit in alone.units}) == (True, {"none"})


def test_layout_makes_no_track_and_the_later_of_two_answers_counts():
    early = made_result(value=0.1, finished="2025-01-01")
    late = made_result(
        value=0.2, finished="2025-01-02", spec={"numeric": NumericMode(layout="channels-last")}
    )
    found = sort_runs([late, early], None)
    ((slots,),) = (track.runs.values() for track in found.tracks)
    assert list(slots.values()) == [late]
    assert found.duplicates == 1


def test_a_planned_run_that_is_missing_joins_the_track_and_block_of_its_like():
    there = made_result(strategy="full-ft")
    missing = made_spec(strategy="lp-ft")
    (track,) = sort_runs([there], made_plan([there.spec, missing])).tracks
    ((row, units),) = [(row, units) for row, units in track.missing.items() if units]
    assert row.strategy == "lp-ft"
    assert units == track.units
    assert {unit.block.data for unit in units} == {there.spec.data}


def test_a_planned_run_of_a_newer_engine_joins_the_newest():
    old, new = made_result(seed=0), made_result(seed=1, spec={"engine": 2})
    tracks = sort_runs([old, new], made_plan([old.spec, new.spec, made_spec(seed=2)])).tracks
    assert {track.key.engine: len(track.units) for track in tracks} == {1: 1, 2: 2}


def test_a_track_of_which_nothing_ran_stands_for_itself():
    there, missing = made_result(), made_spec(limit=20)
    tracks = sort_runs([there], made_plan([there.spec, missing])).tracks
    assert [track.key.limit for track in tracks] == [None, 20]
    assert "nothing run yet: at most 20 images a split" in track_names(tracks)[1].title


def test_a_planned_run_counts_for_the_block_its_row_lacks():
    """Two states of one dataset are there; the missing run may be the answer to either."""
    states = [made_result(spec={"data": sha(n)}) for n in range(2)]
    other = made_result(strategy="lp-ft", spec={"data": sha(0)})
    plan = made_plan([*states, other, made_spec(strategy="lp-ft", data=sha("gone"))])
    (track,) = sort_runs([*states, other], plan).tracks
    assert len(track.units) == 2
    ((unit,),) = [units for units in track.missing.values() if units]
    assert unit.block.data == sha(1)


def test_tracks_alike_but_for_the_protocol_show_its_digest():
    changed = PROTOCOL.model_copy(update={"lr": 0.5})
    found = sort_runs([made_result(), made_result(spec={"protocol": changed})], None)
    assert all("(protocol " in title for title, _ in track_names(found.tracks))

"""Shards of a plan: disjoint and complete, of about equal work, and few that share a group."""

from dataclasses import replace

import pytest
from command import bench, runs
from hypothesis import given
from hypothesis import strategies as st
from made import made_plan, made_planned, made_result, made_spec
from places import TOY

import harness
from harness import UsageError
from harness.benchmark.listeners.events import Group
from harness.benchmark.plan import divide, named_shards
from harness.benchmark.preview import outlook
from harness.benchmark.preview.shares import plan_shards
from harness.leaderboard import labels

DATASETS = ("demo-xray", "demo-mri", "demo-histology")
BACKBONES = ("resnet50-mini", "vgg19-mini")


def product(datasets=DATASETS, backbones=BACKBONES, strategies=("full-ft", "lp-ft"), seeds=2):
    """Seeds outermost, as a suite on paired splits has them, so that groups come in turns."""
    return [
        made_spec(dataset, backbone, strategy, seed)
        for seed in range(seeds)
        for dataset in datasets
        for backbone in backbones
        for strategy in strategies
    ]


@given(
    st.integers(1, 40),
    st.integers(1, 3),
    st.lists(st.floats(0, 1e12, allow_subnormal=False), min_size=24, max_size=24),
    st.sets(st.integers(0, 23)),
)
def test_shards_are_disjoint_and_complete_whatever_their_number(parts, seeds, sizes, uncounted):
    specs = product(seeds=seeds)[:24]
    work = {
        spec.run_id: size
        for number, (spec, size) in enumerate(zip(specs, sizes, strict=False))
        if number not in uncounted
    }
    found = divide(specs, work, parts)
    assert found.keys() == {spec.run_id for spec in specs}
    assert set(found.values()) <= set(range(1, parts + 1))
    # Cut in one order of groups: no more groups are opened than there are cuts.
    opened = {(Group.of(spec), found[spec.run_id]) for spec in specs}
    assert len(opened) <= len({Group.of(spec) for spec in specs}) + parts - 1


@given(st.integers(1, 12), st.lists(st.floats(1, 100), min_size=24, max_size=24))
def test_shards_have_about_the_same_work(parts, sizes):
    specs = product()
    work = {spec.run_id: size for spec, size in zip(specs, sizes, strict=True)}
    found = divide(specs, work, parts)
    share = sum(sizes) / parts
    for part in range(1, parts + 1):
        own = sum(size for run, size in work.items() if found[run] == part)
        assert abs(own - share) <= max(sizes)


def test_equal_groups_are_not_cut():
    specs = product()
    work = dict.fromkeys((spec.run_id for spec in specs), 7.0)
    for parts in (2, 3, 6):
        found = divide(specs, work, parts)
        assert len({(Group.of(spec), found[spec.run_id]) for spec in specs}) == 6


def test_one_that_cannot_be_counted_is_taken_for_one_of_the_others():
    specs = product(datasets=DATASETS[:1], backbones=BACKBONES[:1], seeds=3)
    known = {spec.run_id: 1.0 for spec in specs[:5]}
    assert list(divide(specs, known, 3).values()) == [1, 1, 2, 2, 3, 3]
    assert list(divide(specs, {}, 3).values()) == [1, 1, 2, 2, 3, 3]


def test_what_is_missing_is_told_by_shard():
    runs = [made_result(seed=seed) for seed in range(12)]
    lines = [
        made_planned(run.spec).model_copy(update={"shard": f"{1 + number % 11}/11"})
        for number, run in enumerate(runs)
    ]
    plan = made_plan([]).model_copy(update={"runs": tuple(lines)})
    made = {run.run_id for run in runs} - {runs[0].run_id, runs[1].run_id, runs[9].run_id}
    (told,) = labels.unfinished_shards(plan, made)
    assert told.startswith("Shards that are not here in full: 1/11 (1 of 2 runs), 2/11 (none of 1")
    assert told.endswith("), 10/11 (none of 1 runs).")
    assert labels.unfinished_shards(plan, {run.run_id for run in runs}) == ()
    assert labels.unfinished_shards(made_plan(runs), set()) == ()
    assert labels.unfinished_shards(None, set()) == ()


@pytest.mark.slow
def test_a_call_that_is_made_again_keeps_the_shards_of_its_folder(tmp_path, monkeypatch):
    args = ("--seeds", "0,1", "--shard")
    bench(tmp_path / "first", *args, "1/2")
    # As if finished runs had taught other work: now every run would be in the other shard.
    monkeypatch.setattr(
        outlook, "divide", lambda specs, work, parts: dict.fromkeys((s.run_id for s in specs), 2)
    )
    assert "0 runs made, 3 were there" in bench(tmp_path / "first", *args, "1/2").stdout
    assert len(runs(tmp_path / "first")) == 3


def test_shards_that_are_named_hold_for_their_number_and_all_runs_alone():
    class Plan:
        asked = product(datasets=DATASETS[:1], backbones=BACKBONES[:1], seeds=1)

    first, second = (spec.run_id for spec in Plan.asked)
    named = {first: "2/3", second: "1/3", "of-another-call": "3/3"}
    assert named_shards(Plan, named, 3) == {first: 2, second: 1}
    assert named_shards(Plan, named, 2) == {}
    assert named_shards(Plan, {first: "2/3"}, 3) == {}
    assert named_shards(Plan, {}, 3) == {}


def test_a_plan_tells_its_shards_as_calls_cut_them():
    asked = {"suite": "toy", "seeds": [0, 1], "plugins": [TOY], "device": "cpu", "jobs": 1}
    planned = harness.dry_run(**asked)
    shards = planned.shards(2)
    assert [[one.run_id for one in shard.runs] for shard in shards] == [
        [one.run_id for one in harness.dry_run(**asked, shard=(part, 2)).runs] for part in (1, 2)
    ]
    seconds = [shard.seconds for shard in planned.shards(6)]
    (whole,) = planned.shards(1)
    # Each has the start of a call of its own, four seconds and more.
    assert max(seconds) < whole.seconds <= sum(seconds) - 5 * 4
    # Two workers take the memory of each twice, and the images once: 48 of 8 px.
    (twice,) = harness.dry_run(**{**asked, "jobs": 2}).shards(1)
    assert twice.memory - whole.memory == whole.memory - 3 * 8 * 8 * 48
    with pytest.raises(UsageError, match="parts"):
        planned.shards(0)


def test_a_shard_whose_work_cannot_be_foretold_has_no_time():
    asked = {"suite": "toy", "plugins": [TOY], "device": "cpu", "jobs": 1}
    planned = harness.dry_run(**asked)
    dry = planned._dry
    works = dict(list(dry.outlook.works.items())[1:])
    less = replace(dry, outlook=replace(dry.outlook, works=works))
    (whole,) = plan_shards(less, 1, planned._plugins)
    assert whole.seconds is None
    none = replace(less, plan=replace(dry.plan, datasets={}))
    assert plan_shards(none, 1, planned._plugins)[0].memory is None

"""Shards of a plan: disjoint and complete, of about equal work, and few that share a group."""

from hypothesis import given
from hypothesis import strategies as st
from made import made_plan, made_planned, made_result, made_spec

from harness.benchmark.listeners.events import Group
from harness.benchmark.plan import divide
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

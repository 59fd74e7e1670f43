"""Clusters against plain graph search."""

from hypothesis import given
from hypothesis import strategies as st

from harness.data.stratify import Sample, find_groups, place_official

PLACES = ("train", "validation", "test")


def sample(name, *, group=None, split="train", content="", label=0):
    return Sample(name, label, group or name, split, content)


def reachable(start, samples, twins):
    """All ids linked to `start`, by breadth-first search over every pair."""
    linked = {frozenset(pair) for pair in twins}
    seen, border = {start}, [start]
    by_id = {s.id: s for s in samples}
    while border:
        one = by_id[border.pop()]
        for other in samples:
            joined = (
                one.group == other.group
                or (one.content and one.content == other.content)
                or frozenset((one.id, other.id)) in linked
            )
            if joined and other.id not in seen:
                seen.add(other.id)
                border.append(other.id)
    return seen


SAMPLES = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), st.sampled_from(["", "", "x", "y"]), st.sampled_from(PLACES)
    ),
    max_size=12,
).map(
    lambda rows: [
        sample(f"s{number:02}", group=group, content=content, split=split)
        for number, (group, content, split) in enumerate(rows)
    ]
)
TWINS = st.lists(st.tuples(*[st.integers(0, 14).map("s{:02}".format)] * 2), max_size=4)


@given(SAMPLES, TWINS)
def test_a_cluster_is_what_groups_contents_and_twins_link(samples, twins):
    clusters = find_groups(samples, twins)
    assert set(clusters) == {s.id for s in samples}
    for one in samples:
        together = {name for name, cluster in clusters.items() if cluster == clusters[one.id]}
        assert together == reachable(one.id, samples, twins)
        assert clusters[one.id] == min(together)


def test_an_empty_content_joins_nothing():
    clusters = find_groups([sample("a"), sample("b")], [])
    assert clusters == {"a": "a", "b": "b"}


@given(SAMPLES, TWINS)
def test_no_cluster_crosses_kept_splits_and_test_gives_nothing_away(samples, twins):
    clusters = find_groups(samples, twins)
    placed = place_official(samples, clusters, PLACES)
    places = {}
    for name, split in placed.items():
        places.setdefault(clusters[name], set()).add(split)
    assert all(len(found) == 1 for found in places.values())
    in_test = {clusters[s.id] for s in samples if s.split == "test"}
    in_validation = {clusters[s.id] for s in samples if s.split == "validation"}
    for one in samples:
        stays = {
            "test": True,
            "validation": clusters[one.id] not in in_test,
            "train": clusters[one.id] not in in_test | in_validation,
        }
        assert (one.id in placed) == stays[one.split]
        assert placed.get(one.id, one.split) == one.split


def test_what_is_not_kept_is_train_for_now():
    samples = [
        sample("a", split="test"),
        sample("b", split="validation"),
        sample("c", split="train", group="a"),
    ]
    clusters = find_groups(samples, [])
    assert place_official(samples, clusters, ("test",)) == {"a": "test", "b": "train"}
    assert place_official(samples, clusters, ()) == dict.fromkeys("abc", "train")

"""The rules of splitting, on any group structure."""

import hashlib
import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import DataError, Protocol, UsageError
from harness.api.dataset import SPLITS
from harness.data.division.split import Splits, limited, make_splits
from harness.data.division.stratify import Sample

PROTOCOL = Protocol(name="p")


def sample(name, label=0, *, group=None, split="train", content=None):
    return Sample(name, label, group or name, split, content or f"content of {name}")


def plain(*sizes, split="train"):
    return [
        sample(f"{split}-{label}-{number:03}", label, split=split)
        for label, size in enumerate(sizes)
        for number in range(size)
    ]


def split(samples, rule="grouped", protocol=PROTOCOL, twins=None, classes="abc"):
    names = classes[: max(s.label for s in samples) + 1]
    return make_splits("toy", tuple(names), samples, rule=rule, protocol=protocol, pairs=twins)


def where(splits):
    return {s.id: s.split for s in splits.samples}


def counts(splits):
    return {s: dict(Counter(x.label for x in splits.samples if x.split == s)) for s in SPLITS}


@st.composite
def datasets(draw):
    """Groups over classes and source splits in any way, some contents shared, some twins."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 2),
                st.integers(0, 14),
                st.sampled_from(SPLITS),
                st.integers(0, 30),
            ),
            min_size=12,
            max_size=40,
        )
    )
    samples = [
        sample(f"s{n:02}", label, group=f"g{group}", split=place, content=f"c{content}")
        if content < 5
        else sample(f"s{n:02}", label, group=f"g{group}", split=place)
        for n, (label, group, place, content) in enumerate(rows)
    ]
    ids = st.sampled_from([s.id for s in samples])
    return samples, draw(st.lists(st.tuples(ids, ids), max_size=3))


RULES = st.sampled_from(["official", "official-test", "grouped"])


@pytest.mark.slow
@settings(deadline=None)
@given(datasets(), RULES, st.integers(0, 3), st.randoms(use_true_random=False))
def test_no_group_crosses_whatever_the_rule_and_row_order(data, rule, seed, shuffler):
    samples, twins = data
    protocol = Protocol(name="p", split_seed=seed)
    try:
        splits = split(samples, rule, protocol, twins)
    except DataError:
        return
    found = where(splits)
    for key in ("group", "content"):
        places = {}
        for one in samples:
            if one.id in found:
                places.setdefault(getattr(one, key), set()).add(found[one.id])
        assert all(len(at) == 1 for at in places.values()), key
    assert all(found[a] == found[b] for a, b in twins if a in found and b in found)
    assert set(found) | set(splits.left_out) == {s.id for s in samples}
    assert list(found) == sorted(found)
    train = {s.label for s in splits.samples if s.split == "train"}
    assert {s.label for s in splits.samples} == train == set(splits.classes)

    shuffled = list(samples)
    shuffler.shuffle(shuffled)
    assert split(shuffled, rule, protocol, [pair[::-1] for pair in twins]) == splits


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), min_size=3, max_size=40),
    st.integers(0, 3),
)
def test_classes_with_three_groups_are_in_every_split(groups, seed):
    samples = [
        sample(f"{number:02}-{place}", label, group=f"g{number}")
        for number, (label, size) in enumerate(groups)
        for place in range(size)
    ]
    number = Counter(label for label, _ in groups)
    if set(number) != set(range(max(number) + 1)) or max(number.values()) < 3:
        return
    splits = split(samples, protocol=Protocol(name="p", split_seed=seed))
    for label, held in number.items():
        for place in ("train", "test", "validation")[:held]:
            assert counts(splits)[place].get("abc"[label], 0) > 0


def test_imbalance_is_kept_in_proportion():
    splits = split(plain(200, 60, 20))
    assert counts(splits) == {
        "train": {"a": 130, "b": 39, "c": 13},
        "validation": {"a": 30, "b": 9, "c": 3},
        "test": {"a": 40, "b": 12, "c": 4},
    }
    assert splits.rule == (
        "validation (15%) and test (20%) made from all samples, classes in proportion, groups "
        "whole, seed 0"
    )


def test_the_seed_moves_samples_and_the_shares_are_the_protocols():
    samples = plain(100, 100)
    one, other = (split(samples, protocol=Protocol(name="p", split_seed=s)) for s in (0, 1))
    assert where(one) != where(other)
    assert counts(one) == counts(other)
    halves = split(samples, protocol=Protocol(name="p", validation_share=0.25, test_share=0.25))
    assert counts(halves)["train"] == {"a": 50, "b": 50}
    with pytest.raises(UsageError, match="leave nothing for train"):
        split(samples, protocol=Protocol(name="p", validation_share=0.5, test_share=0.5))


# -- what the source brings ---------------------------------------------------------------------


def official():
    return [
        *plain(20, 20),
        *plain(4, 4, split="validation"),
        *plain(6, 6, split="test"),
    ]


def test_official_splits_stay():
    splits = split(official(), "official")
    assert where(splits) == {s.id: s.split for s in official()}
    assert splits.rule == "official train, validation and test"
    assert splits.left_out == ()


def test_official_makes_what_is_missing_out_of_train():
    without_validation = [s for s in official() if s.split != "validation"]
    splits = split(without_validation, "official")
    assert counts(splits) == {
        "train": {"a": 17, "b": 17},
        "validation": {"a": 3, "b": 3},
        "test": {"a": 6, "b": 6},
    }
    assert splits.rule.startswith("official test; validation (15%) made from train, ")
    without_test = [s for s in official() if s.split != "test"]
    splits = split(without_test, "official")
    assert counts(splits)["validation"] == {"a": 4, "b": 4}
    assert counts(splits)["test"] == {"a": 4, "b": 4}
    assert splits.rule.startswith("official validation; test (20%) made from train, ")
    only_train = split(plain(20, 20), "official")
    assert counts(only_train) == counts(split(plain(20, 20), "grouped"))


def test_official_test_pools_the_rest():
    splits = split(official(), "official-test")
    assert counts(splits)["test"] == {"a": 6, "b": 6}
    assert counts(splits)["validation"] == {"a": 4, "b": 4}  # 15 % of 24 is 3.6
    before = {s.id for s in official() if s.split == "validation"}
    assert before != {name for name, place in where(splits).items() if place == "validation"}
    assert splits.rule.startswith("official test; validation (15%) made from all other samples, ")


def test_grouped_pools_everything():
    assert counts(split(official(), "grouped"))["test"] == {"a": 6, "b": 6}
    moved = {s.id: s.split for s in official()}
    assert where(split(official(), "grouped")) != moved


def test_twins_of_test_and_validation_leave_and_are_counted():
    samples = [
        *official(),
        sample("copy of test", 0, content="content of test-0-000"),
        sample("copy in validation", 1, split="validation", content="content of test-1-000"),
        sample("copy of validation", 1, content="content of validation-1-000"),
        sample("near test", 0),
        sample("same patient as near test", 0, group="near test"),
        sample("copy within train", 0, content="content of train-0-000"),
    ]
    splits = split(samples, "official", twins=[("near test", "test-0-001"), ("gone", "test-0-002")])
    assert set(splits.left_out) == {
        "copy of test",
        "copy in validation",
        "copy of validation",
        "near test",
        "same patient as near test",
    }
    assert splits.rule == (
        "official train, validation and test; 1 exact duplicates stay with their originals; "
        "near duplicates stay together (1 pair across groups); "
        "5 samples left out: 4 twins of validation or test samples, 1 more of their groups"
    )
    assert {s.id for s in samples if s.split == "test"} <= set(where(splits))


def test_duplicates_and_twins_join_in_made_splits():
    samples = plain(30, 30)
    samples += [sample(f"copy-{n}", 0, content=f"content of train-0-{n:03}") for n in range(10)]
    twins = [(f"train-1-{n:03}", f"train-1-{n + 1:03}") for n in range(0, 20, 2)]
    for seed in range(5):
        found = where(split(samples, protocol=Protocol(name="p", split_seed=seed), twins=twins))
        assert all(found[f"copy-{n}"] == found[f"train-0-{n:03}"] for n in range(10))
        assert all(found[a] == found[b] for a, b in twins)


# -- what cannot be split -----------------------------------------------------------------------


def test_a_class_that_train_lacks_is_named():
    samples = [*official(), sample("x", 2, split="test"), sample("y", 2, split="validation")]
    with pytest.raises(DataError, match=r"'toy': train has no sample of 'c' \(official"):
        split(samples, "official")
    # Every training sample of the class is a twin of a test sample.
    samples = [*official(), sample("x", 2, split="test"), sample("z", 2, group="x")]
    with pytest.raises(DataError, match=r"no sample of 'c' .*1 samples left out"):
        split(samples, "official")


def test_a_class_of_one_group_trains_and_the_rule_says_so():
    samples = [*plain(20, 20), *(sample(f"c{n}", 2, group="one") for n in range(5))]
    splits = split(samples)
    assert counts(splits)["train"]["c"] == 5
    assert splits.rule.endswith("; validation has no 'c'; test has no 'c'")


@pytest.mark.parametrize(
    ("samples", "rule", "message"),
    [
        ([], "grouped", "no sample for train"),
        (plain(1, 1), "grouped", r"no sample for validation \(2 samples; .*at least three groups"),
        ([sample(f"s{n}", n % 2, group="g") for n in range(9)], "grouped", "no sample for valid"),
        (plain(5, 5, split="test"), "official", r"no train split \(it has test\)"),
        (plain(5, 5), "official-test", r"no test split \(it has train\)"),
        ([], "official", r"no train split \(it has no sample at all\)"),
    ],
)
def test_too_little_is_an_error(samples, rule, message):
    with pytest.raises(DataError, match=message):
        make_splits("toy", ("a", "b"), samples, rule=rule, protocol=PROTOCOL)


# -- the file -----------------------------------------------------------------------------------


def test_the_file_holds_everything_and_its_own_hash():
    splits = split(official(), "official")
    again = Splits.model_validate_json(splits.model_dump_json())
    assert again == splits
    content = splits.model_dump(mode="json")
    rest = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == content["sha256"]
    assert content["samples"][0] == {
        "id": "test-0-000",
        "label": "a",
        "group": "test-0-000",
        "split": "test",
    }


def test_the_fingerprint_sees_every_field():
    base = official()
    fingerprints = {split(base, "official").fingerprint}
    changed = [
        sample("train-0-000", 1),
        sample("train-0-000", 0, group="other"),
        sample("train-0-000", 0, split="test"),
        sample("train-0-000", 0, content="other"),
        sample("renamed", 0),
    ]
    for one in changed:
        rest = [s for s in base if s.id != "train-0-000"]
        fingerprints.add(split([*rest, one], "official").fingerprint)
    fingerprints.add(split(base, "official", classes="xyz").fingerprint)
    assert len(fingerprints) == 7


# -- limit --------------------------------------------------------------------------------------


def test_limit_is_stratified_and_takes_one_of_each():
    splits = split(plain(200, 60, 20))
    rows = limited(splits, 14, seed=0)
    taken = {
        place: Counter(splits.samples[row].label for row in found) for place, found in rows.items()
    }
    assert taken["train"] == {"a": 10, "b": 3, "c": 1}
    assert taken["test"] == {"a": 10, "b": 3, "c": 1}
    assert all(found == sorted(set(found)) for found in rows.values())
    assert all(splits.samples[row].split == place for place, at in rows.items() for row in at)
    few = limited(splits, 2, seed=0)
    assert all(
        Counter(splits.samples[row].label for row in few[place]) == {"a": 1, "b": 1, "c": 1}
        for place in SPLITS
    )


def test_no_limit_takes_all_and_the_seed_decides():
    splits = split(plain(50, 50))
    everything = limited(splits, None, seed=0)
    assert sorted(row for rows in everything.values() for row in rows) == list(range(100))
    assert limited(splits, 1000, seed=0) == everything
    assert limited(splits, 8, seed=0) == limited(splits, 8, seed=0)
    assert limited(splits, 8, seed=0) != limited(splits, 8, seed=1)


@pytest.mark.slow
def test_many_samples_are_split_in_reasonable_work():
    random.seed(0)
    samples = [sample(f"s{n:05}", n % 3, group=f"g{random.randrange(4000)}") for n in range(12000)]
    found = counts(split(samples))
    for label in "abc":
        assert abs(found["test"][label] - 800) < 20

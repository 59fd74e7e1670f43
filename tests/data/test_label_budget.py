"""Label budgets: nested, whole groups, every class, near the count; against exhaustive search."""

from collections import Counter
from itertools import chain, combinations, pairwise, product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import UsageError
from harness.data.division.split import Splits, SplitSample, labelled
from harness.data.division.stratify import order_groups

# (class, images) of each group, or the images of each class in it
PURE = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), min_size=1, max_size=40).map(
    lambda rows: [{label: size} for label, size in rows]
)
MIXED = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), min_size=1, max_size=3),
    min_size=1,
    max_size=25,
)


def made(groups):
    """Splits whose training images are of these groups, with test and validation beside."""
    rows = [
        (f"{number:03}-{label}-{copy}", label, f"g{number}", "train")
        for number, group in enumerate(groups)
        for label, size in group.items()
        for copy in range(size)
    ]
    rows += [(f"x-{split}", "a", f"x-{split}", split) for split in ("validation", "test")]
    samples = tuple(
        SplitSample(id=name, label=label, group=group, split=split)
        for name, label, group, split in sorted(rows)
    )
    classes = tuple(sorted({sample.label for sample in samples}))
    return Splits(dataset="d", classes=classes, rule="made", fingerprint="f", samples=samples)


def taken(splits, budget, seed=0):
    return labelled(splits, splits.rows("train"), budget, seed)


def classes(splits, rows):
    return Counter(splits.samples[row].label for row in rows)


@settings(max_examples=30)
@given(PURE | MIXED, st.integers(0, 4), st.data())
def test_a_budget_is_whole_groups_of_training_with_every_class(groups, seed, data):
    splits = made(groups)
    train = splits.rows("train")
    rows = taken(splits, str(data.draw(st.integers(1, len(train)))), seed)
    assert rows == sorted(set(rows))
    assert set(rows) <= set(train)
    kept = {splits.samples[row].group for row in rows}
    assert rows == [row for row in train if splits.samples[row].group in kept]
    assert set(classes(splits, rows)) == set(classes(splits, train))


@settings(max_examples=15)
@given(PURE | MIXED, st.integers(0, 4))
def test_a_smaller_budget_is_part_of_a_larger_one(groups, seed):
    splits = made(groups)
    count = len(splits.rows("train"))
    found = [set(taken(splits, str(n), seed)) for n in range(1, count + 1)]
    assert all(small <= large for small, large in pairwise(found))
    shares = [set(taken(splits, f"{share}%", seed)) for share in (10, 25, 50, 100)]
    assert all(small <= large for small, large in pairwise(shares))
    assert found[-1] == shares[-1] == set(splits.rows("train"))


@settings(max_examples=30)
@given(PURE | MIXED, st.integers(0, 4), st.data())
def test_a_budget_is_as_near_to_the_count_as_groups_and_classes_allow(groups, seed, data):
    """Off by half of the largest group at most, but where classes need more groups than fit."""
    splits = made(groups)
    train = splits.rows("train")
    count = data.draw(st.integers(1, len(train)))
    rows = taken(splits, str(count), seed)
    largest = max(sum(group.values()) for group in groups)
    assert len(rows) >= count - largest / 2
    if len(rows) > count + largest / 2:  # classes need so many: it is the least there is
        assert rows == taken(splits, "1", seed)


@settings(max_examples=40)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), min_size=1, max_size=2),
        min_size=1,
        max_size=7,
    ),
    st.integers(0, 3),
)
@example(  # a is only in groups that count for c, and c has its image by then
    [dict(Counter(labels)) for labels in ("ab", "c", "ab", "b", "b", "ac", "aac")],
    1,
)
def test_the_least_budget_is_little_more_than_the_least_there_is(groups, seed):
    """Of all sets of groups that hold every class, the smallest by exhaustive search."""
    splits = made(groups)
    whole = set().union(*groups)
    sets = chain.from_iterable(combinations(groups, n) for n in range(1, len(groups) + 1))
    fewest = min(len(some) for some in sets if set().union(*some) == whole)
    rows = taken(splits, "1", seed)
    used = {splits.samples[row].group for row in rows}
    assert fewest <= len(used) <= len(whole)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(0, 4), st.data())
def test_single_images_are_shared_out_as_well_as_can_be(sizes, seed, data):
    """Of all ways to take so many, one from each class at least, none is nearer to proportion.

    Near: squares of (taken / size - budget / all), each weighted by its class's size.
    """
    names = "abc"[: len(sizes)]
    splits = made(
        [{label: 1} for label, size in zip(names, sizes, strict=True) for _ in range(size)]
    )
    count = data.draw(st.integers(len(sizes), sum(sizes)))

    def distance(counts):
        share = count / sum(sizes)
        return sum(s * (n / s - share) ** 2 for n, s in zip(counts, sizes, strict=True))

    ways = product(*(range(1, size + 1) for size in sizes))
    best = min(distance(way) for way in ways if sum(way) == count)
    found = classes(splits, taken(splits, str(count), seed))
    assert sum(found.values()) == count
    assert distance([found[label] for label in names]) == pytest.approx(best, abs=1e-9)


def test_no_class_is_favoured():
    """Many rare classes, at half of the images: each has half of its own, and so has the common one."""
    groups = [{label: 1} for label in "bcdefghijklm" for _ in range(5)] + [{"a": 1}] * 400
    splits = made(groups)
    found = classes(splits, taken(splits, "50%"))
    assert abs(found["a"] - 200) <= 6
    assert all(2 <= found[label] <= 3 for label in "bcdefghijklm")


@settings(max_examples=30)
@given(PURE, st.integers(0, 4))
def test_classes_are_level_as_far_as_whole_groups_allow(groups, seed):
    """At every beginning no class is ahead of another by more than a group of either."""
    splits = made(groups)
    samples = [splits.samples[row] for row in splits.rows("train")]
    total = Counter(one.label for one in samples)
    largest = Counter()
    for group in groups:
        for label, size in group.items():
            largest[label] = max(largest[label], size)
    order = order_groups([s.group for s in samples], [s.label for s in samples], seed)
    assert sorted(place for unit in order for place in unit) == list(range(len(samples)))
    so_far = Counter()
    for unit in order:
        so_far.update(samples[place].label for place in unit)
        for one, other in product(total, total):
            if so_far[one] < total[one]:
                ahead = so_far[other] / total[other] - so_far[one] / total[one]
                assert ahead <= largest[other] / total[other] + largest[one] / total[one] + 1e-9


@settings(max_examples=30)
@given(PURE | MIXED, st.integers(0, 4), st.randoms())
def test_a_budget_depends_on_the_split_alone(groups, seed, random):
    """The order of the rows makes no difference, nor do images that are not in training."""
    splits = made(groups)
    rows = splits.rows("train")
    mixed = rows[:]
    random.shuffle(mixed)
    count = str(max(1, len(rows) // 2))
    assert labelled(splits, mixed, count, seed) == taken(splits, count, seed)
    without = splits.model_copy(update={"samples": splits.samples[: len(rows)]})
    assert taken(without, count, seed) == taken(splits, count, seed)


@pytest.mark.parametrize(("count", "images"), [(4, 4), (5, 4), (6, 8), (7, 8), (8, 8), (9, 8)])
def test_a_group_is_taken_where_that_is_nearer(count, images):
    assert len(taken(made([{"a": 4}] * 5), str(count))) == images


def test_another_split_takes_other_images():
    splits = made([{label: 1} for label in "ab" for _ in range(30)])
    found = {tuple(taken(splits, "10", seed)) for seed in range(6)}
    assert len(found) == 6


def test_these_images_for_ever():
    """Stored runs were trained on them, and `verify` looks for them."""
    splits = made([{label: 1} for label in "abb" for _ in range(4)])
    found = [splits.samples[row].id for row in taken(splits, "25%")]
    assert found == ["000-a-0", "007-b-0", "010-b-0"]


@pytest.mark.parametrize(
    ("budget", "count"), [("50%", 20), ("7.5%", 3), ("1%", 2), ("40", 40), ("100%", 40)]
)
def test_shares_and_counts(budget, count):
    splits = made([{label: 1} for label in "ab" for _ in range(20)])
    assert len(taken(splits, budget)) == count
    assert taken(splits, None) == splits.rows("train")


def test_more_labels_than_there_are_images_are_refused():
    splits = made([{"a": 1}] * 5)
    with pytest.raises(UsageError, match=r"--labels 6: dataset 'd' has 5 training images; ask"):
        taken(splits, "6")

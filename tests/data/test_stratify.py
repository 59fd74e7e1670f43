"""Shares, coverage and whole units, against bounds by hand and exhaustive search."""

import random
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.division import stratify
from harness.data.division.stratify import (
    Sample,
    assign_splits,
    find_groups,
    order_by_hash,
    place_official,
    split_quotas,
)

BOTH = {"validation": 0.15, "test": 0.2}
PARTS = ("train", "validation", "test")


def counts_of(units, found):
    counts = {part: Counter() for part in PARTS}
    for name, part in found.items():
        counts[part] += units[name]
    return counts


def singles(*sizes):
    """So many units of one sample each, for each class."""
    return {
        f"{label}-{number:04}": Counter({label: 1})
        for label, size in enumerate(sizes)
        for number in range(size)
    }


PURE = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=60).map(
    lambda rows: {f"u{n:02}": Counter({label: size}) for n, (label, size) in enumerate(rows)}
)
MIXED = st.lists(
    st.dictionaries(st.integers(0, 2), st.integers(1, 3), min_size=1, max_size=3),
    min_size=1,
    max_size=7,
).map(lambda rows: {f"u{n}": Counter(row) for n, row in enumerate(rows)})


@pytest.mark.parametrize("seed", range(3))
def test_single_samples_are_shared_out_to_within_one(seed):
    sizes = (1000, 301, 57, 20)
    found = assign_splits(units := singles(*sizes), BOTH, seed)
    for part, count in counts_of(units, found).items():
        share = {"train": 0.65, **BOTH}[part]
        for label, size in enumerate(sizes):
            assert abs(count[label] - share * size) <= 1


@settings(deadline=None)
@given(PURE, st.integers(0, 5))
def test_units_of_one_class_stay_near_the_shares(units, seed):
    found = assign_splits(units, BOTH, seed)
    assert set(found) == set(units)
    total, largest = Counter(), Counter()
    for unit in units.values():
        for label, size in unit.items():
            total[label] += size
            largest[label] = max(largest[label], size)
    for part, count in counts_of(units, found).items():
        share = {"train": 0.65, **BOTH}[part]
        for label, size in total.items():
            # Each unit goes where most is lacking, so none is added to a part above its share.
            assert count[label] - share * size < largest[label] + 1e-9
            assert count[label] - share * size >= -2 * largest[label] - 1e-9


@settings(deadline=None)
@given(PURE, st.integers(0, 5))
def test_few_units_go_to_train_then_test_then_validation(units, seed):
    found = counts_of(units, assign_splits(units, BOTH, seed))
    number = Counter(label for unit in units.values() for label in unit)
    for label, held in number.items():
        for part in ("train", "test", "validation")[:held]:
            assert found[part][label] > 0


@settings(deadline=None, max_examples=60)
@given(MIXED, st.integers(0, 3))
def test_every_class_that_can_be_is_in_every_part(units, seed):
    """If any division gives every class to every part, the one found does so; train has all."""
    classes = set().union(*units.values())
    found = counts_of(units, assign_splits(units, BOTH, seed))
    assert set(found["train"]) == classes
    possible = any(
        all(
            set().union(*(units[name] for name, at in zip(units, parts, strict=True) if at == part))
            == classes
            for part in PARTS
        )
        for parts in product(PARTS, repeat=len(units))
    )
    if possible:
        assert all(set(found[part]) == classes for part in PARTS)


def test_train_has_every_class_however_small_its_share():
    """Two classes have one unit each, so no division gives all to two parts: train comes first."""
    units = {"a": Counter([1]), "b": Counter([0, 1, 1]), "c": Counter([1, 3, 3, 3])}
    for seed in range(5):
        found = assign_splits(units, {"validation": 0.1, "test": 0.8}, seed)
        assert found == {"a": "test", "b": "train", "c": "train"}


def test_a_choice_that_leaves_a_class_out_is_taken_back():
    """Train needs `a` for its class 1, so test needs `b` for class 2, and train `c` for class 0."""
    units = {"a": Counter([1] * 3 + [2] * 3), "b": Counter([0, 0, 2, 2]), "c": Counter([0])}
    for seed in range(10):
        assert assign_splits(units, BOTH, seed) == {"a": "train", "b": "test", "c": "train"}


def test_of_units_that_fit_any_comes_into_test_and_none_that_does_not_fit():
    shares = {"validation": 0.25, "test": 0.25}  # four samples each
    units = {"one": Counter({0: 1}), "three": Counter({0: 3}), "twelve": Counter({0: 12})}
    tested = Counter()
    for seed in range(20):
        found = assign_splits(units, shares, seed)
        assert found["twelve"] == "train"
        tested[next(name for name, part in found.items() if part == "test")] += 1
    assert tested.keys() == {"one", "three"}
    units["five"] = units.pop("one") + Counter({0: 4})  # five of twenty: one too many
    shares = {"validation": 0.2, "test": 0.2}
    for seed in range(20):
        assert assign_splits(units, shares, seed)["three"] == "test"


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_part_that_is_not_asked_for_gets_nothing(part):
    found = assign_splits(singles(10, 5), {part: 0.2}, 0)
    assert Counter(found.values()) == {"train": 12, part: 3}


def test_nothing_is_divided_into_nothing():
    assert assign_splits({}, BOTH, 0) == {}


def test_a_unit_goes_where_the_shares_are_left_least(monkeypatch):
    """All units but one are placed; it goes where the squares of what each class is away, as a
    share of the class, add up to the least: of all three parts tried."""
    rng = random.Random(0)
    shares = {"train": 0.65, **BOTH}
    for _ in range(200):
        units = {
            f"u{n}": Counter({0: rng.randint(1, 90), 1: rng.randint(1, 9), 2: rng.randint(1, 3)})
            for n in range(6)
        }
        fixed = {name: rng.choice(PARTS) for name in units if name != "u0"}
        total = sum(units.values(), Counter())
        away = {}
        for part in PARTS:
            counts = counts_of(units, fixed | {"u0": part})
            away[part] = sum(
                (counts[one][label] / size - shares[one]) ** 2
                for one in PARTS
                for label, size in total.items()
            )
        monkeypatch.setattr(stratify, "_cover", lambda *_, fixed=fixed: dict(fixed))
        assert assign_splits(units, BOTH, 0)["u0"] == min(away, key=away.get)


@pytest.mark.parametrize(("work", "tries"), [(1000, 16), (50, 5), (5, 1)])
def test_of_many_units_fewer_orders_are_tried(monkeypatch, work, tries):
    asked = set()
    monkeypatch.setattr(stratify, "WORK", work)
    monkeypatch.setattr(stratify, "_cover", lambda *_: {})
    monkeypatch.setattr(
        stratify, "order_by_hash", lambda items, _, purpose: asked.add(purpose) or list(items)
    )
    assign_splits(singles(9), BOTH, 0)
    assert len(asked - {"split:0"}) == tries  # 50 units may be placed: five times nine and one


def test_of_orders_that_end_equally_near_the_first_is_taken(monkeypatch):
    """Results stand on the divisions of today: a tie must not be decided otherwise."""
    ends = iter([({"0-0000": "train"}, 1.0), *[({"0-0000": "test"}, 1.0)] * 15])
    monkeypatch.setattr(stratify, "_fill", lambda *_: next(ends))
    assert assign_splits(singles(1), BOTH, 0) == {"0-0000": "train"}


def test_classes_that_share_units_in_a_ring_still_reach_train():
    # Two units a class, each shared with the next class: no division gives all of them to two.
    units = {"ab": Counter([0, 1]), "bc": Counter([1, 2]), "ca": Counter([2, 0])}
    found = counts_of(units, assign_splits(units, BOTH, 0))
    assert set(found["train"]) == {0, 1, 2}
    assert found["test"]


def test_a_search_that_is_cut_short_still_gives_train_every_class(monkeypatch):
    monkeypatch.setattr(stratify, "STEPS", 4)  # enough for the three demands of train
    units = {"ab": Counter([0, 1]), "bc": Counter([1, 2]), "ca": Counter([2, 0])}
    for seed in range(5):
        assert set(counts_of(units, assign_splits(units, BOTH, seed))["train"]) == {0, 1, 2}


def test_the_large_unit_of_a_class_goes_to_train():
    for seed in range(5):
        found = assign_splits(
            {"a": Counter({0: 100}), "b": Counter({0: 5}), "c": Counter({0: 5})}, BOTH, seed
        )
        assert found["a"] == "train"
        assert sorted(found.values()) == ["test", "train", "validation"]


def test_groups_of_a_rare_class_do_not_upset_the_others():
    units = {f"p{n:03}": Counter({0: 1 + n % 4}) for n in range(200)}
    units |= {f"q{n}": Counter({0: 2, 1: 1}) for n in range(5)}
    found = counts_of(units, assign_splits(units, BOTH, 0))
    total = sum(unit[0] for unit in units.values())
    for part in PARTS:
        assert found[part][1] >= 1
        assert abs(found[part][0] / total - {"train": 0.65, **BOTH}[part]) < 0.02


def test_the_seed_decides_and_the_order_does_not():
    units = singles(40, 40)
    turned = dict(reversed(units.items()))
    assert assign_splits(units, BOTH, 1) == assign_splits(turned, BOTH, 1)
    assert assign_splits(units, BOTH, 1) != assign_splits(units, BOTH, 2)


def test_every_sample_can_come_into_test():
    units = singles(10, 10)
    seen = Counter(
        name
        for seed in range(200)
        for name, at in assign_splits(units, BOTH, seed).items()
        if at == "test"
    )
    assert set(seen) == set(units)
    # A fair draw: 40 of 200 expected, standard deviation 5.7.
    assert all(15 <= count <= 65 for count in seen.values())


def test_the_nearest_of_several_orders_is_taken(monkeypatch):
    """The first order is one of the sixteen: their best is never further from the shares."""

    def distances():
        for seed in range(12):
            # Of the second class there is little: it counts as much as the first.
            units = {
                f"u{n:02}": Counter({0: 9 * (1 + (n * n + seed) % 7), 1: 1 + (n**3 + seed) % 3})
                for n in range(15)
            }
            total = sum(units.values(), Counter())
            found = counts_of(units, assign_splits(units, BOTH, seed))
            shares = {"train": 0.65, **BOTH}
            yield sum(
                (found[part][label] / total[label] - shares[part]) ** 2
                for part in PARTS
                for label in total
            )

    best = list(distances())
    monkeypatch.setattr(stratify, "ORDERS", 1)
    first = list(distances())
    assert all(one <= other + 1e-12 for one, other in zip(best, first, strict=True))
    assert sum(best) < 0.8 * sum(first)


def test_an_order_by_hash_is_the_same_for_ever():
    # sha256sum of split:0/a, /b, /c, /d begins with 2f, 15, d2, af
    assert order_by_hash(["a", "b", "c", "d"], str, "split:0") == ["b", "a", "d", "c"]


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=3), st.integers(1, 50), min_size=1), st.integers(1, 60))
def test_quotas_are_proportional_with_one_of_each(counts, limit):
    total = sum(counts.values())
    limit = min(limit, total)
    take = split_quotas(counts, limit)
    assert sum(take.values()) == max(limit, len(counts))
    assert all(1 <= take[name] <= counts[name] for name in counts)
    for name, count in counts.items():
        ideal = limit * count / total
        if take[name] > 1:
            assert take[name] < ideal + 1
        if limit >= len(counts) and all(limit * other >= total for other in counts.values()):
            assert abs(take[name] - ideal) < 1


@pytest.mark.parametrize(
    ("counts", "limit", "taken"),
    [
        ("a50 b30 c20", 7, "a4 b2 c1"),  # 3.5, 2.1, 1.4: the largest rest is a's
        ("a50 b30 c20", 8, "a4 b2 c2"),  # 4, 2.4, 1.6: it is c's
        ("a50 b30 c20", 10, "a5 b3 c2"),
        ("a5 b5 c5", 5, "a2 b2 c1"),  # two are short by one
        ("b5 a5", 3, "b1 a2"),  # a tie goes to the first name
        ("a1 b1 c98", 10, "a1 b1 c8"),  # 0.1, 0.1, 9.8
        # 5.2, 2.6 and three of less than one: a is least short, and after it b.
        ("a60 b30 c1 d1 e1", 8, "a4 b1 c1 d1 e1"),
        ("b60 a30 c1 d1 e1", 8, "b4 a1 c1 d1 e1"),
        ("a40 b40 c1 d1 e1", 4, "a1 b1 c1 d1 e1"),
    ],
)
def test_quotas_by_hand(counts, limit, taken):
    given, expected = ({w[0]: int(w[1:]) for w in text.split()} for text in (counts, taken))
    assert split_quotas(given, limit) == expected


def test_many_rare_classes_take_from_the_large_one():
    rare = dict.fromkeys("bcdefghijk", 1)
    assert split_quotas({"a": 10} | rare, 12) == {"a": 2} | rare


# -- groups that stay whole ------------------------------------------------------------------------


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
        st.sampled_from("abcdefgh"), st.sampled_from(["", "", "x", "y"]), st.sampled_from(PARTS)
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
    placed = place_official(samples, clusters, PARTS)
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


# -- against scikit-learn -----------------------------------------------------------------------


def off(units, inside, share):
    """Class -> how far its share of the samples is from `share`."""
    total = sum(units.values(), Counter())
    there = sum((units[name] for name in inside), Counter())
    return {label: abs(there[label] / total[label] - share) for label in total}


def folds(units, seed):
    """The samples that `StratifiedGroupKFold` of five folds would hold out, fold by fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    names = [name for name, unit in units.items() for _ in unit.elements()]
    labels = [label for unit in units.values() for label in unit.elements()]
    folded = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for _, held in folded.split(labels, labels, names):
        yield {names[place] for place in held}


def made_units(seed):
    """Patients with images of one class or two; rare classes, in ten groups and more."""
    rng = random.Random(seed)
    kinds = rng.randint(2, 5)
    rows = [[label] for label in range(kinds) for _ in range(10)]
    rows += [
        rng.sample(range(kinds), rng.randint(1, 2)) if seed % 2 else [rng.randrange(kinds)]
        for _ in range(rng.randint(10, 30))
    ]
    return {
        f"u{n:02}": Counter({label: rng.randint(1, 6) for label in row})
        for n, row in enumerate(rows)
    }


@pytest.mark.slow
def test_class_shares_are_no_worse_than_those_of_scikit_learn_by_more_than_a_group():
    """Validation moves from split 0 to 4, a fifth of what is not test: groups whole.

    In none of three sets is a class further off than in the worst of the folds by its largest group.
    """
    for number in range(3):
        units = made_units(number)
        total, largest = sum(units.values(), Counter()), Counter()
        for unit in units.values():
            largest |= unit
        for seed in range(5):
            found = assign_splits(units, {"validation": 0.2}, seed)
            assert set(found) == set(units)
            mine = off(units, [name for name in units if found[name] == "validation"], 0.2)
            others = [off(units, inside, 0.2) for inside in folds(units, seed)]
            for label, distance in mine.items():
                worst = max(fold[label] for fold in others)
                assert distance < worst + largest[label] / total[label]


def test_splits_of_other_seeds_are_other_splits():
    units = made_units(1)
    held = [
        frozenset(n for n, part in assign_splits(units, {"validation": 0.2}, seed).items() if part != "train")
        for seed in range(5)
    ]  # fmt: skip
    assert len(set(held)) == 5

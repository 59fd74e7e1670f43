"""Joint tests of several cells, against plain loops, all signs one by one, and a permutation of runs."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from harness.stats import Pair, compare_families, measure
from harness.stats.families import flip

PLACES = list(product([f"d{i}" for i in range(5)], ("b0", "b1", "b2"), ("s0", "s1", "s2", "s3")))


def call(seeds=3, loss=None, luck=0.0, groups=30, own=1.0):
    """60 cells; `loss` per place; `luck` is shared by the strategies of a block and seed."""
    rng = np.random.default_rng(5)
    shared, made = {}, []
    for place in PLACES:
        lucky = shared.setdefault(place[:2], rng.normal(size=(2 * seeds, 1)))
        runs = own * rng.normal(size=(2 * seeds, groups)) / groups + luck * lucky / groups
        lost = 0.0 if loss is None else loss(*place)
        made.append(
            Pair(
                runs[:seeds], runs[seeds:] - lost / groups, np.arange(groups) % 2, place,
                test_set=place[0],
            )
        )  # fmt: skip
    return made


def judged(pairs):
    return {
        f"{one.kind} {one.name}".strip(): one
        for one in compare_families([measure(pair) for pair in pairs])
    }


def by_hand(pairs, members):
    """One-sided p of 'worse' of one family."""
    chosen = [pairs[i] for i in members]
    runs = len(chosen[0].before)
    d, k = 2 * runs - 2, 2 / runs
    total = sum(one.after.sum() / runs - one.before.sum() / runs for one in chosen)
    variances = []
    for block in {one.place[:2] for one in chosen}:
        sides = [
            sum(
                side.sum(axis=1)
                for one in chosen
                if one.place[:2] == block
                for side in [which(one)]
            )
            for which in (lambda one: one.before, lambda one: one.after)
        ]
        variances.append(sum(((side - side.mean()) ** 2).sum() for side in sides) / d)
    by_runs = k * sum(variances)
    df = max(d, (d + 2) * sum(variances) ** 2 / sum(v**2 for v in variances) - 2)
    noise = k * sum(
        ((side[:, g] - side[:, g].mean()) ** 2).sum() / d
        for one in chosen
        for side in (one.before, one.after)
        for g in range(side.shape[1])
    )
    luck = max(0.0, by_runs - noise)
    images, spread = luck, luck**2 / df
    for name in {one.place[0] for one in chosen}:
        moved = sum(
            one.after.mean(axis=0) - one.before.mean(axis=0)
            for one in chosen
            if one.place[0] == name
        )
        part = sum(15 / 14 * ((m - m.mean()) ** 2).sum() for m in (moved[::2], moved[1::2]))
        images, spread = images + part, spread + part**2 / 28
    return max(
        stats.t.cdf(total / by_runs**0.5, df), stats.t.cdf(total / images**0.5, images**2 / spread)
    )


@pytest.mark.parametrize("luck", [0.0, 3.0])
def test_both_conditions_as_the_formulae_have_them(luck):
    pairs = call(loss=lambda d, b, s: 0.3 * (s == "s2"), luck=luck)
    found = judged(pairs)
    assert len(found) == 13
    raw = {name: by_hand(pairs, one.members) for name, one in found.items()}
    order = sorted(raw, key=raw.get)
    largest = 0.0
    for rank, name in enumerate(order):
        largest = min(1.0, max(largest, (13 - rank) * raw[name]))
        assert found[name].p_worse == pytest.approx(largest, rel=1e-9)
    assert raw["strategy s2"] == min(raw[f"strategy s{i}"] for i in range(4))
    assert 0 < raw[order[0]] < 0.2
    assert found["strategy s2"].value == pytest.approx(
        np.mean([(pairs[i].after.sum() - pairs[i].before.sum()) / 3 for i in range(2, 60, 4)])
    )


def test_luck_that_strategies_share_counts_once():
    """A shift of every run of a block is one observation, not one for every strategy."""
    given = {luck: judged(call(luck=luck))["all"].sight.critical for luck in (0.0, 10.0)}
    assert given[10.0] > 3.0 * given[0.0]
    alone = judged(call(luck=10.0))["strategy s0"].sight.critical
    assert given[10.0] > 0.8 * alone  # averaging over strategies does not help


def test_other_images_are_no_loss():
    """One group of every dataset loses, in all strategies: on these images, not beyond them."""

    def lost(pair):
        after = pair.after.copy()
        after[:, 0] -= 0.02
        return Pair(pair.before, after, pair.strata, pair.place, test_set=pair.test_set)

    pairs = [lost(one) for one in call(own=0.1)]
    found = judged(pairs)["all"]
    assert found.value < -0.005
    assert found.p_worse > 0.02
    everywhere = judged(call(own=0.1, loss=lambda *_: 0.02))["all"]
    assert everywhere.value == pytest.approx(found.value, abs=0.005)
    assert everywhere.p_worse < 1e-6


@pytest.mark.parametrize("size", [1, 5, 10, 13])
def test_flips_are_all_signs_one_by_one(size):
    changes = np.round(np.random.default_rng(size).normal(-0.3, 1, size), 1)
    sums = [np.dot(signs, changes) for signs in product((-1, 1), repeat=size)]
    expected = np.mean([one <= changes.sum() + 1e-9 for one in sums])
    assert flip(np.append(changes, 0.0)) == pytest.approx(expected)


def test_many_flips_are_drawn_and_never_certain():
    changes = np.full(60, -0.01)
    assert 0 < flip(changes) < 0.001
    assert flip(-changes) == pytest.approx(1)
    assert flip(np.zeros(4)) == 1
    assert flip(np.random.default_rng(0).normal(size=60)) == flip(
        np.random.default_rng(0).normal(size=60)
    )


def test_one_seed_a_side_flips_the_signs_of_blocks():
    pairs = call(seeds=1, loss=lambda d, b, s: 1.5 * (s == "s1"))
    found = judged(pairs)
    blocks = [pairs[i].after.sum() - pairs[i].before.sum() for i in range(1, 60, 4)]
    tested = [one for one in found.values() if not one.untested]
    assert len(tested) == 5  # all cells and four strategies; a dataset has three blocks
    assert found["strategy s1"].p_worse >= len(tested) * flip(np.array(blocks)) * (1 - 1e-9)
    assert found["strategy s1"].p_worse < 0.02 < found["strategy s0"].p_worse
    assert found["dataset d0"].sight is None
    assert "fewer than 10 pairs" in found["backbone b1"].untested


def test_seeds_that_differ_within_a_block_share_all_the_luck_there_may_be():
    """Two strategies of one block: sd 3 and 4 add up to 7 where their seeds are not the same."""
    made = []
    for place, sd, seeds in (
        (("d", "b", "s0"), 3.0, (0, 1)),
        (("d", "b", "s1"), 4.0, (5, 6)),
        (("e", "b", "s0"), 0.0, (0, 1)),
        (("e", "b", "s1"), 0.0, (0, 1)),
    ):
        runs = np.array([[-sd], [sd]]) / 2**0.5 + 10.0
        made.append(Pair(runs, runs - 0.001, None, place, (seeds, seeds)))
    (whole, *_) = compare_families([measure(one) for one in made])
    assert whole.kind == "all"
    error = 7.0 / 4  # factor 1, four cells
    df = 2.0  # all of it from one block of two runs a side
    assert whole.sight.reach == pytest.approx(error * stats.t.ppf(0.8, df))
    # Two percent for five families: all, two strategies, two datasets.
    assert whole.sight.critical == pytest.approx(error * stats.t.isf(0.02 / 5, df))


def test_nothing_differs():
    before = [Pair(one.before, one.before, one.strata, one.place) for one in call()]
    found = judged(before)
    assert all(one.same and one.p_worse == 1 for one in found.values())
    assert all(one.sight is not None for one in found.values())
    assert compare_families([measure(one) for one in before[:3]]) == []

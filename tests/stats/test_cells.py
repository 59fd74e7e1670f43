"""One cell against scipy's t tests; many against plain loops over the formulae of docs/statistics.md."""

import numpy as np
import pytest
from scipy import stats

from harness.stats import Pair, compare_pairs, contributions, measure, strata
from harness.stats.paired import centred


def pair(seed=0, runs=3, others=None, groups=50, loss=0.0, spread=0.0, **given):
    """Contributions of normal groups; `loss` is that of the whole score."""
    rng = np.random.default_rng(seed)
    before, after = (
        rng.normal(size=(n, groups)) / groups + spread * rng.normal(size=(n, 1)) / groups
        for n in (runs, runs if others is None else others)
    )
    return Pair(before, after - loss / groups, **given)


def changes(pairs, spread=None):
    return compare_pairs([measure(one) for one in pairs], spread)


@pytest.mark.parametrize(("runs", "others"), [(3, 3), (2, 5), (1, 4)])
def test_one_cell_is_the_t_test_of_its_runs(runs, others):
    """But for the least step that a change can take."""
    given = pair(runs=runs, others=others, groups=4000, spread=4.0)
    (found,) = changes([given])
    scores = given.before.sum(axis=1), given.after.sum(axis=1)
    for side, p in (("less", found.p_worse), ("greater", found.p_better)):
        assert p == pytest.approx(stats.ttest_ind(*scores[::-1], alternative=side).pvalue, rel=1e-3)
    low, high = stats.ttest_ind(*scores[::-1]).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-3, abs=2e-3)
    assert found.basis == "runs"


def described(pairs):
    """Change, variance of runs, image noise, its df and least step of each cell, group by group."""
    rows = []
    for one in pairs:
        runs, others = len(one.before), len(one.after)
        d, k = runs + others - 2, 1 / runs + 1 / others
        change = sum(np.mean(one.after[:, g]) - np.mean(one.before[:, g]) for g in range(50))
        v = noise = squares = fourth = 0.0
        for side in (one.before, one.after):
            scores = [sum(run) for run in side]
            v += sum((score - np.mean(scores)) ** 2 for score in scores) / d
        moved = []
        for g in range(50):
            v_g = sum(
                (run[g] - side[:, g].mean()) ** 2
                for side in (one.before, one.after)
                for run in side
            )
            noise, fourth = noise + v_g / d, fourth + (v_g / d) ** 2
            moved.append(one.after[:, g].mean() - one.before[:, g].mean())
            squares += moved[-1] ** 2
        df_n = ((d + 2) * noise**2 / fourth - 2) * (d + 1) / d
        rows.append((change, v, (d * noise + squares / k) / (d + 1), df_n, min(map(abs, moved))))
    return map(np.array, zip(*rows, strict=True))


def by_hand(pairs):
    """One-sided p of 'worse' of cells of three runs a side, step by step and cell by cell."""
    d, k = 4, 2 / 3
    change, v, n, df_n, step = described(pairs)
    lent = np.full(len(v), max(0.0, np.mean(v - n)))
    for part in range(3):
        for label in {one.place[part] for one in pairs}:
            kin = [i for i, one in enumerate(pairs) if one.place[part] == label]
            if len(kin) >= 5:
                lent[kin] = np.maximum(lent[kin], np.mean((v - n)[kin]))
    base = n + lent
    e = v / base
    mean, spread = e.mean(), e.var(ddof=1) / e.mean() ** 2
    d0 = (2 * d - 4 + 4 * spread * d) / (spread * d - 2) if spread * d > 2 else np.inf
    prior = mean * (d0 - 2) / d0 if np.isfinite(d0) else mean
    p = []
    for i in range(len(pairs)):
        ours = (d0 * prior + d * e[i]) / (d0 + d) if np.isfinite(d0) else mean
        df = min(d + d0, d * len(pairs))
        if ours > e[i]:
            df = 1 / (1 / df + (n[i] / base[i]) ** 2 / df_n[i])
        t = np.sign(change[i]) * max(0, abs(change[i]) - step[i])
        p.append(stats.t.cdf(t / np.sqrt(base[i] * max(ours, e[i]) * k), df))
    return p


def holm_by_hand(p):
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(np.argsort(p)):
        largest = max(largest, (len(p) - rank) * p[i])
        adjusted[i] = min(1.0, largest)
    return adjusted


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_many_cells_lend_each_other_what_they_know(spread):
    given = [
        pair(i, spread=spread * (i % 3), loss=0.4 * (i % 4), place=(f"d{i % 2}", f"b{i % 3}", "s"))
        for i in range(18)
    ]
    found = [one.p_worse for one in changes(given)]
    assert found == pytest.approx(holm_by_hand(by_hand(given)), rel=1e-9)
    assert sum(p < 0.9 for p in found) > 4


def test_other_images_are_another_error():
    """One class and no luck of seeds: the paired t test over groups, but for the step."""
    rng = np.random.default_rng(3)
    before = rng.normal(size=(1, 4000)) / 4000
    after = before + rng.normal(-0.03, 1, size=(1, 4000)) / 4000
    (found,) = changes([Pair(before, after)], spread=0.0)
    expected = stats.ttest_rel(after[0], before[0], alternative="less").pvalue
    assert found.worse_beyond == pytest.approx(expected, rel=1e-2)
    moved = after[0] - before[0]
    assert centred(moved, None)[0] == pytest.approx(4000 * moved.var(ddof=1))
    # Other images are drawn within their class: what lies between two classes is no error.
    classes = np.repeat([0, 1], 2000)
    apart = moved + np.where(classes == 0, -0.5, 0.5)
    assert centred(apart, classes) == (pytest.approx(2 * 2000 * moved.var(), rel=0.01), 3998)
    assert centred(apart, None)[0] > 100 * centred(apart, classes)[0]
    assert centred(np.array([3.0, 1.0, 1.0]), np.array([0, 1, 1])) == (9.0, 1.0)


def test_a_stated_spread_of_seeds_adds_to_that_of_images():
    given = pair(7, runs=1, groups=400, loss=0.3)
    moved = given.after[0] - given.before[0]
    step = np.abs(moved).min()
    for stated in (0.0, 0.1):
        (found,) = changes([given], stated)
        t = (moved.sum() + step) / np.sqrt((moved**2).sum() + 2 * stated**2)
        assert found.p_worse == pytest.approx(stats.norm.cdf(t))
        assert (found.basis, found.sight is None) == ("stated", False)
    (unknown,) = changes([given])
    assert (unknown.basis, unknown.sight) == ("images", None)
    # Where nothing differs, nothing tells how much images do.
    assert changes([Pair(given.before, given.before)], 0.1)[0].sight is None


def test_one_seed_borrows_from_the_others_never_from_itself():
    """A cell that fell far does not excuse itself, but it does excuse the others."""
    given = [pair(i, runs=1, groups=400) for i in range(11)]
    given[3] = pair(3, runs=1, groups=400, loss=1.0)
    found = changes(given)
    assert {one.basis for one in found} == {"lent"}
    width = [one.high - one.low for one in found]
    assert width[3] < 0.5 * min(width[:3] + width[4:])
    assert {one.basis for one in changes(given[:9])} == {"images"}


def test_cells_of_more_seeds_lend_to_those_of_one():
    given = [pair(i, runs=3, spread=5.0) for i in range(6)]
    lent = changes([*given, pair(9, runs=1)])[-1]
    alone = changes([pair(9, runs=1)])[0]
    assert (lent.basis, alone.basis) == ("lent", "images")
    assert lent.high - lent.low > 2 * (alone.high - alone.low)


def test_what_does_not_differ_is_not_tested():
    before = pair(1).before
    (found,) = changes([Pair(before, before)])
    assert (found.basis, found.value, found.p_worse, found.worse_beyond) == ("same", 0, 1, 1)
    assert found.churn == 0
    swapped = Pair(before, before[::-1], seeds=((0, 1, 2), (2, 1, 0)))
    assert changes([swapped])[0].churn == np.inf  # other seeds: nobody knows what moved


def test_runs_that_never_vary_leave_no_doubt():
    """All right before, a tenth wrong after, in every run alike."""
    before = np.full((3, 20), 0.05)
    after = before.copy()
    after[:, :2] = 0
    (found,) = changes([Pair(before, after)])
    assert found.p_worse < 1e-9
    assert found.p_better == pytest.approx(1)
    assert changes([Pair(before, before)])[0].p_worse == 1


def test_the_smallest_loss_that_is_seen_is_seen_with_eighty_percent():
    rng = np.random.default_rng(0)
    (first,) = changes([pair(0, groups=200, spread=0.0)], None)
    seen = []
    for _ in range(400):
        errors = rng.normal(size=(6, 200)) / 200 * 0.9
        (found,) = changes([Pair(errors[:3], errors[3:])])
        loss = found.sight.loss(0.0)
        (hit,) = changes([Pair(errors[:3], errors[3:] - loss / 200)])
        seen.append(hit.p_worse <= hit.level)
    assert first.sight.loss(10.0) > 10.0
    assert np.mean(seen) == pytest.approx(0.8, abs=0.1)


def test_a_group_is_of_the_class_that_most_of_its_samples_have():
    targets = np.array([0, 0, 1, 2, 2, 1, 1, 2])
    groups = np.array(["b", "b", "b", "a", "a", "a", "c", "c"])
    assert strata(targets, groups).tolist() == [2, 0, 1]
    added = contributions(np.ones((1, 8), bool), targets, groups, balanced=True)
    assert added.sum() == pytest.approx(1)
    assert added.shape == (1, 3)


def test_the_error_rate_that_cells_share():
    """5 % alone; with families beside them 2.5 %, and less where two runs a side say so little."""
    for runs, count, expected in (
        (3, 3, 0.05),
        (2, 3, 0.05),
        (3, 4, 0.025),
        (2, 4, 0.015),
        (1, 9, 0.025),
    ):
        found = changes([pair(i, runs=runs) for i in range(count)])
        assert {one.level for one in found} == {expected}
    mixed = changes([*(pair(i) for i in range(9)), pair(9, runs=2)])
    assert {one.level for one in mixed} == {0.015}

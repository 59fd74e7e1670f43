"""Gains over several splits: by hand, against plain loops, and what must not change them."""

import numpy as np
import pytest
from scipy import stats
from split_loops import loops

from harness.stats import Gain, Splits, average_gain, estimate_gains

PLACE = ("xray", "vgg19", "lp-ft")


def cell(added, strata, number, tested, share=0.2, *, place=PLACE, test_set=0):
    splits = Splits(np.asarray(number), np.asarray(tested, dtype=bool), share)
    return Gain(np.asarray(added, dtype=float), np.asarray(strata), place, test_set, splits=splits)


def made(rng, seeds=(3, 3, 3, 3, 3), *, same=False, luck=0.1, place=PLACE, groups=40):
    """Groups of two classes; each split tests a third of them, or all test all."""
    count = len(seeds)
    own, strata = rng.normal(0, 0.02, groups), np.arange(groups) % 2
    tested = np.ones((count, groups), dtype=bool)
    if not same:
        for there in tested:
            there[rng.permutation(groups)[groups // 3 :]] = False
    number = np.repeat(np.arange(count), seeds)
    noise = rng.normal(0, 0.02, (len(number), groups))
    split = rng.normal(0, luck, (count, 1))[number] / groups
    added = (own + noise + split) * tested[number]
    return cell(added, strata, number, tested, None if same else 0.2, place=place)


@pytest.mark.parametrize("seeds", [(3, 3, 3, 3, 3), (1,) * 5, (1,) * 3, (2, 1, 4)])
@pytest.mark.parametrize("same", [False, True])
def test_a_cell_alone_is_that_of_plain_loops(seeds, same):
    for start in range(5):
        gain = made(np.random.default_rng(start), seeds, same=same, luck=0.6)
        (found,) = estimate_gains([gain])
        value, variance, df = loops(gain)
        assert (found.value, found.se**2) == pytest.approx((value, variance), rel=1e-9, abs=1e-12)
        assert found.df == pytest.approx(df)
        assert (found.seeds, found.basis) == (len(seeds), "images, seeds and splits")


def test_two_splits_by_hand():
    """Groups 0 to 3; the first split tests 0, 1, 2, the second 1, 2, 3; one seed each."""
    added = [[0.3, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    gain = cell(added, [0] * 4, [0, 1], [[1, 1, 1, 0], [0, 1, 1, 1]])
    (found,) = estimate_gains([gain])
    # Centred: .2, -.1, -.1 and three times 0; the mean of both, with 3/2 for three groups.
    images = 1.5 * (0.1**2 + 0.05**2 + 0.05**2)
    noise = 1.5 * (0.2**2 + 0.1**2 + 0.1**2) / 2
    beyond = 0.3**2 / 2 - noise
    assert beyond == pytest.approx(0)
    assert found.value == pytest.approx(0.15)
    # Never less than the least step that there is: the .15 of group 0.
    assert found.se == pytest.approx(max(images**0.5, 0.15))


def test_what_splits_spread_beyond_images_counts_with_its_overlap():
    """Luck of .1 and -.1 on ten groups of one class that gain alike: no noise of images."""
    added = np.zeros((2, 20))
    added[0, :10], added[1, 10:] = 0.01, -0.01
    tested = added != 0
    (anew,) = estimate_gains([cell(added, [0] * 20, [0, 1], tested, 0.25)])
    variance = 2 * 0.1**2
    assert anew.se == pytest.approx((variance * (1 / 2 + 0.25 / 0.75 / 2)) ** 0.5)
    assert anew.df == pytest.approx(1)


def test_one_split_is_the_rule_of_seeds():
    rng = np.random.default_rng(3)
    gains = [made(rng, (4,), same=True, place=(d, b, "s")) for d in "abc" for b in "xy"]
    plain = [Gain(one.added, one.strata, one.place, 0) for one in gains]
    assert estimate_gains(gains) == estimate_gains(plain)
    assert average_gain(gains) == average_gain(plain)


def test_pairs_on_one_test_part_err_as_seeds_do():
    rng = np.random.default_rng(4)
    gain = made(rng, (1,) * 5, same=True)
    (pairs,), (seeds,) = (
        estimate_gains([one]) for one in (gain, Gain(gain.added, gain.strata, PLACE, 0))
    )
    assert (pairs.value, pairs.se) == pytest.approx((seeds.value, seeds.se))
    assert 4 <= pairs.df <= seeds.df
    assert (pairs.basis, seeds.basis) == ("images, seeds and splits", "images and seeds")


@pytest.mark.parametrize("same", [False, True])
def test_the_order_of_splits_changes_nothing(same):
    rng = np.random.default_rng(5)
    gains = [made(rng, (2, 1, 3), same=same, place=(d, "net", "s")) for d in "abcdef"]
    turned = []
    for one in gains:
        order = np.array([2, 0, 1])
        number = np.argsort(order)[one.splits.number]
        runs = np.argsort(number, kind="stable")
        tested = one.splits.tested[order]
        again = cell(
            one.added[runs], one.strata, number[runs], tested, one.splits.share, place=one.place
        )
        turned.append(again)
    for first, second in (
        *zip(estimate_gains(gains), estimate_gains(turned), strict=True),
        (average_gain(gains), average_gain(turned)),
    ):
        assert (first.value, first.se, first.df) == pytest.approx(
            (second.value, second.se, second.df)
        )


def test_cells_lend_each_other_what_splits_spread():
    rng = np.random.default_rng(6)
    quiet = made(rng, luck=0.0)
    loud = [made(rng, luck=0.8, place=(d, b, "lp-ft")) for d in "abcde" for b in "xyz"]
    (alone,), among = estimate_gains([quiet]), estimate_gains([quiet, *loud])[0]
    assert among.se > 1.5 * alone.se


@pytest.mark.parametrize("same", [False, True])
def test_backbones_that_share_the_luck_of_a_split_are_one(same):
    """The same gains with three backbones: no more is known than from one."""
    one = made(np.random.default_rng(7), (1,) * 5, same=same, luck=0.6)
    three = [
        cell(one.added, one.strata, one.splits.number, one.splits.tested, one.splits.share,
             place=("d", net, "s")) for net in "xyz"
    ]  # fmt: skip
    single, average = average_gain([one]), average_gain(three)
    assert (average.value, average.se) == pytest.approx((single.value, single.se))
    assert (average.seeds, average.splits) == (5, 5)


def test_datasets_add_up_in_an_average():
    rng = np.random.default_rng(8)
    cells = [made(rng, (1,) * 5, luck=0.6, place=(d, "net", "s")) for d in "abc"]
    apart = [
        cell(
            one.added, one.strata, one.splits.number, one.splits.tested, place=one.place, test_set=n
        )
        for n, one in enumerate(cells)
    ]
    expected = sum(loops(one)[1] for one in apart) / 9
    assert average_gain(apart).se ** 2 == pytest.approx(expected)


def test_splits_of_one_test_part_with_much_luck_are_the_t_test_of_their_means():
    """Where images vary by nothing, only the splits' means are left."""
    means = np.array([0.02, 0.05, -0.01, 0.04, 0.03])
    added = np.repeat(means, 2)[:, None] / 1000 * np.ones(1000)
    tested = np.ones((5, 1000))
    (found,) = estimate_gains([cell(added, [0] * 1000, np.repeat(range(5), 2), tested, None)])
    expected = stats.ttest_1samp(means, 0)
    assert found.se == pytest.approx(means.std(ddof=1) / 5**0.5, rel=1e-3)
    assert found.p == pytest.approx(expected.pvalue, rel=0.02)

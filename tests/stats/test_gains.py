"""Gains of cells and their average: against t tests, loops by hand, and the truth of simulations."""

import itertools

import numpy as np
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.stats import Gain, average_gain, estimate_gains


def gain(added, strata=None, place=("xray", "vgg19", "lp-ft"), test_set=0):
    added = np.asarray(added, dtype=float)
    classes = np.zeros(added.shape[1], dtype=int) if strata is None else np.asarray(strata)
    return Gain(added, classes, place, test_set)


def made(rng, groups=30, seeds=3, luck=0.0, place=("xray", "vgg19", "lp-ft"), test_set=0):
    """Groups of two classes that differ by themselves, noise of runs, and luck of seeds."""
    own = rng.normal(0, 0.01, groups)
    noise = rng.normal(0, 0.01, (seeds, groups))
    shared = rng.normal(0, luck, (seeds, 1)) / groups
    return gain(own + noise + shared, np.arange(groups) % 2, place, test_set)


def by_hand(values, classes):
    """Variance of the sum of the groups for other groups of each class, by a plain loop."""
    total = 0.0
    for one in sorted(set(classes)):
        own = [v for v, c in zip(values, classes, strict=True) if c == one]
        mean = sum(own) / len(own)
        total += len(own) / (len(own) - 1) * sum((v - mean) ** 2 for v in own)
    return total


def test_one_seed_of_one_class_is_the_paired_t_test():
    values = np.random.default_rng(0).normal(0.01, 0.02, 12)
    (found,) = estimate_gains([gain(values[None])])
    expected = stats.ttest_1samp(values, 0)
    interval = expected.confidence_interval()
    assert found.interval() == pytest.approx((12 * interval.low, 12 * interval.high))
    assert (found.value, found.seeds, found.df) == (pytest.approx(values.sum()), 1, 11)


def test_runs_that_spread_no_more_than_their_images_add_nothing():
    """Runs that vary group by group, and against each other: their sums are all alike."""
    own = np.array([0.02, -0.01, 0.03, 0.0, 0.01, 0.02])
    swing = np.array([1, -1, 1, -1, 1, -1]) * 0.001
    (found,) = estimate_gains([gain(np.stack([own + swing, own - swing, own]))])
    assert found.se == pytest.approx(by_hand(own, [0] * 6) ** 0.5)
    assert found.df == pytest.approx(5)


def test_luck_of_seeds_by_hand():
    """A single cell lends nobody: the spread of its runs beyond image noise, over three seeds."""
    own = np.array([0.02, -0.01, 0.03, 0.0])
    luck = np.array([-0.04, 0.0, 0.04])[:, None] / 4
    (found,) = estimate_gains([gain(own + luck)])
    variance, noise = 0.04**2, 4 * 0.01**2  # of the sums; of the groups one by one
    images, seeds = by_hand(own, [0] * 4), (variance - noise) / 3
    assert found.se == pytest.approx((images + seeds) ** 0.5)
    # Its own image noise and luck are expected; two seeds' freedom stand behind the luck.
    assert found.df == pytest.approx((images + seeds) ** 2 / (images**2 / 3 + seeds**2 / 2))


def test_cells_lend_each_other_their_luck():
    rng = np.random.default_rng(1)
    places = list(itertools.product("abcde", "xyz", ["lp-ft"]))
    quiet = [made(rng, place=place) for place in places]
    loud = [made(rng, luck=0.3, place=place) for place in places[1:]]
    alone, among = (estimate_gains([quiet[0], *others])[0] for others in (quiet[1:], loud))
    assert among.value == alone.value
    assert among.se > 1.5 * alone.se
    assert among.df > 3 * (alone.seeds - 1)  # fifteen cells know more than two degrees


def test_a_single_loud_cell_is_not_made_quiet():
    rng = np.random.default_rng(2)
    places = list(itertools.product("abcde", "xyz", ["lp-ft"]))
    cells = [made(rng, luck=0.0, place=place) for place in places[1:]]
    loud = made(rng, luck=0.5, place=places[0])
    found = estimate_gains([loud, *cells])[0]
    own = loud.added.sum(axis=1).std(ddof=1) / 3**0.5
    assert found.se > 0.99 * own  # the noise of its runs gives way to that of its images


def test_what_is_the_same_gains_nothing_for_sure():
    """Among others that vary: equal runs are equal runs."""
    rng = np.random.default_rng(3)
    found = estimate_gains([gain(np.zeros((3, 30))), made(rng, luck=0.1), made(rng, luck=0.1)])
    assert (found[0].value, found[0].se, found[0].p) == (0.0, 0.0, 1.0)
    assert found[0].interval() == (0.0, 0.0)


def test_one_seed_among_others_is_over_its_images_only():
    rng = np.random.default_rng(4)
    single = made(rng, seeds=1)
    found = estimate_gains([single, made(rng, luck=0.3), made(rng, luck=0.3)])[0]
    assert found.se == pytest.approx(by_hand(single.added[0], single.strata) ** 0.5)
    assert found.basis == "test images only"


def test_groups_that_all_gain_alike_are_no_certainty():
    """Two groups, one gain: without a spread the error is the least step there can be."""
    two, ten = (estimate_gains([gain(np.full((3, n), 0.4 / n), [0] * n)])[0] for n in (2, 10))
    assert two.value == ten.value == pytest.approx(0.4)
    assert two.p > 0.05
    assert ten.p < 0.001


@pytest.mark.parametrize("groups", [6, 8, 14])
def test_a_gain_of_forty_points_is_seen_with_few_groups(groups):
    """Where |z| could not exceed the root of the number of groups, nothing was ever found."""
    rng = np.random.default_rng(5)
    added = (0.4 + rng.normal(0, 0.05, (3, groups))) / groups
    (found,) = estimate_gains([gain(added, np.arange(groups) % 2)])
    assert found.p < 0.01


def test_the_average_of_one_cell_is_the_cell():
    cell = made(np.random.default_rng(6), luck=0.1)
    (single,), average = estimate_gains([cell]), average_gain([cell])
    assert (average.value, average.se) == pytest.approx((single.value, single.se))


def test_the_average_adds_groups_over_backbones_and_luck_over_blocks():
    rng = np.random.default_rng(7)
    cells = [
        made(rng, luck=0.2, place=(data, net, "lp-ft"), test_set=data)
        for data, net in itertools.product("ab", "xyz")
    ]
    found = average_gain(cells)
    images = luck = noise = value = 0.0
    for data in "ab":
        same = [cell.added for cell in cells if cell.test_set == data]
        moved = sum(added.mean(axis=0) for added in same) / 6
        images += by_hand(moved, cells[0].strata)
        value += moved.sum()
        for added in same:
            luck += added.sum(axis=1).var(ddof=1) / 3 / 36
            noise += sum(group.var(ddof=1) for group in added.T) / 3 / 36
    assert luck > noise
    assert found.value == pytest.approx(value)
    assert found.se == pytest.approx((images + luck - noise) ** 0.5)


def test_luck_of_seeds_that_are_not_independent_is_stretched():
    cells = [made(np.random.default_rng(7), luck=0.2)]
    plain, stretched = average_gain(cells), average_gain(cells, 1.5)
    images = by_hand(cells[0].added.mean(axis=0), cells[0].strata)
    assert stretched.se**2 - images == pytest.approx(1.5 * (plain.se**2 - images))
    assert stretched.value == plain.value


def test_backbones_that_share_hard_images_are_not_taken_for_independent():
    """Three times the same gains on one test set: no more is known than from one."""
    rng = np.random.default_rng(8)
    one = made(rng, seeds=1)
    same, apart = (
        average_gain([gain(one.added, one.strata, ("d", net, "s"), key(net)) for net in "xyz"])
        for key in (lambda _: "one set", lambda net: net)
    )
    assert same.se == pytest.approx(average_gain([one]).se)
    assert apart.se == pytest.approx(same.se / 3**0.5)


def test_a_score_that_is_not_there_is_refused():
    bad = gain(np.array([[0.1, np.nan]]))
    with pytest.raises(UsageError, match="xray / vgg19 / lp-ft"):
        estimate_gains([bad])
    with pytest.raises(UsageError, match="xray / vgg19 / lp-ft"):
        average_gain([bad])
    with pytest.raises(UsageError, match="no cells"):
        average_gain([])
    assert estimate_gains([]) == []

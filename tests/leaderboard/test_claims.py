from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.errors import UsageError
from harness.leaderboard.cells import RunScores, make_block
from harness.leaderboard.claims import CLAIMS, answer

DATASETS = ("xray", "mri", "histology", "dermoscopy", "endoscopy")
BACKBONES = ("densenet121", "resnet50", "vgg19")
SEEDS = (0, 1, 2, 3, 4)
GROUPS = 200
STRATA = np.arange(GROUPS) % 2
METRIC = "balanced-accuracy"


def added(score, seed, noise=0.02):
    """The part that each group adds to a score that is met exactly; which are hit is the seed's."""
    moves = np.random.default_rng(seed).normal(0, noise, GROUPS) / GROUPS
    return score / GROUPS + moves - moves.mean()


def block(dataset, backbone, scores, *, seeds=SEEDS, validation=None, test=None):
    """A block whose strategies score what `scores` says, or with a seed what `test` says of it."""
    shown = {name: dict.fromkeys(seeds, score) for name, score in scores.items()}
    shown |= {
        name: dict(zip(seeds, given, strict=True)) for name, given in (validation or {}).items()
    }
    own = {name: dict(zip(seeds, given, strict=True)) for name, given in (test or {}).items()}
    runs = {
        name: {
            seed: RunScores(
                shown[name][seed],
                # Strategies miss other groups, as do runs.
                {METRIC: added(own.get(name, {}).get(seed, score), (place, seed, len(dataset)))},
            )
            for seed in seeds
        }
        for place, (name, score) in enumerate(sorted(scores.items()))
    }
    return make_block((dataset, backbone), runs, seeds, STRATA, dataset)


def board(scores, *, backbones=BACKBONES, **options):
    """Blocks from a function of dataset number and backbone."""
    return [
        block(dataset, backbone, scores(number, backbone), **options)
        for number, dataset in enumerate(DATASETS)
        for backbone in backbones
    ]


def ask(name, blocks, places=None):
    given = [(one.dataset, one.backbone) for one in blocks] if places is None else places
    (found,) = answer([name], blocks, given)
    return found


def verdict_of(found):
    """With the reason in brackets."""
    return f"{found.verdict} ({found.reason})" if found.reason else found.verdict


# lp-ft gains more than a point in more than half of the cells


def won(cells, gain=0.05, loss=-0.05):
    """lp-ft gains in so many of 15 cells and loses in the others, beyond doubt."""
    order = iter(range(15))
    return board(
        lambda *_: {"full-ft": 0.80, "lp-ft": 0.80 + (gain if next(order) < cells else loss)}
    )


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [(15, "supported"), (8, "supported"), (7, "contradicted"), (0, "contradicted")],
)
def test_cells_beyond_doubt_are_counted(cells, verdict):
    found = ask("lp-ft-improves", won(cells))
    assert verdict_of(found) == verdict
    assert found.effect == found.low == found.high == pytest.approx(cells / 15)
    assert (found.cells, found.of, found.seeds, found.unit) == (15, 15, 5, "share of cells")
    assert found.detail == f"as measured, {cells} gain and {15 - cells} lose more than a point"


def test_wins_that_may_be_noise_do_not_count():
    """12 of 15 cells win by two points as measured, with errors of several points each."""
    rng = np.random.default_rng(0)
    blocks = [
        block(
            dataset,
            backbone,
            {"full-ft": 0.8, "lp-ft": 0.8},
            test={"lp-ft": 0.82 + 0.06 * scipy_stats.zscore(rng.normal(size=5))},
        )
        for dataset, backbone in itertools.product(DATASETS, BACKBONES)
    ]
    found = ask("lp-ft-improves", blocks)
    assert found.effect == 1.0
    assert found.verdict == "undecided"
    assert found.low < 0.5
    assert found.high == 1.0


def test_a_gain_of_a_point_is_no_win():
    found = ask("lp-ft-improves", won(15, gain=0.01))
    assert found.verdict == "undecided"  # neither above a point nor below it
    assert found.effect == 0
    assert ask("lp-ft-improves", won(15, gain=0.0)).verdict == "contradicted"


def test_the_average_gain_stands_beside_the_claim():
    """9 cells won by little, 6 lost by much: more than half, and yet a loss on average."""
    found = ask("lp-ft-improves", won(9, gain=0.04, loss=-0.10))
    assert found.verdict == "supported"
    assert found.average == pytest.approx((9 * 4 - 6 * 10) / 15)
    assert found.average_low < found.average < found.average_high < 0
    assert (found.average_of, found.basis) == ("lp-ft over full-ft", "images and seeds")


# What is missing


def test_three_seeds_decide_nothing():
    found = ask("lp-ft-improves", board(lambda *_: {"full-ft": 0.7, "lp-ft": 0.9}, seeds=(0, 1, 2)))
    assert verdict_of(found) == "undecided (3 of 5 seeds)"
    assert found.effect == 1.0  # and yet it is shown


@pytest.mark.parametrize("name", CLAIMS)
def test_one_seed_says_what_its_bounds_hold(name):
    blocks = board(lambda *_: {"full-ft": 0.7, "lp-ft": 0.9, "auto-rgn": 0.9}, seeds=(0,))
    found = ask(name, blocks)
    assert verdict_of(found) == "undecided (1 of 5 seeds)"
    assert found.basis == "test images only"
    # Nothing was measured on seeds that did not choose it.
    assert (found.effect is None) == (name in {"auto-rgn-gain", "no-universal-winner"})


@pytest.mark.parametrize("name", ["auto-rgn-gain", "no-universal-winner"])
def test_two_seeds_leave_no_claim_outside_of_what_is_possible(name):
    """Strategies whose two seeds disagree wildly: Student's t of one degree reaches far."""
    blocks = [
        block(dataset, backbone, {"full-ft": 0.6, "auto-rgn": 0.7}, seeds=(0, 1),
              test={"full-ft": [0.4, 0.9], "auto-rgn": [0.9, 0.5]})
        for dataset, backbone in itertools.product(DATASETS[:1], BACKBONES[:1])
    ]  # fmt: skip
    found = ask(name, blocks)
    assert verdict_of(found) == "undecided (2 of 5 seeds)"
    assert -100 <= found.low <= found.high <= 100
    assert 100 in {-found.low, found.high}  # it would have gone further


@pytest.mark.parametrize("name", CLAIMS)
def test_a_missing_cell_is_not_averaged_away(name):
    blocks = board(lambda *_: {"full-ft": 0.7, "lp-ft": 0.9, "auto-rgn": 0.9})
    found = ask(name, blocks[:-1], list(itertools.product(DATASETS, BACKBONES)))
    expected = 12 if name == "densenet-gains-most" else 14  # only whole datasets can be compared
    assert verdict_of(found) == f"undecided ({expected} of 15 cells)"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_missing_strategy_is_no_answer(name):
    blocks = board(lambda *_: {"linear-probe": 0.7})
    found = ask(name, blocks)
    assert found.verdict == "undecided"
    assert (found.effect, found.low, found.high, found.cells) == (None, None, None, 0)
    assert (found.average, found.average_of, found.basis) == (None, "", "")
    assert ask(name, []).verdict == "undecided"


def test_a_strategy_without_all_seeds_is_left_out():
    runs = {
        "full-ft": {seed: RunScores(0.8, {METRIC: added(0.8, seed)}) for seed in SEEDS},
        "lp-ft": {seed: RunScores(0.8, {METRIC: added(0.8, seed)}) for seed in SEEDS[1:]},
    }
    found = make_block(("xray", "vgg19"), runs, SEEDS, STRATA, 0)
    assert found is not None
    assert found.strategies == ("full-ft",)
    assert make_block(("xray", "vgg19"), {"lp-ft": runs["lp-ft"]}, SEEDS, STRATA, 0) is None
    assert make_block(("xray", "vgg19"), {}, SEEDS, STRATA, 0) is None


def test_a_block_with_other_seeds_counts_as_missing():
    blocks = won(15)
    blocks[3] = block("xray", "vgg19", {"full-ft": 0.8, "lp-ft": 0.9}, seeds=(0, 1))
    assert verdict_of(ask("lp-ft-improves", blocks)) == "undecided (14 of 15 cells)"


def test_an_unknown_claim_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'lp-ft-improves'"):
        answer(["lp-ft-improvess"], [], [])


# auto-rgn's gain in some cell


def test_the_best_gain_has_a_simultaneous_bound():
    def scores(number, backbone):
        best = (number, backbone) == (2, "vgg19")
        return {"full-ft": 0.70, "auto-rgn": 0.80 if best else 0.70}

    found = ask("auto-rgn-gain", board(scores))
    assert found.verdict == "supported"
    assert found.effect == pytest.approx(10)
    assert found.detail == "surest in histology / vgg19"
    assert 1 < found.low < 10
    assert found.average == pytest.approx(10 / 15)


def test_the_largest_of_many_equal_cells_is_not_taken_at_its_word():
    """No cell gains; as measured the best one does, and by the seeds that did not choose it not."""
    rng = np.random.default_rng(3)
    blocks = [
        block(dataset, backbone, {"full-ft": 0.8, "auto-rgn": 0.8},
              test={"auto-rgn": 0.8 + rng.normal(0, 0.02, 5)})
        for dataset, backbone in itertools.product(DATASETS, BACKBONES)
    ]  # fmt: skip
    found = ask("auto-rgn-gain", blocks)
    measured = max(100 * (one.points("auto-rgn", METRIC).mean() - 0.8) for one in blocks)
    assert measured > 1
    assert found.effect < measured
    assert found.low < 1
    assert found.verdict == "undecided"


def test_the_effect_is_measured_on_seeds_that_did_not_choose_the_cell():
    """Two seeds point at a cell that is poor with the other three; and the other way round."""
    lucky = {"xray": [0.9, 0.9, 0.81, 0.81, 0.81], "mri": [0.8, 0.8, 0.84, 0.84, 0.84]}
    blocks = [
        block(name, "vgg19", {"full-ft": 0.8, "auto-rgn": 0.8}, test={"auto-rgn": scores})
        for name, scores in lucky.items()
    ]
    # Chosen by 0 and 1: xray, 3 seeds at +1; chosen by 2, 3 and 4: mri, 2 seeds at 0.
    assert ask("auto-rgn-gain", blocks).effect == pytest.approx(3 * 1 / 5)


def test_no_gain_contradicts():
    found = ask("auto-rgn-gain", board(lambda *_: {"full-ft": 0.80, "auto-rgn": 0.60}))
    assert found.verdict == "contradicted"
    assert found.effect == pytest.approx(-20)


# densenet121 gains most from alternatives


def gains(densenet, others, size=""):
    """Each network's best alternative gains so much; the validated best is lp-ft."""

    def scores(_, backbone):
        gain = densenet if backbone.startswith("densenet") else others
        return {"full-ft": 0.70, "lp-ft": 0.70 + gain, "l2-sp": 0.99}

    shown = {"full-ft": 0.5, "lp-ft": 0.9, "l2-sp": 0.6}
    return board(
        scores,
        backbones=[name + size for name in BACKBONES],
        validation={name: [score] * 5 for name, score in shown.items()},
    )


@pytest.mark.parametrize(
    ("densenet", "others", "verdict"),
    [(0.2, 0.05, "supported"), (0.05, 0.2, "contradicted"), (0.1, 0.1, "undecided")],
)
def test_gains_are_compared_between_networks(densenet, others, verdict):
    found = ask("densenet-gains-most", gains(densenet, others))
    assert found.verdict == verdict
    assert found.effect == pytest.approx(100 * (densenet - others))  # not l2-sp's: not chosen
    assert found.average == pytest.approx(100 * densenet)
    assert found.detail == "nearest: resnet50"
    assert found.low <= found.effect <= found.high


def test_miniatures_never_answer_for_the_networks_that_the_claim_names():
    found = ask("densenet-gains-most", gains(0.2, 0.05, "-mini"))
    assert verdict_of(found) == "undecided (answered by densenet121, resnet50, vgg19 only)"
    assert (found.effect, found.cells, found.of) == (None, 0, 0)


def test_networks_that_the_claim_does_not_name_change_nothing():
    plain = ask("densenet-gains-most", gains(0.2, 0.05))
    more = gains(0.2, 0.05) + gains(0.05, 0.2, "-mini")
    more += board(lambda *_: {"full-ft": 0.7, "lp-ft": 0.99}, backbones=["mine"])
    assert ask("densenet-gains-most", more) == plain


def test_a_named_network_that_is_not_there_leaves_it_open():
    blocks = [one for one in gains(0.2, 0.05) if one.backbone != "vgg19"]
    found = ask("densenet-gains-most", blocks)
    assert verdict_of(found) == "undecided (0 of 10 cells)"


def test_the_alternative_is_chosen_without_the_seed_that_measures_it():
    """Each of two alternatives is lucky in its own seeds, in validation and test alike."""
    lucky = {"a": [0.9, 0.7, 0.7, 0.7, 0.7], "b": [0.7, 0.9, 0.9, 0.7, 0.7]}
    blocks = [
        block("xray", backbone, {"full-ft": 0.7, "a": 0.7, "b": 0.7},
              validation=lucky, test=lucky) if backbone == "densenet121"
        else block("xray", backbone, {"full-ft": 0.7, "a": 0.7, "b": 0.7},
                   validation={"a": [0.9] * 5})
        for backbone in BACKBONES
    ]  # fmt: skip
    found = ask("densenet-gains-most", blocks)
    # Without seed 0 the others choose b, which has nothing there; without 1 or 2, a and b are
    # alike (a first), which has nothing there either; without 3 or 4 b, which has nothing.
    assert found.effect == pytest.approx(0, abs=1e-9)


def test_one_strong_rival_is_enough_to_contradict():
    def scores(_, backbone):
        gain = {"densenet121": 0.1, "resnet50": 0.0, "vgg19": 0.25}[backbone]
        return {"full-ft": 0.70, "lp-ft": 0.70 + gain}

    found = ask("densenet-gains-most", board(scores))
    assert (found.verdict, found.detail) == ("contradicted", "nearest: vgg19")


# no strategy wins everywhere


def test_each_strategy_beaten_somewhere():
    def scores(number, _):
        return {"full-ft": 0.6 + 0.2 * (number == 0), "lp-ft": 0.6 + 0.2 * (number == 1)}

    found = ask("no-universal-winner", board(scores))
    assert found.verdict == "supported"
    assert found.effect == pytest.approx(20)
    assert 0 < found.low < 20


def test_a_strategy_ahead_everywhere_contradicts():
    found = ask("no-universal-winner", board(lambda *_: {"full-ft": 0.9, "lp-ft": 0.6, "l2": 0.5}))
    assert found.verdict == "contradicted"
    assert found.effect == pytest.approx(-30)
    assert found.detail.startswith("nearest: full-ft, beaten by lp-ft on ")
    assert found.average == pytest.approx(35)
    assert found.average_of == "full-ft over the mean of the others"


def test_strategies_alike_decide_nothing():
    found = ask("no-universal-winner", board(lambda *_: {"full-ft": 0.8, "lp-ft": 0.8}))
    assert found.verdict == "undecided"


def test_one_strategy_that_is_never_beaten_for_sure_leaves_it_open():
    """lp-ft ties with full-ft everywhere; both beat the third."""
    found = ask(
        "no-universal-winner", board(lambda *_: {"full-ft": 0.8, "lp-ft": 0.8, "l2-sp": 0.5})
    )
    assert found.verdict == "undecided"


def test_answers_come_in_the_order_asked():
    blocks = board(lambda *_: {"full-ft": 0.7, "lp-ft": 0.9, "auto-rgn": 0.8})
    names = list(CLAIMS)[::-1]
    places = [(one.dataset, one.backbone) for one in blocks]
    first, again = (answer(names, blocks, places) for _ in range(2))
    assert [found.claim for found in first] == names
    assert first == again

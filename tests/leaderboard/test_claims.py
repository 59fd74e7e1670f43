from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.errors import UsageError
from harness.leaderboard.claims import CLAIMS, Run, answer, make_block

DATASETS = ("xray", "mri", "histology", "dermoscopy", "endoscopy")
BACKBONES = ("densenet121", "resnet50", "vgg19")
SEEDS = (0, 1, 2, 3, 4)
SAMPLES = 400
TARGETS = np.arange(SAMPLES) % 2


def predictions(accuracy, seed):
    """Right in a share of each class; which samples depends on the seed alone."""
    chance = np.random.default_rng(seed).permutation(SAMPLES // 2)
    right = np.empty(SAMPLES, dtype=bool)
    right[0::2] = right[1::2] = chance < round(accuracy * SAMPLES / 2)
    return np.where(right, TARGETS, 1 - TARGETS)


def block(dataset, backbone, scores, *, seeds=SEEDS, validation=None):
    """A block whose strategies score what `scores` says, exactly, with every seed."""
    shown = scores | (validation or {})
    runs = {
        name: {seed: Run(shown[name], predictions(score, seed)) for seed in seeds}
        for name, score in scores.items()
    }
    return make_block((dataset, backbone), runs, seeds, TARGETS)


def board(scores, *, backbones=BACKBONES, **options):
    """Blocks from a function of dataset number and backbone."""
    return [
        block(dataset, backbone, scores(number, backbone), **options)
        for number, dataset in enumerate(DATASETS)
        for backbone in backbones
    ]


def ask(name, blocks, of=None):
    (found,) = answer([name], blocks, of=len(blocks) if of is None else of)
    return found


def verdict_of(found):
    """With the reason in brackets."""
    return f"{found.verdict} ({found.reason})" if found.reason else found.verdict


# lp-ft improves on full-ft in more than half of the cells


def won(cells):
    """lp-ft wins so many of 15 cells by two points and loses the others."""
    order = iter(range(15))
    return board(lambda *_: {"full-ft": 0.80, "lp-ft": 0.82 if next(order) < cells else 0.78})


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        (15, "supported"),
        (12, "supported"),
        (11, "undecided"),
        (4, "undecided"),
        (3, "contradicted"),
    ],
)
def test_more_than_half_of_15_takes_12(cells, verdict):
    found = ask("lp-ft-improves", won(cells))
    assert verdict_of(found) == verdict
    assert found.effect == pytest.approx(cells / 15)
    assert (found.cells, found.of, found.seeds, found.unit) == (15, 15, 5, "share of cells")
    assert found.detail == f"{cells} won, {15 - cells} lost by more than a point"
    assert found.low < found.effect < found.high or cells == 15


def test_a_gain_of_a_point_is_no_win():
    found = ask("lp-ft-improves", board(lambda *_: {"full-ft": 0.80, "lp-ft": 0.81}))
    assert found.effect == 0
    assert found.verdict == "contradicted"


# What is missing


def test_three_seeds_decide_nothing():
    found = ask("lp-ft-improves", board(lambda *_: {"full-ft": 0.7, "lp-ft": 0.9}, seeds=(0, 1, 2)))
    assert verdict_of(found) == "undecided (3 of 5 seeds)"
    assert found.effect == 1.0  # and yet it is shown


@pytest.mark.parametrize("name", ["auto-rgn-gain", "no-universal-winner"])
def test_two_seeds_leave_no_claim_outside_of_what_is_possible(name):
    """Strategies whose two seeds disagree wildly: Student's t of one degree reaches far."""
    blocks = []
    for dataset, backbone in itertools.product(DATASETS, BACKBONES):
        runs = {
            strategy: {seed: Run(0.5, predictions(high if seed else low, seed)) for seed in (0, 1)}
            for strategy, low, high in (("full-ft", 0.4, 0.9), ("auto-rgn", 0.9, 0.5))
        }
        blocks.append(make_block((dataset, backbone), runs, (0, 1), TARGETS))
    found = ask(name, blocks)
    assert verdict_of(found) == "undecided (2 of 5 seeds)"
    assert -100 <= found.low <= found.effect <= found.high <= 100
    assert 100 in {-found.low, found.high}  # it would have gone further


@pytest.mark.parametrize("name", CLAIMS)
def test_a_missing_cell_is_not_averaged_away(name):
    blocks = board(lambda *_: {"full-ft": 0.7, "lp-ft": 0.9, "auto-rgn": 0.9})
    found = ask(name, blocks[:-1], of=15)
    assert found.verdict == "undecided"
    expected = 12 if name == "densenet-gains-most" else 14  # only whole datasets can be compared
    assert verdict_of(found) == f"undecided ({expected} of 15 cells)"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_missing_strategy_is_no_answer(name):
    blocks = board(lambda *_: {"linear-probe": 0.7})
    found = ask(name, blocks)
    assert found.verdict == "undecided"
    assert (found.effect, found.low, found.high, found.cells) == (None, None, None, 0)
    assert ask(name, [], of=0).verdict == "undecided"


def test_a_strategy_without_all_seeds_is_left_out():
    runs = {
        "full-ft": {seed: Run(0.8, predictions(0.8, seed)) for seed in SEEDS},
        "lp-ft": {seed: Run(0.8, predictions(0.8, seed)) for seed in SEEDS[1:]},
    }
    found = make_block(("xray", "vgg19"), runs, SEEDS, TARGETS)
    assert found is not None
    assert found.strategies == ("full-ft",)
    assert make_block(("xray", "vgg19"), {"lp-ft": runs["lp-ft"]}, SEEDS, TARGETS) is None
    assert make_block(("xray", "vgg19"), {}, SEEDS, TARGETS) is None


def test_a_block_with_other_seeds_counts_as_missing():
    blocks = won(15)
    blocks[3] = block("xray", "vgg19", {"full-ft": 0.8, "lp-ft": 0.9}, seeds=(0, 1))
    assert verdict_of(ask("lp-ft-improves", blocks)) == "undecided (14 of 15 cells)"


def test_an_unknown_claim_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'lp-ft-improves'"):
        answer(["lp-ft-improvess"], [], of=0)


# auto-rgn's best gain


def test_the_best_gain_has_a_simultaneous_bound():
    def scores(number, backbone):
        best = (number, backbone) == (2, "vgg19")
        return {"full-ft": 0.70, "auto-rgn": 0.80 if best else 0.70}

    blocks = board(scores)
    found = ask("auto-rgn-gain", blocks)
    assert found.verdict == "supported"
    assert found.effect == pytest.approx(10)
    assert found.detail == "histology / vgg19"
    gain = blocks[DATASETS.index("histology") * 3 + 2].difference("auto-rgn", "full-ft")
    assert found.low == pytest.approx(100 * gain.bound(0.025 / 15))
    assert found.high == pytest.approx(100 * gain.bound(0.975))
    assert found.low < 100 * gain.bound(0.025)


def test_no_gain_contradicts():
    found = ask("auto-rgn-gain", board(lambda *_: {"full-ft": 0.80, "auto-rgn": 0.60}))
    assert found.verdict == "contradicted"
    assert found.effect == pytest.approx(-20)


# densenet121 gains most from alternatives


def gains(densenet, others, size=""):
    """Each backbone's best alternative gains so much; the validated best is lp-ft."""

    def scores(_, backbone):
        gain = densenet if backbone.startswith("densenet") else others
        return {"full-ft": 0.70, "lp-ft": 0.70 + gain, "l2-sp": 0.99}

    return board(
        scores,
        backbones=[name + size for name in BACKBONES],
        validation={"full-ft": 0.5, "lp-ft": 0.9, "l2-sp": 0.6},
    )


@pytest.mark.parametrize("size", ["", "-mini"])
@pytest.mark.parametrize(
    ("densenet", "others", "verdict"),
    [(0.2, 0.05, "supported"), (0.05, 0.2, "contradicted"), (0.1, 0.1, "undecided")],
)
def test_gains_are_compared_between_backbones(densenet, others, verdict, size):
    found = ask("densenet-gains-most", gains(densenet, others, size))
    assert found.verdict == verdict
    assert found.effect == pytest.approx(
        100 * (densenet - others)
    )  # not l2-sp's: it was not chosen
    assert found.detail == f"nearest: resnet50{size}"
    assert found.low <= found.effect <= found.high


def test_miniatures_and_full_networks_are_not_mixed():
    blocks = gains(0.2, 0.05) + gains(0.05, 0.2, "-mini")
    found = ask("densenet-gains-most", blocks, of=15)
    assert (found.verdict, found.cells) == ("supported", 15)


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
    assert found.low > 0


def test_a_strategy_ahead_everywhere_contradicts():
    found = ask("no-universal-winner", board(lambda *_: {"full-ft": 0.9, "lp-ft": 0.6, "l2": 0.5}))
    assert found.verdict == "contradicted"
    assert found.effect == pytest.approx(-30)
    assert found.detail == "nearest: full-ft, beaten by lp-ft on xray / densenet121"


def test_strategies_alike_decide_nothing():
    found = ask("no-universal-winner", board(lambda *_: {"full-ft": 0.8, "lp-ft": 0.8}))
    assert found.verdict == "undecided"


def test_validation_chooses_where_a_strategy_is_beaten():
    """lp-ft is beaten on test everywhere, but validation points at a cell where it is not."""

    def scores(number, _):
        return {"full-ft": 0.8, "lp-ft": 0.9 if number == 0 else 0.7}

    blocks = board(scores, validation={"full-ft": 0.8, "lp-ft": 0.8})
    blocks[0] = block(
        "xray", "densenet121", scores(0, ""), validation={"full-ft": 0.8, "lp-ft": 0.7}
    )
    found = ask("no-universal-winner", blocks)
    assert found.effect == pytest.approx(-10)
    assert found.verdict == "undecided"


def test_answers_come_in_the_order_asked():
    blocks = board(lambda *_: {"full-ft": 0.7, "lp-ft": 0.9, "auto-rgn": 0.8})
    names = list(CLAIMS)[::-1]
    assert [found.claim for found in answer(names, blocks, of=15)] == names
    assert answer(names, blocks, of=15) == answer(names, blocks, of=15)

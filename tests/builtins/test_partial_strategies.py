"""Strategies in which a part of the network learns, or learns slower, against loops by hand."""

import re

import pytest
import torch
from by_hand import ByHand
from golden_plans import assert_as_recorded
from toys import ToyVgg, own_network, toy_run, toy_start

from harness.engine import run
from harness.errors import PhaseError
from harness_bitfit import BitFit
from harness_layer_decay import LayerDecay
from harness_partial_tuning import LastK, NormOnly, SingleStage

STAGES = ("stem", "layer1", "layer2", "head")
CHOSEN = {
    "bitfit": BitFit(),
    "bitfit-train": BitFit(norm="train"),
    "norm-only": NormOnly(),
    "norm-only-eval": NormOnly(norm="eval"),
    "last-k": LastK(k=2),
    "single-stage": SingleStage(),
    "single-stage-last": SingleStage(stage=-1),
    "single-stage-layer1": SingleStage(stage="layer1"),
    "layer-decay": LayerDecay(decay=0.5),
}
NORMS = tuple(f"{stage}.norm.{leaf}" for stage in STAGES[:3] for leaf in ("weight", "bias"))


def whole(*stages):
    return tuple(
        f"{stage}.{leaf}"
        for stage in stages
        for leaf in ("conv.weight", "conv.bias", "norm.weight", "norm.bias")
    )


# What learns at which multiple of the rate (the head's two tensors do in all, at 1), and the stages
# in train mode.
BIASES = tuple(f"{stage}.{layer}.bias" for stage in STAGES[:3] for layer in ("conv", "norm"))
LEARNING = {
    "bitfit": (dict.fromkeys(BIASES, 1.0), ()),
    "bitfit-train": (dict.fromkeys(BIASES, 1.0), STAGES),
    "norm-only": (dict.fromkeys(NORMS, 1.0), STAGES),
    "norm-only-eval": (dict.fromkeys(NORMS, 1.0), ()),
    "last-k": (dict.fromkeys(whole("layer1", "layer2"), 1.0), STAGES[1:]),
    "single-stage": (dict.fromkeys(whole("stem"), 1.0), ("stem", "head")),
    "single-stage-last": (dict.fromkeys(whole("layer2"), 1.0), ("layer2", "head")),
    "single-stage-layer1": (dict.fromkeys(whole("layer1"), 1.0), ("layer1", "head")),
    "layer-decay": (
        dict.fromkeys(whole("layer2"), 0.5) | dict.fromkeys(whole("layer1"), 0.25)
        | dict.fromkeys(whole("stem"), 0.125),
        STAGES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_twelve_steps_give_the_weights_of_a_loop_by_hand_and_the_rest_is_bit_equal(name):
    spec, resources = toy_run(CHOSEN[name], checkpoint="last")
    before = {n: t.clone() for n, t in own_network(spec, resources).initial.items()}
    hand = ByHand(spec, resources)
    rates, modes = LEARNING[name]
    rates = rates | {"head.fc.weight": 1.0, "head.fc.bias": 1.0}
    hand.modes(*modes)
    named = dict(hand.model.named_parameters())
    for tensor, parameter in named.items():
        parameter.requires_grad_(tensor in rates)
    adam = torch.optim.Adam([{"params": [named[n]], "multiplier": r} for n, r in rates.items()])
    for _ in range(12):
        hand.train_step(adam, hand.cosine())

    outcome = run(spec, resources)

    for tensor, expected in hand.model.state_dict().items():
        found = outcome.state[tensor]
        moves = tensor in rates or ("norm.running" in tensor and tensor.split(".")[0] in modes)
        moves |= tensor.endswith("num_batches_tracked") and tensor.split(".")[0] in modes
        assert torch.equal(found, before[tensor]) != moves, tensor
        apart, size = (found.double() - expected.double()).norm(), expected.double().norm()
        # A bias before a batch norm has no gradient but rounding.
        assert apart <= 1e-8 * (1.0 if tensor.endswith("conv.bias") else size), tensor


@pytest.mark.parametrize("name", CHOSEN)
def test_the_plan_is_as_recorded(name):
    assert_as_recorded(name, run(*toy_run(CHOSEN[name])).result)


def vgg(strategy, without=()):
    start = toy_start(ToyVgg(), without=without)
    return run(*toy_run(strategy, backbone=ToyVgg(), start=start)).result.phases[0]


def learning(phase):
    return {stage: rate for stage, rate in phase.rates.items() if rate}


def test_a_network_without_norms_is_probed_and_says_so():
    phase = vgg(NormOnly())
    assert phase.name == "head"
    assert learning(phase) == {"head": 1.0}


def test_biases_of_layers_without_norms_learn():
    phase = vgg(BitFit())
    assert (phase.name, phase.trainable) == ("biases", 4 + 12 + 3 + 3 * 12)
    assert learning(phase) == {"block1": 1.0, "fc": 1.0, "head": 1.0}


def test_a_stage_that_is_new_belongs_to_the_head():
    """`fc` is new: below it lies `block1` alone."""
    assert learning(vgg(LastK(), ("fc",))) == {"block1": 1.0, "fc": 1.0, "head": 1.0}
    assert learning(vgg(SingleStage(stage=-1), ("fc",))) == {"block1": 1.0, "fc": 1.0, "head": 1.0}
    assert learning(vgg(LayerDecay(decay=0.5), ("fc",))) == {"block1": 0.25, "fc": 1.0, "head": 1.0}


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (LastK(k=4), "k = 4, and the network has 3 stages below its head (stem, layer1, layer2)"),
        (SingleStage(stage=4), "no stage 4 below the head"),
        (SingleStage(stage=0), "no stage 0 below the head"),
        (SingleStage(stage=-4), "no stage -4 below the head"),
        (SingleStage(stage="head"), "no stage 'head' below the head"),
        (SingleStage(stage="block1"), "there are stem, layer1, layer2, or 1 to 3, or -1 to -3"),
    ],
)
def test_a_stage_that_is_not_there_is_told(strategy, said):
    with pytest.raises(PhaseError, match=re.escape(said)):
        run(*toy_run(strategy))

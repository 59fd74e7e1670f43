"""`delta`, `wise-ft` and `auto-rgn-biotune` against loops by hand."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from by_hand import LR, ByHand
from golden_plans import assert_as_recorded
from toys import ToyVgg, toy_run

from harness import ParameterInfo
from harness.engine import run
from harness_auto_rgn_biotune import AutoRGNBioTune, multipliers
from harness_delta import Delta
from harness_wise_ft import WiseFt

STAGES = ("stem", "layer1", "layer2", "head")
CHOSEN = {
    "delta": Delta(alpha=3.0, beta=0.05),
    "wise-ft": WiseFt(ft_rate=2.0, shares=(0.25, 0.75, 1.0, 0.0)),
    "auto-rgn-biotune": AutoRGNBioTune(),
}
PROTOCOL = {
    "delta": {"weight_decay": 0.1, "label_smoothing": 0.1},
    "wise-ft": {},
    "auto-rgn-biotune": {},
}


def delta(hand):
    """Loss, plus 3 / 2 of each map's mean squared distance, plus .05 / 2 of the head's square."""
    frozen = copy.deepcopy(hand.model).eval()
    maps = {hand.model: [], frozen: []}
    for network, found in maps.items():
        for stage in STAGES[:3]:
            getattr(network, stage).register_forward_hook(
                lambda _, __, out, found=found: found.append(out)
            )
    head = hand.model.head.fc
    rest = [p for n, p in hand.model.named_parameters() if not n.startswith("head")]
    adam = torch.optim.Adam(
        [{"params": [head.weight, head.bias]}, {"params": rest, "weight_decay": 0.1}]
    )
    hand.modes(*STAGES)
    for step in range(12):
        x, y = hand.xy(hand.order.at(step))
        loss = F.cross_entropy(hand.model(x), y, label_smoothing=0.1)
        frozen(x)
        for now, start in zip(maps[hand.model], maps[frozen], strict=True):
            loss = loss + 3.0 / 2 * ((now - start.detach()) ** 2).sum() / now.numel()
        loss = loss + 0.05 / 2 * (head.weight.square().sum() + head.bias.square().sum())
        for group in adam.param_groups:
            group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / 12))
        adam.zero_grad()
        loss.backward()
        adam.step()
        for found in maps.values():
            found.clear()


def epochs_with_best(hand, parameters, rate):
    """Two epochs; the state of the one that validation likes better, the first of equals."""
    first, best, kept = hand.step, -1.0, {}
    adam = torch.optim.Adam(parameters)
    for step in range(6):
        hand.train_step(adam, rate * hand.cosine(first, 6))
        if step % 3 == 2:
            modes = {module: module.training for module in hand.model.modules()}
            hand.model.eval()
            if (accuracy := hand.validation_accuracy()) > best:
                best, kept = accuracy, copy.deepcopy(hand.model.state_dict())
            for module, mode in modes.items():
                module.training = mode
    return kept


@torch.no_grad()
def measure_norms(hand):
    """Running statistics: means over the epoch's batches of each batch's mean and variance."""
    norms = [getattr(hand.model, stage).norm for stage in STAGES[:3]]
    seen = {norm: [] for norm in norms}
    hooks = [
        norm.register_forward_pre_hook(lambda norm, given: seen[norm].append(given[0]))
        for norm in norms
    ]
    hand.modes(*STAGES)
    for batch in range(3):
        hand.model(hand.xy(hand.order.at(batch))[0])
    for hook in hooks:
        hook.remove()
    for norm, batches in seen.items():
        rows = [x.transpose(0, 1).flatten(1) for x in batches]
        norm.running_mean.copy_(sum(r.mean(1) for r in rows) / 3)
        norm.running_var.copy_(sum(r.var(1, unbiased=True) for r in rows) / 3)
        norm.num_batches_tracked.fill_(3)


def wise_ft(hand):
    hand.modes()
    probe = epochs_with_best(hand, hand.model.head.parameters(), 1.0)
    hand.model.load_state_dict(probe)
    hand.modes(*STAGES)
    tuned = epochs_with_best(hand, hand.model.parameters(), 2.0)
    found = {}
    for share in CHOSEN["wise-ft"].shares:
        hand.model.load_state_dict({n: (1 - share) * probe[n] + share * tuned[n] for n in probe})
        measure_norms(hand)
        hand.modes()
        found[share] = (hand.validation_accuracy(), copy.deepcopy(hand.model.state_dict()))
    best = max(score for score, _ in found.values())
    chosen = next(share for share, (score, _) in found.items() if score == best)
    hand.model.load_state_dict(found[chosen][1])
    return chosen, {share: score for share, (score, _) in found.items()}


def auto_rgn_biotune(hand):
    """All at 1 for an epoch, then each module at its weight's RGN, after the last step's gradient."""
    named = dict(hand.model.named_parameters())
    modules = {name: name.rpartition(".")[0] for name in named}
    hand.modes(*STAGES)
    adam = torch.optim.Adam([{"params": [p], "multiplier": 1.0} for p in named.values()])
    for _ in range(4):
        for _ in range(3):
            hand.train_step(adam, hand.cosine())
        rgn = {
            modules[name]: (p.grad.square().sum().sqrt() / p.detach().square().sum().sqrt()).item()
            for name, p in named.items()
            if name.endswith("weight")
        }
        for name, group in zip(named, adam.param_groups, strict=True):
            group["multiplier"] = rgn[modules[name]] / max(rgn.values())


BY_HAND = {"delta": delta, "wise-ft": wise_ft, "auto-rgn-biotune": auto_rgn_biotune}


@pytest.mark.parametrize("name", CHOSEN)
def test_twelve_steps_give_the_weights_of_a_loop_by_hand(name):
    spec, resources = toy_run(CHOSEN[name], checkpoint="last", **PROTOCOL[name])
    hand = ByHand(spec, resources)

    told = BY_HAND[name](hand)
    outcome = run(spec, resources)

    for tensor, expected in hand.model.state_dict().items():
        found = outcome.state[tensor]
        apart, size = (found.double() - expected.double()).norm(), expected.double().norm()
        # A bias before a batch norm has no gradient but rounding, and Adam makes steps of it.
        assert apart <= 1e-8 * (1.0 if tensor.endswith("conv.bias") else size), tensor
    if name == "wise-ft":
        chosen, scores = told
        record = outcome.result.phases[-1]
        assert (record.kind, record.share) == ("interpolate", chosen)
        assert dict(zip(record.shares, record.scores, strict=True)) == pytest.approx(scores)
        assert len(set(scores.values())) > 1, "nothing is chosen here"


@pytest.mark.parametrize("name", CHOSEN)
def test_the_plan_is_as_recorded(name):
    assert_as_recorded(name, run(*toy_run(type(CHOSEN[name])())).result)


def test_delta_at_no_strength_is_full_fine_tuning():
    """Nothing but the loss is left: the weights are those of a plain loop."""
    spec, resources = toy_run(Delta(alpha=0.0, beta=0.0), checkpoint="last")
    hand = ByHand(spec, resources)
    hand.modes(*STAGES)
    adam = torch.optim.Adam(hand.model.parameters())
    for _ in range(12):
        hand.train_step(adam, hand.cosine())

    found = run(spec, resources).state

    wanted = hand.model.state_dict()
    assert (found["stem.conv.weight"] - wanted["stem.conv.weight"]).norm() < 1e-8


def test_wise_ft_of_a_network_without_batch_norm_has_its_ends_on_the_line():
    """Nothing is measured again there: shares 0 and 1 are the two checkpoints, to the bit."""
    shares = (0.0, 1.0)
    for share, phase in zip(shares, ("lp", "ft"), strict=True):
        spec, resources = toy_run(WiseFt(shares=(share,)), backbone=ToyVgg(), checkpoint="last")
        result = run(spec, resources).result
        best = max(one.score for one in result.history if one.phase == phase)
        assert result.phases[-1].scores == (best,)


def test_a_module_that_cannot_be_measured_has_the_full_rate():
    """Without a weight, one that is zero, did not learn, or whose gradient is not finite."""

    def info(module, norm=2.0):
        return ParameterInfo("stage", "kernel", (2,), pretrained=True, norm=norm, module=module)

    parameters = {
        "a.weight": info("a"), "a.bias": info("a", 5.0), "b.weight": info("b", 0.0),
        "b.bias": info("b", 0.0), "token": info(""), "c.weight": info("c"), "d.weight": info("d", 4.0),
        "e.weight": info("e"),
    }  # fmt: skip
    gradients = {name: torch.tensor([3.0, 4.0]) for name in parameters if name != "c.weight"}
    gradients["e.weight"] = torch.tensor([math.inf, 4.0])

    found = multipliers(parameters, gradients)

    assert found == {
        "a.weight": 1.0, "a.bias": 1.0, "b.weight": 1.0, "b.bias": 1.0, "token": 1.0,
        "c.weight": 1.0, "d.weight": 0.5, "e.weight": 1.0,
    }  # fmt: skip
    still = {name: torch.zeros(2) for name in parameters}
    assert multipliers(parameters, still)["a.weight"] == 0.0

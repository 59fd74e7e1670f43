"""The network put together: frozen stages, norms, dropout, adapted layers, one head for all."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from toys import FULL, HEAD, ToyVgg, state_after, strategy, toy_run, toy_start

from harness import Phase, PhaseError, Strategy
from harness.engine import run
from harness.engine.shared import build_network


@pytest.mark.parametrize("learning", [("layer2", "head"), ("stem", "head")])
def test_a_frozen_stage_keeps_its_batch_norm_statistics(learning):
    """Below all that learns, where it is computed once, and above, where batches pass through it."""
    before = build_network(*toy_run(FULL)).initial
    after = state_after(strategy(Phase("p", 4, dict.fromkeys(learning, 1.0))))

    for name in before:
        changed = not torch.equal(before[name], after[name])
        assert changed == name.startswith(learning), name


def test_norm_eval_keeps_statistics_while_the_stage_learns():
    before = build_network(*toy_run(FULL)).initial
    after = state_after(strategy(Phase("p", 4, {"*": 1.0}, norm="eval")))

    assert torch.equal(before["stem.norm.running_mean"], after["stem.norm.running_mean"])
    assert not torch.equal(before["stem.norm.weight"], after["stem.norm.weight"])


def test_the_protocol_can_ask_for_eval_norms_and_a_phase_overrule_it():
    before = build_network(*toy_run(FULL)).initial["stem.norm.running_mean"]
    assert torch.equal(state_after(FULL, norm="eval")["stem.norm.running_mean"], before)
    overruled = strategy(Phase("p", 4, {"*": 1.0}, norm="train"))
    assert not torch.equal(state_after(overruled, norm="eval")["stem.norm.running_mean"], before)


def test_dropout_acts_only_while_its_stage_learns(monkeypatch):
    calls = []
    original = F.dropout
    monkeypatch.setattr(
        F, "dropout", lambda x, p, train, inplace: calls.append(train) or original(x, p, train)
    )
    given = {"backbone": ToyVgg(), "start": toy_start(ToyVgg())}
    calls.clear()
    run(*toy_run(HEAD, **given))
    assert calls
    assert not any(calls)
    run(*toy_run(strategy(Phase("p", 1, {"fc": 1.0, "head": 1.0})), **given))
    assert any(calls)


def test_all_strategies_share_head_and_order_but_not_over_seeds():
    heads = [
        build_network(*toy_run(s, seed=seed)).initial["head.fc.weight"]
        for s in (FULL, HEAD)
        for seed in (0, 1)
    ]

    assert torch.equal(heads[0], heads[2])
    assert not torch.equal(heads[0], heads[1])


def test_adapted_networks_keep_their_starting_point_and_give_merged_weights(monkeypatch):
    class LowRank(nn.Module):
        def __init__(self, weight, rng):
            super().__init__()
            out, into = weight.flatten(1).shape
            self.a = nn.Parameter(torch.randn(2, into, generator=rng).to(weight) * 0.1)
            self.b = nn.Parameter(torch.zeros(out, 2).to(weight))

        def forward(self, weight):
            return weight + (self.b @ self.a).view_as(weight)

    class LoRA(Strategy):
        name = "lora"

        def adapt(self, model, rng):
            for stage in list(model)[:-1]:
                parametrize.register_parametrization(
                    stage.conv, "weight", LowRank(stage.conv.weight, rng)
                )
            return model

        def phases(self, model, epochs):
            infos = model.parameters
            original = "stem.conv.parametrizations.weight.original"
            assert infos[original].pretrained
            assert infos[original].kind == "kernel"
            assert infos[original].module == "stem.conv"
            assert not infos["stem.conv.parametrizations.weight.0.a"].pretrained
            assert infos["stem.conv.parametrizations.weight.0.a"].kind == "other"
            yield Phase("lora", epochs, {"head": 1.0, "*.parametrizations.weight.0.*": 1.0})

    spec, resources = toy_run(LoRA(), checkpoint="last")
    network = build_network(spec, resources)
    monkeypatch.setattr("harness.engine.state.build_network", lambda *_: network)
    outcome = run(spec, resources)
    before = build_network(*toy_run(FULL)).initial
    trained = network.model.state_dict()
    part = "stem.conv.parametrizations.weight"
    assert torch.equal(trained[f"{part}.original"], before["stem.conv.weight"])
    update = trained[f"{part}.0.b"] @ trained[f"{part}.0.a"]
    assert update.abs().sum() > 0
    assert outcome.state.keys() == before.keys()
    merged = before["stem.conv.weight"] + update.view(6, 3, 3, 3)
    assert torch.equal(outcome.state["stem.conv.weight"], merged)


def test_adapt_may_not_change_the_stages():
    class Breaker(Strategy):
        name = "breaker"

        def adapt(self, model, rng):
            return nn.Sequential(model)

        def phases(self, model, epochs):
            yield Phase("p", epochs, {"*": 1.0})

    with pytest.raises(PhaseError, match="changed the stages in adapt"):
        run(*toy_run(Breaker()))

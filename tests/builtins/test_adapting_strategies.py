"""LoRA and bottleneck adapters against loops by hand, on a convolutional network and on tokens.

By hand an update is a branch beside its layer, x -> s B (A x), and nothing is merged; the frozen
network is the plain one, which no `adapt` has seen.
"""

import math
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import ByHand
from golden_plans import assert_as_recorded
from torch import nn
from toys import FULL, ToyBackbone, ToyVgg, own_network, toy_run, toy_start

from harness import Backbone, Phase, engine
from harness.api.records import NumericMode
from harness.engine import predict_images, rebuilt_network, recomputed_features, run
from harness.engine.seeds import generator
from harness_adapter import Adapter
from harness_lora import Lora
from harness_partial_tuning import LastK


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """A block of a transformer, of 8 features."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.fc1, self.fc2 = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


class ToyTokens(Backbone):
    """Four tokens of 8 features through two blocks."""

    name: str = "toy-tokens"
    stages: tuple[str, ...] = ("embed", "block1", "block2", "head")

    def build(self, classes):
        return nn.Sequential(
            OrderedDict(
                embed=nn.Sequential(
                    OrderedDict(conv=nn.Conv2d(3, 8, 4, stride=4), tokens=Tokens())
                ),
                block1=Block(),
                block2=nn.Sequential(OrderedDict(block=Block(), mean=Mean())),
                head=nn.Linear(8, classes),
            )
        )


NETWORKS = {"toy": ToyBackbone(), "toy-tokens": ToyTokens()}
ROOMS = {"toy": ("stem.conv", "layer1.conv", "layer2.conv")}
ROOMS["toy-tokens"] = (
    "embed.conv",
    *(f"{b}.{layer}" for b in ("block1", "block2.block") for layer in ("qkv", "proj", "fc1", "fc2")),
)  # fmt: skip
BEHIND = ROOMS | {
    "toy-tokens": (
        "embed.conv", "block1.proj", "block1.fc2", "block2.block.proj", "block2.block.fc2",
    )
}  # fmt: skip
HEADS = {"toy": ("head.fc.weight", "head.fc.bias"), "toy-tokens": ("head.weight", "head.bias")}


class LoraByHand(ByHand):
    """Branches beside the layers of the plain network; what is added to each kernel is `update`."""

    def __init__(self, spec, resources, rank, alpha):
        super().__init__(spec, replace(resources, strategy=FULL))
        rng, self.scale, self.parts = generator(spec, "adapt"), alpha / rank, {}
        for path in ROOMS[spec.backbone]:
            layer = self.model.get_submodule(path)
            out, into = layer.weight.shape[0], layer.weight[0].numel()
            r = min(rank, out, into)
            a = torch.empty(r, into).uniform_(
                -1 / math.sqrt(into), 1 / math.sqrt(into), generator=rng
            )
            a, b = (
                a.double().requires_grad_(),
                torch.zeros(out, r, dtype=torch.float64).requires_grad_(),
            )
            self.parts[path] = a, b
            self._beside(layer, a, b)

    def _beside(self, layer, a, b):
        own, scale = layer.forward, self.scale
        if isinstance(layer, nn.Conv2d):
            k = (a.shape[0], *layer.weight.shape[1:])
            layer.forward = lambda x: (
                own(x)
                + scale
                * F.conv2d(
                    F.conv2d(x, a.view(k), None, layer.stride, layer.padding), b[:, :, None, None]
                )
            )
        else:
            layer.forward = lambda x: own(x) + scale * ((x @ a.T) @ b.T)

    @property
    def added(self):
        return [part for pair in self.parts.values() for part in pair]

    @torch.no_grad()
    def state(self):
        """The network's tensors, what is beside a kernel added to it."""
        found = dict(self.model.state_dict())
        for path, (a, b) in self.parts.items():
            kernel = found[f"{path}.weight"]
            added = self.scale * torch.einsum("or,ri->oi", b, a).reshape(kernel.shape)
            found[f"{path}.weight"] = kernel + added
        return found


class AdapterByHand(ByHand):
    """Small branches behind the layers of the plain network."""

    def __init__(self, spec, resources, reduction):
        super().__init__(spec, replace(resources, strategy=FULL))
        rng, self.parts = generator(spec, "adapt"), {}
        for path in BEHIND[spec.backbone]:
            layer = self.model.get_submodule(path)
            c = layer.weight.shape[0]
            m = max(1, round(c / reduction))
            down, up = (
                nn.init.trunc_normal_(torch.empty(*shape), 0, 0.01, -0.02, 0.02, rng).double()
                for shape in ((m, c), (c, m))
            )
            d, u = (torch.zeros(n, dtype=torch.float64) for n in (m, c))
            parts = {"down.weight": down, "down.bias": d, "up.weight": up, "up.bias": u}
            self.parts[path] = {n: part.requires_grad_() for n, part in parts.items()}
            self._after(layer, *parts.values())

    @staticmethod
    def _after(layer, down, d, up, u):
        own, images = layer.forward, isinstance(layer, nn.Conv2d)

        def forward(x):
            h = own(x)
            h = h.movedim(1, -1) if images else h
            h = h + F.gelu(h @ down.T + d) @ up.T + u
            return h.movedim(-1, 1) if images else h

        layer.forward = forward

    @property
    def added(self):
        return [part for parts in self.parts.values() for part in parts.values()]

    def state(self):
        """The network's tensors, and the adapters' under the names that they have in a run."""
        parts = {
            f"{path}.adapter.{n}": t.detach()
            for path, by in self.parts.items()
            for n, t in by.items()
        }
        return self.model.state_dict() | parts


def by_hand(chosen, spec, resources):
    if isinstance(chosen, Lora):
        return LoraByHand(spec, resources, chosen.rank, chosen.alpha)
    return AdapterByHand(spec, resources, chosen.reduction)


CHOSEN = {
    "lora": Lora(),
    "lora-train": Lora(rank=2, alpha=6.0, norm="train"),
    "adapter": Adapter(),
    "adapter-eval": Adapter(reduction=2.0, norm="eval"),
}
STAGES = {name: network.stages for name, network in NETWORKS.items()}


def close(found, expected, name):
    expected = expected.double().view_as(found)
    apart, size = (found.double() - expected).norm(), expected.norm()
    # A shift before a batch norm has no gradient but rounding.
    size = 1.0 if name.endswith("conv.adapter.up.bias") else size
    assert apart <= 1e-8 * size, f"{name}: {float(apart / size):.1e}"


def leave(hand, norms):
    """Freeze the plain network but the head, and norm layers where they learn; what learns."""
    for name, parameter in hand.model.named_parameters():
        own = name in HEADS[hand.name] or (norms and ".norm" in name)
        parameter.requires_grad_(own)
    return [p for p in hand.model.parameters() if p.requires_grad]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", CHOSEN)
def test_twelve_steps_give_the_weights_of_a_loop_by_hand_and_the_rest_is_bit_equal(name, network):
    chosen = CHOSEN[name]
    spec, resources = toy_run(chosen, backbone=NETWORKS[network], checkpoint="last")
    hand = by_hand(chosen, spec, resources)
    before = {n: t.clone() for n, t in hand.model.state_dict().items()}
    hand.name = network
    hand.modes(*STAGES[network])
    if chosen.norm == "eval":
        for module in hand.model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                module.eval()
    learning = [*leave(hand, isinstance(chosen, Adapter)), *hand.added]
    adam = torch.optim.Adam(learning)
    for _ in range(12):
        hand.train_step(adam, hand.cosine())

    outcome = run(spec, resources)

    expected = hand.state()
    assert outcome.state.keys() == expected.keys()
    for tensor, value in expected.items():
        if tensor in before and torch.equal(value, before[tensor]):
            assert torch.equal(outcome.state[tensor], value), tensor
        else:
            close(outcome.state[tensor], value, tensor)
    kernels = [f"{path}.weight" for path in ROOMS[network]]
    assert all(torch.equal(expected[n], before[n]) == isinstance(chosen, Adapter) for n in kernels)
    assert outcome.result.cost.trainable == sum(p.numel() for p in learning)


class ProbedFirst(Lora):
    """LP-FT with updates in the place of full fine-tuning."""

    name = "lora-probed"

    def phases(self, model, epochs):
        yield Phase("lp", epochs / 2, {"head": 1.0})
        yield from super().phases(model, epochs / 2)


@pytest.mark.parametrize("network", NETWORKS)
def test_after_a_probe_on_cached_features_updates_begin_where_the_head_has_come_to(network):
    """Beside runs that share features of the plain network, which are not taken here."""
    shared, given = {}, {"backbone": NETWORKS[network], "checkpoint": "last"}
    run(*toy_run(LastK(), shared=shared, **given))
    spec, resources = toy_run(ProbedFirst(), shared=shared, **given)
    kept = [*shared["work"].features]
    hand = by_hand(Lora(), spec, resources)
    hand.name = network
    hand.modes()
    head = leave(hand, norms=False)
    probe = torch.optim.Adam(head)
    for _ in range(6):
        hand.train_step(probe, hand.cosine(0, 6))
    both = torch.optim.Adam([*head, *hand.added])
    for _ in range(6):
        hand.train_step(both, hand.cosine(6, 6))

    outcome = run(spec, resources)

    assert [p.cached_stages for p in outcome.result.phases] == [3, 0]
    assert [*shared["work"].features] == kept
    for tensor, value in hand.state().items():
        close(outcome.state[tensor], value, tensor)
    with recomputed_features():
        again = run(*toy_run(ProbedFirst(), **given))
    assert [p.cached_stages for p in again.result.phases] == [0, 0]
    for tensor, value in outcome.state.items():
        close(again.state[tensor], value, tensor)


@pytest.mark.parametrize("precision", ["float64", "float32", "bf16"])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_plain_network_predicts_with_the_kept_weights_what_was_tested(network, precision):
    """The best of four epochs; patience ends the run after the first that is no better."""
    numeric = NumericMode(precision=precision, layout="channels-last")
    given = {"backbone": NETWORKS[network], "numeric": numeric, "patience": 1, "epochs": 8.0}
    spec, resources = toy_run(Lora(rate=3.0), **given)
    outcome = run(spec, resources)
    assert outcome.result.tested.startswith("best on validation")
    plain = own_network(*toy_run(FULL, **given)).model
    assert outcome.state.keys() == plain.state_dict().keys()
    rebuilt = rebuilt_network(spec, NETWORKS[network], Lora(rate=3.0), 3, outcome.state, "cpu")
    plain.load_state_dict(outcome.state)
    for model in (plain.eval(), rebuilt):
        logits = predict_images(spec, model, resources.images.images["test"], "cpu")
        assert np.array_equal(logits, outcome.predictions.logits["test"])
    again = engine.test_again(spec, resources, outcome.state)
    assert np.array_equal(again.predictions.logits["test"], outcome.predictions.logits["test"])


def test_a_network_with_adapters_is_built_again():
    spec, resources = toy_run(Adapter())
    outcome = run(spec, resources)
    network = rebuilt_network(spec, ToyBackbone(), Adapter(), 3, outcome.state, "cpu")
    logits = predict_images(spec, network, resources.images.images["test"], "cpu")
    assert np.array_equal(logits, outcome.predictions.logits["test"])


@pytest.mark.parametrize("chosen", [Lora(), Adapter()], ids=lambda one: one.name)
def test_a_stage_that_is_new_learns_as_it_is(chosen):
    """Nothing of the starting point is in `fc`, so there is nothing to keep."""
    start = toy_start(ToyVgg(), without=("fc",))
    phase = run(*toy_run(chosen, backbone=ToyVgg(), start=start)).result.phases[0]
    below = {"lora": 4 * (27 + 4), "adapter": 4 + 1 + 4 + 4}[chosen.name]
    beside = {"lora": 0, "adapter": 12 + 1 + 12 + 12}[chosen.name]
    assert phase.trainable == below + beside + (12 * 16 + 12) + (3 * 12 + 3)


class Strange(nn.Module):
    """Attention as torch has it, and a layer of a kind that takes no update."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        return self.norm(x + self.attention(x, x, x)[0])


@pytest.mark.parametrize("chosen", [Lora(rank=2), Adapter()], ids=lambda one: one.name)
def test_attention_of_torch_itself_is_adapted(chosen):
    """Its output projection is no layer that is called: its owner computes with the weight."""
    chain = nn.Sequential(OrderedDict(block=Strange(), head=nn.Linear(8, 3))).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before, rng = chain(x), torch.Generator().manual_seed(3)
    chain = chosen.adapt(chain, torch.Generator().manual_seed(2)).double()
    torch.testing.assert_close(chain(x), before, rtol=0, atol=0 if chosen.name == "lora" else 1e-2)
    new = {
        n: p for n, p in chain.named_parameters() if n.endswith((".lora_b", ".adapter.up.weight"))
    }
    wanted = {"lora": ("in_proj_weight", "out_proj"), "adapter": ("attention.adapter",)}
    assert len(new) == len(wanted[chosen.name])
    for part in wanted[chosen.name]:
        (one,) = [p for n, p in new.items() if part in n]
        with torch.no_grad():
            one += torch.randn(one.shape, dtype=one.dtype, generator=rng)
        after = chain(x)
        assert not torch.allclose(after, before, rtol=0, atol=1e-6)
        before = after


@pytest.mark.parametrize("chosen", [Lora(), Adapter()], ids=lambda one: one.name)
def test_a_network_without_layers_below_its_head_is_probed(chosen):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(192))

        def forward(self, x):
            return self.gain * x.flatten(1)

    class Bare(Backbone):
        name: str = "bare"
        stages: tuple[str, ...] = ("scaled", "head")

        def build(self, classes):
            return nn.Sequential(OrderedDict(scaled=Scaled(), head=nn.Linear(192, classes)))

    (phase,) = run(*toy_run(chosen, backbone=Bare(), start=None)).result.phases
    assert (phase.name, phase.trainable) == ("head", 3 * 192 + 3)


@pytest.mark.parametrize("name", CHOSEN)
def test_the_plan_is_as_recorded(name):
    assert_as_recorded(name, run(*toy_run(CHOSEN[name])).result)

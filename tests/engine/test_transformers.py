"""Needs of transformers and their like, on networks of timm at toy sizes.

The oracle is a plain loop over `timm.create_model`: no stages, no cache, nothing recorded.
"""

import math
from collections import OrderedDict
from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from by_hand import LR, ByHand
from torch import nn
from toys import FULL, HEAD, strategy, toy_images, toy_run, toy_start

from harness import Backbone, Phase
from harness.api.records import NumericMode
from harness.engine import recomputed_features, run
from harness.engine.seeds import global_seed
from harness_adapter import Adapter
from harness_lora import Lora
from harness_timm import timm_backbone

DROPS = {"drop_path_rate": 0.5}
SMALL = {
    "vit_tiny_patch16_224": {
        "img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 3, "num_heads": 2, "init_values": 0.1,
        "proj_drop_rate": 0.1, **DROPS,
    },
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (4, 6, 8, 10), "ls_init_value": 0.1, **DROPS},
    "swin_tiny_patch4_window7_224": {
        "img_size": 8, "patch_size": 1, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2),
        "window_size": 4, **DROPS,
    },
}  # fmt: skip
SIZES = {"convnext_atto": 32}
PLAIN = NumericMode(precision="float64")
RECORDED = PLAIN.model_copy(update={"compile": "graph", "deterministic": False})


def toy(chosen, network, **given):
    """(spec, resources) of a run, on images that the network takes."""
    side = SIZES.get(network.network, 8)
    given = {"images": toy_images(size=side), "checkpoint": "last", "start": None} | given
    return toy_run(chosen, backbone=network, resize=side, crop=side, **given)


def plain_loop(spec, resources, frozen=()):
    """Twelve steps of timm's own network from the same values; its tensors afterwards."""
    backbone, hand = resources.backbone, ByHand(spec, resources)
    model = timm.create_model(backbone.network, num_classes=3, **dict(backbone.arguments)).double()
    start = {backbone.published_name(n): t for n, t in hand.model.state_dict().items()}
    model.load_state_dict(start)
    stage = {backbone.published_name(n): n.split(".")[0] for n, _ in hand.model.named_parameters()}
    learning = [p for n, p in model.named_parameters() if stage[n] not in frozen]
    adam = torch.optim.Adam(learning)
    model.train()
    for name in frozen:
        model.get_submodule(FROZEN[name]).eval()
    with global_seed(spec, "dropout"):
        for step in range(12):
            x, y = hand.xy(hand.order.at(step))
            adam.param_groups[0]["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / 12))
            adam.zero_grad()
            F.cross_entropy(model(x), y).backward()
            adam.step()
    return model.state_dict()


# Where timm has the stages of a ViT.
FROZEN = {"embed": "patch_embed", "block1": "blocks.0", "block2": "blocks.1"}


def named(outcome, network):
    return {network.published_name(n): t for n, t in outcome.state.items()}


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        # A bias of keys moves all of a row's logits alike: its gradient is rounding.
        scale = (
            1.0 if name.endswith(("qkv.bias", "conv_dw.bias")) else float(tensor.double().norm())
        )
        off = float((found[name].double() - tensor.double()).norm())
        assert off <= 1e-8 * max(scale, 1e-3), f"{name}: {off:.1e} of {scale:.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_paths_are_dropped_by_the_runs_seed_as_in_a_plain_loop(name):
    """Layer scale learns with the rest."""
    network = timm_backbone(name, **SMALL[name])
    spec, resources = toy(FULL, network, seed=3)
    wanted = plain_loop(spec, resources)
    found = named(run(spec, resources), network)
    assert_close(found, wanted)
    again = named(run(*toy(FULL, network, seed=3)), network)
    assert all(torch.equal(again[name], tensor) for name, tensor in found.items())
    assert_close(named(run(*toy(FULL, network, numeric=RECORDED, seed=3)), network), wanted)
    spec, resources = toy(FULL, network, seed=3)
    assert_close(named(run(spec, replace(resources, engine="reference")), network), wanted)
    gammas = [n for n in found if n.endswith("gamma")]
    assert bool(gammas) == (name != "swin_tiny_patch4_window7_224")
    assert not any(torch.all(found[name] == 0.1) for name in gammas)


def test_paths_of_frozen_stages_are_not_dropped_and_their_tokens_are_kept_once(monkeypatch):
    network = timm_backbone("vit_tiny_patch16_224", **SMALL["vit_tiny_patch16_224"])
    calls = []
    original = timm.models.vision_transformer.Block.forward

    def counted(self, x, **given):
        calls.append(self)
        return original(self, x, **given)

    chosen = strategy(Phase("top", 4, {"block3": 1.0, "head": 1.0}))
    spec, resources = toy(chosen, network)
    wanted = plain_loop(spec, resources, frozen=("embed", "block1", "block2"))
    monkeypatch.setattr(timm.models.vision_transformer.Block, "forward", counted)
    outcome = run(spec, resources)
    assert [p.cached_stages for p in outcome.result.phases] == [3]
    assert_close(named(outcome, network), wanted)
    # Once for a look at one image, then batches of 48, 24 and 24 images.
    each = {block: calls.count(block) for block in calls}
    frozen, learning = 1 + 3 + 2 + 2, 12 + 4 * 2 + 2 + 2
    assert sorted(each.values()) == [frozen, frozen, learning]
    (kept,) = {f.values.shape[1:] for f in resources.shared["work"].features.values()}
    assert kept == (5, 12)
    with recomputed_features():
        again = run(*toy(chosen, network))
    assert_close(named(again, network), wanted)


FUSED = [("vit_tiny_patch16_224", one) for one in (FULL, HEAD, Lora(), Adapter())]


@pytest.mark.parametrize(
    ("name", "chosen"),
    [*FUSED, ("swin_tiny_patch4_window7_224", Lora())],
    ids=lambda one: getattr(one, "name", one),
)
def test_attention_stays_fused(monkeypatch, name, chosen):
    """Every pass through an attention layer is one call of torch's fused operation.

    Of its own accord timm fuses a ViT's; a Swin's where it is asked to.
    """
    passes, fused = [], []
    for kind in (timm.layers.Attention, timm.models.swin_transformer.WindowAttention):
        own = kind.forward
        monkeypatch.setattr(
            kind, "forward", lambda self, *a, own=own, **k: passes.append(1) or own(self, *a, **k)
        )
    operation = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: fused.append(1) or operation(*a, **k)
    )
    monkeypatch.setattr(timm.models.swin_transformer, "use_fused_attn", lambda **_: True)
    network = timm_backbone(name, **SMALL[name])
    passes.clear(), fused.clear()
    run(*toy(chosen, network, numeric=RECORDED))
    assert len(passes) > 0
    assert len(fused) == len(passes)


# -- stages that hand on several tensors ---------------------------------------------------------


class Two(nn.Module):
    """Gives [B, 4, 8, 8] and [B, 4], as timm's SelecSLS gives two from stage to stage."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        h = self.conv(x)
        return (
            self.kind((h, h.mean((2, 3))))
            if self.kind is not dict
            else {"h": h, "m": h.mean((2, 3))}
        )


class One(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, two):
        h, m = two.values() if isinstance(two, dict) else two
        assert type(two) is self.kind
        return self.conv(h).relu().mean((2, 3)) + m


class ToyTwo(Backbone):
    name: str = "toy-two"
    kind: type = tuple
    stages: tuple[str, ...] = ("two", "one", "head")

    def build(self, classes):
        return nn.Sequential(
            OrderedDict(two=Two(self.kind), one=One(self.kind), head=nn.Linear(4, classes))
        )


TOP = strategy(Phase("top", 4, {"one": 1.0, "head": 1.0}))


@pytest.mark.parametrize("augment", [(), ("flip-horizontal",)])
@pytest.mark.parametrize("kind", [tuple, list, dict])
@pytest.mark.parametrize("mode", [PLAIN, RECORDED], ids=lambda one: one.compile)
def test_several_tensors_are_kept_once_where_they_are_a_list(kind, augment, mode):
    """What has names is computed batch by batch."""
    backbone, shared = ToyTwo(kind=kind), {}
    start = toy_start(backbone)
    given = {"backbone": backbone, "start": start, "checkpoint": "last", "augment": augment}
    with recomputed_features():
        wanted = run(*toy_run(TOP, numeric=mode, **given))
    found = run(*toy_run(TOP, shared=shared, numeric=mode, **given))
    assert [p.cached_stages for p in found.result.phases] == [0 if kind is dict else 1]
    assert_close(found.state, wanted.state)
    # The reference engine builds a network of its own and finds the features there.
    spec, resources = toy_run(TOP, shared=shared, numeric=PLAIN, **given)
    kept = len(shared["work"].features)
    assert bool(kept) == (kind is not dict)
    found = run(spec, replace(resources, engine="reference"))
    assert_close(found.state, wanted.state)

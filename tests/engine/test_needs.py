"""Memory of a card: what is planned, against a count by hand and measured runs."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from toys import ToyBackbone, toy_protocol

from harness import NumericMode, Phase, Strategy
from harness.benchmark.sizing import planned_memory
from harness.engine import storage
from harness.engine.needs import activations, memory_need
from harness.engine.storage import HostPixels
from harness.plugins.registry import load_plugins
from harness_full_ft import FullFineTuning

GIB = 2**30


def test_kept_activations_are_those_of_a_network_counted_by_hand():
    """Stem 6, layer1 8 and layer2 10 maps of 8 x 8: each convolution keeps its input, each norm its
    input and statistics, each ReLU its output."""
    kept, weights = activations(ToyBackbone(), 3, toy_protocol(batch_size=16))
    maps = [3, 6, 8, 10]
    inputs = sum(maps[:3])  # of convolutions; a ReLU's output is the next one's input
    norms = sum(maps[1:])
    last = maps[3]  # output of the last ReLU
    statistics = 2 * sum(maps[1:])
    by_hand = 4 * (16 * 64 * (inputs + norms + last) + statistics)
    pooled = 4 * 16 * 10
    assert by_hand <= kept <= by_hand + 4 * pooled
    assert weights == 4 * sum(p.numel() for p in ToyBackbone().build(3).parameters())


def test_memory_grows_with_the_batch_and_bf16_halves_it():
    resnet = load_plugins().backbones["resnet50"]
    protocol = toy_protocol(batch_size=64, resize=224, crop=224)
    card = 80 * GIB
    found = memory_need(resnet, 4, protocol, NumericMode(precision="bf16"), 2500, card)
    # On one H100 full fine-tuning of this network took 3.63 GiB, 0.35 of them images; the plan also
    # holds a tenth of the card for features and the gradients of other frontiers' steps.
    assert 3.63 < (found - 0.1 * card) / GIB < 5.5
    full = memory_need(resnet, 4, protocol, NumericMode(), 2500, card)
    kept, _ = activations(resnet, 4, protocol)
    assert full - found == kept - kept // 2


class Gate(nn.Module):
    """Multiplies by a weight of its own."""

    def __init__(self, count):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count))

    def forward(self, x):
        return x * self.weight[0]


class Gated(Strategy):
    """A gate of 1,000 weights at the end of the first stage."""

    name = "gated"

    def adapt(self, model, rng):
        model[0].add_module("gate", Gate(1000))
        return model

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": 1.0})


class GatedByValue(Gated):
    """As many as the first weight of the network is above zero, or not, which has to be looked at."""

    def adapt(self, model, rng):
        first = next(model.parameters()).flatten()[0]
        model[0].add_module("gate", Gate(1000 if float(first) < 1 else 1))
        return model


@pytest.mark.parametrize("kind", [Gated, GatedByValue])
def test_what_a_strategy_adds_is_counted(kind):
    """A thousand weights of four bytes, seven times; and its input, six maps of 8 x 8 for 16 images.

    Its output the next convolution keeps, as it kept the input before; the product keeps one number.
    """
    backbone, protocol, numeric = ToyBackbone(), toy_protocol(batch_size=16), NumericMode()
    before = torch.random.get_rng_state()
    plain, added = (
        memory_need(backbone, 3, protocol, numeric, 100, 0, strategy)
        for strategy in (FullFineTuning(), kind())
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert plain == memory_need(backbone, 3, protocol, numeric, 100, 0)
    assert added - plain == 7 * 4 * 1000 + 4 * 16 * 6 * 64


def test_the_need_of_a_network_that_looks_at_values_is_not_known():
    class Choosing(ToyBackbone):
        def build(self, classes):
            model = super().build(classes)
            model[0].register_forward_hook(lambda _, __, out: out if out.max() > 0 else -out)
            return model

    assert memory_need(Choosing(), 3, toy_protocol(), NumericMode(), 100, GIB) is None
    assert planned_memory([], 1, GIB, ["toy"]) == "memory: not known of toy"
    told = planned_memory([GIB], 1, 2 * GIB, ["toy", "other"])
    assert told == "memory: at most 1.0 GiB planned of 2.0 GiB free; not known of toy, other"


def test_recorded_steps_hold_their_activations_beside_those_of_the_next_first_step():
    backbone, protocol = ToyBackbone(), toy_protocol(batch_size=16)
    kept, _ = activations(backbone, 3, protocol)
    needs = [
        memory_need(backbone, 3, protocol, NumericMode(compile=c), 100, GIB)
        for c in ("none", "graph", "compile")
    ]
    assert [need - needs[0] for need in needs] == [0, kept, kept]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "densenet121", "vgg19"])
@pytest.mark.parametrize("suite", ["folders", "paper-2024"])
def test_the_suites_are_planned_to_fit_a_card_of_24_gib(suite, backbone):
    loaded, card = load_plugins(), 24 * GIB
    protocol = loaded.suites[suite].protocol
    mixed = NumericMode(precision="bf16", layout="channels-last", compile="graph")
    assert memory_need(loaded.backbones[backbone], 23, protocol, mixed, 10**6, card) < 23 * GIB


def test_what_is_planned_for_images_holds_when_every_split_takes_its_share():
    """On a card of 1000 bytes a split stays if it takes its share, and not with a byte more."""
    assert sum(storage.SHARES.values()) == pytest.approx(0.2)
    kept = {"train": 120, "validation": 40, "test": 40}
    for split, most in kept.items():
        for size, kind in ((most, "DevicePixels"), (most + 1, "StreamedPixels")):
            assert kind_of_store(split, size, 1000) == kind
    assert kind_of_store("train", 10**9, None) == "HostPixels"


def kind_of_store(split, size, card):
    """Name of the store for a split of `size` bytes on a card of `card` bytes (None: a CPU)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "device_memory", lambda _: card)
        for kind in ("DevicePixels", "StreamedPixels", "HostPixels"):
            patch.setattr(storage, kind, lambda *_, kind=kind: kind)
        images = np.broadcast_to(np.zeros((), np.uint8), (size, 1, 1, 1))
        device = torch.device("cpu" if card is None else "cuda:0")
        return storage.stored(split, images, device)


@pytest.mark.parametrize(
    ("needs", "jobs", "free", "text"),
    [
        ([], 1, GIB, ""),
        ([3 * GIB, 2 * GIB], 1, 8 * GIB, "memory: at most 3.0 GiB planned of 8.0 GiB free"),
        (
            [3 * GIB],
            2,
            8 * GIB,
            "memory: at most 6.0 GiB planned of 8.0 GiB free \\(3.0 GiB each of 2 processes\\)",
        ),
        (
            [3 * GIB],
            3,
            8 * GIB,
            r"memory: .* of 8.0 GiB free \(3.0 GiB each of 3 processes\); that .*: fewer --jobs would .*",
        ),
        (
            [9 * GIB],
            1,
            8 * GIB,
            r"memory: .* 9.0 GiB planned .* free; that may be too much: a smaller batch would need less",
        ),
    ],
)
def test_the_plan_says_what_it_needs_and_if_that_is_too_much(needs, jobs, free, text):
    assert re.fullmatch(text, planned_memory(needs, jobs, free))


def test_rows_of_mapped_images_are_those_asked_for(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    store = HostPixels(np.load(tmp_path / "images.npy", mmap_mode="c")[2:], torch.device("cpu"))
    index = torch.tensor([6, 0, 0, 3])
    assert torch.equal(store.rows(index), torch.from_numpy(images)[index + 2])

"""Batches in parts: the weights of the whole batch, or a refusal that says why."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from toys import (
    FULL,
    HEAD,
    ToyBackbone,
    ToyVgg,
    own_network,
    strategy,
    toy_images,
    toy_run,
    watching,
)

from harness import Distance, Phase
from harness.engine import run
from harness.engine.batches import Batches
from harness.errors import CannotSplitError

PLAIN_IMAGES = toy_images((42, 24, 24))  # batches of 16, 16 and 10
COUNTS = (25, 12, 5)
LABELS = np.random.default_rng(5).permutation(np.repeat([0, 1, 2], COUNTS))
IMAGES = replace(PLAIN_IMAGES, labels={**PLAIN_IMAGES.labels, "train": LABELS})
SLOW_SGD = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.05, "epochs": 2, "checkpoint": "last"}


class Plain(ToyVgg):
    """Without dropout."""

    def build(self, classes):
        chain = super().build(classes)
        chain.fc[4] = nn.Identity()
        return chain


class Frozen(nn.Module):
    """Own draws, as drop path makes them: a number for each image."""

    def forward(self, x):
        return x * (torch.rand(len(x), 1, dtype=x.dtype) < 0.9) if self.training else x


class Mixing(nn.Module):
    """Sees the other images of the batch, and is no norm layer."""

    def forward(self, x):
        return x - x.mean(0) if self.training else x


def with_layer(layer):
    class Given(ToyVgg):
        def build(self, classes):
            chain = super().build(classes)
            chain.fc[4] = layer
            return chain

    return Given()


def carried_out(chosen, parts, **given):
    spec, resources = toy_run(chosen, **({"images": IMAGES} | given))
    return run(spec, replace(resources, parts=parts))


def by_hand(spec, resources, weights, smoothing, steps):
    """Whole batches, SGD at the rates of a cosine over four epochs, the loss from its definition."""
    network = own_network(spec, resources).model.train()
    images, labels = (torch.as_tensor(x["train"]) for x in (IMAGES.images, IMAGES.labels))
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1)
        for v in (spec.protocol.mean, spec.protocol.std)
    )
    order = Batches(42, 16, spec)
    for step in range(steps):
        rows = order.at(step)
        logits = network((images[rows].double() / 255 - mean) / std)
        logs, w = logits - torch.logsumexp(logits, 1, keepdim=True), weights[labels[rows]]
        picked = logs[torch.arange(len(rows)), labels[rows]]
        even = (logs * weights).sum(1) / 3
        loss = -((1 - smoothing) * w * picked + smoothing * even).sum() / w.sum()
        network.zero_grad()
        loss.backward()
        rate = 0.05 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 12, dtype=torch.float64)))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.sub_(rate * parameter.grad)
    return network.state_dict()


@pytest.mark.parametrize("parts", [2, 3, 16])
@pytest.mark.parametrize(("balanced", "smoothing"), [(False, 0.0), (True, 0.1)])
def test_parts_give_the_weights_of_whole_batches_by_hand(parts, balanced, smoothing):
    kind = "balanced" if balanced else "none"
    given = {**SLOW_SGD, "epochs": 4, "class_weights": kind, "label_smoothing": smoothing}
    spec, resources = toy_run(FULL, backbone=Plain(), images=IMAGES, **given)
    found = run(spec, replace(resources, parts=parts)).state
    weights = torch.tensor([42 / (3 * n) if balanced else 1.0 for n in COUNTS], dtype=torch.float64)
    for name, wanted in by_hand(spec, resources, weights, smoothing, 12).items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "given",
    [
        {"chosen": FULL, "backbone": ToyVgg(), "augment": ("flip-horizontal", "affine")},
        {"chosen": HEAD, "backbone": ToyBackbone()},
        {"chosen": strategy(Phase("all", 2, {"*": 1.0}, norm="eval")), "backbone": ToyBackbone()},
    ],
    ids=["dropout", "frozen batch norms", "norms in eval mode"],
)
def test_masks_draws_and_looks_are_those_of_whole_batches(given):
    chosen = given.pop("chosen")
    given = {"images": IMAGES, "optimizer": "sgd", **given}
    spec, resources = toy_run(chosen, **given)
    whole = run(spec, replace(resources, engine="reference", shared={}))
    found = run(spec, replace(resources, parts=3, shared={}))

    for name, wanted in whole.state.items():
        torch.testing.assert_close(found.state[name], wanted, rtol=1e-8, atol=1e-10)
    assert [e.score for e in found.result.history] == [e.score for e in whole.result.history]
    assert found.result.phases[0].notes[-1] == "batches in 3 parts, for lack of memory"


def squares(now, start):
    """A penalty without a closed form."""
    return 0.1 * sum((now[name] - start[name]).square().sum() for name in now if name in start)


def test_penalties_count_once():
    terms = (squares, Distance("l1", 1e-2, ("block1.0.weight",)))
    chosen = strategy(Phase("all", 2, {"*": 1.0}, penalties=terms))
    spec, resources = toy_run(chosen, images=IMAGES, backbone=Plain(), **SLOW_SGD)
    whole = run(spec, replace(resources, engine="reference", shared={})).state
    found = run(spec, replace(resources, parts=4, shared={})).state

    for name, wanted in whole.items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-8, atol=1e-10)


def test_looks_at_gradients_are_those_of_whole_batches():
    looks = []

    def steps(view, epochs):
        looks.append([dict(one) for one in view.gradients(3)])
        yield Phase("all", epochs, {"*": 1.0}, norm="eval")

    for parts in (1, 5):
        carried_out(watching(steps), parts, class_weights="balanced", epochs=1)
    for whole, found in zip(*looks, strict=True):
        for name, wanted in whole.items():
            torch.testing.assert_close(found[name], wanted, rtol=1e-8, atol=1e-12)


class Own:
    capturable = False

    def __call__(self, model, batch):
        return batch.loss(model(batch.inputs), batch.targets)


@pytest.mark.parametrize(
    ("chosen", "backbone", "why"),
    [
        (FULL, ToyBackbone(), r"the layer 'stem.norm' \(BatchNorm2d\) takes its statistics"),
        (
            strategy(Phase("mine", 1, {"*": 1.0}, objective=Own())),
            Plain(),
            "objective of phase 'mine'",
        ),
        (FULL, with_layer(Frozen()), "draws random numbers in its own way"),
        (FULL, with_layer(Mixing()), "makes of an image depends on the others"),
        (FULL, with_layer(nn.BatchNorm1d(12, track_running_stats=False)), "'fc.4' .* as a whole"),
    ],
    ids=["batch norm", "objective", "own draws", "mixing", "no running statistics"],
)
def test_what_parts_would_change_is_refused_with_the_reason(chosen, backbone, why):
    with pytest.raises(CannotSplitError, match=why):
        carried_out(chosen, 2, backbone=backbone)


def test_a_look_through_batch_norms_is_refused():
    def steps(view, epochs):
        list(view.gradients(1, "train"))
        yield Phase("all", epochs, {"head": 1.0})

    with pytest.raises(CannotSplitError, match=r"stem\.norm"):
        carried_out(watching(steps), 2)

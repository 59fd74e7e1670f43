"""A toy backbone and a toy dataset: everything real, only small."""

import math
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from harness import (
    Backbone,
    ImageSet,
    Metric,
    NumericMode,
    Phase,
    Protocol,
    Resources,
    RunSpec,
    Strategy,
)
from harness import StartingPoint as Start
from harness.api.execution import ENGINE_VERSION
from harness.api.records import DataRecord, MetricValue, Schedule, WeightsRecord
from harness.api.strategy import settings_of

FLOAT64 = NumericMode(precision="float64")


def block(into, out):
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(into, out, 3, padding=1), norm=nn.BatchNorm2d(out), act=nn.ReLU()
        )
    )


class ToyBackbone(Backbone):
    """Three convolutional stages with batch norm, and a head that pools first."""

    name: str = "toy"
    stages: tuple[str, ...] = ("stem", "layer1", "layer2", "head")

    def build(self, classes):
        return nn.Sequential(
            OrderedDict(
                stem=block(3, 6),
                layer1=block(6, 8),
                layer2=block(8, 10),
                head=nn.Sequential(
                    OrderedDict(
                        pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(10, classes)
                    )
                ),
            )
        )


class ToyVgg(Backbone):
    """A stage of hidden linear layers with dropout below the head, no batch norm."""

    name: str = "toy-vgg"
    stages: tuple[str, ...] = ("block1", "fc", "head")
    classifier: tuple[str, ...] = ("fc", "head")

    def build(self, classes):
        return nn.Sequential(
            OrderedDict(
                block1=nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
                fc=nn.Sequential(
                    nn.AdaptiveAvgPool2d(2),
                    nn.Flatten(),
                    nn.Linear(16, 12),
                    nn.ReLU(),
                    nn.Dropout(0.5),
                ),
                head=nn.Sequential(nn.Linear(12, classes)),
            )
        )


def accuracy(name="balanced-accuracy", *, higher_is_better=True):
    """A metric without the weight of the real ones."""

    class Plain(Metric):
        def compute(self, logits, targets, classes):
            return MetricValue(value=float((logits.argmax(1) == targets).mean()))

    return Plain(name=name, build=lambda: None, higher_is_better=higher_is_better)


def toy_images(counts=(48, 24, 24), classes=3, size=8, seed=0):
    """Noise with a coloured patch whose place is the class; the mean colour says nothing."""
    rng = np.random.default_rng(seed)
    images, labels, rows, first = {}, {}, {}, 0
    for split, count in zip(("train", "validation", "test"), counts, strict=True):
        y = np.arange(count) % classes
        x = rng.integers(0, 120, (count, 3, size, size), dtype=np.uint8)
        for i, label in enumerate(y):
            x[i, label % 3, 2:6, 2:6] += 100
        images[split], labels[split] = x, y.astype(np.int64)
        rows[split] = np.arange(first, first + count, dtype=np.int32)
        first += count
    names = tuple(f"c{i}" for i in range(classes))
    record = DataRecord(
        modality="xray",
        classes=names,
        counts={s: {n: int((labels[s] == i).sum()) for i, n in enumerate(names)} for s in labels},
        fingerprint="f" * 64,
        split_file="splits/toy.json",
        split_sha256="0" * 64,
        rule="made",
    )
    return ImageSet(names, images, labels, rows, record)


def toy_protocol(**changes):
    plain = {
        "name": "toy", "lr": 1e-2, "batch_size": 16, "eval_batch_size": 16, "epochs": 4.0,
        "patience": None, "resize": 8, "crop": 8, "schedule": Schedule(kind="cosine"),
    }  # fmt: skip
    return Protocol(**(plain | changes))


def toy_run(
    strategy,
    *,
    backbone=None,
    images=None,
    numeric=FLOAT64,
    seed=0,
    start="given",
    shared=None,
    keep_state=True,
    **protocol,
):
    """(spec, resources) of one toy run."""
    backbone = backbone or ToyBackbone()
    images = images or toy_images()
    spec = RunSpec(
        dataset="toy", backbone=backbone.name, strategy=strategy.name,
        settings=settings_of(strategy), protocol=toy_protocol(**protocol), seed=seed,
        data="f" * 64, weights="none" if start is None else "a" * 64, engine=ENGINE_VERSION,
        numeric=numeric,
    )  # fmt: skip
    resources = Resources(
        images=images,
        backbone=backbone,
        start=toy_start(backbone, len(images.classes)) if start == "given" else start,
        strategy=strategy,
        metrics={"balanced-accuracy": accuracy()},
        keep_state=keep_state,
        shared={} if shared is None else shared,
    )
    return spec, resources


def own_network(spec, resources):
    """A network at the run's starting point that no run can reach: for expectations.

    What `build_network` keeps in `resources.shared` is the very network that `run` trains.
    """
    from harness.engine.shared import build_network

    return build_network(spec, replace(resources, shared={}))


def toy_start(backbone, classes=3, *, without=()):
    """A starting point with lived-in batch-norm statistics; `without`: stages it does not fill."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        chain = backbone.build(classes)
        chain.train()
        chain(torch.randn(32, 3, 8, 8))
    head = backbone.head_layer()
    skipped = (*(f"{stage}." for stage in without), f"{head}.")
    state = {n: t.clone() for n, t in chain.state_dict().items() if not n.startswith(skipped)}
    new = tuple(n for n, _ in chain.named_parameters() if n.startswith(skipped))
    return Start(state, WeightsRecord(name="toy.safetensors", sha256="a" * 64, new=new))


def strategy(*directives, name="made"):
    """A strategy that yields these directives."""

    class Made(Strategy):
        def phases(self, model, epochs):
            for directive in directives:  # noqa: UP028 - a tuple would not take the reports
                yield directive

    Made.name = name
    return Made()


def watching(steps, name="made"):
    """A strategy made of a generator function (view, epochs)."""

    class Made(Strategy):
        def phases(self, model, epochs):
            yield from steps(model, epochs)

    Made.name = name
    return Made()


FULL = strategy(Phase("ft", 4, {"*": 1.0}))


HEAD = strategy(Phase("lp", 4, {"head": 1.0}))


def distance(a, b):
    return math.sqrt(sum(float((a[n].double() - b[n].double()).square().sum()) for n in a))


def state_after(chosen, **given):
    """Weights at the end of a run."""
    from harness.engine import run

    return run(*toy_run(chosen, checkpoint="last", **given)).state

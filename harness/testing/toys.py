"""Toy networks, toy images and toy runs: everything real, only small."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.api.backbone import Backbone
from harness.api.dataset import SPLITS
from harness.api.execution import ENGINE_VERSION, ImageSet, Resources, StartingPoint
from harness.api.metric import Metric
from harness.api.records import DataRecord, NumericMode, Protocol, RunSpec, Schedule, WeightsRecord
from harness.api.strategy import Strategy, settings_of

if TYPE_CHECKING:
    from torch import nn

FLOAT64 = NumericMode(precision="float64")
FLOAT32 = NumericMode(precision="float32")
SIZE = 8


class ToyBackbone(Backbone):
    """Three convolutional stages with batch norm, and a head that pools first."""

    name: str = "toy"
    stages: tuple[str, ...] = ("stem", "layer1", "layer2", "head")

    def build(self, classes: int) -> nn.Sequential:
        """Build the chain, as `Backbone.build`; 10 features before the head."""
        from torch import nn

        return nn.Sequential(
            OrderedDict[str, nn.Module](
                stem=_block(3, 6),
                layer1=_block(6, 8),
                layer2=_block(8, 10),
                head=_head(10, classes),
            )
        )


class ToyVgg(Backbone):
    """No batch norm; a stage of hidden linear layers with dropout below the head."""

    name: str = "toy-vgg"
    stages: tuple[str, ...] = ("block1", "fc", "head")
    classifier: tuple[str, ...] = ("fc", "head")

    def build(self, classes: int) -> nn.Sequential:
        """Build the chain, as `Backbone.build`; 12 features before the head."""
        from torch import nn

        hidden = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 12), nn.ReLU())
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                block1=nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
                fc=nn.Sequential(*hidden, nn.Dropout(0.5)),
                head=nn.Sequential(nn.Linear(12, classes)),
            )
        )


def _block(into: int, out: int) -> nn.Sequential:
    from torch import nn

    # The bias is a trap on purpose: before batch norm its gradient is nothing but rounding.
    conv = nn.Conv2d(into, out, 3, padding=1)
    return nn.Sequential(
        OrderedDict[str, nn.Module](conv=conv, norm=nn.BatchNorm2d(out), act=nn.ReLU())
    )


def _head(features: int, classes: int) -> nn.Sequential:
    from torch import nn

    return nn.Sequential(
        OrderedDict[str, nn.Module](
            pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(features, classes)
        )
    )


class _Hits:
    """Accuracy, without what the real metrics import."""

    def compute(self, *, predictions: Any, references: Any) -> dict[str, float]:  # noqa: ANN401 - arrays
        return {"balanced-accuracy": float((predictions.argmax(1) == references).mean())}


TOY_METRIC = Metric("balanced-accuracy", _Hits, title="Accuracy")


@cache
def toy_images(
    counts: tuple[int, int, int] = (48, 24, 24), classes: int = 3, seed: int = 0
) -> ImageSet:
    """Noise of 8 x 8 pixels with a coloured patch: its colour channel is the class.

    The arrays are shared by all who ask for the same, and cannot be written.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    names = tuple(f"class-{number}" for number in range(classes))
    images, labels, rows, first = {}, {}, {}, 0
    for split, count in zip(SPLITS, counts, strict=True):
        truth = np.arange(count) % classes
        pixels = rng.integers(0, 120, (count, 3, SIZE, SIZE), dtype=np.uint8)
        for number, label in enumerate(truth):
            pixels[number, label % 3, 2:6, 2:6] += 100
        images[split], labels[split] = pixels, truth.astype(np.int64)
        rows[split] = np.arange(first, first + count, dtype=np.int32)
        first += count
        for array in (images[split], labels[split], rows[split]):
            array.flags.writeable = False
    record = DataRecord(
        modality="xray",
        classes=names,
        counts={s: {n: int((labels[s] == i).sum()) for i, n in enumerate(names)} for s in SPLITS},
        fingerprint="f" * 64,
        split_file="splits/toy.json",
        split_sha256="0" * 64,
        rule="made",
    )
    return ImageSet(names, images, labels, rows, record)


@cache
def toy_start(backbone: Backbone, classes: int = 3) -> StartingPoint:
    """A starting point with lived-in batch-norm statistics, for all but the last layer."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        chain = backbone.build(classes).train()
        side = backbone.preprocessing.nearest(SIZE) if backbone.preprocessing else SIZE
        chain(torch.randn(32, 3, side, side))
    last = f"{backbone.head_layer()}."
    state = {n: t.clone() for n, t in chain.state_dict().items() if not n.startswith(last)}
    new = tuple(n for n, _ in chain.named_parameters() if n.startswith(last))
    return StartingPoint(state, WeightsRecord(name="toy.safetensors", sha256="a" * 64, new=new))


def toy_protocol(**changes: Any) -> Protocol:  # noqa: ANN401 - fields of Protocol
    """Four epochs of three steps; `changes` are fields of `Protocol`."""
    plain: dict[str, Any] = {
        "name": "toy", "lr": 1e-2, "batch_size": 16, "eval_batch_size": 24, "epochs": 4.0,
        "patience": None, "resize": SIZE, "crop": SIZE, "schedule": Schedule(kind="cosine"),
        "checkpoint": "last",
    }  # fmt: skip
    return Protocol(**(plain | changes))


def toy_run(
    strategy: Strategy,
    *,
    backbone: Backbone | None = None,
    images: ImageSet | None = None,
    numeric: NumericMode = FLOAT64,
    **protocol: Any,  # noqa: ANN401 - fields of Protocol
) -> tuple[RunSpec, Resources]:
    """Spec and resources for `harness.engine.run`: one toy run of a strategy."""
    network, data = backbone or ToyBackbone(), images or toy_images()
    settings: Mapping[str, Any] = settings_of(strategy)
    spec = RunSpec(
        dataset="toy", backbone=network.name, strategy=strategy.name, settings=dict(settings),
        protocol=toy_protocol(**protocol), seed=0, data="f" * 64, weights="a" * 64,
        engine=ENGINE_VERSION, numeric=numeric,
    )  # fmt: skip
    resources = Resources(
        images=data,
        backbone=network,
        start=toy_start(network, len(data.classes)),
        strategy=strategy,
        metrics={TOY_METRIC.name: TOY_METRIC},
        keep_state=True,
    )
    return spec, resources


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread inside the block.

    Toy tensors: threads only fight over the cores, and sums over threads round differently.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""DenseNet-121 and its miniature."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Backbone, Compiling, Weights, hookimpl

if TYPE_CHECKING:
    from torch import Tensor, nn

_STAGES = (
    "stem",
    "denseblock1",
    "transition1",
    "denseblock2",
    "transition2",
    "denseblock3",
    "transition3",
    "denseblock4",
    "head",
)
_STEM = ("conv0", "norm0", "relu0", "pool0")
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


class DenseNet121(Backbone):
    """Torchvision's DenseNet-121 as a chain of stages; its defaults are the published network.

    Attributes:
        growth: channels that every dense layer adds.
        channels: of the stem.
        layers: dense layers of each of the four blocks.
    """

    stages: tuple[str, ...] = _STAGES
    paper: str = "Huang et al. 2017, arXiv 1608.06993"
    growth: int = 32
    channels: int = 64
    layers: tuple[int, int, int, int] = (6, 12, 24, 16)

    def build(self, classes: int) -> nn.Sequential:
        """The network with random weights: float [B, 3, H, W] -> logits [B, `classes`]."""
        from torch import nn
        from torchvision.models import DenseNet

        network = DenseNet(self.growth, self.layers, self.channels, num_classes=1)
        parts = network.features
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stages["stem"] = nn.Sequential(OrderedDict((n, getattr(parts, n)) for n in _STEM))
        for name in self.stages[1:-1]:
            part = getattr(parts, name)
            dense = name.startswith("denseblock")
            stages[name] = nn.Sequential(OrderedDict(block=part)) if dense else part
        stages["denseblock4"].add_module("norm5", parts.norm5)
        stages["head"] = nn.Sequential(
            OrderedDict(
                relu=nn.ReLU(),  # not in place: what comes in may be a cached feature
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                classifier=nn.Linear(network.classifier.in_features, classes),
            )
        )
        return nn.Sequential(stages)

    def published_name(self, name: str) -> str:
        """Torchvision's name of a tensor; its `features` hold all stages but the head."""
        stage, _, rest = name.partition(".")
        if stage == "head":
            return rest
        if stage == "stem" or rest.startswith("norm5."):
            return f"features.{rest}"
        return f"features.{stage}.{rest.removeprefix('block.')}"

    def modernise(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors by torchvision's present names.

        The published file says `norm.1`, `conv.2` where torchvision now says `norm1`, `conv2`.
        """
        return {_OLD_NAME.sub(r"\1\2", name): tensor for name, tensor in state.items()}


@hookimpl
def harness_backbones() -> tuple[Backbone, ...]:
    return (
        DenseNet121(
            name="densenet121",
            title="DenseNet-121",
            weights=Weights(
                name="IMAGENET1K_V1",
                enum="DenseNet121_Weights.IMAGENET1K_V1",
                licence="terms of ImageNet-1k apply",
                source="torchvision",
            ),
            compiling=Compiling(
                seconds=137,
                recorded=2043,
                compiled=3391,
                measured="one H100, torch 2.11, bf16, 224 px, batch 64; other work on the machine",
            ),
        ),
        DenseNet121(
            name="densenet121-mini",
            title="DenseNet-121, growth 16, 1 + 2 + 3 + 2 layers",
            miniature=True,
            growth=16,
            channels=16,
            layers=(1, 2, 3, 2),
            weights=Weights(
                name="procedural-source-task",
                file=str(Path(__file__).with_name("densenet121-mini.safetensors")),
                sha256="906d237d59e5bd2128cdc6225f5874ab000abc40afac23d3a8d39a904b45bcaa",
                licence="Apache-2.0",
                source="benchmarks/miniatures/pretrain.py",
            ),
        ),
    )

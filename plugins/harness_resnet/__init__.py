"""ResNet-50 and its miniature."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import Backbone, Compiling, Weights, hookimpl

if TYPE_CHECKING:
    from torch import nn

_STAGES = ("stem", "layer1", "layer2", "layer3", "layer4", "head")


class ResNet50(Backbone):
    """Torchvision's ResNet-50 as a chain of stages; its defaults are the published network.

    Attributes:
        width: channels of the stem; bottlenecks of layer n narrow to width * 2 ** (n - 1) channels.
        blocks: bottlenecks of each of the four layers.
    """

    stages: tuple[str, ...] = _STAGES
    paper: str = "He et al. 2016, arXiv 1512.03385"
    width: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)

    def build(self, classes: int) -> nn.Sequential:
        """The network with random weights: float [B, 3, H, W] -> logits [B, `classes`]."""
        from torch import nn

        stages: OrderedDict[str, nn.Module] = OrderedDict(stem=_stem(self.width))
        channels = self.width
        for number, blocks in enumerate(self.blocks):
            planes = self.width * 2**number
            stages[f"layer{number + 1}"] = _layer(channels, planes, blocks, 2 if number else 1)
            channels = planes * 4
        stages["head"] = nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, classes)
            )
        )
        chain = nn.Sequential(stages)
        _initialise(chain)
        return chain

    def published_name(self, name: str) -> str:
        """Torchvision's name of a tensor: without the stage where ours is stem or head."""
        stage, _, rest = name.partition(".")
        return rest if stage in {"stem", "head"} else name


def _stem(width: int) -> nn.Sequential:
    """Strided convolution and pooling: [B, 3, H, W] -> [B, `width`, H / 4, W / 4], rounded up."""
    from torch import nn

    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False),
            bn1=nn.BatchNorm2d(width),
            relu=nn.ReLU(inplace=True),
            maxpool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
    )


def _layer(channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` bottlenecks: [B, `channels`, H, W] -> [B, 4 * `planes`, H / `stride`, W / `stride`].

    The first one changes width and resolution.
    """
    from torch import nn
    from torchvision.models.resnet import Bottleneck

    shortcut = nn.Sequential(
        nn.Conv2d(channels, planes * 4, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(planes * 4),
    )
    first: Any = Bottleneck(channels, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(planes * 4, planes) for _ in range(blocks - 1)))


def _initialise(chain: nn.Sequential) -> None:
    """Draw the convolutions' weights anew, as torchvision does (He et al. 2015, by fan-out).

    Batch norms and the linear layer keep torch's defaults.
    """
    from torch import nn

    for module in chain.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@hookimpl
def harness_backbones() -> tuple[Backbone, ...]:
    return (
        ResNet50(
            name="resnet50",
            title="ResNet-50",
            weights=Weights(
                name="IMAGENET1K_V2",
                enum="ResNet50_Weights.IMAGENET1K_V2",
                licence="terms of ImageNet-1k apply",
                source="torchvision",
            ),
            compiling=Compiling(
                seconds=37.3,
                recorded=3619,
                compiled=4888,
                measured="one H100, torch 2.11, bf16, 224 px, batch 64; other work on the machine",
            ),
        ),
        ResNet50(
            name="resnet50-mini",
            title="ResNet-50, an eighth of the width, 1 + 2 + 2 + 1 blocks",
            miniature=True,
            width=8,
            blocks=(1, 2, 2, 1),
            weights=Weights(
                name="procedural-source-task",
                file=str(Path(__file__).with_name("resnet50-mini.safetensors")),
                sha256="351d74b126155e6b8d8fefcb654e788f3b3878d920a3ebab984947c620d598a5",
                licence="Apache-2.0",
                source="benchmarks/miniatures/pretrain.py",
            ),
        ),
    )

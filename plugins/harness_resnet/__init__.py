"""ResNet-50 and its miniature."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import Backbone, Compiling, Weights, hookimpl

if TYPE_CHECKING:
    from torch import nn

_BLOCKS = (3, 4, 6, 3)
_STAGES = ("stem", "layer1", "layer2", "layer3", "layer4", "head")


class ResNet50(Backbone):
    """Torchvision's ResNet-50 as a chain; `width` is 64 in the published network."""

    stages: tuple[str, ...] = _STAGES
    paper: str = "He et al. 2016, arXiv 1512.03385"
    width: int = 64

    def build(self, classes: int) -> nn.Sequential:
        from torch import nn

        stages: OrderedDict[str, nn.Module] = OrderedDict(stem=_stem(self.width))
        channels = self.width
        for number, blocks in enumerate(_BLOCKS):
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
        stage, _, rest = name.partition(".")
        return rest if stage in {"stem", "head"} else name


def _stem(width: int) -> nn.Sequential:
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
    """A group of bottleneck blocks; the first one changes width and resolution."""
    from torch import nn
    from torchvision.models.resnet import Bottleneck

    shortcut = nn.Sequential(
        nn.Conv2d(channels, planes * 4, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(planes * 4),
    )
    first: Any = Bottleneck(channels, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(planes * 4, planes) for _ in range(blocks - 1)))


def _initialise(chain: nn.Sequential) -> None:
    """As torchvision does it; the linear layer keeps torch's default."""
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
            title="ResNet-50, an eighth of the width",
            miniature=True,
            width=8,
            weights=Weights(
                name="procedural-source-task",
                file=str(Path(__file__).with_name("resnet50-mini.safetensors")),
                sha256="548125ef165a1621ea5ce1551f49209942bcc6d463fa601d672bf2093c9de4ab",
                licence="Apache-2.0",
                source="benchmarks/miniatures/pretrain.py",
            ),
        ),
    )

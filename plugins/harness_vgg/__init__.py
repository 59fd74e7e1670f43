"""VGG-19 (without batch normalisation) and its miniature."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Backbone, Weights, hookimpl

if TYPE_CHECKING:
    from torch import nn

_WIDTHS = (1, 2, 4, 8, 8)  # of the five blocks, in units of `width`
_STAGES = ("block1", "block2", "block3", "block4", "block5", "fc", "head")


class Vgg19(Backbone):
    """Torchvision's VGG-19 as a chain of stages; its defaults are the published network.

    Attributes:
        width: channels of block1; the later blocks have 2, 4, 8 and 8 times as many.
        convolutions: of each of the five blocks.
        hidden: units of each of the two hidden layers.
        grid: side of the map that the hidden layers take, to which block5's is pooled.
        dropout: share of hidden units dropped in training.
    """

    stages: tuple[str, ...] = _STAGES
    classifier: tuple[str, ...] = ("fc", "head")
    paper: str = "Simonyan and Zisserman 2015, arXiv 1409.1556"
    width: int = 64
    convolutions: tuple[int, int, int, int, int] = (2, 2, 4, 4, 4)
    hidden: int = 4096
    grid: int = 7
    dropout: float = 0.5

    def build(self, classes: int) -> nn.Sequential:
        """The network with random weights: float [B, 3, H, W] -> logits [B, `classes`]."""
        from torch import nn

        stages: OrderedDict[str, nn.Module] = OrderedDict()
        layer, channels = 0, 3
        for number, (scale, count) in enumerate(zip(_WIDTHS, self.convolutions, strict=True), 1):
            stages[f"block{number}"] = _block(layer, channels, self.width * scale, count)
            layer, channels = layer + 2 * count + 1, self.width * scale
        stages["fc"] = _hidden_layers(channels * self.grid**2, self.grid, self.hidden, self.dropout)
        _initialise(stages)
        stages["head"] = nn.Sequential(OrderedDict({"6": nn.Linear(self.hidden, classes)}))
        return nn.Sequential(stages)

    def published_name(self, name: str) -> str:
        """Torchvision's name of a tensor: `features` or `classifier`, and the layer's number."""
        stage, _, rest = name.partition(".")
        return f"classifier.{rest}" if stage in self.classifier else f"features.{rest}"


def _block(layer: int, channels: int, width: int, count: int) -> nn.Sequential:
    """`count` convolutions and a pooling: [B, `channels`, H, W] -> [B, `width`, H // 2, W // 2].

    Named by torchvision's numbers, of which the first is `layer`.
    """
    from torch import nn

    modules: list[nn.Module] = []
    for number in range(count):
        modules.append(nn.Conv2d(width if number else channels, width, kernel_size=3, padding=1))
        modules.append(nn.ReLU(inplace=True))
    modules.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(OrderedDict((str(n), m) for n, m in enumerate(modules, layer)))


def _hidden_layers(inputs: int, grid: int, hidden: int, dropout: float) -> nn.Sequential:
    """Pooling and two hidden layers: [B, C, H, W] -> [B, `hidden`]; `inputs` is C * `grid` ** 2."""
    from torch import nn

    modules: dict[str, nn.Module] = {
        "pool": nn.AdaptiveAvgPool2d(grid),
        "flatten": nn.Flatten(),
        "0": nn.Linear(inputs, hidden),
        "1": nn.ReLU(inplace=True),
        "2": nn.Dropout(dropout),
        "3": nn.Linear(hidden, hidden),
        "4": nn.ReLU(inplace=True),
        "5": nn.Dropout(dropout),
    }
    return nn.Sequential(OrderedDict(modules))


def _initialise(stages: OrderedDict[str, nn.Module]) -> None:
    """Draw all weights anew, as torchvision does: convolutions by fan-out, linear ones from N(0, .01).

    Biases are zero.  The head's linear layer, made later, keeps torch's default.
    """
    from torch import nn

    for module in (m for stage in stages.values() for m in stage.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


@hookimpl
def harness_backbones() -> tuple[Backbone, ...]:
    return (
        Vgg19(
            name="vgg19",
            title="VGG-19",
            weights=Weights(
                name="IMAGENET1K_V1",
                enum="VGG19_Weights.IMAGENET1K_V1",
                licence="terms of ImageNet-1k apply",
                source="torchvision",
            ),
        ),
        Vgg19(
            name="vgg19-mini",
            title="VGG-19, an eighth of the width, 1 + 1 + 2 + 2 + 2 convolutions",
            miniature=True,
            width=8,
            convolutions=(1, 1, 2, 2, 2),
            hidden=128,
            grid=1,
            dropout=0.1,  # 128 units bear less of it than 4096
            weights=Weights(
                name="procedural-source-task",
                file=str(Path(__file__).with_name("vgg19-mini.safetensors")),
                sha256="d554838f8efe0221d382a4574618387731f56c455a15126f30404a0ceeef8cf7",
                licence="Apache-2.0",
                source="benchmarks/miniatures/pretrain.py",
            ),
        ),
    )

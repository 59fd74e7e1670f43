"""MobileNetV2 (Sandler et al. 2018) as a chain of stages."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from harness import Backbone, Weights, hookimpl

if TYPE_CHECKING:
    from torch import nn

HARNESS_API_VERSION = 1
# First layer of `features` of each stage: a stage begins where the resolution halves.
STAGES = {"stem": 0, "stage1": 2, "stage2": 4, "stage3": 7, "stage4": 14, "last": 18}
LAYERS = 19


class MobileNetV2(Backbone):
    """Torchvision's network, its layers under their own numbers."""

    stages: tuple[str, ...] = (*STAGES, "head")
    paper: str = "Sandler et al. 2018, arXiv 1801.04381"
    width: float = 1.0

    def build(self, classes: int) -> nn.Sequential:
        from torch import nn
        from torchvision.models import mobilenet_v2

        network = mobilenet_v2(num_classes=classes, width_mult=self.width)
        ends = [*STAGES.values(), LAYERS][1:]
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        for (stage, first), end in zip(STAGES.items(), ends, strict=True):
            layers = OrderedDict((str(n), network.features[n]) for n in range(first, end))
            stages[stage] = nn.Sequential(layers)
        stages["head"] = nn.Sequential(
            OrderedDict(
                [
                    ("pool", nn.AdaptiveAvgPool2d(1)),
                    ("flatten", nn.Flatten()),
                    *network.classifier.named_children(),
                ]
            )
        )
        return nn.Sequential(stages)

    def published_name(self, name: str) -> str:
        stage, _, rest = name.partition(".")
        return f"classifier.{rest}" if stage == "head" else f"features.{rest}"


@hookimpl
def harness_backbones() -> list[Backbone]:
    return [
        MobileNetV2(
            name="mobilenet-v2",
            title="MobileNetV2",
            weights=Weights(
                name="IMAGENET1K_V2",
                enum="MobileNet_V2_Weights.IMAGENET1K_V2",
                licence="terms of ImageNet-1k apply",
                source="torchvision",
            ),
        )
    ]

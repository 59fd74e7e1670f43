"""Backbones that break their promises, one each; see broken_strategies.py."""

import contextlib
import socket
from collections import OrderedDict
from pathlib import Path
from typing import ClassVar

from harness import Backbone, Preprocessing, Weights, hookimpl


def toy(classes, **replaced):
    from harness.testing.toys import ToyBackbone

    children = dict(ToyBackbone().build(classes).named_children())
    from torch import nn

    return nn.Sequential(OrderedDict(children | replaced))


def flat(classes):
    """One that takes images of 64 px and no others."""
    from torch import nn

    head = OrderedDict(flat=nn.Flatten(), fc=nn.Linear(10 * 64 * 64, classes))
    return toy(classes, head=nn.Sequential(head))


class Broken(Backbone):
    """The kit's toy, as long as nothing is broken."""

    message: ClassVar[str]
    also: ClassVar[tuple[str, ...]] = ()
    stages: tuple[str, ...] = ("stem", "layer1", "layer2", "head")

    def build(self, classes):
        return toy(classes)


class MetaDevice(Broken):
    name: str = "breaks-meta-device"
    message = "'stem.mean' is made on another device than torch's default"

    def build(self, classes):
        import torch

        chain = toy(classes)
        chain.stem.register_buffer("mean", torch.zeros(3, device="cpu"))
        return chain


class MetaDeviceNumbers(Broken):
    name: str = "breaks-meta-device-numbers"
    message = "RuntimeError: Tensor.item() cannot be called on meta tensors"

    def build(self, classes):
        chain = toy(classes)
        scale = chain.stem.conv.weight.abs().max().item()
        chain.stem.conv.weight.data.div_(scale)
        return chain


class Stages(Broken):
    name: str = "breaks-stages"
    message = (
        "the children of the chain are 'stem', 'layer1', 'layer2', 'head', not 'stem', 'layer2'"
    )
    stages: tuple[str, ...] = ("stem", "layer2", "layer1", "head")


class StagesClassifier(Broken):
    name: str = "breaks-stages-classifier"
    message = "the classifier 'layer1', 'head' is not the chain's end"
    classifier: tuple[str, ...] = ("layer1", "head")


class StagesOfAnotherModule(Broken):
    name: str = "breaks-stages-module"
    message = "build() returns Plain, no nn.Sequential"

    def build(self, classes):
        from torch import nn

        class Plain(nn.Module):
            def __init__(self, stages):
                super().__init__()
                for name, stage in stages:
                    self.add_module(name, stage)

            def forward(self, x):
                for stage in self.children():
                    x = stage(x)
                return x

        return Plain(toy(classes).named_children())


class StagesWithoutHead(Broken):
    name: str = "breaks-stages-head"
    message = "the last stage is 'tail', not 'head'"
    stages: tuple[str, ...] = ("stem", "layer1", "layer2", "tail")

    def build(self, classes):
        from torch import nn

        *body, head = toy(classes).named_children()
        return nn.Sequential(OrderedDict([*body, ("tail", head[1])]))


class ParametersOnce(Broken):
    name: str = "breaks-parameters-once"
    message = "'layer1.norm.weight' and 'layer2.norm.weight' are one tensor in several stages"

    def build(self, classes):
        from torch import nn

        chain = toy(classes)
        chain.layer2 = nn.Sequential(OrderedDict(chain.layer2.named_children()))
        chain.layer2.conv = nn.Conv2d(8, 8, 3, padding=1)
        chain.layer2.norm = nn.BatchNorm2d(8)
        chain.layer2.norm.weight = chain.layer1.norm.weight
        chain.head.fc = nn.Linear(8, classes)
        return chain


class ParametersOnceStray(Broken):
    name: str = "breaks-parameters-once-stray"
    message = "'scale' belongs to no stage"

    def build(self, classes):
        import torch

        chain = toy(classes)
        chain.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
        return chain


class ParametersOnceEmpty(Broken):
    name: str = "breaks-parameters-once-empty"
    message = "stage 'layer1' has no parameter that could learn"

    def build(self, classes):
        from torch import nn

        return toy(classes, layer1=nn.Upsample(scale_factor=1), layer2=nn.Conv2d(6, 10, 1))


class LogitsShape(Broken):
    name: str = "breaks-logits-shape"
    message = "images [1, 3, 48, 48] cannot be passed: "

    def build(self, classes):
        return flat(classes)


class LogitsShapeDeclared(Broken):
    name: str = "breaks-logits-shape-declared"
    message = "images [1, 3, 96, 96] cannot be passed: "
    preprocessing: Preprocessing | None = Preprocessing(multiple=32, bounds=(64, 96))

    def build(self, classes):
        return flat(classes)


class LogitsShapeClasses(Broken):
    name: str = "breaks-logits-shape-classes"
    message = "images [2, 3, 48, 48] give logits [2, 2], not [2, 5]"

    def build(self, classes):
        return toy(2)


class HeadLayer(Broken):
    name: str = "breaks-head-layer"
    message = "head_layer() is 'head.fc', but 'head.scale' comes after it"

    def build(self, classes):
        from torch import nn

        chain = toy(classes)
        chain.head.add_module("scale", nn.BatchNorm1d(classes))
        return chain


class HeadLayerElsewhere(Broken):
    name: str = "breaks-head-layer-name"
    message = "head_layer() is 'fc', which is no module"

    def head_layer(self):
        return "fc"


class PublishedNames(Broken):
    name: str = "breaks-published-names"
    message = (
        "'stem.conv.weight', 'layer1.conv.weight', 'layer2.conv.weight' have one published name"
    )

    def published_name(self, name):
        return name.partition(".")[2]


class WeightsMissing(Broken):
    name: str = "breaks-weights"
    message = "the starting point of breaks-weights, is missing"
    weights: Weights = Weights(
        name="none", file=str(Path(__file__).with_name("missing.safetensors")), sha256="0" * 64
    )


class WeightsChanged(Broken):
    name: str = "breaks-weights-sha256"
    message = "expected 000000"
    weights: Weights = Weights(name="this-file", file=__file__, sha256="0" * 64)


class WeightsUnnamed(Broken):
    name: str = "breaks-weights-unnamed"
    message = "weights 'somewhere' name neither a file nor an enum of torchvision"
    weights: Weights = Weights(name="somewhere")


class WeightsUnhashed(Broken):
    name: str = "breaks-weights-unhashed"
    message = "weights 'this-file' give no sha256 of broken_backbones.py"
    weights: Weights = Weights(name="this-file", file=__file__)


class BuildsOffline(Broken):
    name: str = "breaks-builds-offline"
    message = "it asked for the address of 'localhost' in build()"

    def build(self, classes):
        with contextlib.suppress(OSError):
            socket.create_connection(("localhost", 9), timeout=0.1)
        return toy(classes)


class Seeded(Broken):
    name: str = "breaks-seeded"
    message = "stem.conv.weight differs between two networks built after the same torch.manual_seed"

    def build(self, classes):
        import numpy as np
        import torch

        chain = toy(classes)
        drawn = np.random.default_rng().normal(size=tuple(chain.stem.conv.weight.shape))
        chain.stem.conv.weight.data.copy_(torch.from_numpy(drawn))
        return chain


class ChainOfStages(Broken):
    name: str = "breaks-chain-of-stages"
    message = "calling the stages one after another gives other logits than the chain"

    def build(self, classes):
        from torch import nn

        class Scaled(nn.Sequential):
            def forward(self, x):
                return super().forward(x) * 2

        return Scaled(OrderedDict(toy(classes).named_children()))


class StateDict(Broken):
    name: str = "breaks-state-dict"
    message = "a second network with the same state_dict() gives other logits"

    def build(self, classes):
        import torch

        class Projected(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.matrix = torch.randn(6, 6)  # neither parameter nor buffer

            def forward(self, x):
                return torch.einsum("bchw,cd->bdhw", x, self.matrix.to(x))

        chain = toy(classes)
        chain.stem.add_module("project", Projected())
        return chain


class EvalDeterministic(Broken):
    name: str = "breaks-eval-deterministic"
    message = "two forward passes in eval mode give other logits"

    def build(self, classes):
        from torch import nn
        from torch.nn.functional import dropout

        class Always(nn.Module):
            def forward(self, x):
                return dropout(x)

        chain = toy(classes)
        chain.stem.add_module("dropout", Always())
        return chain


class EvalCounting(Broken):
    name: str = "breaks-eval-deterministic-counting"
    message = "a forward pass in eval mode changes 'stem.count.calls'"

    def build(self, classes):
        import torch

        class Counting(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("calls", torch.zeros(()))

            def forward(self, x):
                self.calls.add_(1)
                return x

        chain = toy(classes)
        chain.stem.add_module("count", Counting())
        return chain


class SamplesAlone(Broken):
    name: str = "breaks-samples-alone"
    message = "off if it is alone"

    def build(self, classes):
        from torch import nn

        chain = toy(classes)
        chain.stem.norm = nn.BatchNorm2d(6, track_running_stats=False)
        return chain


BROKEN = [one() for one in Broken.__subclasses__()]


@hookimpl
def harness_backbones():
    return BROKEN

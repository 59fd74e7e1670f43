"""Needs of a network before it is built: the memory of a card, the work of its stages."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from harness.api.backbone import Backbone
from harness.api.records import NumericMode, Protocol, StageWork
from harness.api.strategy import Strategy
from harness.engine.evaluate import FEATURE_SHARE
from harness.engine.graphs import GraphCache
from harness.engine.model import FIXED, handed_on, units
from harness.engine.storage import SHARES

# Copies of the weights that a run holds: the network, its gradients, two of the optimizer's, the
# state before the first step, the starting point and the best checkpoint.
COPIES = 7
CONTEXT = 3 * 2**28  # the driver, the libraries' work spaces
# An element that a module writes takes as long as so many multiply-adds (assumed; fitted by eye to
# forward passes of the miniatures and of ResNet-50 and DenseNet-121 at 64 px, one thread).
ELEMENT = 8.0
CLASSES = 2  # of a network whose stages are counted: the last layer is nothing beside the rest


def memory_need(  # noqa: PLR0913, PLR0917 - what a run is made of
    backbone: Backbone,
    classes: int,
    protocol: Protocol,
    numeric: NumericMode,
    images: int,
    total: int,
    strategy: Strategy | None = None,
    further: int = 0,
) -> int | None:
    """Bytes that training everything takes on a card of `total`; `images`: in all three splits.

    What the backward pass needs is counted on a network without memory: the tensors that a forward
    pass in training keeps.  Under bf16 and fp16 they are half as large.  Where steps are recorded they are
    needed twice: the recordings hold them for good, and the first step of the next kind of phase is
    carried out plainly beside that.

    What a `strategy` adds to the network is counted with it; `further`: copies of the weights that
    its phases hold beside those of any run.  None: what the network does depends on values, so that
    it cannot be carried out without memory.
    """
    try:
        kept, weights = activations(backbone, classes, protocol, strategy)
    except (NotImplementedError, RuntimeError):  # torch's, of tensors without values
        return None
    half = 2 if numeric.precision in {"bf16", "fp16"} else 1
    pixels = 3 * protocol.crop**2 * images
    # Recorded steps keep their gradients: a set for each frontier, within the cache's limit.
    recorded = min(int(GraphCache.SHARE * total), len(backbone.stages) * weights)
    twice = 1 if numeric.compile == "none" else 2
    steps = twice * kept // half + (COPIES + further) * weights + recorded
    return (
        steps
        + min(pixels, int(sum(SHARES.values()) * total))
        + int(FEATURE_SHARE * total)
        + CONTEXT
    )


def activations(
    backbone: Backbone, classes: int, protocol: Protocol, strategy: Strategy | None = None
) -> tuple[int, int]:
    """Bytes kept for the backward pass of one batch, and bytes of the weights, both in float32.

    Of the network as a `strategy` adapts it.
    """
    kept: dict[int, Any] = {}
    model = _adapted(backbone, classes, strategy).train()
    with torch.device("meta"):
        weights = {p.untyped_storage()._cdata for p in model.parameters()}  # noqa: SLF001 - its identity
        batch = torch.empty(protocol.batch_size, 3, protocol.crop, protocol.crop)

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:  # noqa: SLF001
                kept[storage._cdata] = storage  # noqa: SLF001 - held, so that it stays unique
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(batch)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    return sum(storage.nbytes() for storage in kept.values()), parameters


def _adapted(backbone: Backbone, classes: int, strategy: Strategy | None) -> nn.Sequential:
    """The network without memory, with what a strategy adds to it."""
    if strategy is None or type(strategy).adapt is Strategy.adapt:
        with torch.device("meta"):
            return backbone.build(classes)
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return strategy.adapt(backbone.build(classes), torch.Generator("cpu"))
        except (NotImplementedError, RuntimeError):  # what it adds depends on values of the weights
            return strategy.adapt(backbone.build(classes), torch.Generator("cpu")).to("meta")


def count_stages(backbone: Backbone, crop: int) -> tuple[StageWork, ...]:
    """The work of each stage of a network on an image of `crop` px, in forward order.

    Counted on a network without memory; what a strategy's `adapt` adds is not in it.  Empty: what
    the network does depends on values, so that it cannot be carried out without memory.
    """
    with torch.device("meta"), torch.no_grad():
        try:
            return _stages(backbone.build(CLASSES).eval(), torch.empty(1, 3, crop, crop))
        except (NotImplementedError, RuntimeError):  # torch's, of tensors without values
            return ()


def _stages(model: nn.Sequential, x: Tensor) -> tuple[StageWork, ...]:
    found = []
    for number, stage in enumerate(model.children()):
        start = takewhile(lambda one: type(one) in FIXED, units(model, number)[number:])
        handed = sum(one.numel() for one in handed_on(nn.Sequential(*start)(x)))
        x, operations, calls = _counted(stage, x)
        parameters = sum(p.numel() for p in stage.parameters())
        found.append(
            StageWork(operations=operations, calls=calls, parameters=parameters, handed=handed)
        )
    return tuple(found)


def _counted(stage: nn.Module, x: Tensor) -> tuple[Tensor, float, int]:
    """The output of a stage, its operations and how many modules were called for it."""
    operations, calls = 0.0, 0

    def count(module: nn.Module, _: Any, output: Any) -> None:  # noqa: ANN401 - a hook of torch
        nonlocal operations, calls
        calls += 1
        if not isinstance(output, Tensor):
            return
        operations += ELEMENT * output.numel()
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):  # noqa: SLF001 - all convolutions
            operations += output.numel() * module.weight[0].numel()

    leaves = [module for module in stage.modules() if not any(True for _ in module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        output = stage(x)
        return output, operations, calls
    finally:
        for hook in hooks:
            hook.remove()

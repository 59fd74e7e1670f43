"""The memory of a card that a process will take, before a network is built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.api.backbone import Backbone
from harness.api.records import NumericMode, Protocol
from harness.engine.evaluate import FEATURE_SHARE
from harness.engine.graphs import GraphCache
from harness.engine.storage import SHARES

# Copies of the weights that a run holds: the network, its gradients, two of the optimizer's, the
# state before the first step, the starting point and the best checkpoint.
COPIES = 7
CONTEXT = 3 * 2**28  # the driver, the libraries' work spaces


def memory_need(
    backbone: Backbone,
    classes: int,
    protocol: Protocol,
    numeric: NumericMode,
    images: int,
    total: int,
) -> int:
    """Bytes that training everything takes on a card of `total`; `images`: in all three splits.

    What the backward pass needs is counted on a network without memory: the tensors that a forward
    pass in training keeps.  Under bf16 and fp16 they are half as large.  Where steps are recorded they are
    needed twice: the recordings hold them for good, and the first step of the next kind of phase is
    carried out plainly beside that.
    """
    kept, weights = activations(backbone, classes, protocol)
    half = 2 if numeric.precision in {"bf16", "fp16"} else 1
    pixels = 3 * protocol.crop**2 * images
    # Recorded steps keep their gradients: a set for each frontier, within the cache's limit.
    recorded = min(int(GraphCache.SHARE * total), len(backbone.stages) * weights)
    twice = 1 if numeric.compile == "none" else 2
    steps = twice * kept // half + COPIES * weights + recorded
    return (
        steps
        + min(pixels, int(sum(SHARES.values()) * total))
        + int(FEATURE_SHARE * total)
        + CONTEXT
    )


def activations(backbone: Backbone, classes: int, protocol: Protocol) -> tuple[int, int]:
    """Bytes kept for the backward pass of one batch, and bytes of the weights, both in float32."""
    kept: dict[int, Any] = {}
    with torch.device("meta"):
        model = backbone.build(classes).train()
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

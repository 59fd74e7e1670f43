"""Bottlenecks with a way around them, and the layers that they stand behind."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIGMA = 0.01  # Houlsby et al., section 3.6


class Bottleneck(nn.Module):
    """h + up(gelu(down(h))): of `features` channels [B, C, H, W] or last values [..., C]."""

    def __init__(self, layer: nn.Module, features: int, width: int, rng: torch.Generator) -> None:
        super().__init__()
        images = isinstance(layer, nn.Conv2d)
        self.down = nn.Conv2d(features, width, 1) if images else nn.Linear(features, width)
        self.up = nn.Conv2d(width, features, 1) if images else nn.Linear(width, features)
        for name, tensor in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(tensor)
            else:
                nn.init.trunc_normal_(tensor, 0.0, SIGMA, -2 * SIGMA, 2 * SIGMA, generator=rng)

    def forward(self, h: Tensor) -> Tensor:
        added: Tensor = self.up(F.gelu(self.down(h)))
        return h + added


def attach(stage: nn.Module, reduction: float, rng: torch.Generator) -> None:
    """Give the stage's layers their adapters, as a child `adapter` of each."""
    for layer in list(stage.modules()):
        if features := adapted(layer):
            width = max(1, round(features / reduction))
            layer.add_module("adapter", Bottleneck(layer, features, width, rng))
            layer.register_forward_hook(behind)


def adapted(layer: nn.Module) -> int:
    """Features that a layer gives, if an adapter stands behind it; else 0."""
    if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1:
        return layer.out_channels
    if isinstance(layer, nn.MultiheadAttention):
        return int(layer.embed_dim)
    # The projection of torch's own attention is never called: its owner computes with its weight.
    inside = isinstance(layer, nn.modules.linear.NonDynamicallyQuantizableLinear)
    if isinstance(layer, nn.Linear) and not inside and layer.out_features <= layer.in_features:
        return layer.out_features
    return 0


def behind(layer: Any, _: object, out: Any) -> Any:  # noqa: ANN401 - as torch calls a hook
    """What the layer gives, through its adapter; of attention, the first of two."""
    return (layer.adapter(out[0]), *out[1:]) if isinstance(out, tuple) else layer.adapter(out)

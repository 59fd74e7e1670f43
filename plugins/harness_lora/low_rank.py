"""Low-rank updates, and the kernels that take one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

# Attention as torch itself has it keeps its three projections in one tensor.
LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)  # noqa: SLF001 - of all convolutions


class LowRank(nn.Module):
    """A kernel W [out, ...] becomes W + scale B A, a matrix [out, in] in W's shape."""

    def __init__(self, kernel: Tensor, rank: int, scale: float, rng: torch.Generator) -> None:
        super().__init__()
        out, into = kernel.flatten(1).shape
        rank, bound = min(rank, out, into), into**-0.5
        drawn = torch.empty(rank, into).uniform_(-bound, bound, generator=rng)
        self.lora_a = nn.Parameter(drawn.to(kernel))
        self.lora_b = nn.Parameter(kernel.new_zeros(out, rank))
        self.scale = scale

    def forward(self, kernel: Tensor) -> Tensor:
        return kernel + self.scale * (self.lora_b @ self.lora_a).view_as(kernel)


def kernels(stage: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Layer, name and value of every weight matrix of a stage's linear and convolution layers."""
    for layer in list(stage.modules()):
        if isinstance(layer, LAYERS):
            for name, tensor in list(layer.named_parameters(recurse=False)):
                if name.endswith("weight"):
                    yield layer, name, tensor

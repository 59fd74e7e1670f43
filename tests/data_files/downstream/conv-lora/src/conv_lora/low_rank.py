"""The adapter itself.  Imported when a network is adapted, as it needs torch."""

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """weight + scale * up @ down, in the shape of the weight; it starts as the weight itself."""

    def __init__(self, weight: Tensor, rank: int, scale: float, rng: torch.Generator) -> None:
        super().__init__()
        out, into = weight.flatten(1).shape
        rank = min(rank, out, into)
        self.scale = scale
        self.down = nn.Parameter(torch.randn(rank, into, generator=rng) / into**0.5)
        self.up = nn.Parameter(torch.zeros(out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down).view_as(weight)

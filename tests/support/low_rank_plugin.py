"""Strategies that change the architecture: low-rank updates by parametrization, and a layer more."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from harness import Phase, Strategy, hookimpl


class LowRank(nn.Module):
    def __init__(self, weight, rng):
        super().__init__()
        out, into = weight.flatten(1).shape
        self.a = nn.Parameter(torch.randn(2, into, generator=rng) * 0.1)
        self.b = nn.Parameter(torch.zeros(out, 2))

    def forward(self, weight):
        return weight + (self.b @ self.a).view_as(weight)


class LowRankUpdates(Strategy):
    name = "low-rank"

    def adapt(self, model, rng):
        for stage in list(model)[:-1]:
            weight = stage.conv.weight
            parametrize.register_parametrization(stage.conv, "weight", LowRank(weight, rng))
        return model

    def phases(self, model, epochs):
        yield Phase("low-rank", epochs, {"head": 1.0, "*.parametrizations.weight.0.*": 1.0})


class Longer(Strategy):
    name = "longer"

    def adapt(self, model, rng):
        model.stem.add_module("more", nn.Conv2d(6, 6, 1))
        return model

    def phases(self, model, epochs):
        yield Phase("all", epochs, {"*": 1.0})


@hookimpl
def harness_strategies():
    return [LowRankUpdates, Longer]

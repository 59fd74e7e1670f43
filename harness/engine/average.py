"""Averages of the weights a phase went through."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from harness.engine.batches import Batches, Source
from harness.engine.norms import NORMS

EMA_DECAY = 0.99


class Average:
    """'ema': exponential over steps (decay 0.99); 'swa': plain mean over epoch ends."""

    def __init__(self, kind: Literal["ema", "swa"], learning: Mapping[str, nn.Parameter]) -> None:
        self.kind, self.learning, self.count = kind, learning, 0
        self.values = {name: p.detach().clone() for name, p in learning.items()}

    @torch.no_grad()
    def after_step(self) -> None:
        if self.kind == "ema":
            for name, parameter in self.learning.items():
                self.values[name].lerp_(parameter, 1 - EMA_DECAY)

    @torch.no_grad()
    def after_epoch(self) -> None:
        if self.kind == "swa":
            self.count += 1
            for name, parameter in self.learning.items():
                self.values[name].lerp_(parameter, 1 / self.count)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The network holds the average inside the block and its own weights after it."""
        own = {name: p.detach().clone() for name, p in self.learning.items()}
        self.put(self.values)
        try:
            yield
        finally:
            self.put(own)

    @torch.no_grad()
    def put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.learning.items():
            parameter.copy_(values[name])


@torch.no_grad()
def estimate_norms(network: nn.Module, source: Source, batches: Batches) -> None:
    """Set the running statistics of the learning norm layers to those of one pass over `source`.

    Averaged weights never saw a batch, so the statistics gathered on the way do not fit them.
    """
    norms = [m for m in network.modules() if isinstance(m, NORMS) and m.training]
    momenta = [getattr(m, "momentum", None) for m in norms]
    for norm in norms:
        if isinstance(norm, nn.modules.batchnorm._NormBase):  # noqa: SLF001 - all batch norms
            norm.reset_running_stats()
            norm.momentum = None
    for number in range(batches.per_epoch):
        network(source.inputs(batches.at(number)))
    for norm, momentum in zip(norms, momenta, strict=True):
        if isinstance(norm, nn.modules.batchnorm._NormBase):  # noqa: SLF001
            norm.momentum = momentum

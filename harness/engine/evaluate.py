"""Outputs of a network on a split: predictions, and features of frozen stages."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from harness.engine.batches import InOrder, Source, chunks, empty_rows
from harness.engine.graphs import CapturableWork
from harness.engine.state import RunState

Place = tuple[Hashable, ...]


@torch.no_grad()
def outputs(state: RunState, network: nn.Module, source: Source, place: Place) -> Tensor:
    """Outputs of the network, in eval mode, for all rows of a source: [N, ...] on the device.

    `place` says which part of the run's network it is.
    """
    network.eval()
    size = state.protocol.eval_batch_size
    if state.spec.numeric.compile == "none":
        with state.numerics.autocast():
            return torch.cat([network(source.inputs(index)) for index in chunks(len(source), size)])
    room = source.room(size)
    key = (
        "outputs", *place, room.shape, room.dtype, room.stride(),
        state.protocol.mean, state.protocol.std,
    )  # fmt: skip
    forward = state.network.graphs.keep(key, lambda: Forward(state, network, source, room))
    return forward.over(state, source)


def predict(state: RunState, network: nn.Module, source: Source, place: Place) -> Tensor:
    """Logits, float32 [N, C] on the CPU; the network is in eval mode afterwards."""
    logits = outputs(state, network, source, place).float()
    state.clock.wait()
    return logits.cpu()


class Forward:
    """A forward pass over one batch of fixed size, recorded for every source of the same shape."""

    def __init__(self, state: RunState, network: nn.Module, source: Source, room: Tensor) -> None:
        self.network, self.room, self.means = network, room, source.means
        self.autocast = state.numerics.autocast
        self.out: Tensor | None = None
        known = len(room) == state.protocol.batch_size  # as in training, where trying pays
        self.once = CapturableWork(self._work, state.network.graphs, tune=known)

    def bytes(self) -> int:
        return 0 if self.out is None else self.out.numel() * self.out.element_size()

    def over(self, state: RunState, source: Source) -> Tensor:
        """All rows of a source, [N, ...]."""
        batches = InOrder(len(source), len(self.room))
        whole: Tensor | None = None
        for number in range(batches.count):
            source.fill(self.room, batches, number)
            self.once(state.clock)
            if self.out is None:
                raise ValueError("nothing was computed")
            if whole is None:
                whole = empty_rows(self.out, len(source))
            first = number * len(self.out)
            part = whole[first : first + len(self.out)]
            part.copy_(self.out[: len(part)])
        if whole is None:
            raise ValueError("a source without rows")
        return whole

    @torch.no_grad()
    def _work(self) -> None:
        with self.autocast():
            self.out = self.network(self.means(self.room))

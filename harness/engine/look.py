"""The loss's gradient on a batch, without a trace on the network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.engine.batches import Batches
from harness.engine.library import Replayable
from harness.engine.norms import NORMS
from harness.engine.state import RunState


class Look:
    """Gradients for every parameter, dropout off; over fixed memory, so that it can be recorded."""

    def __init__(self, state: RunState, size: int, norm_mode: Literal["train", "eval"]) -> None:
        self.model, self.norm_mode = state.model, norm_mode
        self.criterion, self.autocast, self.means = state.loss, state.autocast, state.train.means
        self.room = state.train.room(size)
        self.targets = torch.empty(size, dtype=torch.int64, device=state.train.labels.device)
        self.found: dict[str, Tensor] = {}
        plain = state.spec.numeric.compile == "none"
        self.once = None if plain else Replayable(self._work, state.library)

    def bytes(self) -> int:
        return sum(g.numel() * g.element_size() for g in self.found.values())

    def at(self, state: RunState, batches: Batches, number: int) -> dict[str, Tensor]:
        """The gradients on a batch, apart from the fixed memory."""
        state.train.fill(self.room, batches, number)
        rows = batches.on(self.targets.device, number)
        torch.index_select(state.train.labels, 0, rows, out=self.targets)
        if self.once is None:
            self._work()
        else:
            self.once(state.clock)
        return {name: gradient.clone() for name, gradient in self.found.items()}

    def _work(self) -> None:
        inputs = self.means(self.room)
        with _modes(self.model, self.norm_mode), torch.enable_grad():
            same = {n: p.detach().requires_grad_() for n, p in self.model.named_parameters()}
            buffers = {n: b.clone() for n, b in self.model.named_buffers()}
            with self.autocast():
                loss = self.criterion(
                    functional_call(self.model, (same, buffers), (inputs,)), self.targets
                )
            found: Sequence[Tensor | None] = torch.autograd.grad(
                loss, list(same.values()), allow_unused=True
            )
        self.found = {
            name: torch.zeros_like(p) if g is None else g
            for g, (name, p) in zip(found, same.items(), strict=True)
        }


def look(
    state: RunState, batches: Batches, number: int, norm_mode: Literal["train", "eval"]
) -> dict[str, Tensor]:
    """Gradients on one batch of `batches`."""
    size, protocol = len(batches.at(number)), state.protocol
    if state.spec.numeric.compile == "none":
        return Look(state, size, norm_mode).at(state, batches, number)
    key = (
        "look", size, norm_mode, protocol.mean, protocol.std, protocol.class_weights,
        protocol.label_smoothing,
    )  # fmt: skip
    return state.library.keep(key, lambda: Look(state, size, norm_mode)).at(state, batches, number)


@contextlib.contextmanager
def _modes(model: nn.Module, norm_mode: Literal["train", "eval"]) -> Iterator[None]:
    """Everything in eval mode but, where asked for, the norm layers; as before afterwards."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    for module in model.modules():
        if isinstance(module, NORMS):
            module.training = norm_mode == "train"
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training

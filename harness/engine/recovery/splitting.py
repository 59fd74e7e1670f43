"""Batches in parts: refused where layers see the batch as a whole, tried on two images, then the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from harness.engine.batches import empty_rows
from harness.engine.storage import Numbered
from harness.errors import CannotSplitError


class Part:
    """Rows `first` to before `first + size` of every batch of a stream."""

    def __init__(self, batches: Numbered, first: int, size: int) -> None:
        self.batches, self.rows = batches, slice(first, first + size)

    def at(self, number: int) -> Tensor:
        return self.batches.at(number)[self.rows]

    def on(self, device: torch.device, number: int) -> Tensor:
        return self.batches.on(device, number)[self.rows]


def refuse_batch_layers(network: nn.Module) -> None:
    """Make sure that no norm layer takes statistics from the batch, in the modes it is in.

    Raises:
        CannotSplitError: one does.
    """
    for name, module in network.named_modules():
        if not isinstance(module, _NormBase):
            continue
        unknown = module.running_mean is None
        if (module.training and not unknown) or (unknown and isinstance(module, _BatchNorm)):
            kind = type(module).__name__
            raise CannotSplitError(
                f"the layer {name!r} ({kind}) takes its statistics from the batch as a whole"
            )


@torch.no_grad()
def checked_masks(
    network: nn.Module, pair: Tensor, autocast: Callable[[], AbstractContextManager[object]]
) -> Masks:
    """The dropout layers of a network, once parts were tried to give the same as the whole.

    Two images are passed through it together, as torch does, and one after the other, with masks
    drawn for both: the outputs must be the same, and nothing but the masks be drawn.  So one that
    sees other images, or draws in its own way, is found out, whatever its type.

    Args:
        network: in the modes that it learns in.
        pair: inputs of two images, [2, ...] (or of one, where there are no more).
        autocast: around forward passes.

    Raises:
        CannotSplitError: parts give something else.
    """
    before, buffers = _generators(pair), [buffer.clone() for buffer in network.buffers()]
    masks = Masks(network)
    with autocast():
        with masks.watched():
            together = network(pair)
        after = _generators(pair)
        _put(before, pair)
        with masks.drawn(len(pair)):
            apart, drawn = [], _generators(pair)
            for first in range(len(pair)):
                with masks.of(slice(first, first + 1)):
                    apart.append(network(pair[first : first + 1]))
    drew = any(
        not torch.equal(state, masks_alone)
        for states in (after, _generators(pair))
        for state, masks_alone in zip(states, drawn, strict=True)
    )
    _put(before, pair)
    moved = [not torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True)]
    for kept, buffer in zip(buffers, network.buffers(), strict=True):
        buffer.copy_(kept)
    if drew:
        raise CannotSplitError(
            "the network draws random numbers in its own way (drop path, say): others for parts than "
            "for a whole batch"
        )
    tolerance = torch.finfo(together.dtype).eps ** 0.5 * float(together.abs().max())
    if any(moved) or not float((together - torch.cat(apart)).abs().max()) <= tolerance:
        raise CannotSplitError(
            "what the network makes of an image depends on the others of a batch"
        )
    return masks


class Masks:
    """Masks of the active dropout layers of a network, drawn for whole batches.

    Drawn in the order of the layers and over the same numbers as torch draws them within the forward
    pass: the same masks.  Of a layer that is called twice only one is, which the trial finds out.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.seen: dict[nn.Module, Tensor] = {}  # layer -> an input [1, ...], in forward order
        self.whole: dict[nn.Module, Tensor] = {}
        self.rows = slice(0, 0)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note the inputs of the layers in a forward pass inside the block."""

        def note(module: nn.Module, given: tuple[Any, ...]) -> None:
            self.seen.setdefault(module, given[0][:1].detach().clone())

        active = [m for m in self.network.modules() if type(m) is nn.Dropout and m.training and m.p]
        hooks = [module.register_forward_pre_hook(note) for module in active]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextlib.contextmanager
    def drawn(self, size: int) -> Iterator[None]:
        """Masks for a batch of `size`, which are there inside the block."""
        self.whole = {
            layer: F.dropout(empty_rows(like, size).fill_(1), _share(layer), training=True)
            for layer, like in self.seen.items()
        }
        try:
            yield
        finally:
            self.whole = {}

    @contextlib.contextmanager
    def of(self, rows: slice) -> Iterator[None]:
        """Inside the block the layers take these rows of their masks."""
        self.rows = rows
        for layer in self.seen:
            vars(layer)["forward"] = partial(self._masked, layer)
        try:
            yield
        finally:
            for layer in self.seen:
                del vars(layer)["forward"]

    def _masked(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x * self.whole[layer][self.rows]


def _share(layer: nn.Module) -> float:
    share: float = layer.p  # type: ignore[assignment]
    return share


def _generators(like: Tensor) -> list[Tensor]:
    """States of the generators that layers on this device draw from."""
    card = [torch.cuda.get_rng_state(like.device)] if like.is_cuda else []
    return [torch.get_rng_state(), *card]


def _put(states: list[Tensor], like: Tensor) -> None:
    torch.set_rng_state(states[0])
    if like.is_cuda:
        torch.cuda.set_rng_state(states[1], like.device)

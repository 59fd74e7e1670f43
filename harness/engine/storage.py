"""Stores of a split's images: on the device, in the host's memory, or streamed to the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol as Interface

import numpy as np
import torch
from torch import Tensor

from harness.api.dataset import Split
from harness.api.images import Images, PickedRows
from harness.engine.devices import device_memory

# Of a card's memory, the images of a split may take this share; a larger split is streamed.
SHARES: Mapping[Split, float] = {"train": 0.12, "validation": 0.04, "test": 0.04}
PART = 2**25  # bytes


class Numbered(Interface):
    """Batches by number: their rows on the host, and on a device."""

    def at(self, number: int) -> Tensor: ...

    def on(self, device: torch.device, number: int) -> Tensor: ...


class PixelStore(Interface):
    """uint8 images [N, 3, H, W] by row number."""

    def __len__(self) -> int: ...

    def rows(self, index: Tensor) -> Tensor:
        """The images of some rows, on the device."""

    def room(self, size: int) -> Tensor:
        """Fixed memory for `size` images, on the device."""

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        """Put a batch there, without waiting for the device."""


def stored(split: Split, images: Images, device: torch.device) -> PixelStore:
    """The images of a split where the device reads them fastest."""
    if device.type != "cuda":
        return HostPixels(images, device)
    if images.nbytes <= SHARES[split] * device_memory(device):
        return DevicePixels(images, device)
    return StreamedPixels(images, device)


class HostPixels:
    """In the host's memory, possibly mapped from a file."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self.images, self.device = images, device

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, index: Tensor) -> Tensor:
        found = torch.empty((len(index), *self.images.shape[1:]), dtype=torch.uint8)
        _gather(self.images, index, found)
        return found.to(self.device)

    def room(self, size: int) -> Tensor:
        return torch.empty((size, *self.images.shape[1:]), dtype=torch.uint8, device=self.device)

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        room.copy_(self.rows(batches.at(number)))


class DevicePixels:
    """On the device, sent there once and shared by all runs."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self.values = torch.empty(images.shape, dtype=torch.uint8, device=device)
        # In parts, from pinned memory: one is copied while the next is gathered.
        rows = max(1, PART // max(1, images[:1].nbytes))
        for first in range(0, len(images), rows):
            part = torch.from_numpy(np.asarray(images[first : first + rows]))
            self.values[first : first + rows].copy_(part.pin_memory(), non_blocking=True)

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Tensor) -> Tensor:
        return self.values[index.to(self.values.device)]

    def room(self, size: int) -> Tensor:
        return self.values.new_empty((size, *self.values.shape[1:]))

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        torch.index_select(self.values, 0, batches.on(self.values.device, number), out=room)


class StreamedPixels(HostPixels):
    """Too large for the device: sent a batch at a time from pinned memory.

    Two buffers a batch size: while the device copies out of one, and works, the host fills the
    other.
    """

    def __init__(self, images: Images, device: torch.device) -> None:
        super().__init__(images, device)
        self.buffers: dict[int, list[tuple[Tensor, torch.cuda.Event]]] = {}

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        buffer, free = self._buffer(len(room))
        free.synchronize()  # the copy out of it has been made
        _gather(self.images, batches.at(number), buffer)
        room.copy_(buffer, non_blocking=True)
        free.record()

    def _buffer(self, size: int) -> tuple[Tensor, torch.cuda.Event]:
        """The buffer for `size` images that was used longest ago."""
        if size not in self.buffers:
            shape = (size, *self.images.shape[1:])
            self.buffers[size] = [
                (torch.empty(shape, dtype=torch.uint8, pin_memory=True), torch.cuda.Event())  # type: ignore[no-untyped-call]
                for _ in range(2)
            ]
        known = self.buffers[size]
        known.reverse()
        return known[0]


def _gather(images: Images, rows: Tensor, into: Tensor) -> None:
    """Copy some rows of [N, ...].

    Rows are checked where their order is made (`Batches`): to check them again, for which numpy
    makes a copy, takes up to two thirds of the time.
    """
    numbers = rows.numpy()
    if isinstance(images, PickedRows):
        _gather(images.whole, torch.from_numpy(images.rows[numbers]), into)
    else:
        np.take(images, numbers, axis=0, out=into.numpy(), mode="clip")

"""Stores of a split's images: on the device, in the host's memory, or streamed to the device."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol as Interface

import numpy as np
import torch
from torch import Tensor

# Of a card's memory, a split's images may take this share; a larger split is streamed.
SHARE = 0.2
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


def stored(images: np.ndarray, device: torch.device) -> PixelStore:
    """Images where the device reads them fastest."""
    if device.type != "cuda":
        return HostPixels(images, device)
    if images.nbytes <= SHARE * device_memory(device):
        return DevicePixels(images, device)
    return StreamedPixels(images, device)


class HostPixels:
    """In the host's memory, possibly mapped from a file."""

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        self.images, self.device = images, device

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, index: Tensor) -> Tensor:
        # Rows are checked where their order is made; to check them again costs up to two thirds.
        found = np.take(self.images, index.numpy(), axis=0, mode="clip")
        return torch.from_numpy(found).to(self.device)

    def room(self, size: int) -> Tensor:
        return torch.empty((size, *self.images.shape[1:]), dtype=torch.uint8, device=self.device)

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        room.copy_(self.rows(batches.at(number)))


class DevicePixels:
    """On the device, sent there once and shared by all runs."""

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
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


Buffer = tuple[Tensor, torch.cuda.Event]


class StreamedPixels(HostPixels):
    """Too large for the device: a thread gathers the next batch while the device has this one.

    Two pinned buffers a batch size; one is free again once the copy out of it has been made.
    """

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        super().__init__(images, device)
        self.buffers: dict[int, list[Buffer]] = {}
        self.thread = ThreadPoolExecutor(1)
        self.next: tuple[Numbered, int, Future[Buffer]] | None = None

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        expected = self.next
        if expected is not None and expected[0] is batches and expected[1] == number:
            coming = expected[2]
        else:
            coming = self.thread.submit(self._gather, batches.at(number))
        buffer, free = coming.result()
        room.copy_(buffer, non_blocking=True)
        free.record()
        following = self.thread.submit(self._gather, batches.at(number + 1))
        self.next = (batches, number + 1, following)

    def _gather(self, rows: Tensor) -> Buffer:
        known = self.buffers.setdefault(len(rows), [])
        if len(known) < 2:  # noqa: PLR2004 - one is filled while the other is copied
            shape = (len(rows), *self.images.shape[1:])
            known.append(
                (torch.empty(shape, dtype=torch.uint8, pin_memory=True), torch.cuda.Event())  # type: ignore[no-untyped-call]
            )
        else:
            known.append(known.pop(0))
        buffer, free = known[-1]
        free.synchronize()
        np.take(self.images, rows.numpy(), axis=0, out=buffer.numpy(), mode="clip")
        return buffer, free


def device_memory(device: torch.device) -> int:
    """Bytes of the card's memory: shares of it are fixed, whoever uses it too."""
    return int(torch.cuda.get_device_properties(device).total_memory)

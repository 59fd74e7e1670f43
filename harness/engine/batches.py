"""Batches: which samples a step sees, their pixels or features, and augmentation on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol as Interface

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.api.dataset import Split
from harness.api.images import Images
from harness.api.records import Augmentation, NumericMode, Protocol, RunSpec
from harness.engine.seeds import seed_for
from harness.engine.storage import Numbered, stored

# Of weights, losses and inputs; under bf16 and fp16 products and convolutions are narrower.
DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bf16": torch.float32,
    "fp16": torch.float32,
}


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Batches in a pass.  A last batch of one is left out: batch norm cannot learn from it."""
    full, rest = divmod(samples, batch_size)
    return max(1, full + (rest > 1))


class Batches:
    """An endless, seeded stream of batches: batch number k is the same whoever asks."""

    def __init__(
        self,
        samples: int,
        batch_size: int,
        spec: RunSpec,
        purpose: str = "order",
        subset: Tensor | None = None,
    ) -> None:
        self.index = torch.arange(samples) if subset is None else subset
        if bool(((self.index < 0) | (self.index >= samples)).any()):
            raise ValueError(f"rows of {samples} samples that are not among them: {self.index}")
        self.size = batch_size
        self.per_epoch = steps_per_epoch(len(self.index), batch_size)
        self.seed = seed_for(spec, purpose)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._here: dict[torch.device, tuple[int, Tensor]] = {}

    def at(self, number: int) -> Tensor:
        """Rows of batch `number`, int64 [B], on the CPU."""
        epoch, place = divmod(number, self.per_epoch)
        return self.order(epoch)[place * self.size : (place + 1) * self.size]

    def on(self, device: torch.device, number: int) -> Tensor:
        """The same on a device; a pass's order goes there once, without waiting for the device."""
        epoch, place = divmod(number, self.per_epoch)
        known, order = self._here.get(device, (-1, None))
        if order is None or known != epoch:
            order = send(self.order(epoch), device)
            self._here[device] = (epoch, order)
        return order[place * self.size : (place + 1) * self.size]

    def order(self, epoch: int) -> Tensor:
        """Rows of a whole pass, in the order they are seen."""
        if epoch != self._epoch:
            rng = torch.Generator().manual_seed((self.seed + epoch) % 2**63)
            drawn = torch.randperm(len(self.index), generator=rng)
            self._epoch, self._order = epoch, self.index[drawn]
        return self._order


def send(values: Tensor, device: torch.device) -> Tensor:
    """A copy on the device; from pinned memory, so that the host goes on at once."""
    if device.type != "cuda":
        return values
    return values.pin_memory().to(device, non_blocking=True)


class InOrder:
    """All rows in order, `size` at a time; the last batch is filled up with the last row."""

    def __init__(self, samples: int, size: int) -> None:
        self.samples, self.size = samples, size
        self.count = -(-samples // size)
        self._here: dict[torch.device, Tensor] = {}

    def at(self, number: int) -> Tensor:
        """Rows of batch `number`, int64 [size], on the CPU."""
        return self.all()[number * self.size : (number + 1) * self.size]

    def on(self, device: torch.device, number: int) -> Tensor:
        if device not in self._here:
            self._here[device] = send(self.all(), device)
        return self._here[device][number * self.size : (number + 1) * self.size]

    def all(self) -> Tensor:
        return torch.arange(self.count * self.size).clamp(max=self.samples - 1)


def chunks(samples: int, size: int) -> list[Tensor]:
    """All rows in order, `size` at a time."""
    rows = torch.arange(samples)
    return [rows[first : first + size] for first in range(0, samples, size)]


FLIP: tuple[Augmentation, ...] = ("flip-horizontal",)
EVEN = 0.5  # a draw below it flips
HEIGHT, WIDTH = 2, 3  # axes of images [B, 3, H, W]
DEGREES, SHIFT, SCALE = 10.0, 0.05, 0.1


class Source(Interface):
    """Rows to network inputs, in one go or in two: `fill` fixed memory, then `means` of it."""

    @property
    def augmentations(self) -> Sequence[Augmentation]: ...

    def inputs(self, index: Tensor, rng: torch.Generator | None = None) -> Tensor: ...

    def room(self, size: int) -> Tensor:
        """Memory for `size` rows as they are stored."""

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        """Put a batch into such memory, without waiting for the device."""

    def means(self, room: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Network inputs from stored rows; `drawn`: numbers for the augmentation."""

    def __len__(self) -> int: ...


class Pixels:
    """One split's images: uint8 [N, 3, H, W], normalised on the device a batch at a time."""

    def __init__(
        self,
        split: Split,
        images: Images,
        protocol: Protocol,
        numeric: NumericMode,
        device: str,
    ) -> None:
        self.device, self.augmentations = torch.device(device), protocol.augment
        self.dtype = DTYPES[numeric.precision]
        self.channels_last = numeric.layout == "channels-last"
        shape = (1, 3, 1, 1)
        self.mean = torch.tensor(protocol.mean, dtype=self.dtype, device=device).view(shape) * 255
        self.std = torch.tensor(protocol.std, dtype=self.dtype, device=device).view(shape) * 255
        self.stored = stored(split, images, self.device)

    def __len__(self) -> int:
        return len(self.stored)

    def inputs(self, index: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Normalised images [B, 3, H, W]; augmented where a generator is given."""
        drawn = None
        if rng is not None and self.augmentations:
            drawn = draw(len(index), self.augmentations, rng)
        return self.means(self.stored.rows(index), drawn)

    def room(self, size: int) -> Tensor:
        return self.stored.room(size)

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        self.stored.fill(room, batches, number)

    def means(self, room: Tensor, drawn: Tensor | None = None) -> Tensor:
        x = room.to(self.dtype)
        if drawn is not None:
            x = augment(x, self.augmentations, drawn)
        x = (x - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x


class Features:
    """Outputs of frozen leading stages on a split, computed once: [N, ...] on the device."""

    augmentations: Sequence[Augmentation] = ()

    def __init__(self, values: Tensor, seconds: float) -> None:
        self.values, self.seconds = values, seconds

    def __len__(self) -> int:
        return len(self.values)

    def inputs(self, index: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.values[index.to(self.values.device)]

    def room(self, size: int) -> Tensor:
        return empty_rows(self.values, size)

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        torch.index_select(self.values, 0, batches.on(self.values.device, number), out=room)

    @staticmethod
    def means(room: Tensor, drawn: Tensor | None = None) -> Tensor:  # noqa: ARG004 - as Pixels
        """Nothing to do; static, so that recorded work does not keep the features alive."""
        return room


class MirroredFeatures:
    """The same of images as they are and of their mirror images: [N, 2, ...]; a row takes one."""

    augmentations: Sequence[Augmentation] = FLIP

    def __init__(self, values: Tensor, seconds: float) -> None:
        self.values, self.seconds = values, seconds

    def __len__(self) -> int:
        return len(self.values)

    def inputs(self, index: Tensor, rng: torch.Generator | None = None) -> Tensor:
        drawn = None if rng is None else draw(len(index), self.augmentations, rng)
        return self.means(self.values[index.to(self.values.device)], drawn)

    def room(self, size: int) -> Tensor:
        return empty_rows(self.values, size)

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        torch.index_select(self.values, 0, batches.on(self.values.device, number), out=room)

    @staticmethod
    def means(room: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Of each row the side that its draw says, by the rule of `augment`."""
        plain, mirrored = room.unbind(1)
        if drawn is None:
            return plain
        chosen = drawn.to(room.device, non_blocking=True)[:, 0] < EVEN
        return torch.where(chosen.view(-1, *(1,) * (plain.dim() - 1)), mirrored, plain)


class Mirrored:
    """The mirror images of a source of pixels, in the order of its rows."""

    augmentations: Sequence[Augmentation] = ()

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def inputs(self, index: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.means(self.pixels.stored.rows(index))

    def room(self, size: int) -> Tensor:
        return self.pixels.room(size)

    def fill(self, room: Tensor, batches: Numbered, number: int) -> None:
        self.pixels.fill(room, batches, number)

    def means(self, room: Tensor, drawn: Tensor | None = None) -> Tensor:
        return self.pixels.means(room.flip(WIDTH))


def empty_rows(like: Tensor, size: int) -> Tensor:
    """Room for `size` rows of the shape, type and memory format that `like` has."""
    channels_last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last)  # noqa: PLR2004 - images
    kept = torch.channels_last if channels_last else torch.contiguous_format
    shape = (size, *like.shape[1:])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=kept)


def draw(size: int, kinds: Sequence[Augmentation], rng: torch.Generator) -> Tensor:
    """Random numbers for a batch, float32 [B, 6] in 0..1, from a CPU generator.

    Columns: horizontal flip, vertical flip, angle, scale, shift x, shift y.  What is not asked for
    draws nothing.
    """
    drawn = torch.ones(size, 6)
    for column, kind in enumerate(("flip-horizontal", "flip-vertical")):
        if kind in kinds:
            drawn[:, column] = torch.rand(size, generator=rng)
    if "affine" in kinds:
        drawn[:, 2:] = torch.rand(size, 4, generator=rng)
    return drawn


def augment(images: Tensor, kinds: Sequence[Augmentation], drawn: Tensor) -> Tensor:
    """Flip and move images [B, 3, H, W] as the draws [B, 6] say, on the images' device.

    'affine': rotation up to 10 degrees, shift up to 5 %, scale within 10 %, bilinear, edges
    repeated; a flip happens with probability one half.
    """
    drawn = drawn.to(images.device, non_blocking=True)
    for column, kind, axis in ((0, "flip-horizontal", WIDTH), (1, "flip-vertical", HEIGHT)):
        if kind in kinds:
            chosen = drawn[:, column] < EVEN
            images = torch.where(chosen.view(-1, 1, 1, 1), images.flip(axis), images)
    if "affine" in kinds:
        theta = _affine(drawn[:, 2:] * 2 - 1).to(images.dtype)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return images


def _affine(draws: Tensor) -> Tensor:
    """[B, 4] draws in -1..1 to [B, 2, 3] matrices: angle, scale, shift x, shift y."""
    angle = torch.deg2rad(draws[:, 0] * DEGREES)
    scale = 1 + draws[:, 1] * SCALE
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [cos, -sin, draws[:, 2] * 2 * SHIFT, sin, cos, draws[:, 3] * 2 * SHIFT]
    return torch.stack(rows, dim=1).view(-1, 2, 3)

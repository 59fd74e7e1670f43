"""The pixels that all runs of a dataset share, and how they get to a card before their first run."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from harness.dataset import SPLITS, Split
from harness.engine.batches import Pixels
from harness.execution import ImageSet
from harness.records import RunSpec


def pixels_key(spec: RunSpec, split: Split) -> Hashable:
    """What a split's pixels are shared by, whatever the network."""
    protocol, numeric = spec.protocol, spec.numeric
    return (
        "pixels", split, spec.data, spec.limit, numeric.precision, numeric.layout,
        protocol.mean, protocol.std, protocol.augment,
    )  # fmt: skip


def make_pixels(spec: RunSpec, images: ImageSet, split: Split, device: str) -> Pixels:
    return Pixels(images.images[split], spec.protocol, spec.numeric, device)


def upload(spec: RunSpec, images: ImageSet, device: str) -> dict[Hashable, Pixels]:
    """All splits for `spec` and its like, on a stream of their own: training goes on beside it."""
    if not device.startswith("cuda"):
        return _all(spec, images, device)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.device(device), torch.cuda.stream(stream):
        return _all(spec, images, device)


def _all(spec: RunSpec, images: ImageSet, device: str) -> dict[Hashable, Pixels]:
    return {pixels_key(spec, split): make_pixels(spec, images, split, device) for split in SPLITS}

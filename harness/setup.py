"""What every run of one call shares, in a form that can be sent to another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.dataset import SPLITS
from harness.execution import Engine, ImageSet
from harness.weights_file import WeightsFile


@dataclass(frozen=True)
class StoredImages:
    """Decoded images as another process can open them: by the file they are mapped from.

    Attributes:
        rest: everything but the pixels, or everything if they are in memory.
        file: holds train, then validation, then test.
    """

    rest: ImageSet
    file: str | None

    @classmethod
    def of(cls, images: ImageSet, split_file: str) -> StoredImages:
        """`split_file`: where the store put the splits."""
        file = getattr(images.images["train"], "filename", None)
        kept = {} if file else images.images
        record = images.record.model_copy(update={"split_file": split_file})
        return cls(replace(images, images=kept, record=record), None if file is None else str(file))

    def __call__(self) -> ImageSet:
        import numpy as np

        if self.file is None:
            return self.rest
        # Copy on write: torch takes no read-only memory, and nothing here writes.
        mapped = np.load(self.file, mmap_mode="c")
        found, first = {}, 0
        for split in SPLITS:
            end = first + len(self.rest.labels[split])
            found[split], first = mapped[first:end], end
        return replace(self.rest, images=found)


@dataclass(frozen=True)
class Setup:
    """What every run of one call shares; it can be sent to another process.

    Attributes:
        images: dataset -> how to open its decoded images.
        weights: backbone -> its file; None: random weights.
        weights_folder: where tested weights go, if they are kept.
        threads: torch threads of a process that works on the CPU.
    """

    suite: str
    images: Mapping[str, Callable[[], ImageSet]]
    weights: Mapping[str, WeightsFile | None]
    device: str = "cpu"
    shortened: bool = False
    weights_folder: Path | None = None
    plugins: tuple[str, ...] = ()
    threads: int = 1
    engine: Engine = "fast"

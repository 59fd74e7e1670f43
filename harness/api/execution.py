"""The needs and the outcome of a run: the values that pass through `harness_execute`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from harness.api.backbone import Backbone
from harness.api.dataset import SPLITS, Split
from harness.api.images import Images, PickedRows
from harness.api.metric import Metric
from harness.api.records import DataRecord, EpochRecord, ExternalRecord, RunResult, WeightsRecord
from harness.api.strategy import PhaseReport, Strategy

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Engine: TypeAlias = Literal["fast", "reference"]

# Raised with every change to the engine that moves a result; part of every run's identity.
ENGINE_VERSION = 3


class PickedImages(Mapping[Split, "np.ndarray"]):
    """Split -> images, for several splits of one array in which their rows lie anywhere.

    A split that is asked for is copied as a whole; `picked` gives its rows as they are needed.
    """

    def __init__(self, whole: np.ndarray, rows: Mapping[Split, np.ndarray]) -> None:
        self.whole, self.rows = whole, rows

    def __getitem__(self, split: Split) -> np.ndarray:
        return self.picked(split)[:]

    def __iter__(self) -> Iterator[Split]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def picked(self, split: Split) -> PickedRows:
        """The images of a split, not copied yet."""
        return PickedRows(self.whole, self.rows[split])

    def __reduce__(self) -> tuple[object, ...]:
        """Another process maps the same file instead of being sent the pixels."""
        file = getattr(self.whole, "filename", None)
        return _picked_images, (self.whole if file is None else str(file), self.rows)


def _picked_images(whole: np.ndarray | str, rows: Mapping[Split, np.ndarray]) -> PickedImages:
    return PickedImages(_mapped(whole) if isinstance(whole, str) else whole, rows)


def _mapped(file: str) -> np.ndarray:
    """Copy on write: torch takes no read-only memory, and nothing here writes."""
    import numpy as np

    found: np.ndarray = np.load(file, mmap_mode="c")
    return found


@dataclass(frozen=True)
class ExternalImages:
    """A further test set, decoded.

    Attributes:
        images: uint8 [N, 3, crop, crop], possibly memory-mapped.
        labels: int64 [N], numbers into the classes of the dataset.
        rows: int32 [N], numbers into the samples of its split file.
        record: what is written into every result, without figures.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    record: ExternalRecord

    def __reduce__(self) -> tuple[object, ...]:
        """Another process maps the same file instead of being sent the pixels."""
        file = getattr(self.images, "filename", None)
        images = self.images if file is None else str(file)
        return _external_images, (images, self.labels, self.rows, self.record)


def _external_images(
    images: np.ndarray | str, labels: np.ndarray, rows: np.ndarray, record: ExternalRecord
) -> ExternalImages:
    found = _mapped(images) if isinstance(images, str) else images
    return ExternalImages(found, labels, rows, record)


@dataclass(frozen=True)
class ImageSet:
    """A dataset, decoded: what the engine trains and tests on.

    Attributes:
        images: split -> uint8 [N, 3, crop, crop], possibly memory-mapped.
        labels: split -> int64 [N], numbers into `classes`.
        rows: split -> int32 [N], numbers into the samples of the split file.
        record: what is written into every result.
        external: name -> a further test set.
    """

    classes: tuple[str, ...]
    images: Mapping[Split, np.ndarray]
    labels: Mapping[Split, np.ndarray]
    rows: Mapping[Split, np.ndarray]
    record: DataRecord
    external: Mapping[str, ExternalImages] = field(default_factory=dict)

    def stored(self, split: Split) -> Images:
        """The images of a split as they lie: copied as they are needed."""
        images = self.images
        return images.picked(split) if isinstance(images, PickedImages) else images[split]

    def __reduce__(self) -> tuple[object, ...]:
        """Another process maps the same file instead of being sent the pixels."""
        picked = isinstance(self.images, PickedImages)
        file = None if picked else getattr(self.images["train"], "filename", None)
        images = self.images if file is None else str(file)
        parts = (self.classes, images, self.labels, self.rows, self.record, self.external)
        return _image_set, parts


def _image_set(
    classes: tuple[str, ...],
    images: Mapping[Split, np.ndarray] | str,
    labels: Mapping[Split, np.ndarray],
    rows: Mapping[Split, np.ndarray],
    record: DataRecord,
    external: Mapping[str, ExternalImages],
) -> ImageSet:
    """`images`: or the array file that holds train, then validation, then test."""
    if not isinstance(images, str):
        return ImageSet(classes, images, labels, rows, record, external)
    found: dict[Split, np.ndarray] = {}
    whole, first = _mapped(images), 0
    for split in SPLITS:
        end = first + len(labels[split])
        found[split], first = whole[first:end], end
    return ImageSet(classes, found, labels, rows, record, external)


@dataclass(frozen=True)
class StartingPoint:
    """Loaded weights: chain name -> tensor.  What is not in `state` is new for this dataset."""

    state: Mapping[str, Tensor]
    record: WeightsRecord


class Observer:
    """The reports of the engine while it works; the default ignores them."""

    def epoch_end(self, record: EpochRecord) -> None:
        """An epoch was trained and validated."""

    def phase_end(self, report: PhaseReport) -> None:
        """A phase has ended."""

    def progress(self, phase: str, done: float) -> None:
        """`done` is the share of the run's budget that is spent, 0 to 1: of engines without steps."""

    def working(self, part: str, done: int, total: int) -> None:
        """Progress of a part of the run, told after every step and batch of it.

        'train' counts the steps of the whole run's budget, 'features' and 'evaluate' the images of
        what is passed through the network now.
        """

    def told(self, text: str) -> None:
        """Something about the run that a user should know, in a line."""

    def predicted(self, outcome: Outcome) -> None:
        """The run is trained and tested: all but its figures, which follow (`metric.uncomputed`)."""


@dataclass(frozen=True)
class Checkpoints:
    """The place where a run keeps what it needs to go on after an interruption, and how often.

    Attributes:
        folder: of this run.
        seconds: between two.
        made_by: what must be the same for the same bits: versions, device, threads.
    """

    folder: Path
    seconds: float
    made_by: Mapping[str, str]


@dataclass(frozen=True)
class Resources:
    """Everything a run needs besides its spec.

    Attributes:
        shared: a place where runs of one (dataset, backbone) keep what they can share, by key.
        keep_state: put the tested weights into the outcome.
        engine: 'reference' carries every step out plainly: the oracle of the fast path.
        parts: every batch is carried out in so many, for lack of memory: the same up to rounding.
        checkpoints: None: the run is not kept while it goes on.
    """

    images: ImageSet
    backbone: Backbone
    start: StartingPoint | None
    strategy: Strategy
    metrics: Mapping[str, Metric]
    device: str = "cpu"
    suite: str = ""
    observer: Observer = field(default_factory=Observer)
    shared: dict[Any, Any] = field(default_factory=dict)
    keep_state: bool = False
    engine: Engine = "fast"
    parts: int = 1
    checkpoints: Checkpoints | None = None


@dataclass(frozen=True)
class Predictions:
    """Per-sample outputs: split -> logits float32 [N, C], targets int64 [N], rows int32 [N]."""

    logits: Mapping[str, np.ndarray]
    targets: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """A finished run; a failed one has no predictions.  `state`: the tested weights, if asked for.

    `external`: name of a further test set -> its predictions, as those of `test`.
    """

    result: RunResult
    predictions: Predictions | None = None
    state: Mapping[str, Tensor] | None = None
    external: Mapping[str, Predictions] = field(default_factory=dict)

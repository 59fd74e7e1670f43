"""From drawings to Hugging Face tables: splits, invented patients, PNG bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from harness_demo import dermoscopy, endoscopy, histology, mri, xray
from harness_demo.canvas import COLOUR, Draws, Pixels

if TYPE_CHECKING:
    import datasets

DRAW: Mapping[str, Callable[[str, Draws, Draws], Pixels]] = {
    "dermoscopy": dermoscopy.draw,
    "endoscopy": endoscopy.draw,
    "histology": histology.draw,
    "mri": mri.draw,
    "xray": xray.draw,
}
LARGEST_GROUP = 3


class Sample(NamedTuple):
    """One image before it is drawn: `number` counts the images of a class over all splits."""

    label: int
    kind: str
    number: int
    patient: int


def draw_tables(
    name: str, modality: str, classes: tuple[str, ...], counts: tuple[int, ...]
) -> dict[str, datasets.Dataset]:
    """Split -> table with the columns image (PNG bytes), label, group and id."""
    from datasets import ClassLabel, Dataset, Features, Image, Value

    features = Features(
        {
            "image": Image(decode=False),
            "label": ClassLabel(names=list(classes)),
            "group": Value("string"),
            "id": Value("string"),
        }
    )
    return {
        split: Dataset.from_dict(
            {
                "image": [{"bytes": _draw(name, modality, s), "path": None} for s in samples],
                "label": [s.label for s in samples],
                "group": [f"patient-{s.patient:03d}" for s in samples],
                "id": [f"{s.kind}-{s.number:03d}" for s in samples],
            },
            features=features,
        )
        for split, samples in plan_splits(name, classes, counts).items()
    }


def plan_splits(
    name: str, classes: tuple[str, ...], counts: tuple[int, ...]
) -> dict[str, list[Sample]]:
    """Who is in which split.  A patient has one class, one to three images and one split."""
    sizes = {
        "train": counts,
        "validation": tuple(count // 2 for count in counts),
        "test": counts,
    }
    drawn = [0] * len(classes)
    plan: dict[str, list[Sample]] = {}
    patient = 0
    for split, numbers in sizes.items():
        plan[split] = []
        for label, kind in enumerate(classes):
            for group in _groups(numbers[label], Draws(name, kind, split)):
                for _ in range(group):
                    plan[split].append(Sample(label, kind, drawn[label], patient))
                    drawn[label] += 1
                patient += 1
    return plan


def _groups(images: int, draws: Draws) -> Iterator[int]:
    """Sizes of patients' groups that add up to `images`."""
    while images:
        size = min(images, draws.whole(1, LARGEST_GROUP))
        images -= size
        yield size


def _draw(name: str, modality: str, sample: Sample) -> bytes:
    patient = Draws(name, "patient", sample.patient)
    return encode_png(DRAW[modality](sample.kind, patient, Draws(name, sample.kind, sample.number)))


def encode_png(pixels: Pixels) -> bytes:
    """A PNG without compression: the same bytes whatever zlib is installed.

    Takes uint8 [H, W] or [H, W, 3], at most 65535 bytes with one more a row (one deflate block).
    """
    height, width = pixels.shape[:2]
    colour = 2 if pixels.ndim == COLOUR else 0
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    block = struct.pack("<BHH", 1, len(rows), len(rows) ^ 0xFFFF)
    stream = b"\x78\x01" + block + rows + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
        for tag, data in ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    )

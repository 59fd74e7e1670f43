"""Small pictures for the page: a few of each class, and what crosses side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.api.dataset import SPLITS
from harness.data import images
from harness.data.audit.leaks import Shared
from harness.data.audit.report import SplitView
from harness.data.division.stratify import order_by_hash
from harness.data.table import DatasetTable
from harness.errors import DataError
from harness.utils.text import clean

SIDE = 144  # pixels along the longer side
OF_A_CLASS, OF_A_SPLIT = 6, 2
MOST = 24  # of each kind that crosses


@dataclass(frozen=True)
class Picture:
    """`uri`: a JPEG in a data URI; empty: the file cannot be decoded."""

    uri: str
    caption: str


@dataclass(frozen=True)
class GalleryRow:
    """Pictures that belong together."""

    title: str
    pictures: tuple[Picture, ...]


def of_classes(table: DatasetTable) -> Iterator[GalleryRow]:
    """Some images of every class, from train where it has them; the same ones at every call."""
    for label, name in enumerate(table.classes):
        samples = [sample for sample in table.samples if sample.label == label]
        ordered = order_by_hash(samples, lambda sample: sample.id, "example")
        chosen = sorted(ordered, key=lambda sample: SPLITS.index(sample.split))[:OF_A_CLASS]
        yield GalleryRow(clean(name), tuple(_picture(table, one.id, one.split) for one in chosen))


def of_crossings(table: DatasetTable, view: SplitView) -> Iterator[tuple[str, list[GalleryRow]]]:
    """Kind -> what crosses, image beside image; the first of many."""
    found = view.crossings
    if found.near:
        yield (
            "near duplicates",
            [
                GalleryRow(
                    f"correlation {pair.correlation:.4f}"
                    + f", {pair.orientation}" * bool(pair.orientation),
                    tuple(
                        _picture(table, name, split)
                        for name, split in zip((pair.one, pair.other), pair.splits, strict=True)
                    ),
                )
                for pair in found.near_pairs[:MOST]
            ],
        )
    if found.exact:
        copies = found.copies[:MOST]
        yield (
            "exact duplicates",
            [
                GalleryRow(_title("sha256", one.name[:12], one), _shared(table, one))
                for one in copies
            ],
        )
    if found.groups:
        groups = found.shared_groups[:MOST]
        yield (
            "groups",
            [GalleryRow(_title("group", one.name, one), _shared(table, one)) for one in groups],
        )


def _title(what: str, name: str, one: Shared) -> str:
    counts = ", ".join(f"{split} {len(ids):,}" for split, ids in one.ids.items())
    return f"{what} {clean(name)}: {counts}"


def _shared(table: DatasetTable, one: Shared) -> tuple[Picture, ...]:
    return tuple(
        _picture(table, name, split) for split, ids in one.ids.items() for name in ids[:OF_A_SPLIT]
    )


def _picture(table: DatasetTable, name: str, split: str) -> Picture:
    return Picture(_uri(table, [name]), f"{split}: {clean(name)}")


def _uri(table: DatasetTable, ids: Sequence[str]) -> str:
    from PIL import Image

    try:
        pixels = images.read(table.sources(ids)[0])
    except DataError:
        return ""
    picture = Image.fromarray(pixels.transpose(1, 2, 0).copy())
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

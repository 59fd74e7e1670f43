"""The small files of an entry of the cache, and how entries come and go.

An entry is a folder: `images.npy` (uint8 [N, 3, crop, crop], to be memory-mapped), `entry.json` and
`check.json`.  Its name is a hash of the bytes of every image in order, the transform and the
versions of the decoding libraries, so that an entry is never stale, only unused.  It is built
beside its place, synced and renamed: it is there in full or not at all.  Entries come and go under
a lock, so that nobody takes away what another has just built; one whose pixels somebody has mapped
is not removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationError

from harness.api.records import Extended, Interpolation, Record, digest
from harness.data.images import PixelForm
from harness.data.pixels.dicom import decoders
from harness.utils import files, locks

VERSION = 2  # raised with every change that moves a pixel, or refuses a file
LIBRARIES = ("pillow", "torch", "torchvision")
STAGING = ".building-"
GONE = ".gone-"  # begins the name of an entry that is being removed
CHECKED_FOR = 86400.0  # seconds after which pixels are held against their checksum again


class CacheEntry(Extended):
    """The content of `entry.json`.

    Attributes:
        resize, crop, interpolation, grey: the `PixelForm` of its images.
        bad: row -> why it cannot be decoded.  An entry with bad rows has no images: it remembers.
    """

    _later: ClassVar[tuple[str, ...]] = ("interpolation", "grey")

    schema_version: Literal[1] = 1
    dataset: str
    count: int
    resize: int
    crop: int
    libraries: dict[str, str]
    content: str
    bad: dict[int, str] = Field(default_factory=dict)
    interpolation: Interpolation = "bilinear"
    grey: bool = False

    @property
    def form(self) -> PixelForm:
        """Form of its images."""
        return PixelForm(self.resize, self.crop, self.interpolation, self.grey)

    @property
    def folder(self) -> str:
        """Name of the entry's folder."""
        return f"{self.dataset}-{digest(self.model_dump(mode='json', exclude={'bad'}))[:20]}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of `images.npy`."""
        return (self.count, 3, self.crop, self.crop)


class Checksums(Record):
    """The content of `check.json`.

    Attributes:
        entry: sha256 of `entry.json`.
        pixels: sha256 of `images.npy`; None: the entry has no images.
        size: of `images.npy` as it was checked last, as are `modified` (nanoseconds since the
            epoch), `inode` and `checked` (seconds since the epoch).
    """

    schema_version: Literal[1] = 1
    entry: str
    pixels: str | None = None
    size: int = 0
    modified: int = 0
    inode: int = 0
    checked: float = 0.0

    def checked_now(self, status: os.stat_result) -> Checksums:
        """The same for pixels that have just been checked."""
        seen = {"size": status.st_size, "modified": status.st_mtime_ns, "inode": status.st_ino}
        return self.model_copy(update=seen | {"checked": time.time()})

    def is_due(self, status: os.stat_result) -> bool:
        """True if the pixels have to be checked before they count."""
        same = (self.size, self.modified, self.inode) == (
            status.st_size,
            status.st_mtime_ns,
            status.st_ino,
        )
        return not (same and 0 <= time.time() - self.checked <= CHECKED_FOR)


class StoredEntry(NamedTuple):
    """The small files of an entry."""

    entry: CacheEntry
    checksums: Checksums

    def holds(self, entry: CacheEntry) -> bool:
        """True if it is that entry, with or without bad images."""
        return self.entry.model_copy(update={"bad": {}}) == entry


def entry_for(
    dataset: str, contents: Sequence[str], form: PixelForm, *, dicom: bool = False
) -> CacheEntry:
    """The entry for images of these sha256, in row order, after `images.resize_crop`.

    `dicom`: some of the dataset's files are DICOM.
    """
    return CacheEntry(
        dataset=dataset,
        count=len(contents),
        **form._asdict(),
        libraries=libraries(dicom=dicom),
        content=digest({"contents": list(contents)}),
    )


def libraries(*, dicom: bool = False) -> dict[str, str]:
    """Versions of what decodes and resizes; of what decodes DICOM files only where there are any."""
    plain = {"cache": str(VERSION)} | {name: version(name) for name in LIBRARIES}
    return plain | (decoders() if dicom else {})


def read_entry(place: Path) -> StoredEntry | None:
    """The small files of an entry, if they are as they were written."""
    try:
        content = (place / "entry.json").read_bytes()
        checksums = Checksums.model_validate_json((place / "check.json").read_bytes())
        if checksums.entry != hashlib.sha256(content).hexdigest():
            return None
        return StoredEntry(CacheEntry.model_validate_json(content), checksums)
    except (OSError, ValidationError):
        return None


def describe_entry(path: Path) -> CacheEntry | None:
    """An entry by its `entry.json`, checked or not: for lists of what there is."""
    try:
        return CacheEntry.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def put_record(path: Path, record: Record) -> bytes:
    """Write a record, whole or not at all, and return what was written."""
    content = record.model_dump_json(indent=1).encode()
    files.put(path, content)
    return content


@contextlib.contextmanager
def publishing(place: Path) -> Iterator[None]:
    """No other process puts an entry in this folder, or takes one away."""
    advice = "set HARNESS_CACHE to a folder that can be written"
    with files.advising(place.parent, advice), locks.locked(place.parent):
        yield


def take_away(place: Path) -> None:
    """Remove an entry, so that no half of it is seen; what cannot be deleted is left to `prune`."""
    shutil.rmtree(put_aside(place), ignore_errors=True)


def put_aside(place: Path) -> Path:
    gone = place.with_name(f"{GONE}{place.name}-{secrets.token_hex(4)}")
    place.rename(gone)
    return gone

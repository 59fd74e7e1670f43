"""Decoded images on disk: each dataset is decoded and resized once for each transform.

An entry is a folder: `images.npy` (uint8 [N, 3, crop, crop], to be memory-mapped) and `entry.json`.
Its name is a hash of the bytes of every image in order, the transform and the versions of the
decoding libraries, so that an entry is never stale, only unused.  It is built beside its place and
renamed: it is there in full or not at all, and two processes that build it do not meet.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from harness.api.records import Record, digest
from harness.data import images
from harness.data.images import Fetch, Output, Progress, Transform, reorder, write_arrays
from harness.errors import StoreError

if TYPE_CHECKING:
    import numpy as np

VERSION = 2  # raised with every change that moves a pixel, or refuses a file
LIBRARIES = ("pillow", "torch", "torchvision")
ABANDONED = 3600.0  # seconds without a write after which a build is taken for dead
STAGING = ".building-"


class CacheEntry(Record):
    """The content of `entry.json`.

    Attributes:
        bad: row -> why it cannot be decoded.  An entry with bad rows has no images: it remembers.
    """

    schema_version: Literal[1] = 1
    dataset: str
    count: int
    resize: int
    crop: int
    libraries: dict[str, str]
    content: str
    bad: dict[int, str] = Field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of the entry's folder."""
        return f"{self.dataset}-{digest(self.model_dump(mode='json', exclude={'bad'}))[:20]}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of `images.npy`."""
        return (self.count, 3, self.crop, self.crop)


@dataclass(frozen=True)
class CachedDataset:
    """An entry on disk, for `harness data cache`; `used`: seconds since the epoch."""

    path: Path
    entry: CacheEntry
    bytes: int
    used: float

    @property
    def current(self) -> bool:
        """True if the libraries of today would still use it."""
        return self.entry.libraries == libraries()


@dataclass(frozen=True)
class UnorderedImages:
    """Images of an entry, decoded before their order was known.

    Attributes:
        path: an array of them, made by `decode_unordered`; it is moved into the cache.
        order: for each row of the entry its row in it; each occurs once.
    """

    path: Path
    order: Sequence[int]


@dataclass(frozen=True)
class DecodedImages:
    """uint8 [N, 3, crop, crop], memory-mapped; None if some rows (`bad`: row -> why) are bad."""

    images: np.ndarray | None
    bad: Mapping[int, str]


def entry_for(dataset: str, contents: Sequence[str], *, resize: int, crop: int) -> CacheEntry:
    """The entry for images of these sha256, in row order, after `images.resize_crop`."""
    return CacheEntry(
        dataset=dataset,
        count=len(contents),
        resize=resize,
        crop=crop,
        libraries=libraries(),
        content=digest({"contents": list(contents)}),
    )


@contextlib.contextmanager
def decode_unordered(cache: Path, *, resize: int, crop: int) -> Iterator[Output]:
    """A place for images whose order is not known yet, and their transform; gone with the block.

    Raises:
        StoreError: the cache cannot be written.
    """
    try:
        (cache / "decoded").mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f"{STAGING}early-", dir=cache / "decoded"))
    except OSError as error:
        raise StoreError(
            f"the cache {cache} cannot be written: {error}; set HARNESS_CACHE to a folder that can "
            "be written"
        ) from error
    try:
        yield Output(staging / "images.npy", (3, crop, crop), _transform(resize, crop))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def decoded(
    cache: Path,
    entry: CacheEntry,
    fetch: Fetch,
    progress: Progress | None = None,
    early: UnorderedImages | None = None,
) -> DecodedImages:
    """The images of an entry, from the cache (`Access.cache`) or decoded into it.

    `progress` is called with (images done, images in all) while an entry is built; with `early`
    its images are put in order and nothing is decoded.

    Raises:
        DataError: `fetch` cannot give the files of images.
        StoreError: the cache cannot be written.
    """
    place = cache / "decoded" / entry.folder
    found = _open(place)
    if found is None:
        try:
            _build(place, entry, fetch, progress, early)
        except OSError as error:
            raise StoreError(_unwritable(place, entry, error)) from error
        found = _open(place)
    if found is None:
        raise StoreError(f"{place} vanished while it was used; run again")
    return found


def find_entry(cache: Path, entry: CacheEntry) -> CacheEntry | None:
    """An entry as the cache has it, with its bad images; None: not decoded yet."""
    return _read(cache / "decoded" / entry.folder)


def libraries() -> dict[str, str]:
    """Versions of what decodes and resizes."""
    return {"cache": str(VERSION)} | {name: version(name) for name in LIBRARIES}


def entries(cache: Path) -> tuple[CachedDataset, ...]:
    """All entries, by name.  Folders that hold none are not listed."""
    found = []
    for path in sorted((cache / "decoded").glob("*/entry.json")):
        entry = _read(path.parent)
        if entry is not None and not path.parent.name.startswith(STAGING):
            used = path.stat().st_mtime
            found.append(CachedDataset(path.parent, entry, _bytes(path.parent), used))
    return tuple(found)


def prune(
    cache: Path, keep: Callable[[CachedDataset], bool] = lambda _: False
) -> tuple[CachedDataset, ...]:
    """Remove the entries that are not kept, and what dead builds have left; returns the entries.

    Raises:
        StoreError: something cannot be removed.
    """
    gone = tuple(stored for stored in entries(cache) if not keep(stored))
    dead = [path for path in (cache / "decoded").glob(f"{STAGING}*") if _idle(path) > ABANDONED]
    for path in [*(stored.path for stored in gone), *dead]:
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise StoreError(f"{path} cannot be removed: {error.strerror}") from error
    return gone


def _open(place: Path) -> DecodedImages | None:
    """A sound entry; None: there is none."""
    import numpy as np

    entry = _read(place)
    if entry is None:
        return None
    with contextlib.suppress(OSError):  # a shared cache may be read-only
        os.utime(place / "entry.json")
    if entry.bad:
        return DecodedImages(None, entry.bad)
    try:
        # Copy on write: torch takes a writable array without a warning, the file stays as it is.
        pixels = np.load(place / "images.npy", mmap_mode="c")
    except (OSError, ValueError):
        return None
    return DecodedImages(pixels, {}) if pixels.shape == entry.shape else None


def _read(place: Path) -> CacheEntry | None:
    try:
        return CacheEntry.model_validate_json((place / "entry.json").read_bytes())
    except (OSError, ValidationError):
        return None


def _transform(resize: int, crop: int) -> Transform:
    return partial(images.resize_crop, resize=resize, crop=crop)


def _build(
    place: Path,
    entry: CacheEntry,
    fetch: Fetch,
    progress: Progress | None,
    early: UnorderedImages | None,
) -> None:
    shutil.rmtree(place, ignore_errors=True)  # a damaged one: a sound one was not built again
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{STAGING}{entry.folder}-", dir=place.parent))
    try:
        array = staging / "images.npy"
        bad: dict[int, str] = {}
        if early is not None:
            reorder(early.path, early.order)
            early.path.rename(array)
        else:
            output = Output(array, entry.shape[1:], _transform(entry.resize, entry.crop))
            bad = write_arrays([output], entry.count, fetch, progress)
        if bad:
            array.unlink()
        text = entry.model_copy(update={"bad": bad}).model_dump_json(indent=1)
        (staging / "entry.json").write_text(text, encoding="utf-8")
        try:
            staging.rename(place)
        except OSError:
            if _open(place) is None:  # else another process was first: its entry is as good
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unwritable(place: Path, entry: CacheEntry, error: OSError) -> str:
    size = math.prod(entry.shape) / 1e6
    what = f"the cache entry {place} ({size:.0f} MB) cannot be written: {error.strerror or error}"
    if error.errno == errno.ENOSPC:
        return f"{what}; free some space, or set HARNESS_CACHE to another folder"
    return f"{what}; set HARNESS_CACHE to a folder that can be written"


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _idle(folder: Path) -> float:
    """Seconds since anything was written there."""
    return time.time() - max(file.stat().st_mtime for file in [folder, *folder.iterdir()])

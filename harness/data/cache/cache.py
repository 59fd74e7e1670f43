"""Decoded images on disk: each dataset is decoded and resized once for each transform.

The small files of an entry are held against their checksums whenever it is opened; its pixels where
their file is not the one that was last checked, or that was a day ago (`PixelCheck`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data import images
from harness.data.cache.check import PixelCheck
from harness.data.cache.entry import (
    GONE,
    STAGING,
    CacheEntry,
    Checksums,
    StoredEntry,
    describe_entry,
    libraries,
    publishing,
    put_aside,
    put_record,
    read_entry,
    take_away,
)
from harness.data.decoding import (
    Output,
    Progress,
    Transform,
    array_header,
    reorder,
    write_arrays,
)
from harness.data.images import Fetch, PixelForm
from harness.data.pixels.dicom import DECODERS
from harness.errors import StoreError
from harness.utils import files, locks

if TYPE_CHECKING:
    import numpy as np

ABANDONED = 3600.0  # seconds without a write after which a build is taken for dead


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
        return self.entry.libraries == libraries(dicom=DECODERS[0] in self.entry.libraries)


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
    """uint8 [N, 3, crop, crop], memory-mapped; None if some rows (`bad`: row -> why) are bad.

    `check`: has to say that the images are sound before anything that follows from them is kept.
    """

    images: np.ndarray | None
    bad: Mapping[int, str]
    check: PixelCheck | None = None


@contextlib.contextmanager
def decode_unordered(cache: Path, form: PixelForm) -> Iterator[Output]:
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
        yield Output(staging / "images.npy", (3, form.crop, form.crop), _transform(form))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def decoded(
    cache: Path,
    entry: CacheEntry,
    fetch: Fetch,
    progress: Progress | None = None,
    early: UnorderedImages | None = None,
    *,
    defer_check: bool = False,
) -> DecodedImages:
    """The images of an entry, from the cache (`Access.cache`) or decoded into it.

    `progress` is called with (images done, images in all) while an entry is built; with `early`
    its images are put in order and nothing is decoded.  A check of the pixels that is due is done
    at once, and a damaged entry built again; with `defer_check` it is left to the caller.

    Raises:
        DataError: `fetch` cannot give the files of images.
        StoreError: the cache cannot be written.
    """
    place = cache / "decoded" / entry.folder
    found = _open(place, entry)
    if found is not None and not defer_check and found.check is not None and found.check.damaged():
        found = None
    if found is None:
        try:
            _build(place, entry, fetch, progress, early)
        except OSError as error:
            raise StoreError(_unwritable(place, entry, error)) from error
        found = _open(place, entry)
    if found is None:
        raise StoreError(f"{place} vanished while it was used; run again")
    return found


def find_entry(cache: Path, entry: CacheEntry) -> CacheEntry | None:
    """An entry as the cache has it, with its bad images; None: not decoded yet."""
    stored = read_entry(cache / "decoded" / entry.folder)
    return stored.entry if stored is not None and stored.holds(entry) else None


def entries(cache: Path) -> tuple[CachedDataset, ...]:
    """All entries, by name.  Folders that hold none are not listed."""
    found = []
    for path in sorted((cache / "decoded").glob("*/entry.json")):
        entry = describe_entry(path)
        if entry is not None and not path.parent.name.startswith(STAGING):
            used = path.stat().st_mtime
            found.append(CachedDataset(path.parent, entry, _bytes(path.parent), used))
    return tuple(found)


def prune(
    cache: Path, keep: Callable[[CachedDataset], bool] = lambda _: False
) -> tuple[CachedDataset, ...]:
    """Remove the entries that are not kept, and what dead builds have left; returns the entries.

    An entry that a call is using stays.

    Raises:
        StoreError: something cannot be removed.
    """
    place = cache / "decoded"
    asked = [stored for stored in entries(cache) if not keep(stored)]
    left = [path for path in place.glob(f"{STAGING}*") if _idle(path) > ABANDONED]
    left += place.glob(f"{GONE}*")
    gone: list[CachedDataset] = []
    for path in left:
        _remove(path, path)
    for stored in asked:
        with publishing(place), _unused(stored.path) as unused:
            if unused:
                _remove(stored.path, put_aside(stored.path))
                gone.append(stored)
    return tuple(gone)


def _remove(path: Path, aside: Path) -> None:
    try:
        shutil.rmtree(aside)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}") from error


@contextlib.contextmanager
def _unused(place: Path) -> Iterator[bool]:
    """True if nobody has mapped an entry's pixels; nobody will while the block runs."""
    try:
        file = (place / "images.npy").open("rb")
    except OSError:  # it has none, or is damaged
        yield True
        return
    with file:
        yield locks.try_alone(file)


def _open(place: Path, entry: CacheEntry) -> DecodedImages | None:
    """An entry that is sound, as far as can be seen without reading its pixels; None: none is."""
    stored = read_entry(place)
    if stored is None or not stored.holds(entry):
        return None
    with contextlib.suppress(OSError):  # a shared cache may be read-only
        os.utime(place / "entry.json")
    if stored.entry.bad:
        return DecodedImages(None, stored.entry.bad)
    try:
        return _mapped(place, stored)
    except OSError:
        return None


def _mapped(place: Path, stored: StoredEntry) -> DecodedImages | None:
    import numpy as np

    path, shape = place / "images.npy", stored.entry.shape
    header = array_header(shape)
    file = path.open("rb")
    status = os.fstat(file.fileno())
    whole = status.st_size == len(header) + math.prod(shape)
    if not whole or file.read(len(header)) != header:
        file.close()
        return None
    # Held as long as the pixels are mapped: the map keeps this very file open.
    locks.try_together(file)
    if path.stat().st_ino != status.st_ino:  # another process has built it again
        file.close()
        return _mapped(place, stored)
    # Copy on write: torch takes a writable array without a warning, the file stays as it is.
    pixels = np.memmap(file, np.uint8, "c", offset=len(header), shape=shape)
    if stored.checksums.is_due(status):
        return DecodedImages(pixels, {}, PixelCheck(place, stored.checksums, file))
    file.close()
    return DecodedImages(pixels, {})


def _transform(form: PixelForm) -> Transform:
    return partial(images.resize_crop, **form._asdict())


def _build(
    place: Path,
    entry: CacheEntry,
    fetch: Fetch,
    progress: Progress | None,
    early: UnorderedImages | None,
) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{STAGING}{entry.folder}-", dir=place.parent))
    try:
        array = staging / "images.npy"
        bad: dict[int, str] = {}
        if early is not None:
            reorder(early.path, early.order)
            early.path.rename(array)
        else:
            output = Output(array, entry.shape[1:], _transform(entry.form))
            bad = write_arrays([output], entry.count, fetch, progress)
        if bad:
            array.unlink()
        content = put_record(staging / "entry.json", entry.model_copy(update={"bad": bad}))
        checksums = Checksums(entry=hashlib.sha256(content).hexdigest())
        if not bad:
            with array.open("rb") as file:
                pixels = hashlib.file_digest(file, "sha256").hexdigest()
                status = os.fstat(file.fileno())
            checksums = checksums.model_copy(update={"pixels": pixels}).checked_now(status)
        put_record(staging / "check.json", checksums)
        with publishing(place.parent):
            if _open(place, entry) is None:  # else another process was first: as good as this one
                if place.exists():  # damaged
                    take_away(place)
                staging.rename(place)
        files.sync(place.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unwritable(place: Path, entry: CacheEntry, error: OSError) -> str:
    size = math.prod(entry.shape) / 1e6
    what = f"the cache entry {place} ({size:.0f} MB) cannot be written: {error.strerror or error}"
    if error.errno == errno.ENOSPC:
        return f"{what}; free some space, or set HARNESS_CACHE to another folder"
    return f"{what}; set HARNESS_CACHE to a folder that can be written"


def _bytes(folder: Path) -> int:
    size = 0
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a check that was just noted
            size += file.stat().st_size
    return size


def _idle(folder: Path) -> float:
    """Seconds since anything was written there."""
    return time.time() - max(file.stat().st_mtime for file in [folder, *folder.iterdir()])

"""Decoded images on disk: each dataset is decoded and resized once for each transform.

An entry is a folder: `images.npy` (uint8 [N, 3, crop, crop], to be memory-mapped), `entry.json` and
`check.json`.  Its name is a hash of the bytes of every image in order, the transform and the
versions of the decoding libraries, so that an entry is never stale, only unused.  It is built
beside its place, synced and renamed: it is there in full or not at all.  Entries come and go under
a lock, so that nobody takes away what another has just built; one whose pixels somebody has mapped
is not removed.

Disks lose and change bytes.  `check.json` holds checksums: the small files are held against them
whenever an entry is opened, the pixels where their file is not the one that was last checked, or
that was a day ago (`PixelCheck`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationError

from harness.api.records import Extended, Interpolation, Record, digest
from harness.data import images
from harness.data.images import (
    Fetch,
    Output,
    PixelForm,
    Progress,
    Transform,
    reorder,
    write_arrays,
)
from harness.data.pixels.dicom import DECODERS, decoders
from harness.errors import StoreError
from harness.utils import files, locks

if TYPE_CHECKING:
    from io import BufferedReader

    import numpy as np

VERSION = 2  # raised with every change that moves a pixel, or refuses a file
LIBRARIES = ("pillow", "torch", "torchvision")
ABANDONED = 3600.0  # seconds without a write after which a build is taken for dead
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


class PixelCheck:
    """The pixels of an entry against their checksum: read once, whoever asks, in whatever thread.

    Args:
        place: the entry's folder.
        stored: what its pixels have to be.
        file: the open file that is mapped; another process may replace the one of its name.
    """

    def __init__(self, place: Path, stored: Checksums, file: BufferedReader) -> None:
        self._place, self._stored, self._file = place, stored, file
        # Nobody may ask; at the end of the process a check may still be reading.
        weakref.finalize(self, file.close).atexit = False
        self._lock = threading.Lock()
        self._damaged: bool | None = None

    def damaged(self) -> bool:
        """True if the pixels are not those that were decoded; the entry is removed then.

        Raises:
            StoreError: it is damaged and cannot be removed.
        """
        with self._lock:
            if self._damaged is None:
                self._damaged = self._differs()
                if not self._damaged:
                    self._note()
            if not self._file.closed:
                if self._damaged:
                    self._remove()
                # Not before, and never again: a new file may have the number of one that is gone.
                self._file.close()
            return self._damaged

    def _differs(self) -> bool:
        try:
            self._status = os.fstat(self._file.fileno())
            self._file.seek(0)
            return hashlib.file_digest(self._file, "sha256").hexdigest() != self._stored.pixels
        except OSError:  # a disk that cannot read it again
            return True

    def _note(self) -> None:
        """Remember the check, where the cache can be written and holds the same file still."""
        with contextlib.suppress(OSError):
            if (self._place / "images.npy").stat().st_ino == self._status.st_ino:
                _put(self._place / "check.json", self._stored.checked_now(self._status))

    def _remove(self) -> None:
        try:
            with _publishing(self._place.parent):
                if (self._place / "images.npy").stat().st_ino == self._status.st_ino:
                    _take_away(self._place)
        except FileNotFoundError:  # another process has found it, too
            return
        except (OSError, StoreError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise StoreError(
                f"the cached images in {self._place} are damaged (not those that were decoded), "
                f"and cannot be removed: {why}; remove that folder, or set "
                "HARNESS_CACHE to a folder that can be written"
            ) from error


def check_aside(checks: Sequence[PixelCheck]) -> None:
    """Begin the checks in a thread, one after another; who needs a verdict waits or goes ahead."""

    def work() -> None:
        with contextlib.suppress(StoreError):  # raised again for whoever asks
            for check in checks:
                check.damaged()

    if checks:
        threading.Thread(target=work, name="check of cached images", daemon=True).start()


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
    stored = _read(cache / "decoded" / entry.folder)
    return stored.entry if stored is not None and stored.holds(entry) else None


def libraries(*, dicom: bool = False) -> dict[str, str]:
    """Versions of what decodes and resizes; of what decodes DICOM files only where there are any."""
    plain = {"cache": str(VERSION)} | {name: version(name) for name in LIBRARIES}
    return plain | (decoders() if dicom else {})


def entries(cache: Path) -> tuple[CachedDataset, ...]:
    """All entries, by name.  Folders that hold none are not listed."""
    found = []
    for path in sorted((cache / "decoded").glob("*/entry.json")):
        entry = _described(path)
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
        with _publishing(place), _unused(stored.path) as unused:
            if unused:
                _remove(stored.path, _aside(stored.path))
                gone.append(stored)
    return tuple(gone)


def _remove(path: Path, aside: Path) -> None:
    try:
        shutil.rmtree(aside)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}") from error


@contextlib.contextmanager
def _publishing(place: Path) -> Iterator[None]:
    """No other process puts an entry in this folder, or takes one away."""
    advice = "set HARNESS_CACHE to a folder that can be written"
    with files.advising(place.parent, advice), locks.locked(place.parent):
        yield


def _take_away(place: Path) -> None:
    """Remove an entry, so that no half of it is seen; what cannot be deleted is left to `prune`."""
    shutil.rmtree(_aside(place), ignore_errors=True)


def _aside(place: Path) -> Path:
    gone = place.with_name(f"{GONE}{place.name}-{secrets.token_hex(4)}")
    place.rename(gone)
    return gone


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


class _Stored(NamedTuple):
    """The small files of an entry."""

    entry: CacheEntry
    checksums: Checksums

    def holds(self, entry: CacheEntry) -> bool:
        """True if it is that entry, with or without bad images."""
        return self.entry.model_copy(update={"bad": {}}) == entry


def _open(place: Path, entry: CacheEntry) -> DecodedImages | None:
    """An entry that is sound, as far as can be seen without reading its pixels; None: none is."""
    stored = _read(place)
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


def _mapped(place: Path, stored: _Stored) -> DecodedImages | None:
    import numpy as np

    path, shape = place / "images.npy", stored.entry.shape
    header = _header(shape)
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


def _header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of a `.npy` file of uint8, as `images.write_arrays` writes them."""
    import numpy as np

    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _read(place: Path) -> _Stored | None:
    """The small files of an entry, if they are as they were written."""
    try:
        content = (place / "entry.json").read_bytes()
        checksums = Checksums.model_validate_json((place / "check.json").read_bytes())
        if checksums.entry != hashlib.sha256(content).hexdigest():
            return None
        return _Stored(CacheEntry.model_validate_json(content), checksums)
    except (OSError, ValidationError):
        return None


def _described(path: Path) -> CacheEntry | None:
    """An entry by its `entry.json`, checked or not: for lists of what there is."""
    try:
        return CacheEntry.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _put(path: Path, record: Record) -> bytes:
    """Write a record, whole or not at all, and return what was written."""
    content = record.model_dump_json(indent=1).encode()
    files.put(path, content)
    return content


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
        content = _put(staging / "entry.json", entry.model_copy(update={"bad": bad}))
        checksums = Checksums(entry=hashlib.sha256(content).hexdigest())
        if not bad:
            with array.open("rb") as file:
                pixels = hashlib.file_digest(file, "sha256").hexdigest()
                status = os.fstat(file.fileno())
            checksums = checksums.model_copy(update={"pixels": pixels}).checked_now(status)
        _put(staging / "check.json", checksums)
        with _publishing(place.parent):
            if _open(place, entry) is None:  # else another process was first: as good as this one
                if place.exists():  # damaged
                    _take_away(place)
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

"""Results as they travel: a folder or a .zip with a list of its files and their sha256."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from harness.api.records import Record
from harness.errors import StoreError
from harness.results import schema
from harness.utils import files, locks
from harness.utils.text import short

MANIFEST = "manifest.json"
# The zip format's first day: equal content gives equal bytes.
STAMP = (1980, 1, 1, 0, 0, 0)
BLOCK = 1 << 20
ENCRYPTED = 0x1  # bit of an entry's flags
MOST_RATIO = 100  # records of results, which repeat themselves, stay below 50
# What opening and reading an archive may raise, whatever bytes it holds.
BROKEN = (
    OSError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, ValueError,
    NotImplementedError, RuntimeError, LookupError, OverflowError, MemoryError, struct.error,
)  # fmt: skip


class Manifest(Record):
    """`manifest.json`: path below the folder -> sha256 (hex), of every file but itself."""

    schema_version: Literal[1] = 1
    harness: str
    files: dict[str, str]


def write_manifest(folder: Path, harness: str) -> Manifest:
    """Write `manifest.json` over everything that lies in a folder; `harness`: the version."""
    sums = {name: sha256(folder / name) for name in contents(folder) if name != MANIFEST}
    manifest = Manifest(harness=harness, files=sums)
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    files.write(folder / MANIFEST, text.encode() + b"\n")
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None: it was never packed.

    Raises:
        StoreError: it is damaged.
    """
    path = folder / MANIFEST
    return schema.load(path, Manifest) if files.exists(path) else None


def changed_files(folder: Path, manifest: Manifest) -> Mapping[str, str]:
    """File -> what is wrong with it, for every file that is not as it was packed."""
    found = {}
    for name, expected in sorted(manifest.files.items()):
        path = folder / name
        if not is_inside(name) or not _is_file(path):
            found[name] = f"{MANIFEST} lists it, but it is not there"
        elif sha256(path) != expected:
            found[name] = f"not the file that was packed: its sha256 is not the one in {MANIFEST}"
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name, for one
        return False


def contents(folder: Path) -> list[str]:
    """Every file below a folder but locks, as sorted paths from it with forward slashes."""
    found = (path for path in folder.rglob("*") if path.is_file() and not locks.is_lock(path.name))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def is_inside(name: str) -> bool:
    """True if a name in an archive or manifest leads nowhere but into its folder."""
    path = PurePosixPath(name)
    plain = not set("\\:\0") & set(name)
    return plain and bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def sha256(path: Path) -> str:
    """Of a file, in hex.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def pack(folder: Path, target: Path) -> None:
    """Write a sealed folder as a .zip; the same content gives the same bytes.

    Raises:
        StoreError: it cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                _write_zip(folder, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise files.unwritable(target, error) from error


def _write_zip(folder: Path, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in contents(folder):
            entry = zipfile.ZipInfo(name, STAMP)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with (folder / name).open("rb") as source, archive.open(entry, "w") as into:
                shutil.copyfileobj(source, into, BLOCK)


@contextlib.contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """A folder with what `pack` packed, checked file by file, for as long as it is needed.

    Raises:
        StoreError: no such archive, or one that is not as it was packed.
    """
    with files.scratch() as folder:
        try:
            size = archive.stat().st_size
            if not archive.is_file():
                raise StoreError(f"cannot read {archive}: it is no regular file")
            with zipfile.ZipFile(archive) as opened:
                _check(opened.infolist(), archive, size)
                _extract(opened, folder)
        except BROKEN as error:
            if isinstance(error, OSError) and files.is_full(error):
                raise files.unwritable(folder, error) from error
            why = str(error).replace(f"{folder}/", "") or type(error).__name__
            raise StoreError(f"cannot read {archive}: {short(why)}") from error
        manifest = read_manifest(folder)
        if manifest is None:
            raise StoreError(f"{archive} has no {MANIFEST}: `harness submit` makes such files")
        wrong = changed_files(folder, manifest)
        wrong = {**wrong, **dict.fromkeys(unlisted_files(folder, manifest), f"not in {MANIFEST}")}
        if wrong:
            name, why = next(iter(sorted(wrong.items())))
            raise StoreError(
                f"{archive}: {name}: {why} ({len(wrong)} such files): ask for it again"
            )
        yield folder


def unlisted_files(folder: Path, manifest: Manifest) -> list[str]:
    """Files that came from nowhere: not listed, though their folder was packed."""
    return [name for name in contents(folder) if name != MANIFEST and name not in manifest.files]


def _check(entries: list[zipfile.ZipInfo], archive: Path, size: int) -> None:
    """Refuse by its directory, before anything is unpacked, what `pack` does not write.

    Args:
        entries: of the directory.
        archive: for messages.
        size: bytes of the whole archive, whatever its directory says of its parts.
    """

    def refused(why: str) -> StoreError:
        return StoreError(f"{archive}{why}; do not use it")

    if sum(entry.file_size for entry in entries) > MOST_RATIO * size + BLOCK:
        raise refused(" would unpack to far more than results do")
    names = Counter(entry.filename for entry in entries)
    for entry in entries:
        if why := _fault(entry) or (names[entry.filename] > 1 and "is in it twice"):
            raise refused(f": {short(entry.filename)!r} {why}")


def _fault(entry: zipfile.ZipInfo) -> str:
    if not is_inside(entry.filename):
        return "leads out of its folder"
    if stat.S_IFMT(entry.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "is a link or a device"
    if entry.flag_bits & ENCRYPTED:
        return "is encrypted"
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "is packed in a way that `harness submit` does not use"
    return ""


def _extract(opened: zipfile.ZipFile, folder: Path) -> None:
    for entry in opened.infolist():
        if entry.is_dir():
            continue
        target = folder / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(entry) as source, target.open("xb") as into:
            shutil.copyfileobj(source, into, BLOCK)

"""Results as they travel: a folder or a .zip with a list of its files and their sha256."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from harness.api.records import Record
from harness.errors import StoreError
from harness.results import schema
from harness.utils import files

MANIFEST = "manifest.json"
# The zip format's first day: equal content gives equal bytes.
STAMP = (1980, 1, 1, 0, 0, 0)
BLOCK = 1 << 20
MOST_RATIO = 200  # records of results, which repeat themselves, stay below 50


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
        if not is_inside(name) or not path.is_file():
            found[name] = f"{MANIFEST} lists it, but it is not there"
        elif sha256(path) != expected:
            found[name] = f"not the file that was packed: its sha256 is not the one in {MANIFEST}"
    return found


def contents(folder: Path) -> list[str]:
    """Every file below a folder but locks, as sorted paths from it with forward slashes."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in files.LOCKS)
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
            with zipfile.ZipFile(archive) as opened:
                _extract(opened, archive, folder)
        except (OSError, zipfile.BadZipFile) as error:
            if isinstance(error, OSError) and files.is_full(error):
                raise files.unwritable(folder, error) from error
            raise StoreError(f"cannot read {archive}: {error}") from error
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


def _extract(opened: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    """Only plain names, and no more bytes than such files come to."""
    entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    packed = sum(entry.compress_size for entry in entries)
    if sum(entry.file_size for entry in entries) > MOST_RATIO * packed + BLOCK:
        raise StoreError(f"{archive} would unpack to far more than results do; do not use it")
    for entry in entries:
        if not is_inside(entry.filename):
            raise StoreError(
                f"{archive}: {entry.filename!r} leads out of its folder; do not use it"
            )
        target = folder / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(entry) as source, target.open("wb") as into:
            shutil.copyfileobj(source, into, BLOCK)

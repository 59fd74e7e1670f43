"""Files that are whole or not there, and messages for places that cannot be written.

For POSIX systems: folders are synced and locks are advisory (`flock`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from harness.errors import StoreError

# A temporary file lives for milliseconds; one that is older was left by a process that died.
STALE_SECONDS = 600
FULL = {errno.ENOSPC, errno.EDQUOT}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
# Some network file systems cannot sync a folder, or cannot lock.
NOT_OFFERED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


def write(path: Path, content: bytes) -> None:
    """Make `path` hold `content`: after a crash it holds either all of it or what it held before.

    Raises:
        StoreError: it could not be written; nothing half-written is left.
    """
    try:
        _make_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def remove(path: Path) -> None:
    """Remove a file that may be there.

    Raises:
        StoreError: it is there and stays.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def read(path: Path, most: int | None = None) -> bytes:
    """The file's content.

    Args:
        path: of a regular file; a pipe or a device, which might never end, is none.
        most: bytes that it may have; None: any number.

    Raises:
        StoreError: it is missing, no such file, or may not be read.
    """
    try:
        # Opening a pipe must not wait for whoever writes into it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"cannot read {path}: it is no regular file")
            if most is not None and found.st_size > most:
                raise StoreError(
                    f"cannot read {path}: it has {found.st_size} bytes, and no such file has more "
                    f"than {most}"
                )
            return file.read()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a name with a null byte
        raise StoreError(f"cannot read {str(path)!r}: {error}") from error


def exists(path: Path) -> bool:
    """True if the file is there.

    Raises:
        StoreError: its folder may not be looked into.
    """
    try:
        return path.exists()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def listing(folder: Path) -> list[Path]:
    """All `.json` files below a folder, sorted; hidden ones are not among them.

    Raises:
        StoreError: some folder may not be read: what is in it must not pass for missing.
    """

    def stop(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error

    found = (
        (f"{place}{os.sep}{name}".replace(os.sep, "\0"), place, name)
        for place, _, names in os.walk(folder, onerror=stop)
        for name in names
        if name.endswith(".json") and not name.startswith(".")
    )
    # As paths would be sorted, part by part, in a third of the time.
    return [Path(place, name) for _, place, name in sorted(found)]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time in a folder, over processes and, where the file system can, machines.

    Raises:
        StoreError: the folder cannot be written.
    """
    path = folder / ".lock"
    try:
        _make_folder(folder)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NOT_OFFERED:
                raise unwritable(path, error) from error
        yield
    finally:
        os.close(handle)


def prepare(folder: Path) -> None:
    """Make sure a folder can be written, and clear away what dead processes left half-written.

    Raises:
        StoreError: it cannot be written; says why and what to do.
    """
    probe = folder / f".writable.{secrets.token_hex(4)}.tmp"
    write(probe, b"\n")
    try:
        now = probe.stat().st_mtime  # the clock of the machine that keeps the files
        probe.unlink()
        for place, _, names in os.walk(folder):
            for name in names:
                path = Path(place, name)
                if name.startswith(".") and name.endswith(".tmp"):
                    _remove_stale(path, now)
    except OSError as error:
        raise unwritable(probe, error) from error


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error for a `path` that cannot be written: what keeps it from that, and what to do."""
    elsewhere = "choose another folder with --out"
    blocking = next((one for one in path.parents if one.is_file()), None)
    if blocking is not None:
        return StoreError(f"{blocking} is a file, so {path} cannot be made below it: {elsewhere}")
    if error.errno in FULL:
        return StoreError(
            f"no space left for {path}: free some, or {elsewhere}; finished runs are kept, and the "
            "same command goes on from there"
        )
    if error.errno in FORBIDDEN:
        return StoreError(f"no permission to write {path}: allow it, or {elsewhere}")
    return StoreError(f"cannot write {path} ({error.strerror or error}): {elsewhere}")


def _remove_stale(path: Path, now: float) -> None:
    # Its writer was alive and has just finished, or is another user whose it is to clear.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if now - path.stat().st_mtime > STALE_SECONDS:
            path.unlink()


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """A new name in a folder survives a power cut only once the folder is synced."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
    finally:
        os.close(handle)

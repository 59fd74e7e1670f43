"""Files that are whole or not there, and messages for places that cannot be written.

Folders are synced, too, where a system can (Windows cannot).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.errors import StoreError

# A temporary file lives for milliseconds; one that is older was left by a process that died.
STALE_SECONDS = 600
FULL = {errno.ENOSPC, errno.EDQUOT}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
# Opening a pipe must not wait for whoever writes into it; Windows lacks two of the flags, and would
# change line ends without the third.
READING = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    READING |= getattr(os, _flag, 0)
CHUNK = 1 << 20  # at least, where a file is longer than it said
# Some network file systems cannot sync a folder.
NOT_OFFERED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# There while the files of a board are renamed; for ever where that was never finished.
UNFINISHED_BOARD = "leaderboard.unfinished"
# Place -> what to do where it cannot be written; any other is a results folder.
_advice: dict[Path, str] = {}


def write(path: Path, content: bytes) -> None:
    """Make `path` hold `content`: after a crash it holds either all of it or what it held before.

    Raises:
        StoreError: it could not be written; nothing half-written is left.
    """
    try:
        put(path, content)
    except OSError as error:
        raise unwritable(path, error) from error


def write_together(contents: Mapping[Path, bytes], mark: Path, why: str) -> None:
    """Make several files hold what belongs together: all of it is on the disk before any is renamed.

    No file system renames several at once: where `mark` stands, a text that says `why`, some may be
    as they were before.

    Raises:
        StoreError: one could not be written; the others are as they were, or `mark` is there.
    """
    temporaries: dict[Path, Path] = {}
    path = Path()
    try:
        try:
            for path, content in contents.items():
                make_folder(path.parent)
                temporaries[path] = _temporary(path)
                with temporaries[path].open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            put(mark, why.encode())
            for path, temporary in temporaries.items():
                temporary.replace(path)
        finally:
            for temporary in temporaries.values():
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        for folder in dict.fromkeys(path.parent for path in contents):
            sync(folder)
        mark.unlink()
    except OSError as error:
        raise unwritable(path, error) from error


def put(path: Path, content: bytes) -> None:
    """As `write`, for callers with a message of their own.

    Raises:
        OSError: it could not be written; nothing half-written is left.
    """
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file's path: the block makes that file, which then takes the place of `path`.

    Raises:
        OSError: it could not; nothing half-written is left.
    """
    make_folder(path.parent)
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file that may be there.

    Raises:
        StoreError: it is there and stays.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def read(path: Path | str, most: int | None = None) -> bytes:
    """The file's content.

    Args:
        path: of a regular file; a pipe or a device, which might never end, is none.
        most: bytes that it may have; None: any number.

    Raises:
        StoreError: it is missing, no such file, or may not be read.
    """
    try:
        handle = os.open(path, READING)
        try:
            found = os.fstat(handle)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"cannot read {path}: it is no regular file")
            size = found.st_size
            if most is not None and size > most:
                raise StoreError(
                    f"cannot read {path}: it has {size} bytes, and no such file has more than {most}"
                )
            # A file object would take as long as all of this.
            content = os.read(handle, size + 1)
            while len(content) != size and (
                more := os.read(handle, max(size - len(content), CHUNK))
            ):
                content += more
            return content
        finally:
            os.close(handle)
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
    return list(map(Path, names(folder)))


def names(folder: Path) -> list[str]:
    """The same as text, in half the time."""
    # In the order of paths, part by part.
    return sorted(_walked(folder), key=lambda path: path.replace(os.sep, "\0"))


def holds_any(folder: Path) -> bool:
    """True if `listing` has a file, as soon as one is found.

    Raises:
        StoreError: as `listing`.
    """
    return any(_walked(folder))


def _walked(folder: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error

    return (
        f"{place}{os.sep}{name}"
        for place, _, names in os.walk(folder, onerror=stop)
        for name in names
        if name.endswith(".json") and not name.startswith(".")
    )


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


@contextlib.contextmanager
def unmade_on_error(folder: Path, lock: str) -> Iterator[None]:
    """Remove folders that the block made where it ends in an error, if they hold but a lock.

    `folder` and those that it is in; `lock`: the name of that file.
    """
    absent = [place for place in (folder, *folder.parents) if not exists(place)]
    try:
        yield
    except BaseException:
        for place in absent:
            with contextlib.suppress(OSError):  # somebody else has put something there
                if [one.name for one in place.iterdir()] == [lock]:
                    (place / lock).unlink()
                place.rmdir()
        raise


@contextlib.contextmanager
def advising(place: Path, advice: str) -> Iterator[None]:
    """Let messages about a place that cannot be written, or anything in it, say what to do there."""
    before = _advice.get(place)
    _advice[place] = advice
    try:
        yield
    finally:
        if before is None:
            del _advice[place]
        else:
            _advice[place] = before


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for temporary files, gone with the block.

    Raises:
        StoreError: there is no place for one.
    """
    try:
        place = Path(tempfile.mkdtemp(prefix="harness-"))
    except OSError as error:
        raise StoreError(
            f"no folder for temporary files can be made ({error.strerror}): set TMPDIR to a folder "
            "that can be written and has space"
        ) from error
    advice = (
        f"temporary files lie in {place.parent}; free some space there, or set TMPDIR to a folder "
        "that can be written"
    )
    try:
        with advising(place, advice):
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def is_full(error: BaseException | None) -> bool:
    """True for an error, or a StoreError made of one, that a full disk causes."""
    if isinstance(error, StoreError):
        error = error.__cause__
    return isinstance(error, OSError) and error.errno in FULL


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error for a `path` that cannot be written: what keeps it from that, and what to do."""
    near = next((_advice[place] for place in (path, *path.parents) if place in _advice), None)
    elsewhere = near or "choose another folder with --out"
    blocking = next((one for one in path.parents if one.is_file()), None)
    if blocking is not None:
        return StoreError(f"{blocking} is a file, so {path} cannot be made below it: {elsewhere}")
    if error.errno in FULL and near is not None:
        return StoreError(f"no space left for {path}: {near}")
    if error.errno in FULL:
        return StoreError(
            f"no space left for {path}: free some, or {elsewhere}; finished runs are kept, and the "
            "same command goes on from there"
        )
    if error.errno in FORBIDDEN:
        allow = "" if near else "allow it, or "
        return StoreError(f"no permission to write {path}: {allow}{elsewhere}")
    return StoreError(f"cannot write {path} ({error.strerror or error}): {elsewhere}")


def _temporary(path: Path) -> Path:
    """A new name beside a file; what bears one and is old is cleared away by `prepare`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _remove_stale(path: Path, now: float) -> None:
    # Its writer was alive and has just finished, or is another user whose it is to clear.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if now - path.stat().st_mtime > STALE_SECONDS:
            path.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those it is in, so that they survive a power cut.

    Raises:
        OSError: one cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(folder: Path) -> None:
    """Sync a folder: a new name in it survives a power cut only then.

    Raises:
        OSError: it could not be synced, on a file system that can.
    """
    if os.name == "nt":  # it opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
    finally:
        os.close(handle)

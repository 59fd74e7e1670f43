"""Locks of a folder: one writer at a time, over processes and machines.

`filelock` takes them: with `flock`, on Windows with that system's own.  On a file system that offers
none, a file that is there while the lock is held takes its place; a lock is never left out.  The lock
file names its owner, for whoever waits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from harness.utils import files, signs

if TYPE_CHECKING:
    from filelock import BaseFileLock

# Of runs, plan and splits; of the files of a board.
LOCK, BOARD_LOCK = ".lock", ".board.lock"
CALL = ".call-"  # begins the names of the files of a call that is at work in the folder
MARKER = ".held"  # ends the name of the file that takes a lock's place
LOCKS = {f"{name}{end}" for name in (LOCK, BOARD_LOCK) for end in ("", MARKER)}
# Some network file systems cannot lock.
NOT_OFFERED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
EVERYBODY = 0o666  # several users may share a folder


@contextlib.contextmanager
def locked(folder: Path, name: str = LOCK) -> Iterator[None]:
    """One writer at a time in a folder.

    Whoever waits for more than a second says for whom, and again every 10 s.

    Raises:
        StoreError: the folder cannot be written.
    """
    path = folder / name
    try:
        files.make_folder(folder)
        lock = _acquired(path)
    except OSError as error:
        raise files.unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Any number of readers of a folder while no writer is at work in it (`locked`).

    Where nobody has written yet, or this user may not lock, it is read without.  Readers are one at
    a time where the file system has no lock that several can share.
    """
    path = folder / LOCK
    with contextlib.ExitStack() as stack:
        try:
            import fcntl

            handle = os.open(path, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_SH)
        except (OSError, ImportError) as error:
            if isinstance(error, ImportError) or error.errno in NOT_OFFERED:
                with contextlib.suppress(OSError):
                    if folder.is_dir():
                        stack.callback(_acquired(path).release)
        yield


def try_together(file: IO[bytes]) -> bool:
    """Mark an open file as in use, as long as it is open, if nobody has it alone (`try_alone`).

    False as well where there are no such locks: then a file in use cannot be told.
    """
    return _try_flock(file, "LOCK_SH")


def try_alone(file: IO[bytes]) -> bool:
    """Have an open file alone, if nobody uses it (`try_together`)."""
    return _try_flock(file, "LOCK_EX")


def _try_flock(file: IO[bytes], kind: str) -> bool:
    try:
        import fcntl

        fcntl.flock(file, getattr(fcntl, kind) | fcntl.LOCK_NB)
    except (OSError, ImportError):
        return False
    return True


def break_locks(folder: Path) -> list[str]:
    """Take the locks of a folder away from whoever holds them; lines that name these owners.

    For a caller that was lost with its machine: if it goes on after all, two write at once.

    Raises:
        StoreError: a lock cannot be removed.
    """
    broken = []
    calls = [path.name for path in folder.glob(f"{CALL}*.lock")]
    for path in sorted(folder / name for name in (LOCK, BOARD_LOCK, *calls)):
        if is_free(path):
            continue
        broken.append(f"{path} is broken, which was held by {owner(path)}")
        for one in (path, _marker(path)):
            files.remove(one)
    return broken


class _Held(Protocol):
    """A lock that is held."""

    def release(self) -> object: ...


class _Handle:
    """The lock of a file that another user made, which this one may only read."""

    def __init__(self, path: Path) -> None:
        import fcntl

        self._file = path.open("rb")
        try:
            if not try_alone(self._file):
                with _told(path):
                    fcntl.flock(self._file, fcntl.LOCK_EX)
        except BaseException:
            self._file.close()
            raise

    def release(self) -> None:
        """Give it back."""
        self._file.close()


def _acquired(path: Path) -> _Held:
    """The lock, which is waited for.

    Raises:
        OSError: it cannot be had.
    """
    from filelock import FileLock, SoftFileLock

    if FileLock is not SoftFileLock:  # as it is without `fcntl`
        try:
            lock = FileLock(path, mode=EVERYBODY, fallback_to_soft=False)
            _wait(lock, path)
        except OSError as error:
            if isinstance(error, PermissionError) and path.exists():
                return _Handle(path)
            if error.errno not in NOT_OFFERED:
                raise
        else:
            # The kernel frees this lock with its owner, so the name is for people.
            try:
                with contextlib.suppress(OSError):
                    _sign(path)
            except BaseException:  # an interrupt: nobody would release it
                lock.release()
                raise
            return lock
    # One for all of a thread: a reader may read within what it reads (`shared`).
    marker = SoftFileLock(_marker(path), mode=EVERYBODY, is_singleton=True)
    _wait(marker, _marker(path))
    return marker


def _sign(path: Path) -> None:
    """Write this process into a lock file, with the time; to empty a file and fill it is slow."""
    name = f"{os.getpid()}\n{socket.gethostname()}\n".encode()
    handle = os.open(path, os.O_RDWR)
    try:
        if os.read(handle, len(name) + 1) == name:
            os.utime(path)
        else:
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, name)
    finally:
        os.close(handle)


def _wait(lock: BaseFileLock, path: Path) -> None:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        with _told(path):
            lock.acquire()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Inside, people are told whose lock is waited for."""
    from harness.utils import pulse

    with pulse.shown(), signs.describing(lambda: _waiting(path)):
        yield


def _waiting(path: Path) -> str:
    advice = f" (if it is gone: --break-lock, or remove {path})" * path.name.endswith(MARKER)
    return f"waiting for {owner(path)}, which writes {path.parent}{advice}"


def owner(path: Path) -> str:
    """The holder of a lock, in words."""
    marker = _marker(path)
    path = marker if marker.exists() else path
    try:
        number, machine = path.read_text().splitlines()[:2]
        since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, ValueError):
        return "another call"
    return f"process {number} on {machine}, since {since:%Y-%m-%d %H:%M:%S} UTC"


def is_free(path: Path) -> bool:
    """True for a lock that nobody holds, whether its file is there or not.

    Raises:
        StoreError: that cannot be told.
    """
    from filelock import SoftFileLock, Timeout

    if path.exists() and not _is_unlocked(path):
        return False
    if not _marker(path).exists():
        return True
    try:
        with SoftFileLock(_marker(path), timeout=0):  # of a process of this machine that is dead
            return True
    except Timeout:
        return False


def _is_unlocked(path: Path) -> bool:
    """True for a lock's own file that nobody holds, or of a system that locks by a marker."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0, fallback_to_soft=False):
            return True
    except Timeout:
        return False
    except PermissionError:  # another user's
        with path.open("rb") as file:
            return try_alone(file)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise files.unwritable(path, error) from error
        return True


def is_lock(name: str) -> bool:
    """True for a file that is no result but says who is at work in a folder."""
    return name in LOCKS or name.startswith(CALL)


def _marker(path: Path) -> Path:
    return path.with_name(path.name + MARKER)

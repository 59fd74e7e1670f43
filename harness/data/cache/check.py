"""Pixels of the cache against their checksum: disks lose and change bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.cache.entry import Checksums, publishing, put_record, take_away
from harness.errors import StoreError

if TYPE_CHECKING:
    from io import BufferedReader


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
                put_record(self._place / "check.json", self._stored.checked_now(self._status))

    def _remove(self) -> None:
        try:
            with publishing(self._place.parent):
                if (self._place / "images.npy").stat().st_ino == self._status.st_ino:
                    take_away(self._place)
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

"""The memory that this process holds, and a limit to it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

SECONDS = 0.1  # between two looks
STATUS = Path("/proc/self/status")
OWN = ("RssAnon:", "RssShmem:")  # not the pages of files, which the system takes back


def held() -> int | None:
    """Bytes that this process holds for itself; where the system says only that, the most so far.

    None: it says neither.
    """
    with contextlib.suppress(OSError):
        lines = STATUS.read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(OWN))
    try:
        import resource
    except ImportError:  # on Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@contextlib.contextmanager
def watched(most: int | None, tell: Callable[[int], object]) -> Iterator[None]:
    """End this process, at once, if it holds more than `most` bytes inside the block.

    `tell` is called with the bytes before; it is called in another thread.
    """
    if most is None:
        yield
        return
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(SECONDS):
            if (now := held()) is not None and now > most:
                try:
                    tell(now)
                finally:
                    os._exit(1)

    thread = threading.Thread(target=look, name="memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

"""Work in threads, results in order, little in memory; processes that an interrupt passes by.

None of these processes runs the script of a user.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_name() -> str:
    """The name that this machine has for itself, for messages."""
    return platform.node() or "this machine"


@contextmanager
def without_main() -> Iterator[None]:
    """Start processes in this block: they import what they are sent and never the caller's script.

    multiprocessing tells a new process which file `__main__` is, and that imports it: a script
    would begin again in every worker, unless all of it stood under `if __name__ == "__main__"`.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def in_order(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    start: Callable[[], None] | None = None,
    workers: int | None = None,
) -> Generator[R, None, None]:
    """`work` of each item, done by a thread a core; `start` is called once in each thread.

    Items are drawn in the caller's thread, two a worker ahead, so that a long stream stays small.
    An exception of `work` comes out at its item, and what is not begun is dropped.
    """
    count = workers or cores()
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(count, initializer=start or (lambda: None)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Processes that are started inside the block get no Ctrl-C, from their first instruction on.

    A terminal sends it to all of them, and one that is still importing would print a traceback;
    whoever started them ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # else whoever starts the first process takes the mask away
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""Work in threads, results in order, little in memory; and processes that run no script of a user."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
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

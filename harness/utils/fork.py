"""A value that a copy of this process computes while this one goes on."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Generic, TypeVar

from harness.utils.parallel import cores

T = TypeVar("T")


class Aside(Generic[T]):
    """Work begun in a copy (`fork`), which has all that this process has and hands back a value.

    Only a process of one thread is copied: another's locks would never be released in the copy.
    With several threads, on one core, or where no copy could be made or it came to nothing, the
    work is done here when its value is asked for; so whatever goes wrong is raised by `value`.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._found: Connection | None = None
        if cores() > 1 and threads() == 1:
            with contextlib.suppress(OSError):  # no more processes, files or memory
                self._found = self._begun()

    def _begun(self) -> Connection:
        context = multiprocessing.get_context("fork")
        found, given = context.Pipe(duplex=False)
        with _uninterrupted(), given:
            context.Process(target=self._compute, args=(given,), daemon=True).start()
        return found

    def value(self) -> T:
        """The value; of a copy that is not done yet, as soon as it is."""
        if self._found is not None:
            # A copy that failed or was killed closes the pipe with nothing, or half a value, in it.
            with contextlib.suppress(EOFError, OSError), self._found:
                done: T = self._found.recv()
                return done
        return self._work()

    def _compute(self, given: Connection) -> None:
        with contextlib.suppress(Exception), given:  # it is done again, and raised, by `value`
            given.send(self._work())


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """For a copy made within it Ctrl-C stays blocked: who is interrupted ends its copies."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def threads() -> int:
    """Threads of this process, those of libraries among them; 0 where the system does not say."""
    tasks = Path("/proc/self/task")
    return len([*tasks.iterdir()]) if tasks.is_dir() else 0

"""Signs of what a call is at: whoever does something that may take long says so, wherever it is.

Nobody has to be asked, and it costs nothing where no signs of life are shown (`pulse`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Describe = Callable[[], str]

# The innermost is last.  A process has one stderr, so there is one of these.
_under_way: list[Describe] = []


class Work:
    """A piece of work: `what` it is, and so many of so many `units`, once they are known."""

    def __init__(self, what: str, units: str) -> None:
        self.what, self.units = what, units
        self.done = self.total = 0

    def __call__(self, done: int, total: int) -> None:
        """Take note of how far it is."""
        self.done, self.total = done, total

    def describe(self) -> str:
        """In words."""
        if not self.total:
            return self.what
        return f"{self.what}: {self.done:,} of {self.total:,} {self.units}"


@contextlib.contextmanager
def doing(what: str, units: str = "images") -> Iterator[Work]:
    """Say what goes on inside the block; the value takes (done, total)."""
    work = Work(what, units)
    with describing(work.describe):
        yield work


@contextlib.contextmanager
def describing(describe: Describe) -> Iterator[None]:
    """Say what goes on inside the block by a function, which is called in another thread."""
    _under_way.append(describe)
    try:
        yield
    finally:
        _under_way.remove(describe)


def under_way() -> str:
    """The innermost of what goes on, in words; '' if nobody says."""
    latest = _under_way[-1:]  # another thread may take it away
    return latest[0]() if latest else ""

"""Parts of some work made ready while what needs the first of them goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")
Item = TypeVar("Item")


class Halted(Exception):  # noqa: N818 - no error: nobody waits for the work any more
    """The work is given up."""


class Ahead(Generic[Part, Made]):
    """`work` of each part, in order: the first where it is asked for, the others in a thread.

    The thread begins when the first is done.  Where the block is left early, `halt`, which `work`
    calls now and then, ends it.
    """

    def __init__(self, work: Callable[[Part], Made], parts: Sequence[Part]) -> None:
        self.work, self.parts = work, parts
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self.waiting: list[Future[Made]] = []
        self.taken = 0
        self.left = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.left = True
        self.pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Made]:
        for number, part in enumerate(self.parts):
            if number == 0:
                made = self.work(part)
                self.waiting = [self.pool.submit(self.work, later) for later in self.parts[1:]]
            else:
                made = self.waiting[number - 1].result()
            self.taken = number + 1
            yield made

    def ready(self) -> bool:
        """Whether there is a next part and nobody would have to wait for it."""
        return 0 < self.taken < len(self.parts) and self.waiting[self.taken - 1].done()

    def check(self) -> None:
        """Raise what has gone wrong ahead: nobody need wait until its turn has come."""
        for future in self.waiting:
            if future.done() and (error := future.exception()) is not None:
                raise error

    def halt(self) -> None:
        """Ends the work of a part that nobody waits for.

        Raises:
            Halted: the block has been left.
        """
        if self.left:
            raise Halted


class Peeking(Generic[Item]):
    """An iterator whose next item can be seen beforehand, where it is ready."""

    def __init__(self, items: Iterator[Item], ready: Callable[[], bool]) -> None:
        self.items, self.ready = items, ready
        self.seen: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        return self.seen.pop() if self.seen else next(self.items)

    def peek(self) -> Item | None:
        """The next item; None: there is none, or one would have to wait for it."""
        if not self.seen and self.ready():
            self.seen.append(next(self.items))
        return self.seen[0] if self.seen else None

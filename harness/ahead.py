"""Parts of some work made ready while what needs the first of them goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")


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
            yield made

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

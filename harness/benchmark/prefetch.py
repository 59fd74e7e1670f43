"""Parts of some work made ready while what needs the first of them goes on.

The images of the next dataset, sent to a card while the last run of this one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

from harness.api.execution import ImageSet
from harness.api.records import RunSpec

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


Pixels: TypeAlias = dict[Any, Any]  # the engine's, by what they are shared by


@dataclass(frozen=True)
class Coming:
    """A run of the dataset that comes next, and how to open its images."""

    spec: RunSpec
    images: Callable[[], ImageSet]


class Uploads:
    """At most one dataset ahead, and only where there is room for it beside the runs.

    Attributes:
        room: bytes of the card's memory that are not planned for anything else; 0 without a card.
    """

    def __init__(self, device: str) -> None:
        self.device, self.room = device, 0
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self.waiting: tuple[str, Future[Pixels]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.waiting = None
        self.pool.shutdown(cancel_futures=True)

    def begin(self, coming: Coming | None) -> None:
        """Send the images of this run's dataset."""
        if coming is not None and self.room > 0:
            future = self.pool.submit(self._send, coming)
            self.waiting = (coming.spec.dataset, future)

    def take(self, dataset: str) -> Pixels:
        """What was sent of a dataset, when it is there; the run that has nothing sends its own."""
        kept, self.waiting = self.waiting, None
        if kept is None or kept[0] != dataset:
            return {}
        # What went wrong goes wrong again in the run that needs it, and is told there.
        return {} if kept[1].exception() else kept[1].result()

    def _send(self, coming: Coming) -> Pixels:
        from harness.engine.batches import upload

        images = coming.images()
        if sum(one.nbytes for one in images.images.values()) > self.room:
            return {}
        return upload(coming.spec, images, self.device)

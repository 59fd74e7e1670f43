"""The images of the next dataset, sent to a card while the last run of this one goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from harness.execution import ImageSet
from harness.records import RunSpec

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
        from harness.engine.upload import upload

        images = coming.images()
        if sum(one.nbytes for one in images.images.values()) > self.room:
            return {}
        return upload(coming.spec, images, self.device)

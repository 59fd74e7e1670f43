"""Work that is recorded once as a CUDA graph and replayed: no Python and no launch in between."""

from __future__ import annotations

import contextlib
import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol, TypeVar

import torch

from harness.engine.devices import RunClock, untuned
from harness.engine.storage import device_memory


class Sized(Protocol):
    """Work that can be kept."""

    def bytes(self) -> int: ...


Kept = TypeVar("Kept", bound=Sized)


class GraphCache:
    """Work recorded on one network, so that strategies and seeds can use it again.

    All recordings share one memory pool.  That is safe because they never run side by side, and
    because what one leaves behind (gradients, outputs) is used up before another is replayed.
    """

    # Gradients stay with their recording: of the device's memory they may take a tenth.
    SHARE = 0.1

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.records = self.device.type == "cuda"
        self.pool: Any = torch.cuda.graph_pool_handle() if self.records else None
        self.limit = int(device_memory(self.device) * self.SHARE) if self.records else 2**63
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        # Bytes of one image's features at the input of each stage.
        self.sizes: dict[int, int] = {}

    def keep(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The work under `key`, made if it is not there; the longest unused is dropped."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(one.bytes() for one in self._kept.values()) > self.limit:
            self._kept.popitem(last=False)
        kept: Kept = self._kept[key]
        return kept


def _without_trying(work: Callable[[], None]) -> Callable[[], None]:
    def done() -> None:
        with untuned():
            work()

    return done


class CapturableWork:
    """Work over fixed tensors: done plainly at its first use, recorded at its second, then replayed.

    The first use is real work too, and warms up what a recording cannot (kernels are chosen,
    states allocated).  On a device without graphs every use is plain.  `tune`: kernels may be tried
    out, which takes seconds for a shape that is new.
    """

    def __init__(self, work: Callable[[], None], graphs: GraphCache, *, tune: bool = True) -> None:
        self.work = work if tune else _without_trying(work)
        self.graphs = graphs
        self.used = False
        self.graph: torch.cuda.CUDAGraph | None = None

    @property
    def steady(self) -> bool:
        """A further use costs what every later one will."""
        return self.used and (self.graph is not None or not self.graphs.records)

    def __call__(self, clock: RunClock) -> None:
        if self.steady:
            self._again()
            return
        with clock.measure("compile"):
            if self.used:
                self._record()
                self._again()
            else:
                self.work()
                self.used = True

    def _again(self) -> None:
        if self.graph is None:
            self.work()
        else:
            self.graph.replay()

    def _record(self) -> None:
        torch.cuda.current_stream(self.graphs.device).synchronize()
        graph = torch.cuda.CUDAGraph()
        with _nothing_collected():
            graph.capture_begin(pool=self.graphs.pool, capture_error_mode="thread_local")
            try:
                self.work()
            finally:
                graph.capture_end()
        self.graph = graph


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """An old graph that the collector finds in the middle of a recording would spoil it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

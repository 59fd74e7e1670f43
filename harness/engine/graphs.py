"""Work that is recorded once as a CUDA graph and replayed: no Python and no launch in between."""

from __future__ import annotations

import contextlib
import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol, TypeVar

import torch

from harness.engine.devices import RunClock, device_memory, untuned


class Sized(Protocol):
    """Work that can be kept."""

    def bytes(self) -> int: ...


Kept = TypeVar("Kept", bound=Sized)


class GraphPool:
    """Memory that all recordings on one network share.

    That is safe because they never run side by side, and because what one leaves behind (gradients,
    outputs) is used up before another is replayed.

    Attributes:
        records: the device can record work; else all of it is done plainly.
        recordings: number of those made.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.records = self.device.type == "cuda"
        self.recordings = 0
        self.handle: Any = torch.cuda.graph_pool_handle() if self.records else None

    def idle_bytes(self) -> int:
        """Bytes that the recordings hold and the allocator counts as free: a replay works in them."""
        if not self.records:
            return 0
        return sum(
            segment["total_size"] - segment["allocated_size"]
            for segment in torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
            if tuple(segment["segment_pool_id"]) == tuple(self.handle)
        )


class GraphCache:
    """Work recorded on one network, so that strategies and seeds can use it again."""

    # Gradients stay with their recording: of the device's memory they may take a tenth.
    SHARE = 0.1

    def __init__(self, device: str) -> None:
        self.pool = GraphPool(device)
        records = self.pool.records
        self.limit = int(device_memory(self.pool.device) * self.SHARE) if records else 2**63
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


class CapturableWork:
    """Work over fixed tensors: done plainly at its first use, recorded at its second, then replayed.

    The first use is real work too, and warms up what a recording cannot (kernels are chosen,
    states allocated).  On a device without graphs every use is plain.

    The work is given at each use and not kept: it belongs to whoever has this, and if it led back
    there, only the garbage collector would let go of both, and of the network with them.

    Args:
        tune: kernels may be tried out, which takes seconds for a shape that is new.
    """

    def __init__(self, pool: GraphPool, *, tune: bool = True) -> None:
        self.pool, self.tune = pool, tune
        self.used = False
        self.graph: torch.cuda.CUDAGraph | None = None

    @property
    def steady(self) -> bool:
        """A further use costs what every later one will."""
        return self.used and (self.graph is not None or not self.pool.records)

    def __call__(self, work: Callable[[], None], clock: RunClock) -> None:
        """Do the work, which is the same at every use."""
        if self.graph is not None:
            self.graph.replay()
        elif self.steady:
            self._plainly(work)
        else:
            with clock.measure("compile"):
                if self.used:
                    self._record(work).replay()
                else:
                    self._plainly(work)
                    self.used = True

    def _plainly(self, work: Callable[[], None]) -> None:
        with contextlib.nullcontext() if self.tune else untuned():
            work()

    def _record(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        torch.cuda.current_stream(self.pool.device).synchronize()
        # What the plain use worked in is free, but not for the pool, which would come on top of it.
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with _nothing_collected():
            graph.capture_begin(pool=self.pool.handle, capture_error_mode="thread_local")
            try:
                self._plainly(work)
            except BaseException:
                # A recording that was broken off cannot be ended either; that error says less.
                with contextlib.suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        self.graph, self.pool.recordings = graph, self.pool.recordings + 1
        return graph


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

"""The device of a run: slots in which runs take turns, streams, the clock, a card's memory.

Several runs may go on side by side on one device: work on the device overlaps, work on the host
takes turns.  A run in a slot has a stream, a network and recorded work of its own.  It gives its
turn away only while it waits for the device, and finds the generators and switches that are global
as it left them.  So what a run computes does not depend on who goes on beside it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

_here = threading.local()
# What else a run finds as it left it when its turn comes again: how it is read, how it is put back.
FURTHER: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
_streams: dict[tuple[str, int], torch.cuda.Stream] = {}


@dataclass(frozen=True)
class DeviceTurn:
    """The slot that a thread works in, and the lock that says whose turn it is."""

    number: int
    lock: threading.Lock


def current() -> DeviceTurn | None:
    """The turn of this thread; None where runs go on one after another."""
    turn: DeviceTurn | None = getattr(_here, "turn", None)
    return turn


def slot_number() -> int:
    """The slot that this thread works in."""
    turn = current()
    return turn.number if turn else 0


@contextlib.contextmanager
def device_slot(number: int, lock: threading.Lock) -> Iterator[None]:
    """Work in a slot inside the block, in turn with the others that share the lock."""
    with lock:
        _here.turn = DeviceTurn(number, lock)
        try:
            yield
        finally:
            _here.turn = None


@contextlib.contextmanager
def own_stream(device: str) -> Iterator[None]:
    """Work on the slot's stream: graphs are recorded on one that is not the device's default."""
    if torch.device(device).type != "cuda":
        yield
        return
    key = (device, slot_number())
    if key not in _streams:
        _streams[key] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream, outer = _streams[key], torch.cuda.current_stream(device)
    stream.wait_stream(outer)
    with torch.cuda.stream(stream):
        yield
    outer.wait_stream(stream)


def wait(device: torch.device) -> None:
    """Until the device has done what this slot asked of it; others have their turn meanwhile."""
    if device.type != "cuda":
        return
    turn, stream = current(), torch.cuda.current_stream(device)
    if turn is None:
        stream.synchronize()
        return
    kept = _globals(device)
    turn.lock.release()
    try:
        stream.synchronize()
    finally:
        turn.lock.acquire()
        _put_globals(device, kept)


def _globals(device: torch.device) -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.get_rng_state(),
        torch.cuda.get_rng_state(device),
        torch.are_deterministic_algorithms_enabled(),
        (cudnn.benchmark, cudnn.allow_tf32),
        [read() for read, _ in FURTHER],
    )


def _put_globals(device: torch.device, kept: tuple[Any, ...]) -> None:
    cudnn = torch.backends.cudnn
    torch.set_rng_state(kept[0])
    torch.cuda.set_rng_state(kept[1], device)
    torch.use_deterministic_algorithms(kept[2], warn_only=True)
    cudnn.benchmark, cudnn.allow_tf32 = kept[3]
    for (_, put), value in zip(FURTHER, kept[4], strict=True):
        put(value)


@contextlib.contextmanager
def untuned() -> Iterator[None]:
    """Take kernels without trying them out: for shapes that are seldom seen."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    cudnn.benchmark = False
    try:
        yield
    finally:
        cudnn.benchmark = before


class RunClock:
    """Seconds by kind of work.  `shared` is what another run paid for and this one used."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.shared: defaultdict[str, float] = defaultdict(float)
        self.settled: set[object] = set()
        self.started = self.now()

    def now(self) -> float:
        """Seconds; waits for the device, so only call it at the ends of longer work."""
        self.wait()
        return time.perf_counter()

    def wait(self) -> None:
        """Until the device has done what was asked of it on this run's stream."""
        wait(self.device)

    @contextlib.contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Add the block's seconds to `kind`, not counting blocks measured inside it."""
        before, inner = self.now(), sum(self.seconds.values())
        try:
            yield
        finally:
            spent = self.now() - before
            self.seconds[kind] += spent - (sum(self.seconds.values()) - inner)

    def borrow(self, kind: str, seconds: float, what: object) -> None:
        """Charge what another run paid for, once: not what this run made or borrowed before."""
        if what not in self.settled:
            self.shared[kind] += seconds
        self.settled.add(what)

    def figures(self, *, alone: bool) -> dict[str, float]:
        """Seconds by kind, as `CostFigures` has them; `alone` charges shared parts in full."""
        total = self.now() - self.started
        shared = self.shared if alone else {}
        total += sum(shared.values())
        kinds = {
            kind: round(self.seconds[kind] + shared.get(kind, 0.0), 6)
            for kind in ("train", "evaluate", "load", "features", "compile")
        }
        return kinds | {"total": round(total, 6)}

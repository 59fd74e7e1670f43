"""The device of a run: its stream, its memory, its kernels, its clock."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch

from harness.api.records import RunSpec

_streams: dict[str, torch.cuda.Stream] = {}


@contextlib.contextmanager
def own_stream(device: str) -> Iterator[None]:
    """Work on a stream of its own: graphs are recorded on one that is not the device's default."""
    if torch.device(device).type != "cuda":
        yield
        return
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream, outer = _streams[device], torch.cuda.current_stream(device)
    stream.wait_stream(outer)
    with torch.cuda.stream(stream):
        yield
    outer.wait_stream(stream)


def device_memory(device: torch.device) -> int:
    """Bytes of the card's memory: shares of it are fixed, whoever uses it too."""
    return int(torch.cuda.get_device_properties(device).total_memory)


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
        self._open: list[tuple[str, float, float]] = []
        self.started = self.now()

    def now(self) -> float:
        """Seconds; waits for the device, so only call it at the ends of longer work."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return time.perf_counter()

    @contextlib.contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Add the block's seconds to `kind`, not counting blocks measured inside it."""
        before, inner = self.now(), sum(self.seconds.values())
        self._open.append((kind, before, inner))
        try:
            yield
        finally:
            self._open.pop()
            spent = self.now() - before
            self.seconds[kind] += spent - (sum(self.seconds.values()) - inner)

    def so_far(self) -> dict[str, float]:
        """Seconds by kind, those of blocks that are under way included."""
        now, found, total = self.now(), dict(self.seconds), sum(self.seconds.values())
        for kind, before, inner in reversed(self._open):
            own = now - before - (total - inner)
            found[kind] = found.get(kind, 0.0) + own
            total += own
        return found

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Around work that is no part of the run: its figures are as if it had not been."""
        began, kept = self.now(), (self.seconds.copy(), self.shared.copy(), set(self.settled))
        try:
            yield
        finally:
            self.seconds, self.shared, self.settled = kept
            self.started += self.now() - began

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


@contextlib.contextmanager
def kernels(spec: RunSpec, device: str) -> Iterator[None]:
    """Kernels as the numeric mode asks; CPU kernels are deterministic for one thread count."""
    if torch.device(device).type != "cuda":
        yield
        return
    torch.cuda.reset_peak_memory_stats(device)
    deterministic, cudnn = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    # An operation that has no deterministic kernel ends the run with torch's word, which names it.
    torch.use_deterministic_algorithms(spec.numeric.deterministic)
    cudnn.benchmark = not spec.numeric.deterministic
    cudnn.allow_tf32 = False  # float32 means float32, in convolutions as in products
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        cudnn.benchmark, cudnn.allow_tf32 = before

"""Where a run's time goes."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch

from harness.engine import slot
from harness.records import CostFigures


class Clock:
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
        slot.wait(self.device)

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

    def figures(self, *, alone: bool) -> CostFigures:
        """`alone` charges shared parts in full."""
        total = self.now() - self.started
        shared = self.shared if alone else {}
        total += sum(shared.values())
        kinds = {
            kind: round(self.seconds[kind] + shared.get(kind, 0.0), 6)
            for kind in ("train", "evaluate", "load", "features", "compile")
        }
        return CostFigures(**kinds, total=round(total, 6))

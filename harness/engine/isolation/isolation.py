"""State of the process that outlives a run: set at its start, checked at its end, and put back.

A line of set-up in somebody's strategy would else give the runs after it other bits under the same
ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from harness.api.records import RunSpec
from harness.engine.isolation.patches import Patches, first_optimizers
from harness.engine.isolation.settings import Settings, numeric_settings, process_settings

# What the first run would import; imported before the state is recorded, for it changes some of it.
FIRST = ("harness.engine", "torchvision")
_here = threading.local()


@dataclass
class Traces:
    """Changes that a run made to the process.

    Attributes:
        left: names of what it left changed.
        touched: something differed on the way: what it shares with others may be spoiled.
        patched: functions were put in the place of others; copies of them may lie anywhere.
        fresh: it could not all be put back: later runs need another process.
    """

    left: list[str] = field(default_factory=list)
    touched: bool = False
    patched: bool = False
    fresh: bool = False

    @property
    def renew(self) -> bool:
        """A worker process had better be left."""
        return self.fresh or self.patched

    def add(self, names: Sequence[str]) -> None:
        self.left += [name for name in names if name not in self.left]
        self.touched |= bool(names)


class Isolation:
    """The state of this process as runs of one call begin with it."""

    def __init__(self, threads: int) -> None:
        """Record it.  `threads`: torch's threads in runs."""
        for name in FIRST:
            importlib.import_module(name)
        self.numerics, self.process = Settings(numeric_settings()), Settings(process_settings())
        first_optimizers()
        self.patches = Patches()
        self.before = self.numerics.read()
        torch.set_num_threads(threads)
        self.numerics.wanted[-1] = torch.get_num_threads()
        self.at_import = self.patches.at_import()

    def leave(self) -> None:
        """Give the process back to the caller as it was."""
        self.numerics.put(self.before)

    @contextlib.contextmanager
    def around(self, spec: RunSpec) -> Iterator[Traces]:
        """Carry out one run inside the block; `Traces` is complete after it."""
        traces = Traces()
        before = [*self._put_back(traces), *self.at_import]
        traces.left = [f"{name} (before the run)" for name in before]
        modules, generators = len(sys.modules), generators_now()
        _seed(spec)
        _here.isolation, _here.traces = self, traces
        try:
            yield traces
        finally:
            _here.isolation = _here.traces = None
            put_generators(generators)
            changed = self._put_back(traces)
            if len(sys.modules) > modules:  # a library that is imported adds filters of its own
                changed = [name for name in changed if name != "warning filters"]
            traces.add(changed)
            traces.fresh = bool(changed) and bool(self._put_back(traces))

    def _put_back(self, traces: Traces) -> list[str]:
        numbers = self.numerics.put(self.numerics.wanted)  # first: the dtype moves `torch.Storage`
        patched = self.patches.put_back()
        traces.patched |= bool(patched)
        return [*numbers, *patched, *self.process.put(self.process.wanted)]


def numerics() -> list[Any] | None:
    """The state that decides how numbers are computed; None: nobody keeps runs apart."""
    isolation: Isolation | None = getattr(_here, "isolation", None)
    return None if isolation is None else isolation.numerics.read()


def changed_since(kept: list[Any] | None) -> bool:
    """True if code of the strategy computes otherwise now: what it makes is for itself only."""
    isolation: Isolation | None = getattr(_here, "isolation", None)
    if isolation is None or kept is None:
        return False
    differs = isolation.numerics.read() != kept or isolation.patches.there()
    _here.traces.touched |= differs
    return differs


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Around a metric or an observer: the run goes on as if it had not been there."""
    isolation: Isolation | None = getattr(_here, "isolation", None)
    generators = generators_now()
    kept = None if isolation is None else isolation.numerics.read()
    try:
        yield
    finally:
        put_generators(generators)
        if isolation is not None and kept is not None:
            _here.traces.add(isolation.numerics.put(kept))


def generators_now() -> tuple[Any, ...]:
    """States of the global generators: Python's, numpy's, torch's on the CPU."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the global one


def put_generators(kept: tuple[Any, ...]) -> None:
    """Put the global generators into states that `generators_now` gave."""
    random.setstate(kept[0])
    np.random.set_state(kept[1])  # noqa: NPY002
    torch.set_rng_state(kept[2])


def _seed(spec: RunSpec) -> None:
    """Generators that the engine never draws from, for strategies that do."""
    text = f"{spec.seed}|{spec.dataset}|{spec.backbone}|global"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002

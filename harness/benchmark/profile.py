"""Seconds of a call and of its runs by part: the tables of `harness bench --profile`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from harness.api.execution import Outcome
from harness.api.records import CostFigures, RunResult, RunSpec
from harness.results.store import charged

WORK = ("load", "features", "compile", "train", "evaluate")
OF_A_RUN = ("decode", *WORK, "write")
TITLES = {
    "startup": "start: Python and imports",
    "prepare": "prepare: data, weights, plan",
    "runs": "runs",
    "board": "board",
    "decode": "decode (and near duplicates, split)",
    "load": "load (network, data)",
    "features": "features of frozen stages",
    "compile": "compile or record steps",
}


class DecodingCost:
    """Charge the making of a dataset: in full to what a run costs alone, once to what it took."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.seconds, self.owed = dict(seconds), dict(seconds)

    def add(self, name: str, seconds: float) -> None:
        """A dataset was made again."""
        self.seconds[name] = self.owed[name] = seconds

    def charge(self, outcome: Outcome, *, settle: bool = True) -> Outcome:
        """`settle`: what was owed is paid by this run."""
        name = outcome.result.spec.dataset
        alone = {"decode": self.seconds.get(name, 0.0)}
        incurred = {"decode": self.owed.get(name, 0.0)}
        if settle:
            self.owed.pop(name, None)
        return replace(outcome, result=charged(outcome.result, alone=alone, incurred=incurred))


class Profile:
    """Seconds of one call by part, and of each of its runs from hand-out to disk."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {"startup": since_start()}
        self.runs: dict[str, float] = {}
        self.starting: list[float] = []
        self._began: dict[str, float] = {}

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the block's seconds to a part."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.parts[part] = self.parts.get(part, 0.0) + spent

    def run_start(self, spec: RunSpec) -> None:
        self._began[spec.run_id] = time.perf_counter()

    def run_end(self, spec: RunSpec) -> None:
        self.runs[spec.run_id] = time.perf_counter() - self._began.pop(spec.run_id)

    def overheads(self, results: Sequence[RunResult]) -> list[float]:
        """Seconds of each run of this call that none of its work took."""
        return [
            self.runs[result.run_id] - sum(getattr(result.cost.incurred, kind) for kind in WORK)
            for result in results
            if result.run_id in self.runs
        ]

    def tables(self, results: Sequence[RunResult]) -> str:
        """Two tables: this call, and the finished runs it asked for."""
        return f"{self._call()}\n\n{self._runs(results)}\n"

    def _call(self) -> str:
        whole = sum(self.parts.values())
        rows = [(TITLES[part], spent, 100 * spent / whole) for part, spent in self.parts.items()]
        if self.starting:
            mean = sum(self.starting) / len(self.starting)
            rows.insert(
                -1, (f"  of it start of {len(self.starting)} workers", mean, 100 * mean / whole)
            )
        rows.append(("this call", whole, 100.0))
        return tabulate(rows, headers=("part", "seconds", "%"), floatfmt=("", ".2f", ".0f"))

    def _runs(self, results: Sequence[RunResult]) -> str:
        n = len(results)
        rows = [
            (TITLES.get(kind, kind), spent, 1000 * spent / n if n else 0.0)
            for kind, spent in totals([result.cost.incurred for result in results]).items()
        ]
        overheads = self.overheads(results)
        if overheads:
            spent = sum(overheads)
            label = f"overhead of {len(overheads)} made now (all but work)"
            rows.append((label, spent, 1000 * spent / len(overheads)))
        heads = (f"{n} runs", "seconds", "ms a run")
        return tabulate(rows, headers=heads, floatfmt=("", ".2f", ".1f"))


def totals(costs: Sequence[CostFigures]) -> dict[str, float]:
    """Seconds by kind, added up."""
    return {kind: sum(getattr(cost, kind) for cost in costs) for kind in OF_A_RUN}


def since_start() -> float:
    """Seconds since this process began; where the system does not say, its core time."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError):
        return time.process_time()

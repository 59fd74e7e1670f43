"""The time that is left of a call's runs, from the work that they are and what it took so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.api.records import RunResult, RunSpec

# Share of all work that what was expected counts like, beside what was measured: the first seconds
# of a call say little.
PRIOR = 0.01


@dataclass
class _Active:
    """A run under way; `share`: of its work that is done."""

    spec: RunSpec
    began: float
    share: float = 0.0


class RemainingTime:
    """Work and time of runs that go on side by side.

    Args:
        specs: the runs.
        work: run id -> the seconds that it is expected to take, were it to use all its epochs.
        jobs: runs at a time.
    """

    def __init__(self, specs: Sequence[RunSpec], work: Mapping[str, float], jobs: int) -> None:
        self.work, self.jobs = work, max(1, min(jobs, len(specs)))
        self.waiting = {spec.run_id: spec for spec in specs}
        self.active: dict[str, _Active] = {}
        self.done = self.busy = 0.0  # work and seconds of ended runs
        self.used: dict[str, list[float]] = {}  # strategy -> shares of their epochs

    def start(self, spec: RunSpec) -> None:
        """A run begins; again where a process had to start for it first: that is no work."""
        self.waiting.pop(spec.run_id, None)
        self.active[spec.run_id] = _Active(spec, time.monotonic())

    def advance(self, spec: RunSpec, share: float) -> None:
        """`share` of a run's epochs is done."""
        self.active[spec.run_id].share = share

    def end(self, spec: RunSpec, result: RunResult) -> None:
        """A run has ended, before its last epoch perhaps."""
        run = self.active.pop(spec.run_id)
        share = run.share
        if result.status == "ok":  # without phases: nothing but further test sets was asked for
            spent = sum(one.epochs for one in result.phases) or spec.protocol.epochs
            share = min(1.0, spent / spec.protocol.epochs)
            self.used.setdefault(spec.strategy, []).append(share)
        self.done += share * self.work[spec.run_id]
        self.busy += time.monotonic() - run.began

    def look(self) -> tuple[float, float]:
        """The share of the work that is done, and the seconds that are left."""
        now, active = time.monotonic(), list(self.active.values())
        done, busy = self.done, self.busy
        for run in active:
            done += run.share * self.work[run.spec.run_id]
            busy += now - run.began
        ahead = [self._expected(run.spec) * (1 - run.share) for run in active]
        ahead += [self._expected(spec) for spec in list(self.waiting.values())]
        left = sum(ahead)
        believed = PRIOR * sum(self.work.values())
        pace = (busy + believed) / (done + believed) if done + believed else 1.0
        return (
            done / (done + left) if done + left else 1.0,
            pace * max(left / self.jobs, max(ahead, default=0.0)),
        )

    def _expected(self, spec: RunSpec) -> float:
        """The work of a run that is not done, as far as those that ended early tell."""
        used = self.used.get(spec.strategy) or [
            one for shares in list(self.used.values()) for one in shares
        ]
        return self.work[spec.run_id] * (fmean(used) if used else 1.0)

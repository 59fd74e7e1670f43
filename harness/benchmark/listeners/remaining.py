"""The time that is left of a call's runs, from the work that they are and what it took so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.api.records import RunResult, RunSpec
from harness.benchmark.forecast.work import Pace, RunWork
from harness.benchmark.listeners.events import Working

# Shares of all work that count as done at the pace that was expected, as it was measured here or only
# assumed: the first steps of a call say little, for they take longer than those after.  Assumed.
TRUST_MEASURED, TRUST_ASSUMED = 0.1, 0.02
# Seconds from the end of the last run to that of the call: its board, and the end of a process that
# imported torch.  Assumed, by calls of two runs that took 0.2 to 0.8.
AFTER = 0.7


@dataclass
class _Active:
    """A run under way: steps and operations that are done."""

    spec: RunSpec
    began: float
    steps: int = 0
    done: float = 0.0


class RemainingTime:
    """Work and time of runs that go on side by side.

    Args:
        specs: the runs.
        work: run id -> its work; a run that is not there counts as the mean of the others.
        jobs: runs at a time.
        pace: that is expected; None: nothing is known yet.
        share: of its work that a run is expected to do before its patience runs out.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        work: Mapping[str, RunWork],
        jobs: int,
        pace: Pace | None = None,
        share: float = 1.0,
    ) -> None:
        self.work, self.jobs, self.pace = work, max(1, min(jobs, len(specs))), pace
        self.share, self.beside = share, 0.0 if pace is None else pace.beside
        self.usual = fmean(one.total for one in work.values()) if work else 1.0
        self.waiting = {spec.run_id: spec for spec in specs}
        self.active: dict[str, _Active] = {}
        self.done = self.busy = 0.0  # operations and seconds of ended runs, without those beside
        self.used: dict[str, list[float]] = {}  # strategy -> shares of their work, of ended runs

    def start(self, spec: RunSpec) -> None:
        """A run begins."""
        self.waiting.pop(spec.run_id, None)
        self.active[spec.run_id] = _Active(spec, time.monotonic())

    def drop(self, spec: RunSpec) -> None:
        """A run is made elsewhere."""
        self.waiting.pop(spec.run_id, None)

    def again(self, spec: RunSpec) -> None:
        """A run that had begun is to begin anew: what was done of it counts for nothing."""
        del self.active[spec.run_id]
        self.waiting[spec.run_id] = spec

    def advance(self, spec: RunSpec, at: Working) -> None:
        """A sign of life of a run."""
        run, work = self.active[spec.run_id], self.work.get(spec.run_id)
        share = at.done / at.total
        if work is None:
            done = share * self.usual if at.part == "train" else 0.0
        elif at.part == "train":
            run.steps = round(share * work.steps)
            done = work.after(run.steps)
        else:
            done = work.after(run.steps) + share * _part(work, at.part, run.steps)
        run.done = max(run.done, done)

    def end(self, spec: RunSpec, result: RunResult) -> None:
        """A run has ended, before its last epoch perhaps."""
        run, total = self.active.pop(spec.run_id), self._total(spec)
        if result.status == "ok":
            run.done = self._made(spec, result)
            self.used.setdefault(spec.strategy, []).append(run.done / total)
        self.done += run.done
        self.busy += self._worked(run, time.monotonic())

    def look(self) -> tuple[float, float | None]:
        """The share of the work that is done, and the seconds left to the end of the call.

        None: nothing tells them yet.
        """
        now, active = time.monotonic(), list(self.active.values())
        waiting = list(self.waiting.values())
        done = self.done + sum(run.done for run in active)
        busy = self.busy + sum(self._worked(run, now) for run in active)
        ahead = [(self._total(run.spec) - run.done) * self._used(run.spec) for run in active]
        ahead += [self._total(spec) * self._used(spec) for spec in waiting]
        left = sum(ahead)
        share = done / (done + left) if done + left else 1.0
        if self.pace is not None:
            trust = TRUST_MEASURED if self.pace.measured else TRUST_ASSUMED
            believed = trust * (done + left)
            done, busy = done + believed, busy + believed * self.pace.seconds
        if not done:
            return share, None if left else AFTER
        # However many run side by side: none ends before its own work is done.
        longest = max(left / self.jobs, max(ahead, default=0.0))
        return share, busy / done * longest + self.beside * len(waiting) / self.jobs + AFTER

    def _worked(self, run: _Active, now: float) -> float:
        """Seconds of a run's work so far; what is beside it passes before its first step."""
        return max(0.0, now - run.began - self.beside)

    def _total(self, spec: RunSpec) -> float:
        work = self.work.get(spec.run_id)
        return self.usual if work is None else work.total

    def _made(self, spec: RunSpec, result: RunResult) -> float:
        """The work of a finished run, whose patience may have run out."""
        work = self.work.get(spec.run_id)
        if work is None or not result.phases:  # only further test sets were asked for
            return self._total(spec)
        steps = round(sum(phase.epochs for phase in result.phases) * work.steps_per_epoch)
        return work.after(steps) + work.test

    def _used(self, spec: RunSpec) -> float:
        """The share of its work that a run is expected to do, as those that have ended did."""
        used = self.used.get(spec.strategy) or [
            one for shares in list(self.used.values()) for one in shares
        ]
        return fmean(used) if used else self.share


def _part(work: RunWork, part: str, steps: int) -> float:
    """The operations of features or of the test, if it is what comes after so many steps."""
    if part == "evaluate":
        return work.test if steps == work.steps else 0.0
    return next((one.features for one in work.phases if one.first <= steps < one.last), 0.0)

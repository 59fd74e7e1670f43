"""Progress for people while runs go on, and the way to whoever observes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from harness.api.execution import Outcome
from harness.api.metric import metric_fault
from harness.api.records import EpochRecord, RunResult, RunSpec
from harness.api.strategy import PhaseReport
from harness.benchmark.listeners.events import RunListener, StateLeft, Working
from harness.benchmark.listeners.remaining import RemainingTime
from harness.benchmark.profile import Profile
from harness.plugins.registry import PluginRegistry
from harness.plugins.tracking import Tracking
from harness.utils import signs
from harness.utils.text import clean, duration, percent

IMAGES = {"features": "features of frozen stages", "evaluate": "predicting"}


@dataclass
class _Active:
    """A run under way: what it does, and its latest score."""

    spec: RunSpec
    at: str
    score: str = ""


class ProgressReporter(RunListener):
    """Keep every outcome, say what goes on, and tell the plugins that observe.

    `keep` writes an outcome to disk and returns the record that was written.
    """

    def __init__(
        self,
        loaded: PluginRegistry,
        specs: Sequence[RunSpec],
        keep: Callable[[Outcome], RunResult],
        remaining: RemainingTime,
        *,
        profile: Profile | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.loaded, self.total, self.keep, self.done = loaded, len(specs), keep, 0
        self.elsewhere = 0  # runs that another call makes
        self.remaining, self.tracking = remaining, tracking
        self.profile = profile or Profile()
        self.active: dict[str, _Active] = {}
        self._signs = ExitStack()

    def __enter__(self) -> Self:
        for fault in self.tracking.start() if self.tracking is not None else ():
            self.say(fault)
        self._signs.enter_context(signs.describing(self.describe))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._signs.close()
        for fault in self.tracking.stop() if self.tracking is not None else ():
            self.say(fault)

    # -- events --------------------------------------------------------------------------

    def run_start(self, spec: RunSpec) -> None:
        self.profile.run_start(spec)
        self.remaining.start(spec)
        self.active[spec.run_id] = _Active(spec, "starting")
        self._notify("harness_run_start", spec=spec)

    def worker_ready(self, seconds: float | None) -> None:
        if seconds is not None:
            self.profile.starting.append(seconds)

    def run_again(self, spec: RunSpec, reason: str) -> None:
        del self.active[spec.run_id]
        self.remaining.again(spec)
        self.say(f"tried once more: {spec.cell} (seed {spec.seed}): {reason}")

    def run_elsewhere(self, spec: RunSpec, *, made: bool) -> None:
        self.remaining.drop(spec)
        self.total -= 1
        self.elsewhere += 1
        if not made:
            self.say(f"left to another call that makes it: {spec.cell} (seed {spec.seed})")

    def working(self, spec: RunSpec, at: Working) -> None:
        self.remaining.advance(spec, at)
        if at.part != "train":
            text = f"{IMAGES.get(at.part, at.part)}, {at.done:,} of {at.total:,} images"
        elif at.total == 1:
            text = percent(at.done)
        else:
            text = f"step {at.done:,} of {at.total:,}"
        self.active[spec.run_id].at = text

    def epoch_end(self, spec: RunSpec, record: EpochRecord) -> None:
        score = "undefined" if record.score is None else f"{record.score:.3f}"
        self.active[
            spec.run_id
        ].score = f"; {record.phase}, epoch {record.epoch:g}: {spec.protocol.metric} {score}"
        self._notify("harness_epoch_end", spec=spec, epoch=record)

    def phase_end(self, spec: RunSpec, report: PhaseReport) -> None:
        self._notify("harness_phase_end", spec=spec, report=report)

    def _notify(self, hook: str, **told: object) -> None:
        """Tell the plugins that observe, and the trackers."""
        self.loaded.notify(hook, **told)
        for fault in self.tracking.hear(hook, **told) if self.tracking is not None else ():
            self.say(fault)

    def state_left(self, spec: RunSpec, left: StateLeft) -> None:
        self.say(
            f"{spec.cell} (seed {spec.seed}) changed what other runs share: "
            f"{', '.join(left.names)}; it was put back"
            + (", the runs after it go on in a new process" if left.fresh else "")
        )

    def predicted(self, spec: RunSpec, outcome: Outcome) -> None:
        self.active[spec.run_id].at = "computing figures"
        self.keep(outcome)

    def run_end(self, spec: RunSpec, outcome: Outcome) -> None:
        del self.active[spec.run_id]
        self.done += 1
        result = self.keep(outcome)
        self.remaining.end(spec, result)
        if result.status != "ok":
            message = result.error.headline if result.error else result.status
            self.say(f"failed: {spec.cell} (seed {spec.seed}): {message}")
        for name, value in result.metrics.items():
            if why := metric_fault(name, value):
                self.say(f"undefined: {spec.cell} (seed {spec.seed}): {name} raised {why}")
        self._notify("harness_run_end", spec=spec, result=result)
        self.profile.run_end(spec)

    def told(self, spec: RunSpec, text: str) -> None:
        self.say(f"{spec.cell} (seed {spec.seed}): {text}")

    def weights_lost(self, spec: RunSpec, reason: str) -> None:
        self.say(
            f"weights not kept: {spec.cell} (seed {spec.seed}): {reason}; the run itself is kept"
        )

    # -- showing -------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A line that stays."""
        print(clean(text), file=sys.stderr, flush=True)  # noqa: T201 - the log

    def describe(self) -> str:
        """The work that is done, the time that is left, and what the latest run does."""
        share, left = self.remaining.look()
        time = "" if left is None else f"about {duration(left)} left, "
        whole = f"{percent(share)}, {time}{self.done}/{self.total} runs"
        active = list(self.active.values())
        if not active:
            return whole if self.done == self.total else f"{whole}; starting workers"
        run = active[-1]
        more = f" (+{len(active) - 1} more)" if len(active) > 1 else ""
        cell = run.spec.cell.replace(" / ", "/")
        return f"{whole}; {run.at}, {cell}{more}{run.score}"

"""Progress for people while data are decoded and runs go on: a live bar, or plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harness.api.execution import Outcome
from harness.api.metric import metric_fault
from harness.api.records import EpochRecord, RunResult, RunSpec
from harness.api.strategy import PhaseReport
from harness.benchmark.listeners.events import RunListener, StateLeft
from harness.benchmark.profile import Profile
from harness.plugins.registry import PluginRegistry
from harness.plugins.tracking import Tracking
from harness.utils.streams import Guarded, unguarded
from harness.utils.text import clean

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# A log wants a line now and then, not one an epoch.
SECONDS_BETWEEN_LINES = 5.0


class ProgressReporter(RunListener):
    """Keep every outcome, show progress on stderr, and tell the plugins that observe.

    `keep` writes an outcome to disk and returns the record that was written.
    """

    def __init__(
        self,
        loaded: PluginRegistry,
        total: int,
        keep: Callable[[Outcome], RunResult],
        *,
        live: bool | None = None,
        profile: Profile | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.loaded, self.total, self.keep, self.done = loaded, total, keep, 0
        self.live = sys.stderr.isatty() if live is None else live
        self.profile, self.tracking = profile or Profile(), tracking
        self.started = self.last_line = time.monotonic()
        self.active: dict[str, tuple[RunSpec, str]] = {}
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def __enter__(self) -> Self:
        for fault in self.tracking.start() if self.tracking is not None else ():
            self.say(fault)
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeRemainingColumn as Left

            columns = (
                BarColumn(24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                Left(),
                TextColumn("{task.description}"),
            )
            self.bar = Progress(
                *columns, console=Console(file=unguarded(sys.stderr)), transient=True
            )
            before = sys.stderr
            self.bar.start()
            if sys.stderr is not before:  # lines of others, above the bar, until it stops
                sys.stderr = Guarded(sys.stderr)
            self.task = self.bar.add_task(
                "starting", total=self.total, completed=self.done, rate=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
        for fault in self.tracking.stop() if self.tracking is not None else ():
            self.say(fault)

    # -- events --------------------------------------------------------------------------

    def run_start(self, spec: RunSpec) -> None:
        self.profile.run_start(spec)
        self.active[spec.run_id] = (spec, "starting")
        self._show()
        self._notify("harness_run_start", spec=spec)

    def ready(self, spec: RunSpec, _: None = None) -> None:
        self.profile.ready(spec)

    def epoch_end(self, spec: RunSpec, record: EpochRecord) -> None:
        score = "undefined" if record.score is None else f"{record.score:.3f}"
        text = f"{record.phase}, epoch {record.epoch:g}: {spec.protocol.metric} {score}"
        self.active[spec.run_id] = (spec, text)
        self._show()
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
        self.keep(outcome)

    def run_end(self, spec: RunSpec, outcome: Outcome) -> None:
        self.active.pop(spec.run_id, None)
        self.done += 1
        result = self.keep(outcome)
        if result.status != "ok":
            message = result.error.headline if result.error else result.status
            self.say(f"failed: {spec.cell} (seed {spec.seed}): {message}")
        for name, value in result.metrics.items():
            if why := metric_fault(name, value):
                self.say(f"undefined: {spec.cell} (seed {spec.seed}): {name} raised {why}")
        self._show(advance=True)
        self._notify("harness_run_end", spec=spec, result=result)
        self.profile.run_end(spec)

    def weights_lost(self, spec: RunSpec, reason: str) -> None:
        self.say(
            f"weights not kept: {spec.cell} (seed {spec.seed}): {reason}; the run itself is kept"
        )

    # -- showing -------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A line that stays."""
        text = clean(text)
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - the log

    def _show(self, *, advance: bool = False) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(
                self.task,
                advance=int(advance),
                description=clean(self._description()),
                rate=self._rate(),
            )
        elif advance and (self._due() or self.done == self.total):
            self.last_line = time.monotonic()
            self.say(f"{self.done}/{self.total} runs, {self._left()}; {self._description()}")

    def _due(self) -> bool:
        return time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES

    def _rate(self) -> str:
        return f"{self._spent() / self.done:.3g} s a run" if self.done else ""

    def _left(self) -> str:
        spent = self._spent()
        left = spent / max(1, self.done) * (self.total - self.done)
        return f"{self._rate()}, {spent:.0f} s, about {left:.0f} s left"

    def _spent(self) -> float:
        return time.monotonic() - self.started

    def _description(self) -> str:
        if not self.active:
            return "done" if self.done == self.total else "waiting"
        spec, text = next(reversed(self.active.values()))
        more = f" (+{len(self.active) - 1} more)" if len(self.active) > 1 else ""
        return f"{spec.cell}: {text}{more}"


class DecodingProgress:
    """A line now and then on how far the decoding of a dataset is; small ones pass without a word."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.name, self.say, self.last = name, say, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.last >= SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            self.say(f"decoding {self.name}: {done} of {total} images")

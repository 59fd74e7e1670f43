"""Events of runs for the caller, and the queue of runs that wait for a worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from harness.api.execution import Observer, Outcome
from harness.api.records import EpochRecord, RunSpec, started
from harness.api.strategy import PhaseReport
from harness.data.division.split import Division
from harness.data.images import PixelForm

# Of signs of life in a run: another process sends them, and nobody reads faster.
SECONDS_BETWEEN_SIGNS = 1.0


class Working(NamedTuple):
    """Progress of a part of a run; `done` of `total` steps or images, or a share of 1."""

    part: str
    done: float
    total: float


class Group(NamedTuple):
    """Runs that share a network, its start and images: what one of them has made others find ready."""

    dataset: str
    backbone: str
    division: Division
    form: PixelForm
    start: str | None = None

    @classmethod
    def of(cls, spec: RunSpec) -> Group:
        """The group of a run."""
        division, form = Division.of(spec), PixelForm.of(spec.seen)
        return cls(spec.dataset, spec.backbone, division, form, spec.start)

    @property
    def started(self) -> str:
        """The backbone, with its start where it names one."""
        return started(self.backbone, self.start)

    @property
    def images(self) -> tuple[str, Division, PixelForm]:
        """The images that its runs see."""
        return self.dataset, self.division, self.form


@dataclass(frozen=True)
class StateLeft:
    """Global state that a run left changed in its process.

    Attributes:
        renew: a worker process had better be left.
        fresh: it could not all be put back: no later run may use the process.
    """

    names: tuple[str, ...]
    renew: bool
    fresh: bool


class RunListener:
    """Receiver of events in the caller's process; the default does nothing."""

    def run_start(self, spec: RunSpec) -> None: ...

    def worker_ready(self, seconds: float | None) -> None:
        """A process that will do runs has started; `seconds`: that this took, if anybody knows."""

    def run_again(self, spec: RunSpec, reason: str) -> None:
        """The worker of a run has ended; `run_start` follows once more, later."""

    def run_elsewhere(self, spec: RunSpec, *, made: bool) -> None:
        """Another call has made a run of this one; or, not `made`, it is left to that call."""

    def working(self, spec: RunSpec, at: Working) -> None:
        """A sign of life of a run, now and then."""

    def epoch_end(self, spec: RunSpec, record: EpochRecord) -> None: ...

    def phase_end(self, spec: RunSpec, report: PhaseReport) -> None: ...

    def told(self, spec: RunSpec, text: str) -> None:
        """Something about a run that a user should know, in a line."""

    def weights_lost(self, spec: RunSpec, reason: str) -> None:
        """The tested weights of a run could not be kept; the run itself goes on to its end."""

    def state_left(self, spec: RunSpec, left: StateLeft) -> None:
        """The run changed what is global, and did not put it back."""

    def predicted(self, spec: RunSpec, outcome: Outcome) -> None:
        """A run is trained and tested; `run_end` follows, unless computing its figures ends it."""

    def run_end(self, spec: RunSpec, outcome: Outcome) -> None: ...

    def receive(self, spec: RunSpec, event: str, value: Any) -> None:  # noqa: ANN401 - of any event
        """Take an event by its name, as it comes from a worker."""
        getattr(self, event)(spec, value)


class RunObserver(Observer):
    """The engine's observer of one run: sends each event on with the run it is about.

    `dress`: puts into an outcome what the engine does not know.
    """

    def __init__(self, spec: RunSpec, send: Callable[[RunSpec, str, Any], None]) -> None:
        self.spec, self.send = spec, send
        self.dress: Callable[[Outcome], Outcome] = lambda outcome: outcome
        self._next_sign = 0.0

    def progress(self, phase: str, done: float) -> None:
        self._sign(Working("train", done, 1.0))

    def working(self, part: str, done: int, total: int) -> None:
        self._sign(Working(part, done, total))

    def _sign(self, at: Working) -> None:
        """Send a sign of life on, unless there was one just now."""
        now = time.monotonic()
        if now >= self._next_sign:
            self._next_sign = now + SECONDS_BETWEEN_SIGNS
            self.send(self.spec, "working", at)

    def epoch_end(self, record: EpochRecord) -> None:
        self.send(self.spec, "epoch_end", record)

    def phase_end(self, report: PhaseReport) -> None:
        self.send(self.spec, "phase_end", report)

    def predicted(self, outcome: Outcome) -> None:
        self.send(self.spec, "predicted", self.dress(outcome))

    def told(self, text: str) -> None:
        self.send(self.spec, "told", text)

    def weights_lost(self, reason: str) -> None:
        """The tested weights could not be kept."""
        self.send(self.spec, "weights_lost", reason)

    def state_left(self, left: StateLeft) -> None:
        self.send(self.spec, "state_left", left)


class RunQueue:
    """Runs that wait, by group.  `work`: run id -> work of a run, in any unit."""

    def __init__(self, specs: Sequence[RunSpec], work: Mapping[str, float]) -> None:
        self.work, self.usual = work, fmean(work.values()) if work else 1.0
        self.waiting: dict[Group, list[RunSpec]] = {}
        for spec in specs:
            self.put(spec)

    def put(self, spec: RunSpec) -> None:
        """Let a run wait."""
        self.waiting.setdefault(Group.of(spec), []).append(spec)

    def __len__(self) -> int:
        return sum(map(len, self.waiting.values()))

    def take(self, own: Group | None, others: Collection[Group | None]) -> RunSpec:
        """The next run of one's `own` group, else of the group with most work that nobody has open.

        `others`: groups that are open elsewhere; where no other is left, one of them is joined.
        """
        group = own
        if group is None or group not in self.waiting:
            free = [one for one in self.waiting if one not in others] or list(self.waiting)
            group = max(free, key=self._left)
        waiting = self.waiting[group]
        taken = waiting.pop(0)
        if not waiting:
            del self.waiting[group]
        return taken

    def _left(self, group: Group) -> float:
        return sum(self.work.get(spec.run_id, self.usual) for spec in self.waiting[group])

"""Launchers: what starts workers, here or elsewhere, and brings runs to them and outcomes back.

The caller keeps the queue, the store and the board: it says which worker gets which run, and only
it writes results.  A launcher starts workers, passes on what they tell, and says which have ended.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from harness.api.execution import Outcome
from harness.api.records import RunSpec

# Called in a worker with the name of an event of a run, and its value, which can be pickled.
Tell: TypeAlias = Callable[[str, Any], None]


@dataclass(frozen=True)
class LaunchSetup:
    """A call's wish for workers, as a launcher is asked for it.

    Attributes:
        name: the launcher that is meant: `--launcher NAME`.
        device: the kind of device that was asked for: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        jobs: workers side by side; None: the launcher's choice.
        threads: CPU threads of each.
        address: where a cluster is that runs already; None: nothing was said.
        live: runs will follow; False: only a plan is made, and nothing has to be started for it.
    """

    name: str
    device: str = "auto"
    jobs: int | None = None
    threads: int = 1
    address: str | None = None
    live: bool = True


class Task(NamedTuple):
    """One try of a run.

    `attempt` counts from 1: what is told of an earlier try after a later one has begun is dropped.
    """

    spec: RunSpec
    attempt: int = 1


class Message(NamedTuple):
    """Something that a launcher has to say of a worker.

    Attributes:
        worker: its name; none is used twice.
        event: 'ready': it can be sent a run; `value`: seconds that its start took, or None.
            'run_end': `value` is the `Outcome`, and the worker can be sent another run.
            'died': it has ended unasked; `value`: the reason, for people.
            'lost': likewise, and no run can be at fault, as where its machine was taken away.
            'over_memory': the worker holds more than it may, `value` bytes, and ends right after.
            Anything else: an event of a run, as `Worker.run` told it.
        task: the try that an event of a run is about.
    """

    worker: str
    event: str
    value: Any = None
    task: Task | None = None


class Worker(ABC):
    """One that carries runs out, one after another, in the process that opened it."""

    @abstractmethod
    def run(self, task: Task, tell: Tell) -> Outcome:
        """The outcome of a run, whatever happened; its events are told while it goes on.

        To be called in the main thread of the process.  'over_memory' alone is told from another
        thread, and the process ends when `tell` returns.
        """


class Work(ABC):
    """Everything that the runs of a call share.

    It is small and can be pickled: images and weights travel by where they lie.
    """

    @abstractmethod
    def open(self) -> Worker:
        """Import plugins and libraries, in the process that is to carry runs out."""


class Launcher(ABC):
    """A means of starting workers.

    `open` begins and `close` ends; both may be called several times, in turns.

    Attributes:
        device: the kind of device that its workers have, as `LaunchSetup.device` without 'auto'.
        jobs: workers side by side, at most; None: as many as this machine's cores.
        here: its workers are on this machine, whose device can be asked.
        cards: cards that its workers share; a worker has one.
    """

    device: str = "cpu"
    jobs: int | None = None
    here: bool = False
    cards: int = 1

    def prepare(self) -> None:  # noqa: B027 - most have nothing to do here
        """Begin what can begin while data are prepared: runs are to follow."""

    def packed(self, jobs: int) -> bool:
        """True if some of so many workers share a card: no run's seconds are its own then."""
        return self.device.startswith("cuda") and jobs > self.cards

    @abstractmethod
    def open(self, work: Work) -> None:
        """Make ready to start workers, each of which calls `work.open()` first.

        Raises:
            HarnessError: what is wanted cannot be had, on no machine that there is.
        """

    @abstractmethod
    def want(self, count: int) -> None:
        """So many workers are wanted from now on, those that live or start counted.

        Start others if they are fewer; none is ended.  Fewer than are wanted is no fault: each says
        'ready' when it is.
        """

    @abstractmethod
    def send(self, worker: str, task: Task) -> None:
        """Have a worker that is free carry a run out.  If it has died, a message will say so."""

    @abstractmethod
    def receive(self, seconds: float | None) -> Sequence[Message]:
        """The messages that have come; waits for the first of them, at most so long if not None."""

    @abstractmethod
    def end(self, worker: str, *, at_once: bool = False) -> None:
        """Let a free worker go; or end it now, whatever it does.  It is not heard of any more.

        It may have died already, which need not have been heard yet.
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers at once."""

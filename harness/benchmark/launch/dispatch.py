"""Runs given to workers: by which of them, how often, how long; and what becomes of each.

A run is handed out when a worker is free, from the (dataset, backbone) that the worker has open if
one is left there, so that what runs share is made once a group; the group with most work goes first.
A worker that ends, or is ended, costs the run that it was given and no other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api.execution import Outcome
from harness.api.launcher import Launcher, Message, Task
from harness.api.records import RunSpec
from harness.benchmark.launch.executor import (
    OVER_MEMORY,
    RunExecutor,
    Unfinished,
    WorkerSetup,
    failed_run,
    free_memory,
)
from harness.benchmark.launch.workers import LocalLauncher
from harness.benchmark.listeners.events import Group, RunListener, RunObserver, RunQueue
from harness.errors import HarnessError
from harness.plugins.registry import PluginRegistry
from harness.results.claims import Claims
from harness.utils import signs
from harness.utils.text import duration, plural

GIB = 2**30
# Assumed: as many workers as end one after another before they can take a run, no other will do better.
STILLBORN = 3
LOOK_AGAIN = 1.0  # seconds between two looks at what another call makes
# Assumed: machines that may be taken away under a run before it is tried alone.
MOVES = 3


def execute_runs(
    specs: Sequence[RunSpec],
    setup: WorkerSetup,
    loaded: PluginRegistry,
    events: RunListener,
    means: Means | None = None,
    share: Share | None = None,
) -> None:
    """Carry out all runs; every outcome reaches `events.run_end` as soon as it is there.

    Args:
        specs: the runs.
        setup: what they share.
        loaded: plugins.
        events: told of everything.
        means: the workers that do it; None: this process.
        share: with other calls on the same folder; None: there is nobody else.

    Raises:
        HarnessError: no worker can be had.
    """
    if means is None:
        _in_process(specs, setup, loaded, events, share)
    else:
        Dispatcher(specs, setup, events, means, share).work()
    free_memory(setup.device)  # other runs may follow


@dataclass(frozen=True)
class Means:
    """The workers of a call, and what a run may take.

    Attributes:
        jobs: workers side by side, at most.
        timeout: seconds that a run may take from when it is handed out; None: any.
        work: run id -> work of a run as it was foretold, in any unit.
    """

    launcher: Launcher
    jobs: int = 1
    timeout: float | None = None
    work: Mapping[str, float] = field(default_factory=dict)


class Share:
    """The runs of a call that another call on the same folder has in hand.

    Args:
        claims: of this call.
        events: told of runs that are made elsewhere.
        wait: until they are made, or their call has ended; else they are left to it.
    """

    def __init__(self, claims: Claims, events: RunListener, *, wait: bool) -> None:
        self.claims, self.events, self.wait = claims, events, wait
        self.elsewhere: list[RunSpec] = []

    def take(self, spec: RunSpec) -> RunSpec | None:
        """The run, if it is this call's to make; None: it is put aside."""
        state = self.claims.take(spec)
        if state == "mine":
            return spec
        if state == "theirs" and self.wait:
            self.elsewhere.append(spec)
        else:
            self.events.run_elsewhere(spec, made=state == "made")
        return None

    def release(self, spec: RunSpec) -> None:
        """A run has ended."""
        self.claims.release(spec)

    def wait_for_one(self) -> RunSpec | None:
        """Wait for the runs put aside; returns one whose call has ended before it was made.

        None: all are made.
        """
        with signs.describing(self._describe):
            while self.elsewhere:
                for spec in list(self.elsewhere):
                    state = self.claims.take(spec)
                    if state != "theirs":
                        self.elsewhere.remove(spec)
                    if state == "made":
                        self.events.run_elsewhere(spec, made=True)
                    if state == "mine":
                        return spec
                time.sleep(LOOK_AGAIN if self.elsewhere else 0)
        return None

    def _describe(self) -> str:
        return f"waiting for {plural(len(self.elsewhere), 'run')} that another call makes"


def _in_process(
    specs: Sequence[RunSpec],
    setup: WorkerSetup,
    loaded: PluginRegistry,
    events: RunListener,
    share: Share | None,
) -> None:
    executor, spoiled = RunExecutor(setup, loaded), _Spoiled(events)
    with signs.doing("importing torch"):  # else it would be time of the first run
        isolation = executor.isolation
    try:
        waiting = list(specs)
        while (waiting or (share and share.elsewhere)) and not spoiled.fresh:
            spec = waiting.pop(0) if waiting else None
            if share is not None:
                spec = share.take(spec) if spec else share.wait_for_one()
            if spec is None:
                continue
            events.run_start(spec)
            events.run_end(spec, executor.run(spec, RunObserver(spec, spoiled.receive)))
            if share is not None:
                share.release(spec)
    finally:
        isolation.leave()
    if waiting or (share and share.elsewhere):
        launcher = LocalLauncher(setup.device, setup.threads)
        Dispatcher(waiting, setup, events, Means(launcher), share).work()


class _Spoiled:
    """Hands events on, and notes that a run left what cannot be put back."""

    def __init__(self, events: RunListener) -> None:
        self.events, self.fresh = events, False

    def receive(self, spec: RunSpec, kind: str, value: Any) -> None:  # noqa: ANN401 - any event
        self.fresh |= kind == "state_left" and value.fresh
        self.events.receive(spec, kind, value)


@dataclass
class _Worker:
    """A worker that has begun, and the run it has in hand.

    Attributes:
        used: it has had a run.
        spoiled: a run left what had better not be there for another.
        predicted: what its run was trained to has come.
        until: when its run has taken too long, by the monotonic clock.
    """

    task: Task | None = None
    group: Group | None = None
    used: bool = False
    spoiled: bool = False
    predicted: bool = False
    until: float | None = None


@dataclass
class _Again:
    """A run that is tried once more, when no other goes on; and why its worker ended before."""

    task: Task
    reason: str


class Dispatcher:
    """Hands runs out to the workers of a launcher until all have an outcome."""

    def __init__(
        self,
        specs: Sequence[RunSpec],
        setup: WorkerSetup,
        events: RunListener,
        means: Means,
        share: Share | None = None,
    ) -> None:
        self.setup, self.events, self.launcher, self.means = setup, events, means.launcher, means
        self.queue, self.share = RunQueue(specs, means.work), share
        self.joined: set[Group] = set()  # groups that another call has open
        self.workers: dict[str, _Worker] = {}
        self.again: list[_Again] = []
        self.alone: _Again | None = None  # the one that is tried now
        self.attempts: dict[str, int] = {}
        self.moves: dict[str, int] = {}
        self.gone: set[str] = set()  # names of workers that were let go, or ended here
        self.stillborn = 0

    def work(self) -> None:
        """Carry out all runs.

        Raises:
            HarnessError: no worker can be had.
        """
        self.launcher.open(self.setup)
        try:
            while self._want():
                for message in self.launcher.receive(self._patience()):
                    self._take(message)
                self._end_late()
        finally:
            self.launcher.close()

    def _want(self) -> bool:
        """Have as many workers as there is work for; False: there is none left."""
        busy = sum(worker.task is not None for worker in self.workers.values())
        if self.share is not None and not (busy or len(self.queue) or self.again):
            left = self.share.wait_for_one()
            if left is not None:
                self.queue.put(left)
        wanted = min(self.means.jobs, busy + len(self.queue))
        if not wanted and self.again:
            wanted = 1  # for a run that is tried alone
        if wanted > busy:
            self.launcher.want(wanted)
        return wanted > 0

    # -- what workers say ------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        if message.worker in self.gone:
            return
        if message.event == "ready":
            self.stillborn = 0
            self.workers[message.worker] = _Worker()
            self.events.worker_ready(message.value)
            self._tell_start(message.worker, self._send_next(message.worker))
            return
        worker = self.workers.get(message.worker)
        if message.event in ("died", "lost"):
            self._bury(message, self.workers.pop(message.worker, None))
        elif worker is not None and worker.task is not None and _same(message.task, worker.task):
            self._hear(message, worker, worker.task.spec)

    def _hear(self, message: Message, worker: _Worker, spec: RunSpec) -> None:
        """An event of the run that a worker has in hand."""
        if message.event == OVER_MEMORY:
            most = (self.setup.memory or 0) / GIB
            self._let_go(message.worker, at_once=True)
            held = (
                f"its worker held {message.value / GIB:.2f} GiB, more than --memory-limit {most:g}"
            )
            self._fail(worker, held, "oom")
            return
        worker.predicted |= message.event == "predicted"
        worker.spoiled |= message.event == "state_left" and message.value.renew
        if message.event == "run_end":
            worker.task, self.alone = None, None
            # The worker goes on while its outcome is put on the disk; whoever observes hears of an end first.
            task = self._send_next(message.worker)
            self.events.receive(spec, message.event, message.value)
            self._release(spec)
            self._tell_start(message.worker, task)
        else:
            self.events.receive(spec, message.event, message.value)

    def _send_next(self, name: str) -> Task | None:
        """The next run for a free worker, which has it in hand from now on; None: there is none."""
        worker = self.workers[name]
        task = None
        if not worker.spoiled and self.alone is None:
            task = self._next(worker)
        if task is not None:
            worker.task, worker.group, worker.used = task, Group.of(task.spec), True
            worker.predicted = False
            if self.means.timeout is not None:
                worker.until = time.monotonic() + self.means.timeout
            self.launcher.send(name, task)
        return task

    def _tell_start(self, name: str, task: Task | None) -> None:
        """Tell that a worker has begun a run; it is let go where there was none for it."""
        if task is None:
            self._let_go(name)
        else:
            self.events.run_start(task.spec)

    def _next(self, worker: _Worker) -> Task | None:
        while len(self.queue):
            others = [one.group for one in self.workers.values() if one is not worker]
            spec = self.queue.take(worker.group, [*others, *self.joined])
            if self.share is None or self.share.take(spec) is not None:
                return self._try(spec)
            self.joined.add(Group.of(spec))
        busy = any(one.task is not None for one in self.workers.values())
        if self.again and not worker.used and not busy:
            self.alone = self.again.pop(0)
            return self.alone.task
        return None

    def _try(self, spec: RunSpec) -> Task:
        """One more attempt at a run."""
        self.attempts[spec.run_id] = number = self.attempts.get(spec.run_id, 0) + 1
        return Task(spec, number)

    # -- workers that end ------------------------------------------------------------------

    def _bury(self, message: Message, worker: _Worker | None) -> None:
        """A worker has ended: its run is tried once again, alone, or has failed."""
        if worker is None:
            self.stillborn += message.event == "died"
            if self.stillborn >= STILLBORN:
                raise HarnessError(
                    f"{self.stillborn} workers in a row ended before they could take a run "
                    f"({message.value}): a plugin may end its process when it is imported; "
                    "--in-process shows more"
                )
        elif worker.task is not None:
            moved = self.moves.get(worker.task.spec.run_id, 0)
            if message.event == "lost" and moved < MOVES:
                self.moves[worker.task.spec.run_id] = moved + 1
                self.alone = None
                self.events.run_again(worker.task.spec, message.value)
                self.queue.put(worker.task.spec)
            else:
                self._fail(worker, message.value, "failed")

    def _fail(self, worker: _Worker, reason: str, status: Unfinished) -> None:
        """The worker of a run has ended: it is tried once again, or recorded with both reasons."""
        if worker.task is None:
            raise HarnessError("a worker that had no run in hand cannot fail one")
        spec, before, self.alone = worker.task.spec, self.alone, None
        if before is None and not worker.predicted:
            self.again.append(_Again(self._try(spec), reason))
            self.events.run_again(spec, f"{reason}; alone, in a fresh worker, after all others")
            return
        if before is not None:
            reason = f"{before.reason}; tried once again, alone, in a fresh worker: {reason}"
        self._record(spec, HarnessError(f"the worker of the run ended: {reason}"), status)

    def _record(self, spec: RunSpec, error: Exception, status: Unfinished) -> None:
        self.events.run_end(spec, Outcome(failed_run(self.setup, spec, error, status)))
        self._release(spec)

    def _release(self, spec: RunSpec) -> None:
        if self.share is not None:
            self.share.release(spec)

    # -- time ------------------------------------------------------------------------------

    def _patience(self) -> float | None:
        """Seconds until a run has taken too long; None: nobody counts."""
        ends = [one.until for one in self.workers.values() if one.task and one.until is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _end_late(self) -> None:
        """End the workers whose run has taken too long."""
        now = time.monotonic()
        for name, worker in list(self.workers.items()):
            if worker.task is not None and worker.until is not None and worker.until <= now:
                self._let_go(name, at_once=True)
                self.alone = None
                limit = self.means.timeout or 0
                took = TimeoutError(
                    f"it took longer than {duration(limit)} (--timeout {limit:g}), and its worker was "
                    "ended"
                )
                self._record(worker.task.spec, took, "timeout")

    def _let_go(self, name: str, *, at_once: bool = False) -> None:
        del self.workers[name]
        self.gone.add(name)
        self.launcher.end(name, at_once=at_once)


def _same(told: Task | None, task: Task) -> bool:
    """True if something is told of this try, and not of an earlier one."""
    return told is not None and (told.spec.run_id, told.attempt) == (
        task.spec.run_id,
        task.attempt,
    )

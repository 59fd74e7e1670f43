"""Workers that carry runs out: this process, several processes, or several threads on one card.

A run is handed out when a worker is free, from the (dataset, backbone) the worker has open if one
is left there, so that what runs share is made once a group; runs that differ in seed or rate only
stay with one worker as long as others have something else to do.  A worker that dies costs its run.

On a card threads and not processes: kernels of several processes take turns there, kernels of
several streams of one process run at the same time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from harness.api.execution import Outcome
from harness.api.records import RunSpec
from harness.benchmark.events import RunListener, RunObserver, RunQueue, Stopped
from harness.benchmark.executor import Group, RunExecutor, WorkerSetup, cell_group, free_memory
from harness.errors import HarnessError
from harness.plugins.registry import PluginRegistry, load_plugins

# Read by the numeric libraries when they are first imported, so it is set before a worker starts.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# What every run on a CPU imports: once in the server instead of once in each worker.
PRELOADED = ["harness.benchmark.workers", "harness.engine", "torchvision"]


def execute_runs(
    specs: Sequence[RunSpec],
    setup: WorkerSetup,
    loaded: PluginRegistry,
    events: RunListener,
    jobs: int = 1,
) -> None:
    """Carry out all runs; every outcome reaches `events.run_end` as soon as it is there."""
    if jobs <= 1:
        _in_process(specs, setup, loaded, events)
    elif setup.device.startswith("cuda"):
        execute_in_threads(specs, setup, loaded, events, min(jobs, len(specs)))
    else:
        ProcessWorkers(specs, setup, loaded, events).work(min(jobs, len(specs)))
    free_memory(setup.device)  # other runs may follow


def _in_process(
    specs: Sequence[RunSpec],
    setup: WorkerSetup,
    loaded: PluginRegistry,
    events: RunListener,
) -> None:
    executor, spoiled = RunExecutor(setup, loaded), _Spoiled(events)
    try:
        queue, waiting = RunQueue(specs), list(specs)
        while waiting and not spoiled.fresh:
            spec = waiting.pop(0)
            queue.take(cell_group(spec), set())
            events.run_start(spec)
            observer = RunObserver(spec, spoiled.receive)
            events.run_end(spec, executor.run(spec, observer, queue.siblings(spec)))
    finally:
        executor.isolation.leave()
    if waiting:
        ProcessWorkers(waiting, setup, loaded, events).work(1)


class _Spoiled:
    """Hands events on, and notes that a run left what cannot be put back."""

    def __init__(self, events: RunListener) -> None:
        self.events, self.fresh = events, False

    def receive(self, spec: RunSpec, kind: str, value: Any) -> None:  # noqa: ANN401 - any event
        self.fresh |= kind == "state_left" and value.fresh
        self.events.receive(spec, kind, value)


# -- several processes ------------------------------------------------------------------------


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    spec: RunSpec | None = None
    group: tuple[str, str] | None = None
    families: set[str] = field(default_factory=set)
    spoiled: bool = False


class ProcessWorkers:
    def __init__(
        self,
        specs: Sequence[RunSpec],
        setup: WorkerSetup,
        loaded: PluginRegistry,
        events: RunListener,
    ) -> None:
        self.setup, self.loaded, self.events = setup, loaded, events
        self.queue = RunQueue(specs)
        self.context = _context()
        self.workers: list[_Worker] = []

    def work(self, jobs: int) -> None:
        try:
            for _ in range(jobs):
                self._start()
            while self.workers:
                ready = wait([worker.connection for worker in self.workers])
                for worker in [w for w in self.workers if w.connection in ready]:
                    self._listen(worker)
        finally:
            for worker in self.workers:
                worker.process.terminate()
                worker.process.join()

    def _start(self) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(
            target=_serve, args=(theirs, self.setup, dict(os.environ)), daemon=True
        )
        with _few_threads(self.setup.threads):
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self.workers.append(worker)
        self._hand_out(worker)

    def _hand_out(self, worker: _Worker) -> None:
        """The next run of the worker's group, else of the largest group nobody has open."""
        open_groups = {w.group for w in self.workers if w is not worker}
        group = worker.group if worker.group in self.queue.waiting else None
        if group is None and self.queue.waiting:
            free = [g for g in self.queue.waiting if g not in open_groups] or list(
                self.queue.waiting
            )
            group = max(free, key=lambda g: len(self.queue.waiting[g]))
        if group is None:
            self._end(worker)
            return
        elsewhere = set[str]().union(*(w.families for w in self.workers if w is not worker))
        worker.spec, worker.group = self.queue.take(group, elsewhere), group
        worker.families.add(self.queue.families[worker.spec.run_id])
        self.events.run_start(worker.spec)
        try:
            worker.connection.send((worker.spec, self.queue.siblings(worker.spec)))
        except ConnectionError:  # it died with nothing in hand: while it started, or between runs
            self._bury(worker, worker.spec)

    def _listen(self, worker: _Worker) -> None:
        spec = worker.spec
        if spec is None:
            raise HarnessError("a worker spoke without a run in hand")
        try:
            kind, value = worker.connection.recv()
        except (EOFError, ConnectionError):
            self._bury(worker, spec)
            return
        self.events.receive(spec, kind, value)
        worker.spoiled |= kind == "state_left" and value.renew
        if kind == "run_end" and worker.spoiled:
            self._renew(worker)
        elif kind == "run_end":
            self._hand_out(worker)

    def _renew(self, worker: _Worker) -> None:
        """Another process in the place of one in which something may still be changed."""
        self._end(worker)
        if self.queue.waiting:
            self._start()

    def _end(self, worker: _Worker) -> None:
        """There is nothing left for this worker."""
        with contextlib.suppress(ConnectionError):  # it has died after its last run
            worker.connection.send(None)
        worker.process.join()
        self._forget(worker)

    def _bury(self, worker: _Worker, spec: RunSpec) -> None:
        """The worker is gone: its run has failed, and another takes its place."""
        worker.process.join()
        self._forget(worker)
        code = worker.process.exitcode
        error = HarnessError(
            f"the worker process that was given the run ended with exit code {code}"
            + ("; it was killed, most often for lack of memory" if code == -signal.SIGKILL else "")
        )
        self.events.run_end(spec, Outcome(RunExecutor(self.setup, self.loaded).failed(spec, error)))
        if self.queue.waiting:
            self._start()

    def _forget(self, worker: _Worker) -> None:
        worker.connection.close()
        self.workers.remove(worker)


def _context() -> Any:  # noqa: ANN401 - contexts have no common public type
    """Workers forked from a clean server that has imported torch once, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextlib.contextmanager
def _few_threads(threads: int) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, setup: WorkerSetup, environ: dict[str, str]) -> None:
    """A worker: one run after another until there are none.  The parent handles Ctrl-C."""
    # The fork server keeps the environment that it was started with.
    for name in os.environ.keys() - environ.keys() - {*THREAD_VARIABLES}:
        del os.environ[name]
    os.environ.update(environ)
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - a plugin must not wait for the terminal
    torch.set_num_threads(setup.threads)
    executor = RunExecutor(setup, load_plugins(setup.plugins))
    connection.send(("ready", None))
    while (task := connection.recv()) is not None:
        spec, siblings = task
        observer = RunObserver(spec, lambda _, kind, value: connection.send((kind, value)))
        connection.send(("run_end", executor.run(spec, observer, siblings)))


# -- several threads on one card ------------------------------------------------------------------


def execute_in_threads(
    specs: Sequence[RunSpec],
    setup: WorkerSetup,
    loaded: PluginRegistry,
    events: RunListener,
    slots: int,
) -> None:
    """Carry out all runs, at most `slots` at a time; what lacked memory is done again alone."""
    crowded = ThreadWorkers(specs, setup, loaded, events)
    crowded.work(slots)
    alone = crowded.alone
    del crowded  # and with it what the slots hold of the device's memory
    executor = RunExecutor(setup, loaded)
    for spec in alone:
        free_memory(setup.device)
        events.run_end(spec, executor.run(spec, RunObserver(spec, events.receive)))


class ThreadWorkers:
    def __init__(
        self,
        specs: Sequence[RunSpec],
        setup: WorkerSetup,
        loaded: PluginRegistry,
        events: RunListener,
    ) -> None:
        self.queue, self.events = RunQueue(specs), events
        self.executor = RunExecutor(setup, loaded)
        self.active: dict[int, RunSpec] = {}
        self.families: dict[int, set[str]] = {}
        self.alone: list[RunSpec] = []
        self.errors: list[BaseException] = []
        self.stop = False

    def work(self, slots: int) -> None:
        lock = threading.Lock()
        threads = [threading.Thread(target=self._serve, args=(n, lock)) for n in range(slots)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self.stop = True
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def _serve(self, number: int, lock: threading.Lock) -> None:
        from harness.engine import device_slot

        with device_slot(number, lock):
            try:
                while not self.stop and (spec := self._next(number)) is not None:
                    self._run(number, spec)
            except Stopped:
                return
            except BaseException as error:  # noqa: BLE001 - raised again where `work` was called
                self.errors.append(error)
                self.stop = True

    def _run(self, number: int, spec: RunSpec) -> None:
        self.events.run_start(spec)
        observer, siblings = RunObserver(spec, self._receive), self.queue.siblings(spec)
        outcome = self.executor.run(spec, observer, siblings, self._groups())
        del self.active[number]
        if outcome.result.status == "oom":
            self.alone.append(spec)
        else:
            self.events.run_end(spec, outcome)

    def _next(self, number: int) -> RunSpec | None:
        """From a group that is open, before another is opened: what it shares is there."""
        waiting = self.queue.waiting
        if not waiting:
            return None
        group = next((group for group in self._groups() if group in waiting), next(iter(waiting)))
        elsewhere = set[str]().union(*(f for n, f in self.families.items() if n != number))
        spec = self.queue.take(group, elsewhere)
        self.families.setdefault(number, set()).add(self.queue.families[spec.run_id])
        self.active[number] = spec
        return spec

    def _groups(self) -> list[Group]:
        return [cell_group(spec) for spec in self.active.values()]

    def _receive(self, spec: RunSpec, kind: str, value: Any) -> None:  # noqa: ANN401 - any event
        if self.stop:
            raise Stopped
        self.events.receive(spec, kind, value)

"""Workers that carry runs out: this process, or several.

A run is handed out when a worker is free, from the (dataset, backbone) the worker has open if one
is left there, so that what runs share is made once a group.  A worker that dies costs its run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from harness.api.execution import Outcome
from harness.api.records import RunSpec
from harness.benchmark.executor import RunExecutor, WorkerSetup, free_memory
from harness.benchmark.listeners.events import Group, RunListener, RunObserver, RunQueue
from harness.errors import HarnessError
from harness.plugins.registry import PluginRegistry, load_plugins
from harness.utils import signs
from harness.utils.parallel import uninterrupted, without_main

T = TypeVar("T")

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
    *,
    aside: bool = False,
) -> None:
    """Carry out all runs; every outcome reaches `events.run_end` as soon as it is there.

    `aside`: none of them in this process, be it a single job.
    """
    if jobs <= 1 and not aside:
        _in_process(specs, setup, loaded, events)
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
    with signs.doing("importing torch"):  # else it would be time of the first run
        isolation = executor.isolation
    try:
        waiting = list(specs)
        while waiting and not spoiled.fresh:
            spec = waiting.pop(0)
            events.run_start(spec)
            events.run_end(spec, executor.run(spec, RunObserver(spec, spoiled.receive)))
    finally:
        isolation.leave()
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
    group: Group | None = None
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
        self.context = _context(setup.device)
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
        with _starting(self.setup.device, self.setup.threads):
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
        worker.spec, worker.group = self.queue.take(group), group
        self.events.run_start(worker.spec)
        try:
            worker.connection.send(worker.spec)
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


def _context(device: str) -> Any:  # noqa: ANN401 - contexts have no common public type
    """Workers forked from a clean server that has imported torch once, where there is one.

    CUDA lives through no fork: on a card each worker begins anew.
    """
    if device.startswith("cuda") or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def begin_imports(device: str, threads: int) -> bool:
    """Let the server that workers are forked from import what they need, beside what is done here.

    False: there is no server.
    """
    if _context(device).get_start_method() != "forkserver":
        return False
    from multiprocessing import forkserver  # there is none on Windows

    with _few_threads(threads), uninterrupted(), without_main():
        forkserver.ensure_running()
    return True


@contextlib.contextmanager
def _starting(device: str, threads: int) -> Iterator[None]:
    """Around the start of a worker: it begins with the environment and the signals of workers."""
    if begin_imports(device, threads):
        with without_main():
            yield  # may wait for the server's imports, so an interrupt has to get through
        return
    with _few_threads(threads), uninterrupted(), without_main():
        yield


def carry_out_aside(
    function: Callable[..., T], given: Sequence[Any], device: str, threads: int
) -> T:
    """The value of a function of a module, called in a process as those that carry runs out.

    Raises:
        HarnessError: the process ended without an answer.
    """
    context = _context(device)
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, tuple(given)), daemon=True)
    with _few_threads(threads), without_main():
        process.start()
    theirs.close()
    try:
        answer: T = ours.recv()
    except (EOFError, ConnectionError) as error:
        process.join()
        name = f"{function.__module__}.{function.__name__}"
        raise HarnessError(f"the process of {name} ended with code {process.exitcode}") from error
    finally:
        ours.close()
    process.join()
    return answer


def _answer(connection: Connection, function: Callable[..., object], given: Sequence[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(function(*given))


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
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has gone
        connection.send(("ready", None))
        while (spec := connection.recv()) is not None:
            observer = RunObserver(spec, lambda _, kind, value: connection.send((kind, value)))
            connection.send(("run_end", executor.run(spec, observer)))

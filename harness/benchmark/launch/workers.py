"""The launcher `local`: a process of this machine for each worker, and a card for it where there are any.

loky and `ProcessPoolExecutor` fail every run that waits when one process dies, do not say whose it
was, and cannot end one in time; so the processes are our own.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from harness.api.launcher import Launcher, LaunchSetup, Message, Task, Work
from harness.benchmark.sizing import choose_device, visible_cards
from harness.errors import HarnessError
from harness.utils.parallel import uninterrupted, without_main

T = TypeVar("T")

LOCAL = "local"
# Read by the numeric libraries when they are first imported, so it is set before a worker starts.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
VISIBLE = "CUDA_VISIBLE_DEVICES"
# Assumed: what a plugin has left running in a process holds nobody up for longer.
SECONDS_TO_LEAVE = 5.0
# What every run on a CPU imports: once in the server instead of once in each worker.
PRELOADED = ["harness.benchmark.launch.executor", "harness.engine", "torchvision"]


@dataclass
class _Process:
    """A process that carries runs out; `card`: the one that it sees, if it is given one."""

    process: BaseProcess
    connection: Connection
    card: str | None
    began: float = field(default_factory=time.monotonic)
    task: Task | None = None


class LocalLauncher(Launcher):
    """Processes of this machine.

    Args:
        device: 'cpu', 'cuda:N', or 'cuda': all cards that are visible.
        threads: CPU threads of each process.
        cards: what makes each of those cards the only one that a process sees.
    """

    here = True

    def __init__(self, device: str, threads: int = 1, cards: Sequence[str] = ()) -> None:
        self.device, self.threads, self.each = device, threads, tuple(cards)
        self.cards = max(1, len(self.each))
        self.jobs = len(self.each) or None
        self._context = _context(device)
        self._work: Work | None = None
        self._workers: dict[str, _Process] = {}
        self._dead: list[Message] = []
        self._numbers = itertools.count(1)

    @classmethod
    def of(cls, setup: LaunchSetup) -> LocalLauncher:
        """For the device that was asked for.

        Raises:
            UsageError: no such device here.
        """
        device = choose_device(setup.device)
        return cls(device, setup.threads, visible_cards() if device == "cuda" else ())

    def prepare(self) -> None:
        begin_imports(self.device, self.threads)

    def open(self, work: Work) -> None:
        self._work = work

    def want(self, count: int) -> None:
        while len(self._workers) < count:
            self._start()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        card, environ = self._free_card(), dict(os.environ)
        if card is not None:
            environ[VISIBLE] = card
        process = self._context.Process(
            target=_serve, args=(theirs, self._work, environ), daemon=True
        )
        with _starting(self.device, self.threads, environ):
            process.start()
        theirs.close()
        self._workers[f"process {next(self._numbers)}"] = _Process(process, ours, card)

    def _free_card(self) -> str | None:
        """The card that fewest processes have."""
        taken = Counter(one.card for one in self._workers.values())
        return min(self.each, key=lambda card: taken[card], default=None)

    def send(self, worker: str, task: Task) -> None:
        one = self._workers[worker]
        one.task = task
        with contextlib.suppress(ConnectionError):  # it has died, which is seen when it is heard
            one.connection.send(task)

    def receive(self, seconds: float | None) -> Sequence[Message]:
        names = {one.connection: name for name, one in self._workers.items()}
        return [
            self._hear(names[connection])
            for connection in wait(list(names), seconds)
            if isinstance(connection, Connection)
        ]

    def _hear(self, name: str) -> Message:
        worker = self._workers[name]
        try:
            event, value = worker.connection.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            self._forget(name)
            return Message(name, "died", _ended(worker.process.exitcode), worker.task)
        if event == "ready":
            value = time.monotonic() - worker.began
        return Message(name, event, value, worker.task)

    def end(self, worker: str, *, at_once: bool = False) -> None:
        if worker not in self._workers:
            return
        process = self._workers[worker].process
        if at_once:
            process.kill()
        else:
            with contextlib.suppress(ConnectionError):  # it has died after its last run
                self._workers[worker].connection.send(None)
        process.join(SECONDS_TO_LEAVE)
        if process.is_alive():
            process.kill()
            process.join()
        self._forget(worker)

    def close(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()
        for name in list(self._workers):
            self._workers[name].process.join()
            self._forget(name)

    def _forget(self, worker: str) -> None:
        self._workers.pop(worker).connection.close()


def _ended(code: int | None) -> str:
    """The end of a process, for people."""
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    killed = "; it was killed, most often for lack of memory" if code == -signal.SIGKILL else ""
    return f"its process ended with exit code {code} ({_signal(-code)}){killed}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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

    with _with_environ(_few(threads)), uninterrupted(), without_main():
        forkserver.ensure_running()
    return True


@contextlib.contextmanager
def _starting(device: str, threads: int, environ: Mapping[str, str]) -> Iterator[None]:
    """Around the start of a worker: it begins with the environment and the signals of workers."""
    if begin_imports(device, threads):
        with without_main():
            yield  # may wait for the server's imports, so an interrupt has to get through
        return
    seen = {name: environ[name] for name in (VISIBLE,) if name in environ}
    with _with_environ({**_few(threads), **seen}), uninterrupted(), without_main():
        yield


def carry_out_aside(
    function: Callable[..., T], given: Sequence[Any], device: str, threads: int, limit: float
) -> T:
    """The value of a function of a module, called in a process as those that carry runs out.

    Raises:
        HarnessError: the process ended without an answer, or had none after `limit` seconds.
    """
    name = f"{function.__module__}.{function.__name__}"
    context = _context(device)
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, tuple(given)), daemon=True)
    with _with_environ(_few(threads)), without_main():
        process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            process.kill()
            raise HarnessError(f"the process of {name} had no answer after {limit:g} s")
        answer: T = ours.recv()
    except (EOFError, ConnectionError) as error:
        process.join()
        raise HarnessError(f"the process of {name} ended with code {process.exitcode}") from error
    finally:
        ours.close()
    process.join()
    return answer


def _answer(connection: Connection, function: Callable[..., object], given: Sequence[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(function(*given))


def _few(threads: int) -> dict[str, str]:
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


@contextlib.contextmanager
def _with_environ(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, work: Work, environ: dict[str, str]) -> None:
    """A worker: one run after another until there are none.  The parent handles Ctrl-C."""
    # The fork server keeps the environment that it was started with.
    for name in os.environ.keys() - environ.keys() - {*THREAD_VARIABLES}:
        del os.environ[name]
    os.environ.update(environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - a plugin must not wait for the terminal
    speaking = threading.Lock()  # of the end for lack of memory another thread tells

    def tell(event: str, value: Any) -> None:  # noqa: ANN401 - of any event
        with speaking:
            connection.send((event, value))

    with contextlib.suppress(EOFError, ConnectionError):  # the parent has gone
        worker = work.open()
        tell("ready", None)
        while (task := connection.recv()) is not None:
            tell("run_end", worker.run(task, tell))

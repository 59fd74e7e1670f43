"""The launcher `ray` and its actors: one carries runs out, another takes what they have to say."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Read when Ray is imported: no report of usage is sent.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import NodeDiedError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness import HarnessError, Launcher, LaunchSetup, Message, Outcome, Task, Work

# The least that Ray takes for its store is 75 MB; by default it would be 30 % of the memory.
STORE = 200 * 2**20
# Of what actors tell while a run goes on: a short run is one message to each side.
SECONDS_BETWEEN_POSTS = 0.5
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Ended(NamedTuple):
    """A run that has ended, what was told of it and not posted, and whether anything was posted."""

    outcome: Outcome
    kept: tuple[Message, ...]
    posted: bool


class Runner:
    """Actor: a worker in a process of its own."""

    def __init__(self, work: Work, name: str, mailbox: Any, threads: int) -> None:  # noqa: ANN401 - Ray's
        os.environ.update(dict.fromkeys(THREADS, str(threads)))  # read when torch is imported
        self.name, self.mailbox, self.worker = name, mailbox, work.open()

    def ready(self) -> str:
        """The id of its node."""
        return str(ray.get_runtime_context().get_node_id())

    def run(self, sent: bytes) -> bytes:
        """Carry a run out.  What is told is posted now and then; the rest comes with the outcome.

        Pickled here and not by Ray, which asks Python about each object: .2 ms where it takes .9.
        """
        task: Task = pickle.loads(sent)  # noqa: S301 - the caller's own
        kept: list[Message] = []
        next_post = time.monotonic() + SECONDS_BETWEEN_POSTS
        posted = None

        def tell(event: str, value: Any) -> None:  # noqa: ANN401 - of any event
            nonlocal next_post, posted
            kept.append(Message(self.name, event, value, task))
            ending = event == "over_memory"
            if ending or time.monotonic() >= next_post:
                letters = kept.copy()
                del kept[: len(letters)]
                posted = self.mailbox.put.remote(letters)
                next_post = time.monotonic() + SECONDS_BETWEEN_POSTS
            if ending:
                ray.get(posted)

        outcome = self.worker.run(task, tell)
        if posted is not None:  # letters of one sender come in order
            ray.get(posted)
        return pickle.dumps(Ended(outcome, tuple(kept), posted is not None))


class Mailbox:
    """Actor: messages in the order in which they came."""

    def __init__(self) -> None:
        self.letters: asyncio.Queue[list[Message] | None] = asyncio.Queue()

    async def put(self, letters: list[Message] | None) -> None:
        """None: a mark, after what was put before it."""
        await self.letters.put(letters)

    async def take(self) -> list[list[Message] | None]:
        """All that there are; waits for the first."""
        taken = [await self.letters.get()]
        while not self.letters.empty():
            taken.append(self.letters.get_nowait())
        return taken


@dataclass
class _Actor:
    """An actor, the node that it is on once it is known, and what it is doing."""

    handle: Any
    pending: Any  # the reference to what it is asked for: to be ready, or a run
    node: str = ""
    task: Task | None = None
    began: float = field(default_factory=time.monotonic)


class RayLauncher(Launcher):
    """Actors of a cluster, or of one that is started on this machine.

    Args:
        setup: what the call asks for.
        wanted: what a worker takes of its node, by Ray's names of resources.
    """

    def __init__(self, setup: LaunchSetup, wanted: Mapping[str, float]) -> None:
        self.setup, self.wanted, self.device = setup, dict(wanted), setup.device
        self.here = setup.address is None and setup.device == "cpu"
        self.jobs = setup.jobs
        self._folder: str | None = None
        self._mine = False  # the connection is this launcher's, and not of whoever called
        self._actors: dict[str, _Actor] = {}
        self._numbers = itertools.count(1)
        if self.jobs is None and (setup.address is not None or ray.is_initialized()):
            self._connect()  # for the plan alone: the call may be refused before it opens anything
            self.jobs = max(1, self._places())
            self._disconnect()

    def _connect(self) -> None:
        """Join the cluster, or start one of this machine's.

        Raises:
            HarnessError: neither is possible.
        """
        if ray.is_initialized():
            return
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if self.setup.address is not None:
                ray.init(address=self.setup.address, **quiet)
            else:
                os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else a file in the home folder
                # Its sockets lie there, whose names may have 107 bytes.
                self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
                extra = {n: v for n, v in self.wanted.items() if n not in ("CPU", "GPU")}
                count = self.setup.jobs
                cpus = None if count is None else max(1, round(count * self.wanted["CPU"]))
                ray.init(
                    num_cpus=cpus,
                    resources={name: value * (count or 1) for name, value in extra.items()},
                    include_dashboard=False,
                    object_store_memory=STORE,
                    _temp_dir=self._folder,
                    **quiet,
                )
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            where = self.setup.address or "on this machine"
            raise HarnessError(f"--launcher ray: no cluster {where}: {error}") from error
        self._mine = True

    def _places(self) -> int:
        """The workers that the nodes of now can have, all together."""
        return sum(
            min(int(node["Resources"].get(name, 0) // n) for name, n in self.wanted.items() if n)
            for node in ray.nodes()
            if node["Alive"]
        )

    def open(self, work: Work) -> None:
        self._connect()
        if not self._places():
            self._disconnect()
            needed = ", ".join(f"{name} {number:g}" for name, number in self.wanted.items())
            raise HarnessError(
                f"no node of the cluster can have a worker ({needed}), so that Ray would wait for ever; "
                "HARNESS_RAY_RESOURCES says what a worker takes"
            )
        # Beside the caller: a node that is taken away takes nothing along that was told.
        here = ray.get_runtime_context().get_node_id()
        beside = NodeAffinitySchedulingStrategy(here, soft=False)
        self._mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=beside).remote()
        self._take = self._mailbox.take.remote()
        self._work = ray.put(work)

    def want(self, count: int) -> None:
        while len(self._actors) < count:
            name = f"actor {next(self._numbers)}"
            handle = (
                ray.remote(Runner)
                .options(
                    num_cpus=self.wanted.get("CPU", 0),
                    num_gpus=self.wanted.get("GPU", 0),
                    resources={n: v for n, v in self.wanted.items() if n not in ("CPU", "GPU")},
                    max_restarts=0,
                    max_task_retries=0,
                )
                .remote(self._work, name, self._mailbox, self.setup.threads)
            )
            self._actors[name] = _Actor(handle, handle.ready.remote())

    def send(self, worker: str, task: Task) -> None:
        actor = self._actors[worker]
        actor.task, actor.pending = task, actor.handle.run.remote(pickle.dumps(task))

    def receive(self, seconds: float | None) -> Sequence[Message]:
        names = {one.pending: name for name, one in self._actors.items() if one.pending}
        done, _ = ray.wait([self._take, *names], num_returns=1, timeout=seconds)
        if not done:
            return []
        if done[0] == self._take:
            return self._letters(all_of_now=False)
        posted, messages = self._answer(names[done[0]])
        # Whatever was told of a run comes before its end.
        return [*self._letters(all_of_now=True), *messages] if posted else messages

    def _letters(self, *, all_of_now: bool) -> list[Message]:
        if all_of_now:
            self._mailbox.put.remote(None)
        letters: list[Message] = []
        while True:
            taken = ray.get(self._take)
            self._take = self._mailbox.take.remote()
            letters += [one for each in taken if each is not None for one in each]
            if not all_of_now or None in taken:
                return letters

    def _answer(self, name: str) -> tuple[bool, list[Message]]:
        """The outcome of what an actor was asked for; True: more of it was posted."""
        actor = self._actors[name]
        ref, task, actor.pending = actor.pending, actor.task, None
        try:
            found = ray.get(ref)
        except RayError as error:
            del self._actors[name]
            with contextlib.suppress(RayError):
                ray.kill(actor.handle)
            lost = self._lost(actor, error)
            event = "lost" if lost else "died"
            return True, [Message(name, event, lost or _reason(error), task)]
        if task is not None:
            actor.task = None
            ended: Ended = pickle.loads(found)  # noqa: S301 - of our own actor
            return ended.posted, [*ended.kept, Message(name, "run_end", ended.outcome, task)]
        actor.node = found
        return False, [Message(name, "ready", time.monotonic() - actor.began)]

    @staticmethod
    def _lost(actor: _Actor, error: RayError) -> str:
        """Words on the node, if it was taken away under an actor; else empty."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        gone = actor.node and actor.node not in alive
        taken = isinstance(error, RayActorError) and error.preempted
        if gone or taken or isinstance(error, NodeDiedError):
            return f"its node {actor.node[:8]} is gone"
        return ""

    def end(self, worker: str, *, at_once: bool = False) -> None:
        actor = self._actors.pop(worker, None)
        if actor is not None:
            ray.kill(actor.handle)

    def close(self) -> None:
        if not ray.is_initialized():
            return
        for name in list(self._actors):
            self.end(name)
        if hasattr(self, "_mailbox"):
            ray.kill(self._mailbox)
            del self._mailbox, self._take, self._work
        self._disconnect()

    def _disconnect(self) -> None:
        if self._mine:
            ray.shutdown()
            self._mine = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _reason(error: RayError) -> str:
    """The reason why an actor has ended, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [one for one in lines if "exit" in one.lower() or "memory" in one.lower()] or lines
    return f"its actor ended: {told[0] if told else type(error).__name__}"

"""Runs side by side on one card: a thread each, in one process, so that they share what they can.

Threads and not processes: kernels of several processes take turns on a card, kernels of several
streams of one process run at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from harness.events import Events, Queue, Relay, tell
from harness.executor import Executor, Group, free_memory, group_of
from harness.plugins import Loaded
from harness.records import RunSpec
from harness.setup import Setup


def execute(
    specs: Sequence[RunSpec], setup: Setup, loaded: Loaded, events: Events, slots: int
) -> None:
    """Carry out all runs, at most `slots` at a time; what lacked memory is done again alone."""
    crowded = _Slots(specs, setup, loaded, events)
    crowded.work(slots)
    alone = crowded.alone
    del crowded  # and with it what the slots hold of the device's memory
    executor = Executor(setup, loaded)
    for spec in alone:
        free_memory(setup.device)
        events.run_end(spec, executor.run(spec, Relay(spec, partial(tell, events, spec))))


class _Stopped(BaseException):
    """The call is over: a run in hand ends at its next report."""


class _Slots:
    def __init__(
        self, specs: Sequence[RunSpec], setup: Setup, loaded: Loaded, events: Events
    ) -> None:
        self.queue, self.events = Queue(specs), events
        self.executor = Executor(setup, loaded)
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
        from harness.engine.slot import taking

        with taking(number, lock):
            try:
                while not self.stop and (spec := self._next(number)) is not None:
                    self._run(number, spec)
            except _Stopped:
                return
            except BaseException as error:  # noqa: BLE001 - raised again where `work` was called
                self.errors.append(error)
                self.stop = True

    def _run(self, number: int, spec: RunSpec) -> None:
        self.events.run_start(spec)
        relay, siblings = Relay(spec, partial(self._tell, spec)), self.queue.siblings(spec)
        outcome = self.executor.run(spec, relay, siblings, self._groups())
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
        return [group_of(spec) for spec in self.active.values()]

    def _tell(self, spec: RunSpec, kind: str, value: Any) -> None:  # noqa: ANN401 - any event
        if self.stop:
            raise _Stopped
        tell(self.events, spec, kind, value)

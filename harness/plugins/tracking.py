"""`--track NAME`: observers that pass runs on to programs outside, each in a process of its own.

A tracker whose server does not answer waits for minutes (MLflow's client: see docs/trackers.md), and
one that is imported changes what runs share in a process; so neither happens where runs are made.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.api.records import EpochRecord, RunResult, RunSpec
from harness.api.tracker import RunTracker, TrackedRun
from harness.errors import UsageError
from harness.plugins.registry import PluginRegistry, load_plugins
from harness.utils.names import unknown
from harness.utils.parallel import without_main

# Assumed: what a tracker has not taken so long after the last run is lost.
SECONDS_TO_END = 60.0
FOLDER = "trackers"
DONE = ""  # what a tracker's process says when it has passed everything on


def check_trackers(names: Sequence[str], loaded: PluginRegistry) -> None:
    """Refuse what cannot track.

    Raises:
        UsageError: no tracker has such a name, or its library is not installed.
    """
    for name in names:
        if name not in loaded.trackers:
            raise unknown(name, loaded.trackers, "tracker")
        tracker = loaded.trackers[name]
        if find_spec(tracker.module) is None:
            raise UsageError(
                f"--track {name} needs the package {tracker.module!r}, which is not installed: "
                f"{tracker.install}"
            )


class Tracking:
    """Trackers that are told of runs between `start` and `stop`; without names it does nothing."""

    def __init__(
        self, names: Sequence[str], loaded: PluginRegistry, results: Path, *, offline: bool = False
    ) -> None:
        check_trackers(names, loaded)
        self.names, self.plugins = tuple(dict.fromkeys(names)), loaded.args
        self.results, self.offline = results.resolve(), offline
        self.open: dict[str, _TrackerProcess] = {}
        self.epochs: dict[str, int] = {}

    def start(self) -> list[str]:
        """Let every tracker begin; returns the faults of those that cannot."""
        faults = []
        for name in self.names:
            try:
                self.open[name] = _TrackerProcess(name, self.plugins, self.results / FOLDER)
            except OSError as error:
                faults.append(_told(name, f"no process can be started ({error.strerror})"))
        return faults

    def stop(self) -> list[str]:
        """Wait, for a while, until the trackers have taken everything; returns what went wrong."""
        for tracker in self.open.values():
            tracker.tell(None)
        until = time.monotonic() + SECONDS_TO_END
        faults = [
            _told(name, fault)
            for name, tracker in self.open.items()
            if (fault := tracker.end(until))
        ]
        self.open.clear()
        return faults

    def hear(self, hook: str, **told: Any) -> list[str]:  # noqa: ANN401 - arguments of any hook
        """Take what plugins are told by a hook; returns the faults of trackers, each once."""
        if not self.open:
            return []
        spec: RunSpec = told["spec"]
        for event in self._events(hook, spec, told):
            for tracker in self.open.values():
                tracker.tell((spec.run_id, *event))
        faults = {name: fault for name, one in self.open.items() if (fault := one.fault())}
        for name in faults:
            self.open.pop(name).kill()
        return [_told(name, fault) for name, fault in faults.items()]

    def _events(
        self, hook: str, spec: RunSpec, told: Mapping[str, Any]
    ) -> Iterator[tuple[object, ...]]:
        if hook == "harness_run_start":
            self.epochs[spec.run_id] = 0
            yield "begin", tracked(spec, self.results, offline=self.offline)
        elif hook == "harness_epoch_end":
            step = self.epochs[spec.run_id] = self.epochs.get(spec.run_id, 0) + 1
            yield "log", epoch_values(spec, told["epoch"]), step
        elif hook == "harness_run_end":
            result: RunResult = told["result"]
            yield "end", result.status, final_values(result)


def tracked(spec: RunSpec, results: Path, *, offline: bool) -> TrackedRun:
    """A run as trackers may know it."""
    settings: dict[str, object] = {
        "dataset": spec.dataset,
        "backbone": spec.backbone,
        "strategy": spec.strategy,
        "seed": spec.seed,
        "split": spec.protocol.split_seed,
        "labels": spec.labels or "all",
        "limit": spec.limit or "none",
        "weights": spec.weights,
        **({"start": spec.start} if spec.start else {}),
        "data": spec.data,
        "engine": spec.engine,
        "run_id": spec.run_id,
    }
    for kind, found in (
        ("strategy", spec.settings),
        ("protocol", spec.protocol.model_dump(mode="json")),
        ("numeric", spec.numeric.model_dump(mode="json")),
    ):
        settings |= {f"{kind}.{name}": value for name, value in found.items()}
    plain = {n: v if isinstance(v, str | int | float) else str(v) for n, v in settings.items()}
    return TrackedRun(
        run_id=spec.run_id,
        name=f"{spec.cell}, seed {spec.seed}",
        project=results.name,
        group=f"{spec.dataset} / {spec.started}",
        settings=plain,
        folder=results / FOLDER,
        offline=offline,
    )


def epoch_values(spec: RunSpec, epoch: EpochRecord) -> dict[str, float]:
    """Figures of an epoch; those that are undefined are left out."""
    return _finite(
        {
            "epoch": epoch.epoch,
            "train/loss": epoch.train_loss,
            "train/lr": epoch.lr,
            "train/seconds": epoch.seconds,
            f"validation/{spec.protocol.metric}": epoch.score,
        }
    )


def final_values(result: RunResult) -> dict[str, float]:
    """Figures of a finished run's tested checkpoint; none of a run that is not ok."""
    if result.status != "ok":
        return {}
    figures = {"test": result.metrics, "validation": result.validation}
    values = {
        f"final/{split}/{name}": figure.value
        for split, found in figures.items()
        for name, figure in found.items()
    }
    return _finite({**values, "final/seconds": result.cost.alone.total})


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: value for name, value in values.items() if value is not None and math.isfinite(value)
    }


def _told(name: str, fault: str) -> str:
    return f"tracker {name}: {fault}; the runs go on and are kept, but it is told no more"


# -- the process of a tracker -----------------------------------------------------------------


class _TrackerProcess:
    """One tracker.  To tell it something never waits for it: a thread passes on what it takes."""

    def __init__(self, name: str, plugins: Sequence[str], folder: Path) -> None:
        context = multiprocessing.get_context("spawn")  # nothing of this process comes along
        self.connection, theirs = context.Pipe()
        self.log = folder / f"{name}.log"
        self.process = context.Process(
            target=_serve, args=(theirs, name, tuple(plugins), self.log), daemon=True
        )
        with without_main():
            self.process.start()
        theirs.close()
        self.waiting: queue.SimpleQueue[object] = queue.SimpleQueue()
        threading.Thread(target=self._pass_on, name=f"tracker {name}", daemon=True).start()

    def tell(self, event: object) -> None:
        """None: there is nothing more."""
        self.waiting.put(event)

    def fault(self) -> str:
        """The cause of its end; empty while it lives."""
        try:
            if self.connection.poll():
                said = self.connection.recv()
                return f"{said} (more in {self.log})" if said != DONE else ""
        except (EOFError, OSError):
            self.process.join(1)
            return f"its process ended with exit code {self.process.exitcode} (see {self.log})"
        return ""

    def end(self, until: float) -> str:
        """Wait for it until then (time.monotonic); what went wrong, or empty."""
        self.process.join(max(0.0, until - time.monotonic()))
        late = self.process.is_alive()
        fault = self.fault()
        self.kill()
        if not fault and late:
            return f"it did not take everything within {SECONDS_TO_END:.0f} s, and was ended"
        return fault

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.waiting.put(None)
        self.connection.close()

    def _pass_on(self) -> None:
        try:
            while (event := self.waiting.get()) is not None:
                self.connection.send(event)
            self.connection.send(None)
        except (OSError, ValueError):  # it has ended, and why is seen by `fault`
            return


def _serve(connection: Connection, name: str, plugins: tuple[str, ...], log: Path) -> None:
    """Pass events on to a tracker until there are no more, or it raises."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # of an interrupt it hears by the end of the events
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        tracker = load_plugins(plugins).trackers[name]
        records: dict[str, RunTracker] = {}
        while (event := _next(connection)) is not None:
            run_id, kind, *rest = event
            if kind == "begin":
                if run_id in records:
                    records.pop(run_id).end("stopped", {})
                records[run_id] = tracker.begin(*rest)
            elif kind == "log":
                records[run_id].log(*rest)
            else:
                records.pop(run_id).end(*rest)
        for record in records.values():
            record.end("stopped", {})
        connection.send(DONE)
    except BaseException as error:  # noqa: BLE001 - whatever a library raises: told, and no run's matter
        traceback.print_exc()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        connection.send(f"{type(error).__name__}: {lines[0] if lines else 'no message'}")


def _next(connection: Connection) -> Any:  # noqa: ANN401 - events are tuples of any length
    try:
        return connection.recv()
    except EOFError:  # the caller was killed
        return None

"""Trackers: programs outside that are told of runs while they go on (`bench --track NAME`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.api.records import Name


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker may know it: no image, no id of one, no test figure.

    Attributes:
        run_id: of the run.
        name: for people: dataset / backbone / strategy, seed.
        project: what its results folder is called.
        group: its dataset and backbone, with its start where it names one.
        settings: everything that it is made with, by name: `strategy.alpha`, `protocol.lr`, `seed`.
        folder: where the tracker may keep files; it need not be there.
        offline: no socket may be opened.
    """

    run_id: str
    name: str
    project: str
    group: str
    settings: Mapping[str, str | int | float | bool]
    folder: Path
    offline: bool


class RunTracker(ABC):
    """The record of one run in a tracker.  Several may be open at once."""

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take the figures of an epoch; `step` counts the epochs validated, from 1."""

    @abstractmethod
    def end(self, status: str, values: Mapping[str, float]) -> None:
        """Take the final figures, among them those of the test split, and close the record.

        Args:
            status: 'ok', 'failed', 'oom', 'timeout', or 'stopped' where the call was.
            values: empty unless the run is ok.
        """


class Tracker(BaseModel):
    """A tracker that `--track` can name.

    Its methods are called in a process of its own, one for all runs of a call: whatever they raise
    ends the tracking and no run.  What they print goes into `trackers/NAME.log`.

    Attributes:
        name: kebab-case.
        title: for people.
        module: what must be importable.
        install: the command that installs it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    title: str = ""
    module: str
    install: str

    @abstractmethod
    def begin(self, run: TrackedRun) -> RunTracker:
        """Open the record of a run; one that begins anew is begun again."""

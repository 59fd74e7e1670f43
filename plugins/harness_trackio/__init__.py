"""trackio: `bench --track trackio`, into TRACKIO_DIR, else into trackers/trackio."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from harness import RunTracker, TrackedRun, Tracker, hookimpl

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_WEBHOOK_URL")


class TrackioRun(RunTracker):
    """One run of a project.

    trackio has one run open at a time, and one that is begun ends the one before; so where runs go
    on side by side, the one that has news is taken up again.
    """

    open: TrackioRun | None = None

    def __init__(self, run: TrackedRun) -> None:
        self.project = UNSAFE.sub("-", run.project)
        self.given: dict[str, Any] = {
            "name": f"{run.name} ({run.run_id})",
            "group": run.group,
            "config": dict(run.settings),
        }
        self.last, self.run = 0, self._take_up("never")

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.last = step
        if TrackioRun.open is not self:
            self.run = self._take_up("allow")
        self.run.log(dict(values), step=step)

    def end(self, status: str, values: Mapping[str, float]) -> None:
        self.log({**values, "ok": float(status == "ok")}, self.last)
        self.run.finish()
        TrackioRun.open = None

    def _take_up(self, resume: str) -> Any:  # noqa: ANN401 - trackio's
        import trackio

        TrackioRun.open = self
        return trackio.init(
            self.project, **self.given, resume=resume,
            embed=False, auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip


class Trackio(Tracker):
    """Figures and settings in one sqlite file a project."""

    name: str = "trackio"
    title: str = "trackio: TRACKIO_DIR, else a database in trackers/trackio"
    module: str = "trackio"
    install: str = "pip install 'finetune-harness[trackio]'"

    def begin(self, run: TrackedRun) -> TrackioRun:
        # Read when it is imported.
        os.environ.setdefault("TRACKIO_DIR", str(run.folder / "trackio"))
        if run.offline:
            for name in REMOTE:
                os.environ.pop(name, None)
        return TrackioRun(run)


@hookimpl
def harness_trackers() -> tuple[Tracker, ...]:
    return (Trackio(),)

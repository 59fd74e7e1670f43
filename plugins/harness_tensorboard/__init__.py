"""TensorBoard: `bench --track tensorboard`, read by `tensorboard --logdir DIR/trackers/tensorboard`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness import RunTracker, TrackedRun, Tracker, hookimpl

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class TensorBoardRun(RunTracker):
    """One run: a folder with an event file."""

    def __init__(self, writer: Any) -> None:  # noqa: ANN401 - the library has no types
        self.writer, self.last = writer, 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.last = step
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def end(self, status: str, values: Mapping[str, float]) -> None:
        self.log(values, self.last)
        self.writer.add_text("status", status)
        self.writer.close()


class TensorBoard(Tracker):
    """Scalars of every epoch; settings as a text."""

    name: str = "tensorboard"
    title: str = "TensorBoard: event files in trackers/tensorboard"
    module: str = "tensorboard"
    install: str = "pip install 'finetune-harness[tensorboard]'"

    def begin(self, run: TrackedRun) -> TensorBoardRun:
        from torch.utils.tensorboard import SummaryWriter

        folder = f"{UNSAFE.sub('-', run.name)}-{run.run_id}"
        writer = SummaryWriter(str(run.folder / "tensorboard" / folder))
        lines = (f"| {name} | {value} |" for name, value in run.settings.items())
        writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *lines]))
        return TensorBoardRun(writer)


@hookimpl
def harness_trackers() -> tuple[Tracker, ...]:
    return (TensorBoard(),)

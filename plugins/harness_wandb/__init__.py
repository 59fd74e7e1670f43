"""Weights & Biases: `bench --track wandb`; offline unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from harness import RunTracker, TrackedRun, Tracker, hookimpl

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class WandbRun(RunTracker):
    """One run of a project."""

    def __init__(self, run: Any) -> None:  # noqa: ANN401 - wandb's
        self.run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def end(self, status: str, values: Mapping[str, float]) -> None:
        self.run.summary.update({**values, "status": status})
        self.run.finish(exit_code=0 if status == "ok" else 1)


class Wandb(Tracker):
    """Figures and settings, and nothing of the machine: no code, no packages, no host, no console.

    Without WANDB_MODE nothing is sent: `wandb sync` sends what lies in trackers/wandb.
    """

    name: str = "wandb"
    title: str = "Weights & Biases: offline unless WANDB_MODE=online, files in trackers/wandb"
    module: str = "wandb"
    install: str = "pip install 'finetune-harness[wandb]'"

    def begin(self, run: TrackedRun) -> WandbRun:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            host="-",
            save_code=False,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        mode = "offline" if run.offline else os.environ.get("WANDB_MODE", "offline")
        made = wandb.init(
            project=UNSAFE.sub("-", run.project),
            name=run.name,
            group=run.group,
            config=dict(run.settings),
            dir=str(run.folder),
            mode=mode,
            reinit="create_new",
            settings=settings,
        )
        return WandbRun(made)


@hookimpl
def harness_trackers() -> tuple[Tracker, ...]:
    return (Wandb(),)

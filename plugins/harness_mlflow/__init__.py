"""MLflow: `bench --track mlflow`, into MLFLOW_TRACKING_URI, else into trackers/mlflow/mlflow.db."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import HarnessError, RunTracker, TrackedRun, Tracker, hookimpl

STATUS = {"ok": "FINISHED", "stopped": "KILLED"}  # everything else has failed
LOCAL = ("sqlite:", "file:", "/", ".")


class MlflowRun(RunTracker):
    """One run of an experiment."""

    def __init__(self, client: Any, run_id: str) -> None:  # noqa: ANN401 - mlflow's
        self.client, self.run_id, self.last = client, run_id, 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        self.last, now = step, time.time_ns() // 10**6
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def end(self, status: str, values: Mapping[str, float]) -> None:
        if values:
            self.log(values, self.last)
        self.client.set_tag(self.run_id, "status", status)
        self.client.set_terminated(self.run_id, STATUS.get(status, "FAILED"))


class Mlflow(Tracker):
    """An experiment a results folder, a run a run; nothing is uploaded but figures and settings."""

    name: str = "mlflow"
    title: str = "MLflow: MLFLOW_TRACKING_URI, else a database in trackers/mlflow"
    module: str = "mlflow"
    install: str = "pip install 'finetune-harness[mlflow]'"

    def begin(self, run: TrackedRun) -> MlflowRun:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        client = MlflowClient(_store(run))
        tags = {"mlflow.runName": run.name, "group": run.group}
        made = client.create_run(_experiment(client, run), tags=tags)
        params = [Param(name, str(value)) for name, value in run.settings.items()]
        client.log_batch(
            made.info.run_id, params=params, tags=[RunTag("harness_run_id", run.run_id)]
        )
        return MlflowRun(client, made.info.run_id)


def _store(run: TrackedRun) -> str:
    """The place of the tracking store.

    Raises:
        HarnessError: it is on the network, where none may be used.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        if run.offline and not given.startswith(LOCAL):
            raise HarnessError(
                f"--offline, and MLFLOW_TRACKING_URI is {given!r}: unset it for a local database"
            )
        return given
    folder = run.folder / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def _experiment(client: Any, run: TrackedRun) -> str:  # noqa: ANN401 - mlflow's
    """The id of the experiment of a results folder, made where there is none."""
    from mlflow.exceptions import MlflowException

    def known() -> str | None:
        found = client.get_experiment_by_name(run.project)
        return None if found is None else str(found.experiment_id)

    own = "MLFLOW_TRACKING_URI" not in os.environ
    artifacts = Path(run.folder, "mlflow", "artifacts").as_uri() if own else None
    found = known()
    if found is not None:
        return found
    try:
        return str(client.create_experiment(run.project, artifact_location=artifacts))
    except MlflowException:  # another call was faster
        found = known()
        if found is None:
            raise
        return found


@hookimpl
def harness_trackers() -> tuple[Tracker, ...]:
    return (Mlflow(),)

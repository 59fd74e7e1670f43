"""This machine as a plugin: the last to be asked to carry a run out, or to start workers."""

from __future__ import annotations

from harness.api.execution import Outcome, Resources
from harness.api.hooks import hookimpl
from harness.api.launcher import Launcher, LaunchSetup
from harness.api.records import RunSpec


@hookimpl(trylast=True)
def harness_execute(spec: RunSpec, resources: Resources) -> Outcome:
    """Train on this machine."""
    from harness.engine import run

    return run(spec, resources)


@hookimpl(trylast=True)
def harness_launch(setup: LaunchSetup) -> Launcher | None:
    """Start processes of this machine."""
    from harness.benchmark.launch.workers import LOCAL, LocalLauncher

    return LocalLauncher.of(setup) if setup.name == LOCAL else None

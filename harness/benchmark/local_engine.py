"""The local engine as a plugin: the last to be asked to carry a run out."""

from __future__ import annotations

from harness.api.execution import Outcome, Resources
from harness.api.hooks import hookimpl
from harness.api.records import RunSpec


@hookimpl(trylast=True)
def harness_execute(spec: RunSpec, resources: Resources) -> Outcome:
    """Train on this machine."""
    from harness import engine

    return engine.run(spec, resources)

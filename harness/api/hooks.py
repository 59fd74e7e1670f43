"""Hook specifications: everything a plugin may implement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from harness.api.backbone import Backbone
    from harness.api.dataset import Dataset
    from harness.api.execution import Outcome, Resources
    from harness.api.launcher import Launcher, LaunchSetup
    from harness.api.leaderboard import Leaderboard
    from harness.api.metric import Metric
    from harness.api.records import EpochRecord, RunResult, RunSpec, Suite
    from harness.api.strategy import PhaseReport, Strategy
    from harness.api.tracker import Tracker

API_VERSION = 1
hookspec = pluggy.HookspecMarker("harness")
hookimpl = pluggy.HookimplMarker("harness")


@hookspec
def harness_datasets() -> Iterable[Dataset]:  # type: ignore[empty-body]
    """Offer datasets.  Nothing is downloaded here."""


@hookspec
def harness_backbones() -> Iterable[Backbone]:  # type: ignore[empty-body]
    """Offer backbones: chains of named stages, pre-trained."""


@hookspec(firstresult=True)
def harness_backbone(name: str) -> Backbone | None:
    """Give the backbone of a name that no plugin lists; None for a name that is not yours.

    For networks that are too many to list.  A user writes `timm:NAME`, which is `timm.NAME` here
    and in records.  A name that is yours and cannot be used is refused with a HarnessError.
    """


@hookspec
def harness_strategies() -> Iterable[type[Strategy]]:  # type: ignore[empty-body]
    """Offer fine-tuning strategies."""


@hookspec
def harness_metrics() -> Iterable[Metric]:  # type: ignore[empty-body]
    """Offer metrics."""


@hookspec
def harness_suites() -> Iterable[Suite]:  # type: ignore[empty-body]
    """Offer suites."""


@hookspec
def harness_trackers() -> Iterable[Tracker]:  # type: ignore[empty-body]
    """Offer trackers: programs that `bench --track NAME` tells of runs while they go on."""


@hookspec
def harness_commands(cli: click.Group) -> None:
    """Add commands to `harness`."""


@hookspec(firstresult=True)
def harness_execute(spec: RunSpec, resources: Resources) -> Outcome | None:
    """Carry out one run.  The first plugin to return an outcome wins; the local engine is last."""


@hookspec(firstresult=True)
def harness_launch(setup: LaunchSetup) -> Launcher | None:
    """Give the launcher of a name (`setup.name`); None for a name that is not yours.

    A launcher starts workers and brings runs to them: see docs/launchers.md.  `local`, processes of
    this machine, comes with the harness.
    """


@hookspec(firstresult=True)
def harness_render(board: Leaderboard, format: str) -> str | None:  # noqa: A002 - the word users know
    """Write a leaderboard in a further format; None for a format that is not yours."""


@hookspec
def harness_run_start(spec: RunSpec) -> None:
    """A run begins; once more where its worker ended and it is tried again."""


@hookspec
def harness_epoch_end(spec: RunSpec, epoch: EpochRecord) -> None:
    """An epoch of a run has ended and was validated."""


@hookspec
def harness_phase_end(spec: RunSpec, report: PhaseReport) -> None:
    """A phase of a run has ended."""


@hookspec
def harness_run_end(spec: RunSpec, result: RunResult) -> None:
    """A run has ended, in whatever state."""

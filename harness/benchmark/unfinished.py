"""Checkpoints of runs that were interrupted: what a call finds, and what it removes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from harness.api.execution import Checkpoints, Engine
from harness.api.records import RunSpec
from harness.errors import ResumeError
from harness.plugins.discovery import DISTRIBUTION
from harness.utils.text import plural
from harness.utils.unfinished import FOLDER, Checkpoint, folder_of

SHOWN = 10


def made_by(device: str, engine: Engine, threads: int) -> dict[str, str]:
    """Conditions that must be the same for a run that goes on to have the bits of one that was not interrupted."""
    found = {name: _version(name) for name in (DISTRIBUTION, "torch")}
    kind = device.partition(":")[0]
    return {**found, "device": kind, "engine": engine, "threads": str(threads)}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def checkpoints_of(
    spec: RunSpec, results: Path, minutes: float, made: dict[str, str]
) -> Checkpoints:
    """The place of a run's checkpoints, as the engine is told."""
    return Checkpoints(folder_of(results, spec.run_id), 60 * minutes, made)


def describe(
    results: Path, specs: Sequence[RunSpec], made: dict[str, str], *, used: bool
) -> list[str]:
    """Lines on the runs among `specs` that have a checkpoint.

    `used`: those that can go on from it do.
    """
    if not (results / FOLDER).is_dir():
        return []
    lines = []
    for spec in specs:
        name = f"{spec.cell}, seed {spec.seed}"
        try:
            header = Checkpoint(folder_of(results, spec.run_id), made).header()
        except ResumeError as error:
            lines.append(
                f"  {name}: begins anew, for its checkpoint cannot be gone on from ({error})"
            )
            continue
        if header is not None:
            lines.append(f"  {name}: {header.place}")
    if not lines:
        return []
    runs = plural(len(lines), "interrupted run")
    head = (
        f"{runs} with a checkpoint:"
        if used
        else f"{runs} with a checkpoint, from which only a call with --checkpoint-every goes on:"
    )
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [head, *lines[:SHOWN], *more]


def forget(results: Path, run_ids: Iterable[str]) -> None:
    """Remove the checkpoints of runs."""
    if (results / FOLDER).is_dir():
        for run_id in run_ids:
            Checkpoint(folder_of(results, run_id), {}).clear()

"""SLURM: `harness slurm`, the shards of a call as an array job, each a call of its own.

Nothing of submitit is imported unless it is asked for.  What was tried: docs/several-machines.md.
"""

from __future__ import annotations

import click

from harness import hookimpl


@hookimpl
def harness_commands(cli: click.Group) -> None:
    """Add `harness slurm`."""
    from harness_slurm.commands import slurm

    cli.add_command(slurm)

"""`harness export`: a finished run's network for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.session import Session, example, pass_session


@click.command(epilog=example("harness export 3fa1 --out ward-network"))
@click.argument("run")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="A new folder to write the network and its card into.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The results folder of the run [results/*].",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of a cell this run.")
@pass_session
def command(session: Session, run: str, out: Path, results: Path | None, seed: int | None) -> None:
    """Write a run's network under published names, with a model card.

    RUN is an id or its first digits, the path of a record, or with --seed DATASET/BACKBONE/STRATEGY.
    The names are torchvision's, or timm's for backbones of timm.  Of `bench --save-weights`.
    """
    from harness.calls.winner import export
    from harness.utils.text import clean

    made = export(run, out, results=results, seed=seed, **session.shared)
    whose = f"{made.library} loads it strictly" if made.library else "in the names of its plugin"
    click.echo(clean(f"{made.cell}, seed {made.seed} ({whose}): {made.folder}"))

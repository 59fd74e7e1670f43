"""`harness score`: add metrics to finished runs without training."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.session import Session, example, pass_session


@click.command(epilog=example("harness score results/demo --metric macro-f1"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    "names",
    required=True,
    multiple=True,
    metavar="NAMES",
    help="Names or globs, with commas.",
)
@click.option("--replace", is_flag=True, help="Compute again what is there already.")
@pass_session
def command(session: Session, folder: Path, names: tuple[str, ...], *, replace: bool) -> None:
    """Add metrics to finished runs, from their stored logits.

    Exit code 1: some runs could not be scored.
    """
    from harness.results.merge import existing
    from harness.results.rescore import score
    from harness.utils.text import clean

    done = score(existing(folder), names, session.plugins, replace=replace)
    click.echo(
        f"{', '.join(done.metrics)}: {done.scored} runs scored, "
        f"{done.unchanged} had everything already"
    )
    if done.faults:
        for run, why in done.faults:
            click.echo(clean(f"{run}: {why}"), err=True)
        raise SystemExit(1)
    click.echo(f"harness board {folder} --metric {done.metrics[0]} ranks by it")

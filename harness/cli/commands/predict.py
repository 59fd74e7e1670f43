"""`harness predict`: what a finished run makes of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.session import Session, example, pass_session


@click.command(epilog=example("harness predict ward/resnet50/lp-ft new-images --out predicted.csv"))
@click.argument("run")
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE.csv",
    help="Where to write the probabilities.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The results folder of the run [results/*].",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Of a cell only this run, instead of the mean over all.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A folder with RUN_ID.safetensors [weights in the results folder].",
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads [as many as the run had, which rounds as it did].",
)
@click.option("--skip-bad-images", is_flag=True, help="Leave unreadable images out and say so.")
@pass_session
def command(session: Session, /, **given: Any) -> None:  # noqa: ANN401 - click's options, see above
    """Predict images, files or folders, by a run that kept its weights.

    RUN is an id or its first digits, the path of a record, or DATASET/BACKBONE/STRATEGY: then the
    probabilities are the mean over its seeds.  Images are prepared as those of the run were.  Of
    `bench --save-weights`.
    """
    from harness.calls.winner import predict
    from harness.utils.text import clean, plural

    made = predict(**given, **session.shared)
    seeds = ", ".join(map(str, made.seeds))
    one = len(made.seeds) == 1
    how = f"seed {seeds}" if one else f"mean of the probabilities of seeds {seeds}"
    click.echo(clean(f"{plural(len(made.files), 'image')} by {made.cell}, {how}: {given['out']}"))

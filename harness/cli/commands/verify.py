"""`harness verify`: compute everything in a results folder again and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.session import COLUMNS, JOIN_LABELS, Session, example, pass_session, print_json


@click.command(epilog=example("harness verify results/demo --replay 3"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--replay", type=click.IntRange(min=0), default=0, help="Run N random runs again.")
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses those runs.")
@click.option("--data", multiple=True, metavar="NAME=FOLDER", help="For --replay: as for bench.")
@COLUMNS
@JOIN_LABELS
@click.option("--window", multiple=True, metavar="WINDOW", help="For --replay: as for bench.")
@click.option("--weights", metavar="FOLDER", help="For --replay: as for bench.")
@click.option("--device", metavar="cpu|cuda:N", help="For --replay [as the run was made].")
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Results whose split files these runs must have been made on, as for a contribution.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@pass_session
def command(
    session: Session,
    /,
    folder: Path,
    *,
    as_json: bool,
    **given: Any,  # noqa: ANN401 - click's options
) -> None:
    """Check every file of a results folder.

    Figures are held against the stored logits, runs against splits and plan.  FOLDER may be a
    package of `harness submit` too.  Exit code 1: some file does not hold.
    """
    from harness.calls.folders import verify

    found = verify(folder, **given, **session.shared)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(str(found))
    if not found.holds:
        raise SystemExit(1)

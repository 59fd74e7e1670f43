"""`harness board`: rank the runs of one or several folders again and write the board."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.session import Session, example, pass_session
from harness.errors import UsageError


@click.command(epilog=example("harness board results/demo --format md"))
@click.argument(
    "folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the board there [the folder itself].",
)
@click.option(
    "--format",
    "wanted",
    metavar="FORMAT",
    help="Print it and write nothing: terminal, md, csv, claims, json, latex, html.",
)
@click.option("--ranks-only", is_flag=True, help="Leave out tests and claims: for very many runs.")
@click.option("--full", is_flag=True, help="Print everything, not the last screen only.")
@click.option("--metric", help="Rank by another metric than the suite's.")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Of a suite that tunes: as if only the first so many trials had been allowed.",
)
@pass_session
def command(
    session: Session,
    /,
    folders: tuple[Path, ...],
    out: Path | None,
    wanted: str | None,
    **given: Any,  # noqa: ANN401 - click's options, see above
) -> None:
    """Rank what is in a results folder and write its leaderboard.

    Several folders, or .zip files made by `harness submit`, give one board, whatever their order.
    """
    from harness.calls.boards import load, ranking
    from harness.leaderboard.render.formats import RANKS, UNLISTED
    from harness.utils.streams import unguarded

    full, ranks_only = given.pop("full"), given.pop("ranks_only")
    if ranks_only and wanted in UNLISTED and len(folders) == 1 and folders[0].suffix != ".zip":
        click.echo(ranking(folders[0], wanted, **given, **session.shared), nl=False)
        return
    target = out or _itself(folders, writes=wanted is None)
    made = load(
        *folders,
        out=None if wanted else target,
        ranks_only=ranks_only or wanted in RANKS,
        **given,
        **session.shared,
    )
    if wanted is None:
        click.echo(made.text(full=full), nl=False)
        return
    # A page holds scripts whose hashes it states, and is clean as it is.
    file = unguarded(sys.stdout) if wanted == "html" else None
    click.echo(made.render(wanted), nl=False, file=file)


def _itself(folders: tuple[Path, ...], *, writes: bool) -> Path:
    """The one folder that was given: a board of several belongs in none of them."""
    if writes and (len(folders) > 1 or folders[0].suffix == ".zip"):
        raise UsageError(
            "a board of several folders, or of a .zip, belongs in none of them: "
            "say where to write it with --out FOLDER, or print it with --format"
        )
    return folders[0]

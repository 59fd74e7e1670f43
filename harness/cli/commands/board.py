"""`harness board`: rank the runs of one or several folders again and write the board."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from harness.cli.session import Session, example, pass_session, warn
from harness.errors import UsageError


@click.command(epilog=example("harness board results/demo --format md"))
@click.argument(
    "places", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path)
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
    places: tuple[Path, ...],
    out: Path | None,
    wanted: str | None,
    **given: Any,  # noqa: ANN401 - click's options, see above
) -> None:
    """Rank what is in a results folder and write its leaderboard.

    Several folders, or .zip files made by `harness submit`, give one board, whatever their order.
    """
    # More threads make none of it faster.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from harness.leaderboard import boards
    from harness.leaderboard.render import summary, terminal
    from harness.results.merge import check_places, opened
    from harness.results.store import uncollected
    from harness.utils.streams import unguarded

    tests = not given["ranks_only"]
    target = out or _itself(places, writes=wanted is None)
    if not target.is_dir():
        check_places(places)  # before a folder is made for the board
    held = nullcontext() if wanted else boards.writing(target)
    with uncollected(), held, opened(places) as store:
        board = boards.rank_folder(store, session.plugins, given["metric"], given["trials"])
        if store.repeats:
            warn(
                f"{len(store.repeats)} runs were made in several places and came out differently; "
                f"of each the latest counts: {', '.join(store.repeats[:5])}"
            )
        if wanted:
            text = boards.render_board(board, wanted, store, session.plugins, tests=tests)
        else:
            board = boards.write_board(board, store, target, session.plugins, tests=tests)
            text = (
                terminal.render(board, terminal.terminal_width())
                if given["full"]
                else summary.render(board, target, terminal.terminal_width())
            )
        # A page holds scripts whose hashes it states, and is clean as it is.
        click.echo(text, nl=False, file=unguarded(sys.stdout) if wanted == "html" else None)


def _itself(places: tuple[Path, ...], *, writes: bool) -> Path:
    """The one folder that was given: a board of several belongs in none of them."""
    if writes and (len(places) > 1 or places[0].suffix == ".zip"):
        raise UsageError(
            "a board of several folders, or of a .zip, belongs in none of them: "
            "say where to write it with --out FOLDER, or print it with --format"
        )
    return places[0]

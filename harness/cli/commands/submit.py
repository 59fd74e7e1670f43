"""`harness submit`: pack results for somebody else's board, without what is private."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.session import Session, example, pass_session


@click.command(epilog=example("harness submit results/demo --to demo.zip"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.zip",
    help="Write the package there.",
)
@click.option(
    "--hide",
    multiple=True,
    metavar="NAMES",
    help="Datasets whose ids are replaced too, as of a private repository.",
)
@click.option(
    "--show",
    multiple=True,
    metavar="NAMES",
    help="Datasets whose ids stay: anybody may know them, as of published images.",
)
@pass_session
def command(
    session: Session, folder: Path, target: Path, hide: tuple[str, ...], show: tuple[str, ...]
) -> None:
    """Pack a results folder into a .zip file.

    `harness board` and `harness verify` read it.

    Ids of samples and groups that are not public are replaced by keyed hashes; paths are dropped.
    """
    from harness.leaderboard import boards
    from harness.publish.publish import PublishOptions, submit

    options = PublishOptions(
        lambda store: boards.refresh_board(store, session.plugins), hide, show=show
    )
    done = submit(folder, target, options)
    click.echo(
        f"{done.address}: {done.package.runs} runs, {done.package.failed} failed, "
        f"{len(done.package.files)} files ({done.package.bytes / 1e6:.1f} MB unpacked)"
    )
    for note in done.package.notes:
        click.echo(note)

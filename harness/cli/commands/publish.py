"""`harness publish`: results, board and card for everybody, without what is private."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.session import Session, example, pass_session


@click.command(epilog=example("harness publish results/demo --to published --dry-run"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    required=True,
    metavar="FOLDER|hf://datasets/ORG/NAME",
    help="A folder, or a dataset repository of the Hub that exists.",
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
@click.option("--dry-run", is_flag=True, help="Say what would be published, and write nothing.")
@pass_session
def command(
    session: Session,
    /,
    folder: Path,
    target: str,
    hide: tuple[str, ...],
    show: tuple[str, ...],
    *,
    dry_run: bool,
) -> None:
    """Publish a results folder: runs, splits, board and a card.

    Ids of samples and groups that are not public are replaced by keyed hashes; paths are dropped.
    """
    from harness.leaderboard import boards
    from harness.publish.publish import PublishOptions, publish
    from harness.utils.text import clean

    options = PublishOptions(
        lambda store: boards.refresh_board(store, session.plugins),
        hide,
        dry_run,
        session.offline,
        show,
    )
    done = publish(folder, target, options)
    verb = "would go" if dry_run else "are"
    click.echo(
        f"{len(done.package.files)} files ({done.package.bytes / 1e6:.1f} MB; "
        f"{done.package.runs} runs, {done.package.failed} failed) {verb} in {done.address or target}"
    )
    for note in done.package.notes:
        click.echo(note)
    if dry_run:
        for name in done.package.files:
            click.echo(f"  {clean(name)}")

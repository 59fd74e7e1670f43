"""`harness plugins new`: the package of a new plugin."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.session import Session, example, pass_session

KINDS = ("strategy", "backbone", "dataset", "metric")


@click.command(epilog=example("harness plugins new soft-tuning --kind strategy"))
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What it offers.")
@click.option(
    "--out",
    "into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="FOLDER",
    help="Write its folder there [here].",
)
@pass_session
def command(session: Session, name: str, *, kind: str, into: Path) -> None:
    """Write the package of a new plugin.

    It installs, passes its tests and runs as it is.
    """
    from harness.plugins.scaffold import bench_command, create

    folder = create(name, kind, into, session.plugins)
    place = folder if folder.is_absolute() else f"./{folder.as_posix()}"
    click.echo(
        f"wrote {folder}; next:\n"
        f'  pip install -e "{place}[test]"\n'
        f"  harness plugins check {name}\n"
        f"  {bench_command(name, kind)}"
    )

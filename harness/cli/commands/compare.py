"""`harness compare`: two results folders side by side, for people."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from harness.cli.session import Session, example, pass_session, print_text

FOLDER = click.Path(path_type=Path)


@click.command(epilog=example("harness compare results/before results/after"))
@click.argument("first", type=FOLDER)
@click.argument("second", type=FOLDER)
@click.option("--metric", default="balanced-accuracy", show_default=True, help="Or accuracy.")
@click.option(
    "--format",
    "wanted",
    type=click.Choice(["terminal", "md", "json"]),
    default="terminal",
    show_default=True,
    metavar="FORMAT",
    help="Print it as terminal, md or json.",
)
@pass_session
def command(session: Session, /, first: Path, second: Path, metric: str, wanted: str) -> None:
    """Compare two results folders cell by cell.

    It says what changed, and how sure that is.
    """
    from harness.leaderboard import boards
    from harness.results.gate import report
    from harness.results.gate.compare import compare_folders, rules_of

    chosen = partial(boards.chosen_runs, loaded=session.plugins)
    comparison = compare_folders(first, second, rules_of(first, metric), chosen)
    if wanted == "terminal":
        print_text(report.terminal(comparison, every=True))
    elif wanted == "md":
        click.echo(report.markdown(comparison, every=True), nl=False)
    else:
        click.echo(report.benchmark_json(comparison), nl=False)

"""`harness compare`: two results folders side by side, for people."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path)


@click.command
@click.argument("first", type=FOLDER)
@click.argument("second", type=FOLDER)
@click.option("--metric", default="balanced-accuracy", show_default=True, help="Or accuracy.")
@click.option(
    "--format",
    "wanted",
    type=click.Choice(["terminal", "md", "json"]),
    default="terminal",
    show_default=True,
)
def command(first: Path, second: Path, metric: str, wanted: str) -> None:
    """Compare two results folders cell by cell: what changed, and how sure that is."""
    from harness.results.gate import report as gate_report
    from harness.results.gate.compare import compare_folders, rules_of

    report = compare_folders(first, second, rules_of(first, metric))
    if wanted == "terminal":
        click.echo(gate_report.terminal(report, every=True))
    elif wanted == "md":
        click.echo(gate_report.markdown(report, every=True), nl=False)
    else:
        click.echo(gate_report.benchmark_json(report), nl=False)

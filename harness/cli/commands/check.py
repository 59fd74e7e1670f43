"""`harness check`: the regression gate for CI."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from harness.cli.session import (
    Finite,
    Session,
    comma_names,
    example,
    pass_session,
    print_text,
    warn,
)
from harness.errors import UsageError

FOLDER = FILE = click.Path(path_type=Path)


@click.command(epilog=example("harness check results/before results/after --tolerance 'xray/*=2'"))
@click.argument("baseline", type=FOLDER)
@click.argument("candidate", type=FOLDER)
@click.option("--metric", default="balanced-accuracy", show_default=True, help="Or accuracy.")
@click.option(
    "--tolerance",
    multiple=True,
    metavar="[CELLS=]POINTS",
    help="Points that may be lost, for cells of a glob: 'xray/*=2'.  [the suite's, else 1]",
)
@click.option(
    "--cost",
    type=Finite(),
    metavar="SHARE",
    help="Fail if seconds grow by more: 0.2.  [the suite's, if any]",
)
@click.option(
    "--allow-not-comparable",
    "allowed",
    multiple=True,
    metavar="CELLS",
    help="Cells (a glob) that need not be comparable: 'xray/*'.",
)
@click.option(
    "--cells",
    multiple=True,
    metavar="GLOB",
    help="Compare these cells only: 'xray/*'.",
)
@click.option(
    "--fail-on",
    callback=comma_names,
    metavar="VERDICTS",
    help="Verdicts that fail, with commas; without vanished, what both sides have is compared.  "
    "[worse,collapsed,newly-failing,vanished,not-comparable]",
)
@click.option(
    "--beyond-images",
    is_flag=True,
    help="A cell fails only if it is worse on other images of the same kind, too.",
)
@click.option(
    "--seed-spread",
    type=Finite(),
    metavar="POINTS",
    help="How much a run's score varies with its seed (standard deviation); for one seed a side.",
)
@click.option("--junit", type=FILE, metavar="FILE", help="Write JUnit XML here.")
@click.option("--markdown", type=FILE, metavar="FILE", help="Write a pull request comment here.")
@click.option(
    "--figures",
    type=FILE,
    metavar="FILE",
    help="Write figures and counts as JSON here, as github-action-benchmark takes it.",
)
@click.option("--json", "as_before", type=FILE, metavar="FILE", hidden=True)
@click.option("--sarif", type=FILE, metavar="FILE", help="Write SARIF for code scanning here.")
@click.option("--all", "every", is_flag=True, help="Show cells that are equal, too.")
@pass_session
def command(session: Session, /, baseline: Path, candidate: Path, **given: Any) -> None:  # noqa: ANN401 - see above
    """Fail if a results folder is worse than a baseline.

    Compares CANDIDATE with BASELINE cell by cell.  Exit code 1: something got worse.

    Fails when a cell is worse, collapsed, newly fails, vanished or is not comparable, when a
    strategy, backbone, dataset or all cells are worse on average, and when nothing could be
    compared.  A call that passes says what loss it would have seen.  In a GitHub workflow it also
    writes annotations and the step summary.
    """
    from harness.leaderboard import boards
    from harness.results.gate import report
    from harness.results.gate.compare import compare_folders, rules_of
    from harness.results.gate.records import FAILING
    from harness.results.gate.sarif import sarif
    from harness.utils import files
    from harness.utils.streams import unguarded

    if given["as_before"] is not None:
        warn("--json FILE is now --figures FILE: in every other command --json prints JSON")
    said = dict(map(_tolerance, given["tolerance"]))
    rules = replace(
        rules_of(baseline, given["metric"], said, given["cost"]),
        allowed=given["allowed"],
        beyond_images=given["beyond_images"],
        seed_spread=given["seed_spread"],
        cells=given["cells"],
        fail_on=given["fail_on"] or FAILING,
    )
    chosen = partial(boards.chosen_runs, loaded=session.plugins)
    comparison = compare_folders(baseline, candidate, rules, chosen)
    print_text(report.terminal(comparison, every=given["every"]))
    for path, option, render in (
        (given["junit"], "--junit", report.junit),
        (given["markdown"], "--markdown", report.markdown),
        (given["figures"], "--figures", report.benchmark_json),
        (given["as_before"], "--json", report.benchmark_json),
        (given["sarif"], "--sarif", partial(sarif, baseline=baseline)),
    ):
        if path is not None:
            with files.advising(path, f"choose another file with {option}"):
                files.write(path, render(comparison).encode())
    if os.environ.get("GITHUB_ACTIONS") == "true":
        # The one place where commands to a CI service are meant.
        click.echo("\n".join(report.workflow_commands(comparison)), file=unguarded(sys.stdout))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(report.markdown(comparison))
    if comparison.failures:
        raise SystemExit(1)


def _tolerance(text: str) -> tuple[str, float]:
    cells, _, points = text.rpartition("=")
    try:
        number = float(points)
    except ValueError as error:
        raise UsageError(f"--tolerance {text}: give points, as in 2 or 'xray/*=2'") from error
    if not math.isfinite(number):
        raise UsageError(f"--tolerance {text}: {points} is not a finite number")
    return cells or "*", number

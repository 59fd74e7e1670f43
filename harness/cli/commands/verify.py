"""`harness verify`: compute everything in a results folder again and compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.session import COLUMNS, JOIN_LABELS, Session, example, pass_session, print_json
from harness.utils.text import clean

if TYPE_CHECKING:
    from harness.results.verify import Replayed, VerificationReport


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
        print_json(_plain(found.report, found.replayed))
    else:
        _print(found.report, found.replayed)
    if not found.holds:
        raise SystemExit(1)


def _print(report: VerificationReport, replayed: Sequence[Replayed]) -> None:
    for problem in report.problems:
        click.echo(str(problem))
    for one in replayed:
        if one.holds:
            click.echo(clean(f"{one.result.spec.cell}, seed {one.result.spec.seed}: {one.told}"))
    for what, runs in sorted(report.unchecked.items()):
        click.echo(clean(f"not checked: {what} ({runs} runs)"))
    if report.superseded:
        click.echo(f"{report.superseded} runs are no longer asked for by plan.json")
    wrong = len(report.files)
    click.echo(
        f"{report.runs} runs, {report.failed} failed; {report.figures} figures computed again: "
        + (f"{wrong} files do not hold" if wrong else "everything holds")
    )
    if not wrong:
        _print_limits(bool(replayed))


def _print_limits(replayed: bool) -> None:  # noqa: FBT001
    """Print the questions that a folder in which everything holds leaves open."""
    from harness.results.verify import NOT_SHOWN

    click.echo("not shown by files:")
    for one in NOT_SHOWN:
        click.echo(f"- {one}")
    if not replayed:
        click.echo("`--replay N` trains N of the runs again and compares their predictions")


def _plain(report: VerificationReport, replayed: Sequence[Replayed]) -> dict[str, object]:
    from harness.results.verify import NOT_SHOWN

    return {
        "holds": not report.problems,
        "runs": report.runs,
        "failed": report.failed,
        "superseded": report.superseded,
        "figures": report.figures,
        "problems": [vars(problem) for problem in report.problems],
        "not_checked": dict(sorted(report.unchecked.items())),
        "not_shown": list(NOT_SHOWN),
        "replayed": [
            {
                "run_id": one.result.run_id,
                "cell": one.result.spec.cell,
                "seed": one.result.spec.seed,
                "holds": one.holds,
                "compared": one.compared,
                "difference": one.difference,
                "message": one.told,
            }
            for one in replayed
        ],
    }

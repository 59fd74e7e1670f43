"""`harness data audit`: what must be known of a dataset before its numbers mean anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.session import (
    COLUMNS,
    JOIN_LABELS,
    LOCK,
    WINDOW,
    Session,
    example,
    pass_session,
    print_json,
)
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.data.audit.audit import Audited


@click.command(
    epilog=example("harness data audit --data xray:ward=path/to/folder --html audit.html")
)
@click.argument("names", nargs=-1, metavar="[NAMES]...")
@click.option(
    "--data",
    multiple=True,
    metavar="[MODALITY:]NAME=FOLDER",
    help="Images of your own: class/*.jpg or train|validation|test/class/*.",
)
@COLUMNS
@JOIN_LABELS
@WINDOW
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page with example images, which needs nothing else.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write audit.json and audit.html there.",
)
@LOCK
@pass_session
def command(session: Session, /, **given: Any) -> None:  # noqa: ANN401 - click's options, see above
    """Look for leaks, copies, bad files and shortcuts in data.

    NAMES are names or globs of datasets.

    The source's own splits are judged as they are, and beside them those that a run uses.
    Exit code 1: a group, an exact or a confirmed near duplicate crosses splits.
    """
    from harness.calls.audits import audit_each, gathered
    from harness.data.audit import terminal

    as_json, places = given.pop("as_json"), {name: given.pop(name) for name in ("html", "out")}
    each: list[Audited | HarnessError] = []
    for one in audit_each(*given.pop("names"), **given, **session.shared):
        each.append(one)
        if not (as_json or isinstance(one, HarnessError)):
            click.echo(terminal.render(one.report))
    found = gathered(one for one in each if not isinstance(one, HarnessError))
    if as_json:
        print_json(found.to_dict())
    found.write(**places)
    gathered(each)  # raises what went wrong
    if found.crosses:
        raise SystemExit(1)

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
    own_folders,
    pass_session,
    print_json,
)
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from harness import Dataset
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
    from harness.api.dataset import Access
    from harness.data.audit import terminal
    from harness.data.audit.audit import audit
    from harness.utils import pulse, signs

    access = Access(offline=session.offline, lock=given["lock"])
    found, problems = [], []
    for dataset in _chosen(session, given):
        try:
            with pulse.shown(), signs.doing(f"reading {dataset.name}") as read:
                one = audit(dataset, access, read)
        except HarnessError as error:  # the others are looked at all the same
            problems.append(error)
            continue
        found.append(one)
        if not given["as_json"]:
            click.echo(terminal.render(one.report))
    if given["as_json"]:
        print_json(_as_json(found))
    _write(found, given["html"], given["out"])
    if problems:
        raise type(problems[0])("\n".join(map(str, problems)))
    if any(one.report.crosses for one in found):
        raise SystemExit(1)


def _chosen(session: Session, given: dict[str, Any]) -> list[Dataset]:
    from harness.benchmark.suite import with_folders
    from harness.utils.names import choose

    names, folders = given["names"], own_folders(given)
    if not (names or folders):
        raise UsageError(
            "name datasets (`harness list datasets` shows them) or give --data NAME=FOLDER"
        )
    known = with_folders(session.plugins.datasets, folders)
    chosen = choose(names, known, "dataset") if names else []
    return [known[name] for name in dict.fromkeys([*chosen, *(one.name for one in folders)])]


def _as_json(found: list[Audited]) -> dict[str, object]:
    audits = [one.report.model_dump(mode="json") for one in found]
    return {"crosses": any(one.report.crosses for one in found), "audits": audits}


def _write(found: list[Audited], html: Path | None, out: Path | None) -> None:
    import json

    from harness.data.audit import page
    from harness.utils import files

    places = [html] if html else []
    if out:
        places.append(out / "audit.html")
        text = json.dumps(_as_json(found), indent=1) + "\n"
        files.write(out / "audit.json", text.encode())
    if places:
        content = page.render(found).encode()
        for place in places:
            option = "file with --html" if place == html else "folder with --out"
            with files.advising(place, f"choose another {option}"):
                files.write(place, content)

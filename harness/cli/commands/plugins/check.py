"""`harness plugins check`: the promises of a plugin, checked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from harness.calls.arguments import own_folders
from harness.cli.session import (
    COLUMNS,
    JOIN_LABELS,
    WINDOW,
    Session,
    example,
    pass_session,
    print_json,
)
from harness.errors import PluginError, UsageError

if TYPE_CHECKING:
    from harness.api.dataset import Access, Dataset
    from harness.api.execution import ImageSet
    from harness.testing.promise import Verdict
    from harness.testing.subjects import Subject

IMAGES = 48  # of each split of own data, for the toy runs of a strategy: three batches


@click.command(
    epilog=example(
        "harness -p ./my_strategy.py plugins check my-strategy",
        "harness -p ./my_strategy.py plugins check my-strategy --data ward=images",
    )
)
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option(
    "--data",
    multiple=True,
    metavar="[MODALITY:]NAME=FOLDER",
    help="Images of your own: they are checked, and strategies are checked on some of them.",
)
@COLUMNS
@JOIN_LABELS
@WINDOW
@click.option("--light", is_flag=True, help="Skip what needs whole networks or reads data.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_session
def command(session: Session, /, **given: Any) -> None:  # noqa: ANN401 - click's options, see above
    """Check the promises that plugins make.

    NAME is a plugin or anything it offers; with --data it may be left out.  Exit code 1: a promise
    is broken.
    """
    verdicts = list(_verdicts(session, given, quiet=given["as_json"]))
    if given["as_json"]:
        print_json([_entry(verdict) for verdict in verdicts])
    else:
        kept = sum(verdict.state == "ok" for verdict in verdicts)
        click.echo(f"{kept} of {len(verdicts)} promises kept")
    if any(verdict.state != "ok" for verdict in verdicts):
        raise SystemExit(1)


def _verdicts(session: Session, given: dict[str, Any], *, quiet: bool) -> Iterator[Verdict]:
    """Check, and unless `quiet` print each verdict as it comes: own data first."""
    from harness.api.dataset import Access
    from harness.testing.subjects import of_own_data

    access, own = Access(offline=session.offline), _own_data(session, given)
    names = [name for name in given["names"] if name not in own]
    if not (names or own):
        raise UsageError("name plugins, or what they offer, or give --data NAME=FOLDER")
    sound, light = True, given["light"]
    for dataset in own.values():
        for verdict in _check(of_own_data(dataset, access, light=light), quiet=quiet):
            sound = sound and verdict.state == "ok"
            yield verdict
    if names and not sound:
        raise UsageError(
            f"{', '.join(names)} not checked: first mend the data of --data, see above"
        )
    images = {} if light or not names else {n: _images(one, access) for n, one in own.items()}
    for subject in _subjects(session, names, light=light, access=access, images=images):
        yield from _check(subject, quiet=quiet)


def _own_data(session: Session, given: dict[str, Any]) -> dict[str, Dataset]:
    from harness.benchmark.suite.resolve import with_folders

    folders = own_folders(given)
    known = with_folders(session.plugins.datasets, folders) if folders else {}
    return {folder.name: known[folder.name] for folder in folders}


def _images(dataset: Dataset, access: Access) -> ImageSet:
    """Some images of each split, as small as those of a toy run."""
    from harness.utils import pulse, signs

    with pulse.shown(), signs.doing(f"decoding {dataset.name}") as decoded:
        from harness.data.preparation.prepare import prepare_dataset
        from harness.testing.toys import toy_protocol

        prepared = prepare_dataset(dataset, toy_protocol(), access, limit=IMAGES, progress=decoded)
    return prepared.images


def _subjects(
    session: Session,
    names: Iterable[str],
    *,
    light: bool,
    access: Access,
    images: Mapping[str, ImageSet],
) -> list[Subject]:
    from harness.testing.subjects import subjects

    try:
        found = [
            one
            for name in names
            for one in subjects(session.plugins, name, light=light, access=access, images=images)
        ]
    except PluginError as error:
        # A plugin that does not even load has broken its first promise; it was named when it was
        # left out.
        raise SystemExit(1) from error
    return list({subject.owner: subject for subject in found}.values())


def _check(subject: Subject, *, quiet: bool) -> Iterator[Verdict]:
    """Check, and unless `quiet` print each verdict as it comes; what waits for another in one line."""
    said = (lambda _: None) if quiet else click.echo
    said(subject.owner.where)
    waiting: dict[str, list[str]] = {}
    for promise in subject.promises:
        verdict = promise.verdict()
        if verdict.see:
            waiting.setdefault(verdict.see, []).append(promise.name)
        else:
            said(_line(verdict))
        yield verdict
    for see, names in waiting.items():
        text = f"until {see!r} is kept: {', '.join(names)}"
        said(
            textwrap.fill(
                text, 100, initial_indent="  unchecked  ", subsequent_indent=" " * 13,
                break_on_hyphens=False,
            )
        )  # fmt: skip


def _line(verdict: Verdict) -> str:
    promise = verdict.promise
    head = f"  {verdict.state:<10} {promise.name}"
    if verdict.state == "ok":
        return head
    if verdict.state == "unchecked":
        return f"{head}: {verdict.seen}"
    rule = textwrap.indent(f"the rule: {promise.rule}", " " * 13)
    return f"{head}: {verdict.seen}\n{rule}"


def _entry(verdict: Verdict) -> dict[str, Any]:
    promise = verdict.promise
    return {
        "where": promise.owner.where,
        "promise": promise.name,
        "state": verdict.state,
        "seen": verdict.seen,
        "rule": promise.rule,
    }

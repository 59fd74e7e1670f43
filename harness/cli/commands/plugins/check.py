"""`harness plugins check`: the promises of a plugin, checked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from harness.cli.session import Session, example, pass_session, print_json
from harness.errors import PluginError

if TYPE_CHECKING:
    from harness.testing.promise import Verdict
    from harness.testing.subjects import Subject


@click.command(epilog=example("harness -p ./my_strategy.py plugins check my-strategy"))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--light", is_flag=True, help="Skip what needs whole networks or reads data.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_session
def command(session: Session, names: tuple[str, ...], *, light: bool, as_json: bool) -> None:
    """Check the promises that plugins make.

    NAME is a plugin or anything it offers.  Exit code 1: a promise is broken.
    """
    subjects = _subjects(session, names, light=light)
    if as_json:
        verdicts = [promise.verdict() for one in subjects for promise in one.promises]
        print_json([_entry(verdict) for verdict in verdicts])
    elif subjects:
        verdicts = _check(subjects)
        kept = sum(verdict.state == "ok" for verdict in verdicts)
        click.echo(f"{kept} of {len(verdicts)} promises kept")
    else:
        verdicts = []
        click.echo(f"{', '.join(names)}: loads, and offers nothing that makes promises")
    if any(verdict.state != "ok" for verdict in verdicts):
        raise SystemExit(1)


def _subjects(session: Session, names: Iterable[str], *, light: bool) -> list[Subject]:
    from harness.api.dataset import Access
    from harness.testing.subjects import subjects

    access = Access(offline=session.offline)
    try:
        found = [
            one
            for name in names
            for one in subjects(session.plugins, name, light=light, access=access)
        ]
    except PluginError as error:
        # A plugin that does not even load has broken its first promise.
        click.echo(f"harness: error: {error}", err=True)
        raise SystemExit(1) from error
    return list({subject.owner: subject for subject in found}.values())


def _check(subjects: Iterable[Subject]) -> list[Verdict]:
    """Check, and print each verdict as it comes."""
    verdicts = []
    for subject in subjects:
        click.echo(subject.owner.where)
        for promise in subject.promises:
            verdict = promise.verdict()
            click.echo(_line(verdict))
            verdicts.append(verdict)
    return verdicts


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

"""An audit for a terminal: at most 100 columns where names allow it, nothing told by colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from tabulate import tabulate

from harness.data.audit import wording
from harness.data.audit.report import Audit, SplitView
from harness.data.audit.wording import Finding
from harness.utils.text import clean

WIDTH = 100
CELL = 26  # characters of a cell


def render(report: Audit) -> str:
    """The whole report as text; `!` marks what is alarming."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Audit) -> Iterator[str]:
    about = [report.dataset, report.modality, f"licence {report.licence}"]
    about += [report.origin] * bool(report.origin)
    about += [f"revision {report.revision}"] * bool(report.revision)
    title = _wrapped(", ".join(map(clean, about)))
    yield title
    yield "=" * max(map(len, title.splitlines()))
    yield _wrapped(wording.verdict(report))
    yield ""
    yield from _findings(wording.general(report))
    yield from _view(report.source)
    if report.made is not None and not report.kept:
        yield from _view(report.made)
    elif report.made is not None:
        yield ""
        yield _wrapped(f"{wording.whose(report.made)}: {wording.rule(report.made)}; {wording.KEPT}")


def _view(view: SplitView) -> Iterator[str]:
    heading = _wrapped(f"{wording.whose(view)}: {wording.rule(view)}")
    yield ""
    yield heading
    yield "-" * max(map(len, heading.splitlines()))
    rows = [[textwrap.fill(cell, CELL) for cell in row] for row in wording.facts(view)]
    yield tabulate(rows, headers=["", *view.splits], disable_numparse=True)
    yield ""
    yield from _findings(wording.crossings(view))
    yield from _findings(wording.rest(view))


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    for one in findings:
        text = one.text + ":" * bool(one.items)
        yield _wrapped(text, "! " if one.alarming else "- ")
        # Names are not broken: they are there to be copied.
        yield from (f"    {clean(item)}" for item in one.items)
        if one.more:
            yield f"    and {one.more:,} more"


def _wrapped(text: str, mark: str = "") -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )

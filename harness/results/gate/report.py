"""The gate's report, for people and for CI."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from xml.etree import ElementTree as ET

from harness.results.gate.records import POINTS, CellReport, FamilyReport, GateReport
from harness.stats import WEAK
from harness.utils import tables
from harness.utils.text import clean

BEYOND = "beyond these images"
HEADERS = (
    "cell", "verdict", "before (%)", "after (%)", "change (points)", BEYOND, "allowed (points)",
    "runs", "cost",
)  # fmt: skip
FAMILY_HEADERS = (
    "mean over", "cells", "verdict", "change (points)", "allowed (points)", "loss seen (points)",
)  # fmt: skip
SHARE = "with 80 % certainty"
NAMED = 5  # most families that are named beside a reason


def summary(report: GateReport) -> str:
    """One line: how many cells of each verdict, and whether the gate passes."""
    counts = Counter(cell.verdict for cell in report.cells)
    text = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
    return f"{'FAIL' if report.failures else 'PASS'}: {text or 'no cells'}"


def sight(report: GateReport) -> list[str]:
    """The loss that would have been seen: in a typical cell, and in each family."""
    if report.seen is None:
        cell = "not known in a cell, for nothing tells how much runs spread"
    else:
        cell = f"{report.seen * POINTS:.1f} points in a typical cell"
    families = [
        ("not known" if family.seen is None else f"{family.seen * POINTS:.1f} points")
        + f" on average over {family.family} ({family.cells} cells)"
        for family in report.families
    ]
    return [cell, *families]


def table(report: GateReport, style: str = "simple", *, every: bool = False) -> str:
    """Cells by name; those that are equal only if `every` is asked for, or if they are constant."""
    shown = [
        cell
        for cell in clean_report(report).cells
        if every or cell.verdict != "equal" or WEAK in cell.reason
    ]
    text = _tabulate([_row(cell) for cell in shown], HEADERS, style)
    reasons = [f"- {cell.cell}: {cell.reason}" for cell in shown if cell.reason]
    return "\n\n".join(part for part in (text, "\n".join(reasons)) if part)


def families(report: GateReport, style: str = "simple") -> str:
    """The families, with the smallest loss that each would have shown."""
    shown = clean_report(report).families
    text = _tabulate([_family_row(family) for family in shown], FAMILY_HEADERS, style)
    reasons: dict[str, list[str]] = {}
    for family in shown:
        if family.reason:
            reasons.setdefault(family.reason, []).append(family.family)
    told = [
        f"- not tested: {', '.join(names) if len(names) <= NAMED else len(names)}: {reason}"
        for reason, names in reasons.items()
    ]
    return "\n\n".join(part for part in (text, "\n".join(told)) if part)


def _tabulate(rows: list[list[str]], headers: tuple[str, ...], style: str) -> str:
    if not rows:
        return ""
    if style == "github":
        from tabulate import tabulate

        rows = [[text.replace("|", "\\|") for text in row] for row in rows]
        return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True)
    if BEYOND in headers and all(row[headers.index(BEYOND)] == "-" for row in rows):
        at = headers.index(BEYOND)  # a terminal is narrow
        rows = [row[:at] + row[at + 1 :] for row in rows]
        headers = headers[:at] + headers[at + 1 :]
    return tables.fitted(headers, rows, tables.terminal_width(sys.maxsize))


def _seen(report: GateReport) -> str:
    """In one line; the families' figures stand in their table."""
    known = any(family.seen is not None for family in report.families)
    families = "; on average over several cells: 'loss seen' above" if known else ""
    return f"loss that would have been seen {SHARE}: {sight(report)[0]}{families}"


def terminal(report: GateReport, *, every: bool = False) -> str:
    """For a terminal: the tables, why it fails, the summary."""
    cleaned = clean_report(report)
    lines = [
        "\n".join(f"left out: {one}" for one in cleaned.left_out),
        table(report, every=every),
        families(report),
        *(f"note: {one}" for one in cleaned.notes),
        *(f"fails: {one}" for one in cleaned.failures),
        _seen(report) if any(cell.change for cell in report.cells) else "",
    ]
    return "\n\n".join(part for part in (*lines, summary(report)) if part)


def markdown(report: GateReport, *, every: bool = False) -> str:
    """For a pull request or a step summary."""
    cleaned = clean_report(report)
    parts = (
        f"### Benchmark: {summary(report)}",
        "\n".join(f"- left out: {_plain(one)}" for one in cleaned.left_out),
        "\n".join(f"- **{_plain(one)}**" for one in cleaned.failures),
        _plain(table(report, "github", every=every)),
        _plain(families(report, "github")),
        "\n".join(f"- note: {_plain(one)}" for one in cleaned.notes),
        f"A {_seen(report)}." if any(cell.change for cell in report.cells) else "",
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def junit(report: GateReport) -> str:
    """JUnit XML: a test case a cell, one a cost that is judged, one a family, one for the gate.

    That of the gate fails where nothing could be compared; so as many fail as the report names.
    """
    report = clean_report(report)
    suite = ET.Element("testsuite", name="harness check")
    for cell in report.cells:
        _add(
            suite,
            "cells",
            cell.cell,
            cell.verdict_told,
            fails=cell.fails,
            skipped=cell.change is None,
        )
        if cell.cost.verdict in {"better", "worse", "equal"}:
            told = (
                cell.cost_told or f"cost {cell.cost.verdict}: {cell.cost.ratio:.2f} times as much"
            )
            _add(suite, "cost", cell.cell, told, fails=bool(cell.cost_told))
    for family in report.families:
        untested = family.verdict == "not-tested"
        _add(
            suite,
            "families",
            family.family,
            family.verdict_told,
            fails=family.fails,
            skipped=untested,
        )
    gate = ET.SubElement(suite, "testcase", classname="gate", name="gate")
    if not any(cell.change for cell in report.cells):
        ET.SubElement(gate, "failure", message="nothing could be compared")
    ET.SubElement(gate, "system-out").text = "\n".join([
        *(f"left out: {one}" for one in report.left_out), summary(report), *report.notes,
        f"loss that would have been seen {SHARE}:", *sight(report),
    ])  # fmt: skip
    suite.set("tests", str(len(suite)))
    for outcome, attribute in (
        ("failure", "failures"),
        ("skipped", "skipped"),
        ("error", "errors"),
    ):
        suite.set(attribute, str(len(suite.findall(f"testcase/{outcome}"))))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _add(
    suite: ET.Element, kind: str, name: str, told: str, *, fails: bool, skipped: bool = False
) -> None:
    case = ET.SubElement(suite, "testcase", classname=kind, name=name)
    if fails:
        ET.SubElement(case, "failure", message=told)
    elif skipped:
        ET.SubElement(case, "skipped", message=told)
    else:
        ET.SubElement(case, "system-out").text = told


def workflow_commands(report: GateReport) -> Iterable[str]:
    """Workflow commands that a CI service shows beside a pull request.

    What was left out; an error for all that fails; the counts, and what the call would have seen.
    """
    cleaned = clean_report(report)
    for one in cleaned.left_out:
        yield f"::notice title=harness check::{_escaped(f'left out: {one}')}"
    for failure in cleaned.failures:
        yield f"::error title=harness check::{_escaped(failure)}"
    told = f"{summary(report)}; loss that would have been seen {SHARE}: "
    yield f"::notice title=harness check::{_escaped(told + '; '.join(sight(cleaned)))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def benchmark_json(report: GateReport) -> str:
    """A list of figures as github-action-benchmark takes it (`customBiggerIsBetter`).

    Cells with a figure, families, and last how many cells were compared, with the counts, and with
    the cells that have no figure.  Further keys end in their unit: percent of what can be scored,
    points of change; `loss_seen` is in points, too.
    """
    report = clean_report(report)
    cells = [_cell_figure(cell) for cell in report.cells if cell.after is not None]
    figures = [*cells, *map(_family_figure, report.families), _counted(report)]
    return json.dumps(figures, indent=2) + "\n"


def _cell_figure(cell: CellReport) -> dict[str, object]:
    change = cell.change
    return {
        "name": cell.cell,
        "unit": "percent",
        "value": _points(cell.after),
        "range": ""
        if change is None
        else f"change {change.value * POINTS:+.1f} points {cell.interval}",
        **_judged(cell),
        "after_percent": _points(cell.after),
        "change_points": None if change is None else _points(change.value),
        "low_points": None if change is None else _points(change.low),
        "high_points": None if change is None else _points(change.high),
        "allowed_points": cell.tolerance,
        "images": cell.images,
        "beyond_images": cell.beyond,
        "loss_seen": _points(cell.seen),
    }


def _judged(cell: CellReport) -> dict[str, object]:
    return {
        "extra": cell.verdict,
        "reason": cell.reason,
        "fails": cell.fails or bool(cell.cost_told),
        "before_percent": _points(cell.before),
        "runs_before": cell.seeds[0],
        "runs_after": cell.seeds[1],
        "times_the_cost": None if cell.cost.ratio is None else round(cell.cost.ratio, 4),
    }


def _family_figure(family: FamilyReport) -> dict[str, object]:
    return {
        "name": f"mean over {family.family}",
        "unit": "percent",
        "value": _points(family.after),
        "range": f"change {family.change * POINTS:+.1f} points",
        "extra": family.verdict,
        "reason": family.reason,
        "fails": family.fails,
        "before_percent": _points(family.before),
        "after_percent": _points(family.after),
        "change_points": _points(family.change),
        "allowed_points": family.tolerance,
        "cells": family.cells,
        "loss_seen": _points(family.seen),
    }


def _counted(report: GateReport) -> dict[str, object]:
    """The cells that were compared: more are better, as github-action-benchmark is told of all."""
    without = [{"name": cell.cell, **_judged(cell)} for cell in report.cells if cell.after is None]
    return {
        "name": "cells compared",
        "unit": "cells",
        "value": sum(cell.change is not None for cell in report.cells),
        "extra": summary(report),
        "counts": dict(sorted(Counter(cell.verdict for cell in report.cells).items())),
        "failures": list(report.failures),
        "left_out": list(report.left_out),
        "notes": list(report.notes),
        "without_figure": without,
    }


def _points(value: float | None) -> float | None:
    return None if value is None else round(value * POINTS, 4)


def clean_report(report: GateReport) -> GateReport:
    """The report with names and reasons on one line each, without control characters."""
    return replace(
        report,
        cells=tuple(
            replace(one, cell=clean(one.cell), reason=clean(one.reason)) for one in report.cells
        ),
        failures=tuple(map(clean, report.failures)),
        families=tuple(
            replace(one, family=clean(one.family), reason=clean(one.reason))
            for one in report.families
        ),
        notes=tuple(map(clean, report.notes)),
        left_out=tuple(map(clean, report.left_out)),
    )


def _row(cell: CellReport) -> list[str]:
    cost = "-" if cell.cost.ratio is None else f"x{cell.cost.ratio:.2f}"
    return [
        cell.cell,
        cell.verdict,
        _figure(cell.before),
        _figure(cell.after),
        "-" if cell.change is None else f"{cell.change.value * POINTS:+.1f} {cell.interval}",
        {None: "-", True: "yes", False: "no"}[cell.beyond],
        f"-{cell.tolerance:g}",
        f"{cell.seeds[0]}/{cell.seeds[1]}",
        cost,
    ]


def _family_row(family: FamilyReport) -> list[str]:
    return [
        family.family,
        str(family.cells),
        family.verdict,
        f"{family.change * POINTS:+.1f}",
        f"-{family.tolerance:g}",
        "-" if family.seen is None else f"{family.seen * POINTS:.1f}",
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value * POINTS:.1f}"


def _plain(text: str) -> str:
    """Names come from plugins and folders: no HTML in a pull request."""
    return text.replace("<", "&lt;").replace(">", "&gt;")

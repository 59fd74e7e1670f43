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
    "cell", "verdict", "before", "after", "change (points)", BEYOND, "allowed",
    "seeds", "cost",
)  # fmt: skip
FAMILY_HEADERS = ("mean over", "cells", "verdict", "change (points)", "allowed", "loss seen")
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
    families = "; on average over several cells: 'loss seen' above" if report.families else ""
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
    """JUnit XML: a test case a cell, one a family, and one for the gate as a whole."""
    report = clean_report(report)
    suite = ET.Element("testsuite", name="harness check")
    for cell in report.cells:
        _add_cell(suite, cell)
    for family in report.families:
        _add_family(suite, family)
    gate = ET.SubElement(suite, "testcase", classname="gate", name="gate")
    if report.failures:
        ET.SubElement(gate, "failure", message="; ".join(report.failures))
    ET.SubElement(gate, "system-out").text = "\n".join(
        [summary(report), *report.notes, f"loss that would have been seen {SHARE}:", *sight(report)]
    )
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _add_cell(suite: ET.Element, cell: CellReport) -> None:
    case = ET.SubElement(suite, "testcase", classname="cells", name=cell.cell)
    told = f"{cell.verdict}: {cell.reason}".strip(": ")
    if cell.fails or cell.cost.verdict == "worse":
        ET.SubElement(case, "failure", message=f"{cell.verdict} {cell.reason}".strip())
    elif cell.verdict in {"not-comparable", "new"}:
        ET.SubElement(case, "skipped", message=told)
    elif cell.verdict == "suspect":
        ET.SubElement(case, "system-out").text = told


def _add_family(suite: ET.Element, family: FamilyReport) -> None:
    case = ET.SubElement(suite, "testcase", classname="families", name=family.family)
    if family.fails:
        change = f"{family.change * POINTS:+.1f} points over {family.cells} cells"
        ET.SubElement(case, "failure", message=f"{family.verdict} {change}")
    elif family.reason:
        ET.SubElement(case, "skipped", message=f"{family.verdict}: {family.reason}")


def workflow_commands(report: GateReport) -> Iterable[str]:
    """Workflow commands that a CI service shows beside a pull request.

    An error for all that fails; for a call that passes a notice of what it would have seen.
    """
    cleaned = clean_report(report)
    for failure in cleaned.failures:
        yield f"::error title=harness check::{_escaped(failure)}"
    if not cleaned.failures:
        told = f"{summary(report)}; loss that would have been seen {SHARE}: "
        yield f"::notice title=harness check::{_escaped(told + '; '.join(sight(cleaned)))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def benchmark_json(report: GateReport) -> str:
    """A list of figures as github-action-benchmark takes it (`customBiggerIsBetter`).

    Beside its keys: the reason, whether it fails the gate, and the smallest loss that would have
    been seen with 80 %, in points.
    """
    report = clean_report(report)
    cells = [
        {
            "name": cell.cell,
            "unit": "points",
            "value": round(cell.after * POINTS, 4),
            "range": "" if cell.change is None else f"{_interval(cell)}",
            "extra": cell.verdict,
            "reason": cell.reason,
            "fails": cell.fails or cell.cost.verdict == "worse",
            "beyond_images": cell.beyond,
            "loss_seen": _points(cell.seen),
        }
        for cell in report.cells
        if cell.after is not None
    ]
    return json.dumps([*cells, *map(_family_figure, report.families)], indent=2) + "\n"


def _family_figure(family: FamilyReport) -> dict[str, object]:
    return {
        "name": f"mean over {family.family}",
        "unit": "points",
        "value": round(family.after * POINTS, 4),
        "range": f"{family.change * POINTS:+.1f}",
        "extra": family.verdict,
        "reason": family.reason,
        "fails": family.fails,
        "loss_seen": _points(family.seen),
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
        families=tuple(replace(one, family=clean(one.family)) for one in report.families),
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
        "-" if cell.change is None else f"{cell.change.value * POINTS:+.1f} {_interval(cell)}",
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


def _interval(cell: CellReport) -> str:
    if cell.change is None:
        return ""
    return f"[{cell.change.low * POINTS:+.1f}, {cell.change.high * POINTS:+.1f}]"


def _plain(text: str) -> str:
    """Names come from plugins and folders: no HTML in a pull request."""
    return text.replace("<", "&lt;").replace(">", "&gt;")

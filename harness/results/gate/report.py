"""The gate's report, for people and for CI."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from xml.etree import ElementTree as ET

from harness.results.gate.check import FAILING
from harness.results.gate.records import POINTS, CellReport, GateReport
from harness.utils.text import clean

HEADERS = ("cell", "verdict", "before", "after", "change (points)", "allowed", "seeds", "cost")


def summary(report: GateReport) -> str:
    """One line: how many cells of each verdict, and whether the gate passes."""
    counts = Counter(cell.verdict for cell in report.cells)
    text = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
    return f"{'FAIL' if report.failures else 'PASS'}: {text or 'no cells'}"


def table(report: GateReport, style: str = "simple", *, every: bool = False) -> str:
    """Cells by name; those that are equal only if `every` is asked for."""
    from tabulate import tabulate

    shown = [cell for cell in clean_report(report).cells if every or cell.verdict != "equal"]
    rows = [_row(cell) for cell in shown]
    if style == "github":
        rows = [[text.replace("|", "\\|") for text in row] for row in rows]
    text = tabulate(rows, headers=HEADERS, tablefmt=style, disable_numparse=True) if rows else ""
    reasons = [f"- {cell.cell}: {cell.reason}" for cell in shown if cell.reason]
    return "\n\n".join(part for part in (text, "\n".join(reasons)) if part)


def terminal(report: GateReport, *, every: bool = False) -> str:
    """For a terminal: the table, why it fails, the summary."""
    lines = [
        table(report, every=every),
        *(f"fails: {one}" for one in clean_report(report).failures),
    ]
    return "\n\n".join(part for part in (*lines, summary(report)) if part)


def markdown(report: GateReport, *, every: bool = False) -> str:
    """For a pull request or a step summary."""
    fails = "\n".join(f"- **{_plain(one)}**" for one in clean_report(report).failures)
    parts = (
        f"### Benchmark: {summary(report)}",
        fails,
        _plain(table(report, "github", every=every)),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def junit(report: GateReport) -> str:
    """JUnit XML: a test case a cell, and one for the gate as a whole."""
    report = clean_report(report)
    failed = [cell for cell in report.cells if _fails(cell)]
    suite = ET.Element(
        "testsuite",
        name="harness check",
        tests=str(len(report.cells) + 1),
        failures=str(len(failed) + bool(report.failures)),
    )
    for cell in report.cells:
        case = ET.SubElement(suite, "testcase", classname="cells", name=cell.cell)
        if _fails(cell):
            ET.SubElement(case, "failure", message=f"{cell.verdict} {cell.reason}".strip())
        elif cell.verdict in {"not-comparable", "new"}:
            ET.SubElement(case, "skipped", message=f"{cell.verdict}: {cell.reason}")
    gate = ET.SubElement(suite, "testcase", classname="gate", name="gate")
    if report.failures:
        ET.SubElement(gate, "failure", message="; ".join(report.failures))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def workflow_commands(report: GateReport) -> Iterable[str]:
    """Workflow commands that a CI service shows beside a pull request."""
    for failure in clean_report(report).failures:
        text = failure.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        yield f"::error title=harness check::{text}"


def benchmark_json(report: GateReport) -> str:
    """A list of figures as github-action-benchmark takes it (`customBiggerIsBetter`)."""
    figures = [
        {
            "name": cell.cell,
            "unit": "points",
            "value": round(cell.after * POINTS, 4),
            "range": "" if cell.change is None else f"{_interval(cell)}",
            "extra": cell.verdict,
        }
        for cell in clean_report(report).cells
        if cell.after is not None
    ]
    return json.dumps(figures, indent=2) + "\n"


def clean_report(report: GateReport) -> GateReport:
    """The report with names and reasons on one line each, without control characters."""
    cells = [replace(one, cell=clean(one.cell), reason=clean(one.reason)) for one in report.cells]
    return GateReport(tuple(cells), tuple(map(clean, report.failures)))


def _fails(cell: CellReport) -> bool:
    return cell.verdict in FAILING or cell.cost.verdict == "worse"


def _row(cell: CellReport) -> list[str]:
    cost = "-" if cell.cost.ratio is None else f"x{cell.cost.ratio:.2f}"
    return [
        cell.cell,
        cell.verdict,
        _figure(cell.before),
        _figure(cell.after),
        "-" if cell.change is None else f"{cell.change.value * POINTS:+.1f} {_interval(cell)}",
        f"-{cell.tolerance:g}",
        f"{cell.seeds[0]}/{cell.seeds[1]}",
        cost,
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

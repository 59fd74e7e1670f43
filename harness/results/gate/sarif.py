"""The gate's report as SARIF 2.1.0, which code scanning shows beside a pull request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from harness.results.gate.check import FAILING
from harness.results.gate.records import CellReport, GateReport
from harness.results.gate.report import clean_report

RULES = {
    "worse": "A cell scores significantly lower than in the baseline, by more than the tolerance.",
    "newly-failing": "A run that finished in the baseline has failed.",
    "vanished": "A cell, or a seed of it, is in the baseline only.",
    "cost": "A cell takes longer than the tolerance allows.",
    "nothing-compared": "No cell could be compared, so nothing is known.",
}
Result = dict[str, object]


def sarif(report: GateReport, baseline: Path) -> str:
    """A result for everything that makes the gate fail, located at the baseline's plan.

    Args:
        report: of `harness check`.
        baseline: its results folder, from the root of the repository.
    """
    driver = {
        "name": "harness check",
        "rules": [{"id": name, "shortDescription": {"text": text}} for name, text in RULES.items()],
    }
    place = quote((baseline / "plan.json").as_posix())
    run = {"tool": {"driver": driver}, "results": list(_results(report, place))}
    whole = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(whole, indent=2) + "\n"


def _results(report: GateReport, place: str) -> Iterator[Result]:
    for cell in clean_report(report).cells:
        if cell.verdict in FAILING:
            yield _result(cell.verdict, cell.cell, _told(cell), place)
        if cell.cost.verdict == "worse":
            told = f"{cell.cell}: costs {cell.cost.ratio:.2f} times as much"
            yield _result("cost", cell.cell, told, place)
    if not any(cell.change for cell in report.cells):
        yield _result("nothing-compared", "gate", RULES["nothing-compared"], place)


def _told(cell: CellReport) -> str:
    change = "" if cell.change is None else f" by {-100 * cell.change.value:.1f} points"
    reason = f" ({cell.reason})" if cell.reason else ""
    return f"{cell.cell}: {cell.verdict}{change}{reason}"


def _result(rule: str, what: str, text: str, place: str) -> Result:
    # The same finding in a later run is the same alert.
    mark = hashlib.sha256(f"{rule} {what}".encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": "error",
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": place},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": what, "kind": "member"}],
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": mark},
    }

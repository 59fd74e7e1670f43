"""The gate's report as SARIF 2.1.0, which code scanning shows beside a pull request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from harness.results.gate.records import GateReport
from harness.results.gate.report import SHARE, clean_report, sight, summary

RULES = {
    "worse": "A cell scores significantly lower than in the baseline, by more than the tolerance.",
    "collapsed": "A cell predicts one class only, or is no better than chance any more.",
    "family": "A strategy, backbone, dataset or all cells score significantly lower on average.",
    "newly-failing": "A run that finished in the baseline has failed.",
    "vanished": "A cell, or a seed of it, is in the baseline only.",
    "not-comparable": "A cell's data, protocol, limit, weights or test samples are not the same.",
    "cost": "A cell takes longer than the tolerance allows.",
    "nothing-compared": "No cell could be compared, so nothing is known.",
}
Result = dict[str, object]


def sarif(report: GateReport, baseline: Path) -> str:
    """A result for everything that makes the gate fail, located at the baseline's plan.

    The run's properties hold the summary, notes, and the smallest loss that would have been seen.

    Args:
        report: of `harness check`.
        baseline: its results folder, from the root of the repository.
    """
    driver = {
        "name": "harness check",
        "rules": [{"id": name, "shortDescription": {"text": text}} for name, text in RULES.items()],
    }
    place = quote((baseline / "plan.json").as_posix())
    run = {
        "tool": {"driver": driver},
        "results": list(_results(report, place)),
        "properties": {
            "summary": summary(report),
            "left out": list(clean_report(report).left_out),
            "notes": list(clean_report(report).notes),
            f"loss that would have been seen {SHARE}": sight(clean_report(report)),
        },
    }
    whole = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(whole, indent=2) + "\n"


def _results(report: GateReport, place: str) -> Iterator[Result]:
    report = clean_report(report)
    for cell in report.cells:
        if cell.fails:
            yield _result(cell.verdict, cell.cell, f"{cell.cell}: {cell.verdict_told}", place)
        if cell.cost_told:
            yield _result("cost", cell.cell, f"{cell.cell}: {cell.cost_told}", place)
    for family in report.families:
        if family.fails:
            told = f"{family.family}: {family.verdict_told}"
            yield _result("family", family.family, told, place)
    if not any(cell.change for cell in report.cells):
        yield _result("nothing-compared", "gate", RULES["nothing-compared"], place)


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

"""Every format of one report that holds each verdict: figures with units, equal counts."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.results.gate import report, sarif
from harness.results.gate.check import _failures
from harness.results.gate.records import CellReport, CostChange, FamilyReport, GateReport
from harness.stats import Change


def change(value):
    return Change(
        value, value - 0.0204, value + 0.0196, 0.001, 0.9, 0.9, 0.9, 0.05, 0.2, "runs", None
    )


SHOWN = CostChange("not-judged", 1.0)


def cell(verdict, *, value=None, name=None, fails=False, seeds=(3, 2), cost=SHOWN, reason="why"):
    """Compared from 90 % on if there is a value, else with runs on the sides that have seeds."""
    compared = value is not None
    before, after = 0.9 if seeds[0] else None, 0.9 + (value or 0) if seeds[1] else None
    return CellReport(
        name or f"xray/net/{verdict}", verdict, reason, before, after,
        change(value) if compared else None, 1.5, seeds, cost, fails, None,
        0.034 if compared else None, 400 if compared else 0,
    )  # fmt: skip


CELLS = (
    cell("better", value=0.052, reason=""),
    cell("worse", value=-0.0512, fails=True, reason=""),
    cell("worse", value=-0.06, name="xray/net/two", fails=True, cost=CostChange("worse", 1.504)),
    cell("equal", value=0.0),
    cell("equal", value=0.0, name="xray/net/dear", cost=CostChange("worse", 2.0)),
    cell("equal", value=0.0, name="xray/net/cheap", cost=CostChange("better", 0.5)),
    cell("inconclusive", value=-0.01),
    cell("suspect", value=-0.1, seeds=(1, 1)),
    cell("collapsed", value=-0.4, fails=True),
    cell("newly-failing", fails=True),
    cell("vanished", seeds=(3, 0), fails=True),
    cell("not-comparable", fails=True),
    cell("not-comparable", name="xray/net/neither", seeds=(0, 0)),
    cell("new", seeds=(0, 2)),
)
VERDICTS = {
    "better": 1, "worse": 2, "equal": 3, "inconclusive": 1, "suspect": 1, "collapsed": 1,
    "newly-failing": 1, "vanished": 1, "not-comparable": 2, "new": 1,
}  # fmt: skip
FAILING = {  # what fails -> the words that tell of it
    "xray/net/worse": ["worse: -5.1 points [-7.2, -3.2], from 90.0 % to 84.9 %, n = 3 and 2 runs on 400 test images"],
    "xray/net/two": [
        "worse (why): -6.0 points [-8.0, -4.0], from 90.0 % to 84.0 %, n = 3 and 2 runs on 400 test images",
        "costs 1.50 times as much",
    ],
    "xray/net/dear": ["costs 2.00 times as much"],
    "xray/net/collapsed": ["collapsed (why): -40.0 points [-42.0, -38.0], from 90.0 % to 50.0 %, n = 3 and 2 runs on 400 test images"],
    "xray/net/newly-failing": ["newly-failing (why): 90.0 % before (n = 3 runs), 90.0 % after (n = 2 runs)"],
    "xray/net/vanished": ["vanished (why): 90.0 % before (n = 3 runs)"],
    "xray/net/not-comparable": ["not-comparable (why): 90.0 % before (n = 3 runs), 90.0 % after (n = 2 runs)"],
    "strategy b": ["worse by 2.3 points on average over 4 cells, from 90.0 % to 87.7 %"],
}  # fmt: skip
FAMILIES = (
    FamilyReport("all cells", "inconclusive", "", 9, 0.9, 0.89, -0.0102, 0.75, 0.021),
    FamilyReport("strategy b", "worse", "", 4, 0.9, 0.8766, -0.0234, 0.75, 0.02, fails=True),
    FamilyReport("backbone net", "not-tested", "few", 2, 0.9, 0.91, 0.01, 0.75, None),
)
LEFT = ("4 of 18 cells, by --cells xray/*", "from what fails, by --fail-on: not-comparable")
REPORT = GateReport(
    CELLS, tuple(_failures(CELLS, FAMILIES)), FAMILIES, 0.034, ("--seed-spread is not used",), LEFT
)
LINES = {f"{name}: {one}" for name, told in FAILING.items() for one in told}


def test_a_line_of_what_fails_has_figures_with_units_and_n():
    assert set(REPORT.failures) == LINES
    assert len(REPORT.failures) == len(LINES) == 9


def test_a_column_of_losses_is_named_only_where_it_holds_one():
    named = "'loss seen' above"
    unknown = replace(REPORT, families=tuple(replace(one, seen=None) for one in FAMILIES))
    assert named in report.terminal(REPORT)
    assert named not in report.terminal(unknown)


def junit():
    return ET.fromstring(report.junit(REPORT))


def figures():
    return json.loads(report.benchmark_json(REPORT))


def in_summary(text):
    (found,) = re.findall(r"(?:FAIL|PASS): ((?:\d+ [a-z-]+(?:, )?)+)", text)
    return {name: int(n) for n, name in (one.split() for one in found.strip(", ").split(", "))}


def of_table(text, bar):
    """Verdicts in the column beside a cell's name; `bar`: what stands between columns."""
    lines = (line.strip("| ") for line in text.splitlines() if "xray/net/" in line)
    rows = [re.split(bar, line) for line in lines if not line.startswith(("-", "fails"))]
    return dict(Counter(row[1].strip() for row in rows if len(row) > 3))


def of_junit(suite):
    """The first word that each case of a cell says."""
    said = [
        (one[0].get("message") or one[0].text)
        for one in suite.findall("testcase[@classname='cells']")
    ]
    return dict(Counter(re.match(r"[a-z-]+", one)[0] for one in said))


def of_json(entries):
    *listed, last = entries
    cells = [one for one in listed if not one["name"].startswith("mean over")]
    return dict(Counter(one["extra"] for one in [*cells, *last["without_figure"]]))


def sarif_results():
    return json.loads(sarif.sarif(REPORT, Path("base")))["runs"][0]["results"]


@pytest.mark.parametrize(
    "counted",
    [
        lambda: in_summary(report.terminal(REPORT)),
        lambda: of_table(report.terminal(REPORT, every=True), r"\s{2,}"),
        lambda: in_summary(report.markdown(REPORT)),
        lambda: of_table(report.markdown(REPORT, every=True), r"\s*\|\s*"),
        lambda: of_junit(junit()),
        lambda: in_summary(junit().find("testcase[@classname='gate']/system-out").text),
        lambda: of_json(figures()),
        lambda: figures()[-1]["counts"],
        lambda: in_summary(figures()[-1]["extra"]),
        lambda: in_summary("\n".join(report.workflow_commands(REPORT))),
        lambda: in_summary(json.loads(sarif.sarif(REPORT, Path("b")))["runs"][0]["properties"]["summary"]),
    ],
    ids=["terminal", "terminal table", "markdown", "markdown table", "junit cases", "junit gate",
         "json cells", "json counts", "json summary", "annotations", "sarif"],
)  # fmt: skip
def test_every_format_counts_each_verdict_alike(counted):
    assert counted() == VERDICTS


@pytest.mark.parametrize(
    "lines",
    [
        lambda: re.findall(r"^fails: (.*)$", report.terminal(REPORT), re.MULTILINE),
        lambda: re.findall(r"^- \*\*(.*)\*\*$", report.markdown(REPORT), re.MULTILINE),
        lambda: [
            f"{case.get('name')}: {case.find('failure').get('message')}"
            for case in junit().findall("testcase[failure]")
        ],
        lambda: [
            line.removeprefix("::error title=harness check::").replace("%25", "%")
            for line in report.workflow_commands(REPORT)
            if line.startswith("::error")
        ],
        lambda: [one["message"]["text"] for one in sarif_results()],
        lambda: figures()[-1]["failures"],
    ],
    ids=["terminal", "markdown", "junit", "annotations", "sarif", "json"],
)
def test_every_format_tells_of_the_same_failures(lines):
    assert sorted(lines()) == sorted(LINES)


def test_junit_s_own_counts_are_those_of_its_cases():
    suite = junit()
    assert len(suite) == len(CELLS) + 3 + len(FAMILIES) + 1  # three costs were judged; the gate
    found = {name: int(suite.get(name)) for name in ("tests", "failures", "skipped", "errors")}
    assert found == {"tests": len(suite), "failures": 9, "skipped": 3, "errors": 0}
    assert suite.find("testcase[@classname='gate']/failure") is None
    empty = ET.fromstring(report.junit(GateReport((), ("nothing could be compared",))))
    assert (empty.get("tests"), empty.get("failures")) == ("1", "1")


def test_what_passes_tells_its_figures_too():
    cases = {one.get("name"): one[0] for one in junit() if one.get("classname") != "cost"}
    assert cases["xray/net/better"].text == (
        "better: +5.2 points [+3.2, +7.2], from 90.0 % to 95.2 %, n = 3 and 2 runs on 400 test images"
    )
    assert cases["xray/net/new"].get("message") == "new (why): 90.0 % after (n = 2 runs)"
    assert cases["xray/net/neither"].get("message") == "not-comparable (why)"
    assert cases["all cells"].text == (
        "inconclusive -1.0 points on average over 9 cells, from 90.0 % to 89.0 %"
    )
    (cheap,) = junit().findall("testcase[@classname='cost'][@name='xray/net/cheap']")
    assert cheap[0].text == "cost better: 0.50 times as much"


def test_keys_of_the_json_name_their_unit():
    entries = {one["name"]: one for one in figures()}
    worse = entries["xray/net/worse"]
    assert (worse["unit"], worse["value"], worse["after_percent"]) == ("percent", 84.88, 84.88)
    assert worse["range"] == "change -5.1 points [-7.2, -3.2]"
    assert (worse["before_percent"], worse["change_points"]) == (90.0, -5.12)
    assert (worse["low_points"], worse["high_points"]) == (-7.16, -3.16)
    assert (worse["runs_before"], worse["runs_after"], worse["images"]) == (3, 2, 400)
    assert (worse["allowed_points"], worse["loss_seen"], worse["fails"]) == (1.5, 3.4, True)
    assert (entries["xray/net/dear"]["times_the_cost"], entries["xray/net/dear"]["fails"]) == (
        2.0,
        True,
    )
    mean = entries["mean over strategy b"]
    assert (mean["unit"], mean["value"], mean["cells"], mean["fails"]) == (
        "percent",
        87.66,
        4,
        True,
    )
    assert (mean["before_percent"], mean["change_points"]) == (90.0, -2.34)
    last = entries["cells compared"]
    assert list(entries)[-1] == "cells compared"
    assert (last["value"], last["unit"]) == (9, "cells")
    assert [one["name"].rpartition("/")[2] for one in last["without_figure"]] == [
        "vanished",
        "neither",
    ]
    assert all(isinstance(one["value"], int | float) for one in figures())


def test_what_was_left_out_comes_first_in_every_format():
    told = [f"left out: {one}" for one in LEFT]
    assert report.terminal(REPORT).splitlines()[:2] == told
    assert report.markdown(REPORT).splitlines()[2:4] == [f"- {one}" for one in told]
    gate = junit().find("testcase[@classname='gate']/system-out").text
    assert gate.splitlines()[:2] == told
    commands = list(report.workflow_commands(REPORT))
    assert commands[:2] == [f"::notice title=harness check::{one}" for one in told]
    assert figures()[-1]["left_out"] == list(LEFT)
    run = json.loads(sarif.sarif(REPORT, Path("base")))["runs"][0]
    assert run["properties"]["left out"] == list(LEFT)


def test_a_percent_sign_does_not_end_an_annotation():
    (one,) = [line for line in report.workflow_commands(REPORT) if "net/vanished" in line]
    assert one.endswith("vanished (why): 90.0 %25 before (n = 3 runs)")


def test_names_that_hold_lines_keep_to_one():
    odd = replace(CELLS[1], cell="a\nb")
    family = replace(FAMILIES[2], family="strategy a\nb", reason="fe\nw")
    told = report.clean_report(GateReport((odd,), tuple(_failures((odd,), ())), (family,)))
    lines = [told.cells[0].cell, *told.failures, told.families[0].family, told.families[0].reason]
    assert not any("\n" in line for line in lines)

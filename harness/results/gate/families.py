"""Families of cells in the gate's report: all of them, a strategy, a backbone, a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from harness.results.gate.records import POINTS, CellReport, FamilyReport, FamilyVerdict
from harness.stats import FAMILIES, Family, Measured, compare_families

SHARE = 0.5  # of the tolerance of its cells that a family may lose on average


def judge_families(
    measured: Mapping[str, Measured], cells: Sequence[CellReport], *, fails: bool = True
) -> list[FamilyReport]:
    """Give a verdict on each family.

    Args:
        measured: the cells that are compared, by name.
        cells: reports on all cells.
        fails: a family that is worse makes the gate fail.
    """
    by_name = {cell.cell: cell for cell in cells}
    compared = [by_name[name] for name in measured]
    return [
        _report(family, [compared[index] for index in family.members], fails=fails)
        for family in compare_families(list(measured.values()))
    ]


def _report(family: Family, cells: Sequence[CellReport], *, fails: bool) -> FamilyReport:
    tolerance = SHARE * fmean(cell.tolerance for cell in cells)
    margin = tolerance / POINTS
    verdict = _verdict(family, margin)
    return FamilyReport(
        family=f"{family.kind} {family.name}" if family.name else "all cells",
        verdict=verdict,
        reason="" if family.same else family.untested,
        cells=len(cells),
        before=fmean(cell.before or 0.0 for cell in cells),
        after=fmean(cell.after or 0.0 for cell in cells),
        change=family.value,
        tolerance=tolerance,
        seen=None if family.sight is None else family.sight.loss(margin),
        fails=fails and verdict == "worse",
    )


def _verdict(family: Family, margin: float) -> FamilyVerdict:
    if family.same:
        return "equal"
    if family.untested:
        return "not-tested"
    if family.p_worse <= FAMILIES and family.value < -margin:
        return "worse"
    if family.p_better <= FAMILIES and family.value > margin:
        return "better"
    return "inconclusive"

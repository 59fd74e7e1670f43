"""Seconds of a cell before and after, compared where they can be."""

from __future__ import annotations

from statistics import median

from harness.results.gate.records import CostChange, CostVerdict, GateCell


def compare_cost(
    before: GateCell | None, after: GateCell | None, tolerance: float | None
) -> CostChange:
    """Compare median seconds a run; without a tolerance they are not judged."""
    if before is None or after is None or not before.all_finished or not after.all_finished:
        return CostChange("not-comparable", None, "no runs on both sides")
    if before.device != after.device:
        return CostChange("not-comparable", None, f"{before.device} and {after.device}")
    runs = [*before.all_finished, *after.all_finished]
    if any(run.packed for run in runs):
        return CostChange("not-comparable", None, "runs that shared a device")
    old, new = _seconds(before), _seconds(after)
    if not old or not new:
        return CostChange("not-comparable", None, "seconds are not known")
    ratio = new / old
    if tolerance is None:
        return CostChange("not-judged", ratio)
    return CostChange(_judge_cost(ratio, tolerance), ratio)


def _seconds(cell: GateCell) -> float | None:
    given = [run.seconds for run in cell.all_finished]
    known = [seconds for seconds in given if seconds is not None]
    return median(known) if len(known) == len(given) else None


def _judge_cost(ratio: float, tolerance: float) -> CostVerdict:
    if ratio > 1 + tolerance:
        return "worse"
    return "better" if ratio < 1 / (1 + tolerance) else "equal"

"""The regression gate: a baseline and a candidate compared cell by cell.

A cell is (dataset, backbone, strategy with its settings).  The gate fails when a cell got worse,
newly fails or vanished, and when nothing could be compared at all.  Seconds are compared where
they can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TypeAlias

import numpy as np

from harness.results.gate.records import (
    POINTS,
    CellReport,
    CostChange,
    CostVerdict,
    GateCell,
    GateReport,
    Rules,
    Verdict,
)
from harness.stats import TAIL, Change, Pair, compare_pairs

FAILING = ("worse", "newly-failing", "vanished")
Judged: TypeAlias = "tuple[Verdict, str]"


def check(
    baseline: Mapping[str, GateCell], candidate: Mapping[str, GateCell], rules: Rules | None = None
) -> GateReport:
    """Compare the cells of both sides by name."""
    rules = rules or Rules()
    names = sorted({*baseline, *candidate})
    sides = {name: (baseline.get(name), candidate.get(name)) for name in names}
    scores = {
        name: tuple(_scores(cell, rules.metric) for cell in cells) for name, cells in sides.items()
    }
    barred = {name: _barred(*cells) for name, cells in sides.items()}
    pairs = {
        name: Pair(before, after)
        for name, (before, after) in scores.items()
        if barred[name] is None and before is not None and after is not None
    }
    changes = dict(zip(pairs, compare_pairs(list(pairs.values())), strict=True))
    cells = []
    for name in names:
        tolerance = rules.tolerance(name)
        verdict, reason = barred[name] or _judge(changes[name], tolerance)
        before, after = sides[name]
        scored = [None if runs is None else float(runs.sum(axis=1).mean()) for runs in scores[name]]
        cells.append(
            CellReport(
                cell=name,
                verdict=verdict,
                reason=reason,
                before=scored[0],
                after=scored[1],
                change=changes.get(name),
                tolerance=tolerance,
                seeds=(_count(before), _count(after)),
                cost=compare_cost(before, after, rules.cost),
            )
        )
    return GateReport(tuple(cells), tuple(_failures(cells)))


def _barred(before: GateCell | None, after: GateCell | None) -> Judged | None:
    """The verdict on a cell that cannot be compared."""
    if not _count(before):
        if not _count(after):
            return "not-comparable", "no finished run on either side"
        return "new", "not in the baseline" if before is None else "failed in the baseline"
    if before is None or after is None:
        return "vanished", "not in the candidate"
    return _failing(before, after) or _unlike(before, after) or _lost(before, after)


def _failing(before: GateCell, after: GateCell) -> Judged | None:
    for run in sorted(after.runs, key=lambda run: run.seed):
        if run.failure and run.seed in before.finished:
            return "newly-failing", f"seed {run.seed}: {run.failure}"
    return None


def _unlike(before: GateCell, after: GateCell) -> Judged | None:
    names = sorted({*before.facts, *after.facts})
    other = [name for name in names if before.facts.get(name) != after.facts.get(name)]
    for name, old, new in (
        ("test samples", before.samples, after.samples),
        ("targets", before.targets, after.targets),
        ("groups", before.grouping, after.grouping),
    ):
        if not np.array_equal(old, new):
            other.append(name)
    return ("not-comparable", f"other {', '.join(other)}") if other else None


def _lost(before: GateCell, after: GateCell) -> Judged | None:
    lost = sorted(set(before.finished) - set(after.finished))
    return ("vanished", f"seed {', '.join(map(str, lost))}") if lost else None


def _judge(change: Change, tolerance: float) -> Judged:
    """Worse: significant, and more than the tolerance.  Equal: the interval lies within it."""
    if change.low == change.high:
        return "equal", "the same samples are right"
    reason = "" if change.seeds_tested else "one seed a side: the spread of seeds is not known"
    margin = tolerance / POINTS
    if change.low >= -margin and change.high <= margin:
        return "equal", reason
    if change.p_worse <= TAIL and change.value < -margin:
        return "worse", reason
    if change.p_better <= TAIL and change.value > margin:
        return "better", reason
    return "inconclusive", reason


def _count(cell: GateCell | None) -> int:
    return len(cell.finished) if cell else 0


def _scores(cell: GateCell | None, metric: str) -> np.ndarray | None:
    return cell.contributions(metric) if cell and cell.finished else None


def _failures(cells: Sequence[CellReport]) -> Iterator[str]:
    for cell in cells:
        if cell.verdict in FAILING:
            yield f"{cell.cell}: {cell.verdict}" + (f" ({cell.reason})" if cell.reason else "")
        if cell.cost.verdict == "worse":
            yield f"{cell.cell}: costs {cell.cost.ratio:.2f} times as much"
    if not any(cell.change for cell in cells):
        yield "nothing could be compared"


def compare_cost(
    before: GateCell | None, after: GateCell | None, tolerance: float | None
) -> CostChange:
    if before is None or after is None or not before.finished or not after.finished:
        return CostChange("not-comparable", None, "no runs on both sides")
    if before.device != after.device:
        return CostChange("not-comparable", None, f"{before.device} and {after.device}")
    runs = [*before.finished.values(), *after.finished.values()]
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
    given = [run.seconds for run in cell.finished.values()]
    known = [seconds for seconds in given if seconds is not None]
    return median(known) if len(known) == len(given) else None


def _judge_cost(ratio: float, tolerance: float) -> CostVerdict:
    if ratio > 1 + tolerance:
        return "worse"
    return "better" if ratio < 1 / (1 + tolerance) else "equal"

"""The regression gate: a baseline and a candidate compared cell by cell, and in families of cells.

A cell is (dataset, backbone, strategy with its settings).  The gate fails when a cell got worse,
collapsed, newly fails, vanished or cannot be compared (unless that is allowed by name), when a
family of cells got worse on average, and when nothing could be compared at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from statistics import median
from typing import TypeAlias

import numpy as np

from harness.errors import UsageError
from harness.results.gate.cost import compare_cost
from harness.results.gate.families import judge_families
from harness.results.gate.records import (
    BALANCED,
    FAILING,
    POINTS,
    CellReport,
    FamilyReport,
    GateCell,
    GateReport,
    Rules,
    Verdict,
)
from harness.stats import Change, collapsed, compare_pairs, measure
from harness.utils.names import did_you_mean

NAMED = 5  # most cells that are named beside what they lack
NEITHER = "no finished run on either side"
KNOWN = frozenset({"runs", "stated"})  # what a cell's error may come from for it to fail
UNKNOWN = "one seed a side: the spread of seeds is not known"
Judged: TypeAlias = "tuple[Verdict, str]"


def check(
    baseline: Mapping[str, GateCell], candidate: Mapping[str, GateCell], rules: Rules | None = None
) -> GateReport:
    """Compare the cells of both sides by name."""
    rules = rules or Rules()
    every = sorted({*baseline, *candidate})
    for glob in rules.cells:
        if not any(fnmatchcase(name, glob) for name in every):
            raise UsageError(f"--cells {glob}: there is no such cell{did_you_mean(glob, every)}")
    names = [name for name in every if rules.compares(name)]
    sides = {name: (baseline.get(name), candidate.get(name)) for name in names}
    lost = {}
    if "vanished" not in rules.fail_on:
        lost = {name: why for name, cells in sides.items() if (why := _missing(*cells))}
        sides |= {name: _shared(*sides[name]) for name in lost}
    barred = {name: _barred(*cells) for name, cells in sides.items()}
    measured = {
        name: measure(before.against(after, rules.metric))
        for name, (before, after) in sides.items()
        if barred[name] is None and before is not None and after is not None
    }
    spread = None if rules.seed_spread is None else rules.seed_spread / POINTS
    changes = dict(zip(measured, compare_pairs(list(measured.values()), spread), strict=True))
    cells = []
    for name in names:
        before, after = sides[name]
        change = changes.get(name)
        judged = barred[name]
        if judged is None and before is not None and after is not None:
            judged = _judge(before, after, changes[name], rules, name)
        cells.append(
            _report(name, judged or ("not-comparable", NEITHER), change, (before, after), rules)
        )
    families = judge_families(measured, cells, fails="worse" in rules.fail_on)
    seen = [cell.seen for cell in cells if cell.seen is not None]
    return GateReport(
        cells=tuple(cells),
        failures=tuple(_failures(cells, families)),
        families=tuple(families),
        seen=median(seen) if seen else None,
        notes=tuple(_notes(cells, rules)),
        left_out=tuple(_left_out(rules, every, names, lost)),
    )


def _missing(before: GateCell | None, after: GateCell | None) -> str:
    """The part that both sides had to have and the candidate lacks, in words; empty: none."""
    if before is None or after is None or not _count(before) or not _count(after):
        return ""
    found = _lost(before, after)
    return found[1] if found else ""


def _shared(
    before: GateCell | None, after: GateCell | None
) -> tuple[GateCell | None, GateCell | None]:
    """The part that both sides have; as they are where there is none: then the cell has vanished."""
    if before is None or after is None:
        return before, after
    shared = before.shared_with(after), after.shared_with(before)
    return (before, after) if None in shared else shared


def _left_out(
    rules: Rules, every: Sequence[str], names: Sequence[str], lost: Mapping[str, str]
) -> Iterator[str]:
    if len(names) < len(every):
        globs = ", ".join(rules.cells)
        yield f"{len(every) - len(names)} of {len(every)} cells, by --cells {globs}"
    if lost:
        told = "; ".join(f"{name}: {why}" for name, why in list(lost.items())[:NAMED])
        more = f"; and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        yield f"what the candidate lacks in {len(lost)} cells ({told}{more})"
    passed = [verdict for verdict in FAILING if verdict not in rules.fail_on]
    if passed:
        yield f"from what fails, by --fail-on: {', '.join(passed)}"


def _barred(before: GateCell | None, after: GateCell | None) -> Judged | None:
    """The verdict on a cell that cannot be compared."""
    if not _count(before):
        if not _count(after):
            return "not-comparable", NEITHER
        return "new", "not in the baseline" if before is None else "failed in the baseline"
    if before is None or after is None:
        return "vanished", "not in the candidate"
    return _failing(before, after) or _unlike(before, after) or _lost(before, after)


def _parts(before: GateCell, after: GateCell) -> list[tuple[GateCell, GateCell]]:
    """The cell on each split that both sides have."""
    there = {part.split: part for part in after.parts}
    return [(part, there[part.split]) for part in before.parts if part.split in there]


def _failing(before: GateCell, after: GateCell) -> Judged | None:
    for old, new in _parts(before, after):
        for run in sorted(new.runs, key=lambda run: run.seed):
            if run.failure and run.seed in old.finished:
                return "newly-failing", f"{_seed(new, run.seed)}: {run.failure}"
    return None


def _seed(cell: GateCell, seed: int) -> str:
    return f"seed {seed}, split {cell.split}" if cell.split else f"seed {seed}"


def _unlike(before: GateCell, after: GateCell) -> Judged | None:
    """Differences in what must agree, on the first split that has any."""
    found = (_other(old, new) for old, new in _parts(before, after))
    return next(filter(None, found), None)


def _other(before: GateCell, after: GateCell) -> Judged | None:
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
    gone = sorted({part.split for part in before.parts} - {part.split for part in after.parts})
    if gone:
        return "vanished", f"split {', '.join(map(str, gone))}"
    for old, new in _parts(before, after):
        lost = sorted(set(old.finished) - set(new.finished))
        if lost:
            split = f", split {old.split}" if old.split else ""
            return "vanished", f"seed {', '.join(map(str, lost))}{split}"
    return None


def _judge(before: GateCell, after: GateCell, change: Change, rules: Rules, name: str) -> Judged:
    """The verdict on a cell that can be compared."""
    note, same = "", True
    for old, new in _parts(before, after):
        collapse, told = _collapse(old, new, rules)
        if collapse:
            return "collapsed", collapse
        note = note or told
        same &= np.array_equal(old.predicted == old.targets, new.predicted == new.targets)
    if same:
        return "equal", "; ".join(part for part in ("the same samples are right", note) if part)
    verdict, reason = _compare(change, rules, rules.tolerance(name) / POINTS)
    return verdict, "; ".join(part for part in (reason, note) if part)


def _collapse(before: GateCell, after: GateCell, rules: Rules) -> tuple[str, str]:
    """The reason that a cell has collapsed on a split (empty: it has not), and a note."""
    endless = [seed for seed, run in sorted(after.finished.items()) if not run.finite]
    where = f", split {after.split}" if after.split else ""
    if endless:
        told = ", ".join(map(str, endless))
        return f"seed {told}{where}: outputs that are no finite numbers", ""
    collapse, note = collapsed(
        before.predicted,
        after.predicted,
        before.targets,
        balanced=rules.metric == BALANCED,
        spread=(rules.seed_spread or 0.0) / POINTS,
    )
    return (f"{collapse}{where}" if collapse else ""), note


def _compare(change: Change, rules: Rules, margin: float) -> Judged:
    """Worse: significant, and more than the tolerance.

    Equal: the interval lies within it, or so few samples differ that no change could be larger.
    """
    if change.basis == "same":
        return "equal", "as many samples of each group are right"
    if change.churn <= margin:
        return "equal", ""
    reason = "" if change.basis in KNOWN else UNKNOWN
    if change.low >= -margin and change.high <= margin:
        return "equal", reason
    worse, better = _significant(change, beyond=rules.beyond_images)
    if worse and change.value < -margin:
        return _worse(change, reason)
    if better and change.value > margin and change.basis in KNOWN:
        return "better", reason
    return "inconclusive", reason


def _significant(change: Change, *, beyond: bool) -> tuple[bool, bool]:
    """The change is for the worse, or for the better; beyond: on other images, too."""
    worse = change.worse_beyond if beyond else change.p_worse
    better = change.better_beyond if beyond else change.p_better
    return worse <= change.level, better <= change.level


def _worse(change: Change, reason: str) -> Judged:
    if change.basis in KNOWN:
        return "worse", reason
    if change.basis == "lent":
        return "suspect", f"{reason}; if it is that of the other cells, this one is worse"
    return "inconclusive", reason


def _report(
    name: str,
    judged: Judged,
    change: Change | None,
    sides: tuple[GateCell | None, GateCell | None],
    rules: Rules,
) -> CellReport:
    verdict, reason = judged
    before, after = sides
    tolerance = rules.tolerance(name)
    fails = verdict in rules.fail_on and verdict != "not-comparable"
    if verdict == "not-comparable" and reason != NEITHER:
        allowed = rules.allows(name)
        fails = verdict in rules.fail_on and not allowed
        reason += "; allowed" if allowed else ""
    beyond = seen = None
    if change is not None and verdict in {"worse", "better"}:
        beyond = any(_significant(change, beyond=True))
    if change is not None and change.sight is not None:
        seen = change.sight.loss(tolerance / POINTS)
    return CellReport(
        cell=name,
        verdict=verdict,
        reason=reason,
        before=_score(before, rules.metric),
        after=_score(after, rules.metric),
        change=change,
        tolerance=tolerance,
        seeds=(_count(before), _count(after)),
        cost=compare_cost(before, after, rules.cost),
        fails=fails,
        beyond=beyond,
        seen=seen,
        images=0 if change is None or before is None else before.images,
    )


def _count(cell: GateCell | None) -> int:
    return len(cell.all_finished) if cell else 0


def _score(cell: GateCell | None, metric: str) -> float | None:
    if cell is None or not cell.all_finished:
        return None
    return float(cell.scores(metric).mean())


def _failures(cells: Sequence[CellReport], families: Sequence[FamilyReport]) -> Iterator[str]:
    for cell in cells:
        if cell.fails:
            yield f"{cell.cell}: {cell.verdict_told}"
        if cell.cost_told:
            yield f"{cell.cell}: {cell.cost_told}"
    yield from (f"{one.family}: {one.verdict_told}" for one in families if one.fails)
    if not any(cell.change for cell in cells):
        yield "nothing could be compared"


def _notes(cells: Sequence[CellReport], rules: Rules) -> Iterator[str]:
    for glob in rules.allowed:
        unlike = (cell for cell in cells if cell.verdict == "not-comparable")
        if not any(fnmatchcase(cell.cell, glob) for cell in unlike):
            yield f"--allow-not-comparable {glob}: no such cell is not comparable"
    single = [cell for cell in cells if cell.change is not None and cell.seeds == (1, 1)]
    if rules.seed_spread is not None and not single:
        yield "--seed-spread is not used: no cell that is compared has one seed a side"
    moved = [cell for cell in single if cell.change is not None and cell.change.basis != "same"]
    if moved and rules.seed_spread is None:
        yield (
            f"cells of one seed a side ({len(moved)} that differ): nothing tells how much seeds "
            "spread, so only a collapse or a family fails; state it with --seed-spread, or train "
            "three seeds"
        )

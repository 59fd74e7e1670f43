"""A row's runs taken apart: figures by block, and what is missing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.leaderboard import Block, Gap
from harness.records import MetricValue, RunResult
from harness.tracks import BlockKey, RowKey, TrackRuns


def mean(values: Sequence[float]) -> float:
    """Exactly rounded sum over n: the same in any order."""
    return math.fsum(values) / len(values)


def figure(run: RunResult, metric: str) -> MetricValue:
    """A run's figure; null with a reason where it has none or it is not finite."""
    found = run.metrics.get(metric)
    if found is None:
        return MetricValue(value=None, reason="not computed")
    return finite(found)


def finite(found: MetricValue) -> MetricValue:
    """The figure, with null where the file holds infinity or no number."""
    by_class = found.by_class
    if by_class is None and found.value is not None and math.isfinite(found.value):
        return found  # nearly all of them
    if by_class and not all(map(_is_finite, by_class.values())):
        by_class = {name: value if _is_finite(value) else None for name, value in by_class.items()}
        found = replace(found, by_class=by_class)
    if _is_finite(found.value):
        return found
    reason = f"the result holds {found.value}"
    return replace(found, value=None, reason=reason)


def _is_finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)


@dataclass
class Scores:
    """A row's material.

    Attributes:
        values: block -> mean over its seeds; only blocks with every seed that was asked for.
        ok: the finished runs.
    """

    key: RowKey
    wanted: int
    values: dict[BlockKey, float] = field(default_factory=dict)
    ranks: dict[BlockKey, float] = field(default_factory=dict)
    ok: list[RunResult] = field(default_factory=list)
    defined: int = 0
    gaps: list[Gap] = field(default_factory=list)
    not_asked: int = 0

    @property
    def complete(self) -> bool:
        return self.defined == self.wanted


def scores(track: TrackRuns, key: RowKey, blocks: Mapping[BlockKey, Block], metric: str) -> Scores:
    """Take a row's runs apart."""
    found = Scores(key, wanted=len(track.units))
    figures: dict[BlockKey, list[float]] = defaultdict(list)
    lacking = dict.fromkeys(track.missing.get(key, ()), ("missing", ""))
    for unit, run in track.runs[key].items():
        if run.status != "ok":
            lacking[unit] = ("failed", failure_text(run))
            continue
        found.ok.append(run)
        value = figure(run, metric)
        if value.value is None:
            lacking[unit] = ("undefined", value.reason or "no reason given")
        else:
            figures[unit.block].append(value.value)
            found.defined += 1
    found.values = {
        block: mean(given)
        for block, given in figures.items()
        if len(given) == len(blocks[block].seeds)
    }
    found.ok.sort(key=lambda run: run.run_id)
    found.gaps = [_gap(blocks[unit.block], unit.seed, lacking[unit]) for unit in sorted(lacking)]
    found.not_asked = found.wanted - found.defined - len(lacking)
    return found


def failure_text(run: RunResult) -> str:
    """`oom`, `timeout` or the kind of the error, with the first line of its message."""
    if run.error is None:
        return run.status
    kind = run.error.kind if run.status == "failed" else f"{run.status}: {run.error.kind}"
    message = first_line(run.error.message)
    return f"{kind}: {message}" if message else kind


def first_line(message: str) -> str:
    return next(iter(message.strip().splitlines()), "")


def _gap(block: Block, seed: int, lacking: tuple[str, str]) -> Gap:
    kind, reason = lacking
    return Gap.model_validate({"kind": kind, "block": block.label, "seed": seed, "reason": reason})

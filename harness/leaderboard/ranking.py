"""Rows of one track: a row's runs taken apart, ranked block by block, set against the control."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TypeAlias

from harness.api.leaderboard import (
    Block,
    BlockFigure,
    Contrast,
    Gap,
    GroupFigure,
    Row,
    Spend,
    TunedRow,
)
from harness.api.records import MetricValue, RunResult
from harness.leaderboard.tracks import BlockKey, BlockSeed, RowKey, TrackRuns

Groups: TypeAlias = Mapping[str, Sequence[BlockKey]]

CONTROL = "full-ft"
RULES = 2  # of the statistics of a board; the first judged cell by cell
POINTS = 100.0  # a point is a hundredth of the metric
WIN = 1.0  # points; a smaller difference is none
DIGITS = 12  # decimals in which tied means agree: sums of seeds differ in the last place


def mean(values: Sequence[float]) -> float:
    """Exactly rounded sum over n: the same in any order."""
    return math.fsum(values) / len(values)


def splits_of(block: Block) -> int:
    """Random splits that its runs were made on."""
    return len({split for split, _ in block.pairs}) or 1


def repeats_of(block: Block) -> int:
    """Splits, where there are several, else seeds: what its statistics count."""
    splits = splits_of(block)
    return splits if splits > 1 else len(block.seeds)


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
class RowScores:
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


def score_row(
    track: TrackRuns, key: RowKey, blocks: Mapping[BlockKey, Block], metric: str
) -> RowScores:
    """Take a row's runs apart."""
    found = RowScores(key, wanted=len(track.units))
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
        if len(given) == len(blocks[block].pairs or blocks[block].seeds)
    }
    found.ok.sort(key=lambda run: run.run_id)
    found.gaps = [_gap(blocks[unit.block], unit, lacking[unit]) for unit in sorted(lacking)]
    found.not_asked = found.wanted - found.defined - len(lacking)
    return found


def failure_text(run: RunResult) -> str:
    """`oom`, `timeout` or the kind of the error, with the first line of its message."""
    if run.error is None:
        return run.status
    kind = run.error.kind if run.status == "failed" else f"{run.status}: {run.error.kind}"
    return f"{kind}: {run.error.headline}"


def _gap(block: Block, unit: BlockSeed, lacking: tuple[str, str]) -> Gap:
    kind, reason = lacking
    place = {"block": block.label, "seed": unit.seed, "split": unit.split}
    return Gap.model_validate({"kind": kind, "reason": reason, **place})


def rank_values(values: Iterable[float], *, higher_is_better: bool) -> list[float]:
    """1 for the best; values that agree in DIGITS decimals share the average of their places."""
    import numpy as np

    from harness.stats.ranks import average_ranks

    sign = -1 if higher_is_better else 1
    keys = np.array([sign * round(value, DIGITS) for value in values])
    ranks: list[float] = average_ranks(keys).tolist()
    return ranks


@dataclass(frozen=True)
class TrackContext:
    """Blocks, labels and control of a track; `modalities`, `backbones` and `starts` hold blocks by name.

    `tuning`: row -> what was chosen for it among its trials.
    """

    blocks: Mapping[BlockKey, Block]
    modalities: Groups
    backbones: Groups
    labels: Mapping[RowKey, str]
    control: RowScores | None
    higher_is_better: bool
    tuning: Mapping[RowKey, TunedRow] = field(default_factory=dict)
    starts: Groups = field(default_factory=dict)


def group(blocks: Mapping[BlockKey, Block], by: Callable[[Block], str]) -> Groups:
    """Blocks by modality or the like, sorted by its name."""
    members: dict[str, list[BlockKey]] = defaultdict(list)
    for key, block in blocks.items():
        members[by(block)].append(key)
    return {name: members[name] for name in sorted(members)}


def choose_control(found: Sequence[RowScores], labels: Mapping[RowKey, str]) -> RowScores | None:
    """The row that differences refer to: a complete one before others, then by label."""
    rows = [row for row in found if row.key.strategy == CONTROL]
    return min(rows, key=lambda row: (not row.complete, labels[row.key]), default=None)


def rank_rows(found: Sequence[RowScores], frame: TrackContext) -> tuple[Row, ...]:
    """Ranked rows by mean rank, then the others by how much of them is there."""
    complete = [row for row in found if row.complete]
    for block in frame.blocks:
        values = [row.values[block] for row in complete]
        ranks = rank_values(values, higher_is_better=frame.higher_is_better)
        for row, place in zip(complete, ranks, strict=True):
            row.ranks[block] = place
    rows = sorted((_row(row, frame) for row in found), key=lambda row: _order(row, frame))
    return tuple(_positioned(rows))


def _order(row: Row, frame: TrackContext) -> tuple[bool, float, float, str]:
    if row.mean_rank is None or row.value is None:
        return (True, -row.runs / row.wanted, 0.0, row.label)
    return (False, row.mean_rank, -row.value if frame.higher_is_better else row.value, row.label)


def _positioned(rows: Sequence[Row]) -> list[Row]:
    """Places by mean rank; equal mean ranks share the place."""
    placed: list[Row] = []
    for place, row in enumerate(rows, start=1):
        if row.mean_rank is None:
            placed.append(row)
            continue
        tied = placed and round(row.mean_rank - (placed[-1].mean_rank or 0.0), DIGITS) == 0
        position = placed[-1].position if tied else place
        placed.append(row.model_copy(update={"position": position}))
    return placed


def _row(row: RowScores, frame: TrackContext) -> Row:
    cells = [_cell(row, block, frame) for block in sorted(row.values)]
    ranks = [cell.rank for cell in cells if cell.rank is not None]
    return Row(
        label=frame.labels[row.key],
        strategy=row.key.strategy,
        settings=json.loads(row.key.settings),
        source=row.key.source,
        ranked=row.complete,
        runs=row.defined,
        wanted=row.wanted,
        seeds=tuple(sorted({run.spec.seed for run in row.ok})),
        mean_rank=mean(ranks) if row.complete else None,
        value=mean([cell.value for cell in cells]) if row.complete else None,
        contrast=_contrast(row, cells, frame),
        blocks=tuple(cells),
        modalities=_groups(row, frame.modalities),
        backbones=_groups(row, frame.backbones),
        spend=_spend(row.ok),
        gaps=tuple(row.gaps),
        not_asked=row.not_asked,
        tuning=frame.tuning.get(row.key),
        starts=_groups(row, frame.starts),
    )


def _cell(row: RowScores, block: BlockKey, frame: TrackContext) -> BlockFigure:
    value = row.values[block]
    base = frame.control.values.get(block) if frame.control else None
    return BlockFigure(
        block=frame.blocks[block].label,
        value=value,
        rank=row.ranks.get(block),
        difference=None if base is None else (value - base) * POINTS,
    )


def _contrast(row: RowScores, cells: Sequence[BlockFigure], frame: TrackContext) -> Contrast | None:
    """Only where both the row and the control have every block."""
    control = frame.control
    if control is None or control is row or not (row.complete and control.complete):
        return None
    differences = [cell.difference for cell in cells if cell.difference is not None]
    sign = 1.0 if frame.higher_is_better else -1.0
    gains = [round(sign * difference, DIGITS - 2) for difference in differences]
    better, worse = sum(gain > WIN for gain in gains), sum(gain < -WIN for gain in gains)
    return Contrast(
        difference=mean(differences),
        better=better,
        equal=len(gains) - better - worse,
        worse=worse,
    )


def _groups(row: RowScores, members: Groups) -> tuple[GroupFigure, ...]:
    """Means over the blocks of a group, where the row has all of them."""
    return tuple(_group(row, name, blocks) for name, blocks in members.items())


def _group(row: RowScores, name: str, blocks: Sequence[BlockKey]) -> GroupFigure:
    if not all(block in row.values for block in blocks):
        return GroupFigure(group=name)
    return GroupFigure(
        group=name,
        value=mean([row.values[block] for block in blocks]),
        rank=mean([row.ranks[block] for block in blocks]) if row.complete else None,
    )


def epochs_used(run: RunResult) -> float | None:
    """Epochs that were trained; None where no phase is recorded."""
    return mean([phase.epochs for phase in run.phases]) * len(run.phases) if run.phases else None


def patience_ran_out(run: RunResult) -> bool:
    return any(phase.stopped for phase in run.phases)


def _spend(runs: Sequence[RunResult]) -> Spend:
    if not runs:
        return Spend()
    seconds = [run.cost.alone.total for run in runs]
    packed = any(run.cost.packed for run in runs)
    trainable = [run.cost.trainable for run in runs]
    epochs = [used for run in runs if (used := epochs_used(run)) is not None]
    return Spend(
        runs=len(runs),
        seconds=None if packed else mean(seconds) * len(seconds),
        median_seconds=None if packed else median(seconds),
        trainable=(min(trainable), max(trainable)),
        epochs=mean(epochs) if len(epochs) == len(runs) else None,
        planned=mean([run.spec.protocol.epochs for run in runs]),
        stopped=sum(patience_ran_out(run) for run in runs),
    )

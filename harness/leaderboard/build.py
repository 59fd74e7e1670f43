"""Results to leaderboard: a pure function, the same whatever the order of the results.

Rows are compared within a track only (`harness.leaderboard.tracks`, `harness.leaderboard.questions`).  Seeds are averaged first, within a
block; ranks are taken block by block and averaged over blocks.  A row that lacks a run or a figure
is shown as n of N, is not ranked, and counts in nobody's rank.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

from harness.api.leaderboard import Block, BoardRun, Leaderboard, Track, TunedRow
from harness.api.records import Plan, RunResult
from harness.errors import UsageError
from harness.leaderboard import board_runs, external, labels
from harness.leaderboard.questions import sort_by_question
from harness.leaderboard.ranking import (
    CONTROL,
    RowScores,
    TrackContext,
    choose_control,
    group,
    rank_rows,
    score_row,
)
from harness.leaderboard.tracks import BlockKey, BlockSeed, RowKey, Selection, TrackKey, TrackRuns
from harness.leaderboard.tuning import describe_tuning
from harness.utils.names import did_you_mean
from harness.utils.text import plural

METRIC = "balanced-accuracy"


def build_leaderboard(  # noqa: PLR0913 - what a ranking depends on
    results: Sequence[RunResult],
    plan: Plan | None = None,
    failures: Sequence[RunResult] = (),
    metric: str | None = None,
    *,
    higher_is_better: bool = True,
    selection: Selection | None = None,
    listed: bool = True,
) -> Leaderboard:
    """Rank strategies over (dataset, backbone) blocks, a track at a time.

    Args:
        results: runs; those that are not `ok` count as failures.
        plan: what was asked for: gives the N of 'n of N'.  None: the union over the runs.
        failures: runs that ended without a result.
        metric: None takes the primary metric of the plan's suites.
        higher_is_better: the metric's direction.
        selection: chooses among the trials of a tuned suite; None: by the metric, among all.
        listed: False lists the failed runs only: all that most formats show.

    Raises:
        UsageError: no finished run holds the metric that was named.
    """
    if metric is not None:
        _check_metric(metric, results)
    chosen = metric or primary_metric(plan)
    selection = selection or Selection(chosen, higher_is_better)
    found = sort_by_question([*results, *failures], plan, selection)
    names = labels.track_names(found.tracks)
    ids = _track_ids(found.tracks)
    built = [
        _track(
            track, (one, *name), chosen, selection, higher_is_better=higher_is_better, listed=listed
        )
        for track, one, name in zip(found.tracks, ids, names, strict=True)
    ]
    order = sorted(range(len(built)), key=lambda i: _place(built[i][0]))
    kept = sorted(
        {
            run.run_id: run
            for track in found.tracks
            for slots in track.runs.values()
            for run in slots.values()
        }.values(),
        key=lambda run: run.run_id,
    )
    data, weights = labels.data_notes(kept), labels.weights_notes(kept)
    suites = tuple(sorted({run.suite for run in kept} | set(plan.suites if plan else ())))
    return Leaderboard(
        title=labels.board_title(plan, suites),
        suites=suites,
        metric=chosen,
        higher_is_better=higher_is_better,
        control=CONTROL,
        banners=(
            *labels.board_banners(plan, data, weights),
            *labels.unfinished_shards(plan, {run.run_id for run in (*results, *failures)}),
        ),
        notes=labels.board_notes(found.superseded, found.duplicates),
        tracks=tuple(built[i][0] for i in order),
        data=(*data, *external.external_notes(kept)),
        weights=weights,
        assumed=labels.assumed_values(plan),
        superseded=found.superseded,
        duplicates=found.duplicates,
        runs=tuple(run for i in order for run in built[i][1]),
    )


def primary_metric(plan: Plan | None) -> str:
    """The suites' primary metric, if they agree."""
    named = {suite.primary for suite in plan.suites.values()} if plan else set()
    return named.pop() if len(named) == 1 else METRIC


def _check_metric(metric: str, results: Sequence[RunResult]) -> None:
    known = sorted({name for run in results for name in run.metrics})
    if known and metric not in known:
        raise UsageError(
            f"no result holds the metric {metric!r}{did_you_mean(metric, known)}; "
            f"there are: {', '.join(known)}. "
            "`harness score DIR --metric NAME` adds one to finished runs."
        )


def _place(track: Track) -> tuple[object, ...]:
    """Full data first, then the largest limit; full length before shortened."""
    limited = track.limit is not None
    weights = track.weights == "none"
    newest = -(track.engine or 0)
    return (
        limited,
        track.shortened,
        weights,
        -(track.limit or 0),
        newest,
        not track.tuned,
        track.title.removesuffix(track.question),
        -sum(row.ranked for row in track.rows),  # of several questions that which ranks most rows
        -track.wanted,
        track.title,
        track.id,
    )


def _track(
    track: TrackRuns,
    name: tuple[str, str, str],
    metric: str,
    selection: Selection,
    *,
    higher_is_better: bool,
    listed: bool,
) -> tuple[Track, tuple[BoardRun, ...]]:
    """`name`: id, title and question."""
    blocks = _blocks(track)
    partial = [
        row
        for row, runs in track.runs.items()
        if any(run.spec.present_only for run in runs.values())
    ]
    row_labels = labels.row_labels(track.runs, partial)
    found = [score_row(track, key, blocks, metric) for key in sorted(track.runs)]
    frame = TrackContext(
        blocks=blocks,
        modalities=group(blocks, lambda block: block.modality),
        backbones=group(blocks, lambda block: block.backbone),
        starts=group(blocks, lambda block: block.start or "") if track.key.starts else {},
        labels=row_labels,
        control=choose_control(found, row_labels),
        higher_is_better=higher_is_better,
        tuning=_tuning(track, selection),
    )
    rows = rank_rows(found, frame)
    control = frame.control
    built = Track(
        id=name[0],
        title=name[1],
        question=name[2],
        protocol=track.protocol,
        protocol_digest=track.key.protocol if track.protocol else "",
        epochs=track.epochs,
        limit=track.key.limit,
        shortened=track.shortened,
        precision=track.key.precision,
        weights="pretrained" if _is_loaded(track) else "none",
        engine=track.key.engine or None,
        control=row_labels[control.key] if control and control.complete else None,
        seeds=tuple(sorted({seed for block in blocks.values() for seed in block.seeds})),
        wanted=len(track.units),
        banners=labels.track_banners(track),
        notes=_track_notes(found, frame),
        blocks=tuple(blocks.values()),
        rows=rows,
        tuned=track.key.tuned,
    )
    runs = board_runs.board_runs(track, built, blocks, listed=listed)
    whole = external.with_external(built, runs, metric)
    return whole, tuple(run for run in runs if listed or run.status != "ok")


def _is_loaded(track: TrackRuns) -> bool:
    """True if any block of a track starts from weights."""
    starts = labels.starts_of(track)
    return track.key.pretrained if not starts else starts != [labels.RANDOM]


def _track_ids(tracks: Sequence[TrackRuns]) -> list[str]:
    """12 hex digits each; that of all units of a protocol is the same whatever was asked besides."""
    every: dict[TrackKey, set[BlockSeed]] = defaultdict(set)
    for track in tracks:
        every[track.key] |= track.units
    found = []
    for track in tracks:
        text = repr(track.key)
        if track.upto is not None or track.units != every[track.key]:
            text += repr((sorted(track.units), track.upto))
        for later in (", tuned=False", ", starts=False", ", start=''"):  # as before there were any
            text = text.replace(later, "")
        found.append(hashlib.sha256(text.encode()).hexdigest()[:12])
    return found


def _tuning(track: TrackRuns, selection: Selection) -> dict[RowKey, TunedRow]:
    """Every row of a tuned track -> what was tried and chosen for it."""
    found = {}
    for row, units in track.trials.items():
        knob = ", ".join(sorted(track.tuned[row] - {"rate"}))
        if (told := describe_tuning(units.values(), knob, selection)) is not None:
            found[row] = told
    return found


def _by_budget(unit: BlockSeed) -> tuple[object, ...]:
    block = unit.block
    place = (block.dataset, block.backbone, block.start, block.data, block.weights, block.source)
    return (*place, labels.label_amount(block.labels), unit.split, unit.seed)


def _blocks(track: TrackRuns) -> dict[BlockKey, Block]:
    """In order of dataset, backbone and start, small label budgets first."""
    pairs: dict[BlockKey, list[tuple[int, int]]] = defaultdict(list)
    for slot in sorted(track.units, key=_by_budget):
        pairs[slot.block].append((slot.split, slot.seed))
    names = labels.block_labels(pairs)
    return {
        key: Block(
            label=names[key],
            dataset=key.dataset,
            backbone=key.backbone,
            modality=track.modalities.get(key.dataset, "unknown"),
            data=key.data,
            weights=key.weights,
            source=key.source,
            seeds=tuple(sorted({seed for _, seed in given})),
            labels=key.labels or None,
            start=key.start or None,
            pairs=tuple(sorted(given)) if any(split for split, _ in given) else (),
        )
        for key, given in pairs.items()
    }


def _track_notes(found: Sequence[RowScores], frame: TrackContext) -> tuple[str, ...]:
    """Footnotes that qualify the differences and the cost."""
    control, notes = frame.control, []
    if control is None:
        notes.append(f"No differences: {CONTROL} is not in this track.")
    elif not control.complete:
        notes.append(
            f"No differences: {frame.labels[control.key]} is incomplete "
            f"({control.defined} of {control.wanted})."
        )
    elif sum(row.key.strategy == CONTROL for row in found) > 1:
        notes.append(f"Differences refer to {frame.labels[control.key]}.")
    return (*notes, *_cost_notes([run for row in found for run in row.ok]))


def _cost_notes(runs: Sequence[RunResult]) -> Iterator[str]:
    """Footnotes on runs that were carried out in other ways than the rest."""
    devices = sorted({run.environment.device for run in runs if run.environment})
    if len(devices) > 1:
        yield f"Seconds cannot be compared: made on {', '.join(devices)}."
    if any(run.cost.packed for run in runs):
        yield "Runs that shared a device with others have no seconds of their own."
    if count := sum(run.parts > 1 for run in runs):
        yield (
            f"{plural(count, 'run')} took batches in parts, for lack of memory: the same up to "
            "rounding, but for the seconds."
        )
    if count := sum(run.cost.resumed > 0 for run in runs):
        yield (
            f"{plural(count, 'run')} went on after an interruption: the seconds hold what was "
            "computed again."
        )

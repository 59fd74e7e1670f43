"""Every run of a track as the board lists it: identity, figures, cost, failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from harness.api.leaderboard import Block, BoardRun, Row, Track
from harness.api.records import Environment, Failure, MetricValue, PluginRecord, RunResult
from harness.leaderboard.external import external_runs
from harness.leaderboard.ranking import epochs_used, finite, patience_ran_out
from harness.leaderboard.tracks import BlockKey, BlockSeed, RowKey, TrackRuns, settings_text

T = TypeVar("T")

UNKNOWN = Environment(harness="", python="", device="")


def board_runs(
    track: TrackRuns, built: Track, blocks: Mapping[BlockKey, Block], *, listed: bool = True
) -> tuple[BoardRun, ...]:
    """List the runs in the order of the rows as ranked, then by block and seed.

    `listed`: False lists only those that failed or have further test sets.
    """
    return tuple(
        _entry(run, built, row, blocks[slot.block], _trial(track, _key(row), slot, run))
        for row in built.rows
        for slot, run in sorted(track.runs[_key(row)].items())
        if listed or run.status != "ok" or run.external
    )


def _key(row: Row) -> RowKey:
    return RowKey(row.strategy, settings_text(row.settings), row.source)


def _trial(track: TrackRuns, row: RowKey, slot: BlockSeed, run: RunResult) -> int | None:
    """The number of the trial that was chosen; None: the track is not tuned."""
    trials = track.trials[row][slot] if track.key.tuned else ()
    return next((one.number for one in trials if one.run is run), None)


def _entry(run: RunResult, track: Track, row: Row, block: Block, trial: int | None) -> BoardRun:
    spec, environment = run.spec, run.environment or UNKNOWN
    return BoardRun(
        run_id=run.run_id,
        suite=run.suite,
        status=run.status,
        track=track.id,
        row=row.label,
        ranked=row.ranked,
        block=block.label,
        dataset=spec.dataset,
        modality=block.modality,
        backbone=spec.backbone,
        strategy=spec.strategy,
        settings=_ordered(spec.settings),
        seed=spec.seed,
        protocol=spec.protocol.name,
        protocol_digest=track.protocol_digest,
        epochs=spec.protocol.epochs,
        epochs_used=epochs_used(run),
        stopped=patience_ran_out(run),
        limit=spec.limit,
        shortened=run.shortened,
        data=spec.data,
        split_sha256=run.data.split_sha256 if run.data else "",
        weights=spec.weights,
        weights_name=run.weights.name if run.weights else "",
        sources=_ordered(spec.sources),
        plugins={role: _code(found) for role, found in sorted(run.plugins.items())},
        engine=spec.engine,
        numeric=spec.numeric,
        tested=run.tested,
        metrics=_finite(run.metrics),
        validation=_finite(run.validation),
        cost=run.cost,
        harness=environment.harness,
        commit=environment.commit,
        dirty=environment.dirty,
        device=environment.device,
        finished=run.finished,
        error=_short(run.error),
        split=spec.protocol.split_seed,
        labels=spec.labels,
        trial=trial,
        external=external_runs(run),
        start=spec.start,
    )


def _code(found: PluginRecord) -> str:
    known = f"{found.distribution or found.plugin} {found.version or ''}".strip()
    return f"{known} (changed)" if found.dirty else known


def _finite(figures: Mapping[str, MetricValue]) -> dict[str, MetricValue]:
    return {name: finite(found) for name, found in sorted(figures.items())}


def _ordered(given: Mapping[str, T]) -> dict[str, T]:
    """By name: equal runs are written alike."""
    return dict(sorted(given.items()))


def _short(error: Failure | None) -> Failure | None:
    """The first line only: a traceback holds paths, and the failed run's own file has it."""
    if error is None:
        return None
    return error.model_copy(update={"message": error.headline, "traceback": ""})

"""Losses of rows on further test sets against the test split, with intervals.

The loss has the closed form of a gain (`harness.stats`): the groups of both sets are drawn anew, each
within its classes, and the runs, which are the same on both sides, together.  Every split tests the
same external images, each beside its own test images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from harness import stats
from harness.api.execution import Predictions
from harness.api.leaderboard import Block, BoardRun, Row, Track
from harness.api.metric import softmax
from harness.api.records import Json, MetricValue, RunResult
from harness.data.division.split import take
from harness.leaderboard.cells import RunScores, SplitRuns, join_splits
from harness.leaderboard.external import ExternalSet, holds, labelled_sets, wanted_runs
from harness.results.merge import MergedStore

Samples = Callable[[Path], Mapping[str, np.ndarray]]
ROW = ""  # the runs of a block are those of one row


def drops(
    metric: str,
    track: Track,
    runs: Sequence[BoardRun],
    results: Mapping[str, RunResult],
    store: MergedStore,
    samples: Samples,
) -> list[Json]:
    """External less internal test of every ranked row, positive is better, with its interval.

    Args:
        metric: of `stats.SCORED`.
        track: what is looked at.
        runs: of it.
        results: by run id.
        store: where their predictions are.
        samples: the columns `id` and `group` of a split file.

    Returns:
        `stats.Judged` without a verdict, by row, dataset and name: for each block where there are
        several, and on average over them (block: empty).  Left out where a run lacks the set or a
        figure, or where runs of a split tested other images.

    Raises:
        StoreError: predictions or splits of a run cannot be read.
    """
    places: list[dict[str, Json]] = []
    gains: list[stats.Gain] = []
    averages: list[tuple[dict[str, Json], stats.Estimate]] = []
    for of, label in labelled_sets(runs).items():
        blocks = [block for block in track.blocks if block.dataset == of.dataset]
        for row in track.rows:
            found = [
                _gain(metric, of, _runs_of(runs, row, block), results, store, samples)
                for block in blocks
                if row.ranked and len(_runs_of(runs, row, block)) == wanted_runs(block)
            ]
            known = [gain for gain in found if gain is not None]
            if not blocks or len(known) < len(blocks):
                continue
            place: dict[str, Json] = {"row": row.label, "dataset": of.dataset, "name": label}
            gains += known
            places += [{**place, "block": block.label} for block in blocks]
            if len(known) > 1:
                averages.append(({**place, "block": ""}, stats.average_gain(known)))
    cells = list(zip(places, stats.estimate_gains(gains), strict=True))
    return [{**place, **asdict(stats.judged_as(one, None))} for place, one in (*averages, *cells)]


def _runs_of(runs: Sequence[BoardRun], row: Row, block: Block) -> list[BoardRun]:
    return [
        run for run in runs if (run.row, run.block, run.status) == (row.label, block.label, "ok")
    ]


def _gain(
    metric: str,
    of: ExternalSet,
    runs: Sequence[BoardRun],
    results: Mapping[str, RunResult],
    store: MergedStore,
    samples: Samples,
) -> stats.Gain | None:
    """External less internal score of the runs of a row in a block; None: there is none."""
    if not all(_has_both(metric, run, of) for run in runs):
        return None
    parts: dict[int, SplitRuns] = {}
    for run in sorted(runs, key=lambda run: run.split):
        part = _both(metric, of, run, results, store, samples)
        first = parts.setdefault(run.split, part)
        if part.test_set != first.test_set:
            return None
        parts[run.split] = replace(first, runs={ROW: {**first.runs[ROW], **part.runs[ROW]}})
    if len({part.test_set[:3] for part in parts.values()}) > 1:  # they predicted other images
        return None
    cell, pairs = (runs[0].dataset, runs[0].backbone), [(run.split, run.seed) for run in runs]
    block = join_splits(cell, list(parts.values()), pairs)
    if block is None:
        return None
    return block.measured(block.added[metric][:, 0], f"{runs[0].row} on {of.name}", metric)


def _has_both(metric: str, run: BoardRun, of: ExternalSet) -> bool:
    return (
        holds(run, of)
        and _is_defined(run.metrics, metric)
        and _is_defined(run.external[of.name].metrics, metric)
    )


def _both(
    metric: str,
    of: ExternalSet,
    run: BoardRun,
    results: Mapping[str, RunResult],
    store: MergedStore,
    samples: Samples,
) -> SplitRuns:
    """A run as one whose test set is the external one and its own, classes of each by themselves."""
    result = results[run.run_id]
    outside, inside = store.external_predictions(result, of.name), store.predictions(result)
    further = store.external_home(result, of.name).split_file(result, of.name)
    split = store.home(result).split_file(result)
    rows = inside.rows["test"]
    known, there = samples(split), samples(further)
    away = np.char.add("external ", take(there["group"], outside.rows["test"], further))
    own = np.char.add("test ", take(known["group"], rows, split))
    lost = np.concatenate([_added(metric, outside, away), -_added(metric, inside, own)])
    targets = outside.targets["test"], inside.targets["test"]
    return SplitRuns(
        runs={ROW: {(run.split, run.seed): RunScores(0.0, {metric: lost})}},
        groups=np.concatenate([away, own]),
        targets=np.concatenate([targets[0], targets[1] + targets[0].max() + 1]),
        images=frozenset(take(known["id"], rows, split).tolist()),
        share=len(rows) / len(known["id"]),
        test_set=(
            *(of, run.external[of.name].split_sha256, _drawn(outside)),
            *(run.split_sha256, _drawn(inside)),
        ),
        common=np.unique(away),
    )


def _added(metric: str, predictions: Predictions, groups: np.ndarray) -> np.ndarray:
    shares, targets = softmax(predictions.logits["test"]), predictions.targets["test"]
    return stats.group_scores(metric, shares, targets, groups)


def _drawn(predictions: Predictions) -> str:
    return hashlib.sha256(np.ascontiguousarray(predictions.rows["test"]).tobytes()).hexdigest()


def _is_defined(metrics: Mapping[str, MetricValue], metric: str) -> bool:
    figure = metrics.get(metric)
    if figure is None or figure.value is None:
        return False
    return not (stats.SCORED[metric].every_class and figure.reason)

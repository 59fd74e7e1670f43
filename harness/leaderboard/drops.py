"""Losses of rows on further test sets against the test split, with intervals.

The loss has the closed form of a gain (`harness.stats`): the groups of both sets are drawn anew, each
within its classes, and the seeds of the runs, which are the same on both sides, together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from harness import stats
from harness.api.execution import Predictions
from harness.api.leaderboard import Block, BoardRun, Row, Track
from harness.api.metric import softmax
from harness.api.records import Json, MetricValue, RunResult
from harness.data.division.split import take
from harness.leaderboard.external import ExternalSet, holds, labelled_sets, wanted_runs
from harness.results.merge import MergedStore

Groups = Callable[[Path], np.ndarray]


def drops(
    metric: str,
    track: Track,
    runs: Sequence[BoardRun],
    results: Mapping[str, RunResult],
    store: MergedStore,
    groups: Groups,
) -> list[Json]:
    """External less internal test of every ranked row, positive is better, with its interval.

    Args:
        metric: of `stats.SCORED`.
        track: what is looked at.
        runs: of it.
        results: by run id.
        store: where their predictions are.
        groups: the column of groups of a split file.

    Returns:
        `stats.Judged` without a verdict, by row, dataset and name: for each block where there are
        several, and on average over them (block: empty).  Left out where a run lacks the set or a
        figure, or where runs have different test splits.

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
                _gain(metric, of, _runs_of(runs, row, block), results, store, groups)
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
    groups: Groups,
) -> stats.Gain | None:
    """The part that each group of both sets adds to the difference in each run; None: there is none."""
    added: list[np.ndarray] = []
    strata: np.ndarray | None = None
    tests: set[tuple[object, ...]] = set()
    for run in runs:
        if not (holds(run, of) and _is_defined(run.metrics, metric)):
            return None
        if not _is_defined(run.external[of.name].metrics, metric):
            return None
        result = results[run.run_id]
        inside = store.predictions(result)
        outside = store.external_predictions(result, of.name)
        home, further = store.home(result), store.external_home(result, of.name)
        splits = home.split_file(result), further.split_file(result, of.name)
        members = [
            take(groups(split), found.rows["test"], split)
            for split, found in zip(splits, (inside, outside), strict=True)
        ]
        added.append(
            np.concatenate(
                [_added(metric, outside, members[1]), -_added(metric, inside, members[0])]
            )
        )
        tests.add(
            (run.split_sha256, run.external[of.name].split_sha256, _drawn(inside), _drawn(outside))
        )
        if strata is None:
            first = stats.strata(outside.targets["test"], members[1])
            second = stats.strata(inside.targets["test"], members[0])
            strata = np.concatenate([first, first.max() + 1 + second])
    if strata is None or len(tests) > 1:
        return None
    place = (runs[0].dataset, runs[0].backbone, f"{runs[0].row} on {of.name}")
    widest = stats.SCORED[metric].widest
    return stats.Gain(np.stack(added), strata, place, (of, *tests), widest)


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

"""Further test sets on a board: columns of their own, and what is lost there against the test split.

Figures stand beside those of the test split and are never averaged with them.  The loss has the
closed form of a gain (`harness.stats`): the groups of both sets are drawn anew, each within its
classes, and the seeds of the runs, which are the same on both sides, together.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness import stats
from harness.api.execution import Predictions
from harness.api.leaderboard import (
    Block,
    BoardRun,
    DataNote,
    ExternalFigure,
    ExternalRun,
    Row,
    Track,
)
from harness.api.metric import softmax
from harness.api.records import ExternalRecord, Json, MetricValue, RunResult
from harness.data.external import MARK
from harness.data.split import take
from harness.leaderboard.ranking import finite
from harness.results.merge import MergedStore

SHORT = 8
Groups = Callable[[Path], np.ndarray]


class ExternalSet(NamedTuple):
    """A further test set: dataset, its name, its fingerprint."""

    dataset: str
    name: str
    data: str


# -- figures ------------------------------------------------------------------------------------


def external_runs(run: RunResult) -> dict[str, ExternalRun]:
    """Further test sets of a run, as a board lists them."""
    return {
        name: ExternalRun(
            data=one.fingerprint,
            split_sha256=one.split_sha256,
            images=sum(one.counts["test"].values()),
            metrics={metric: finite(found) for metric, found in sorted(one.metrics.items())},
        )
        for name, one in sorted(run.external.items())
    }


def with_external(track: Track, runs: Sequence[BoardRun], metric: str) -> Track:
    """The track with the figures of its rows on further test sets."""
    labels = _labels(runs)
    if not labels:
        return track
    by_row: dict[str, list[BoardRun]] = defaultdict(list)
    for run in runs:
        by_row[run.row].append(run)
    rows = [
        row.model_copy(
            update={
                "external": tuple(
                    _figure(one, label, (track, by_row[row.label]), metric)
                    for one, label in labels.items()
                )
            }
        )
        for row in track.rows
    ]
    return track.model_copy(update={"rows": tuple(rows)})


def external_notes(runs: Sequence[RunResult]) -> tuple[DataNote, ...]:
    """One note a further test set; of limited and full ones the full one."""
    largest: dict[ExternalSet, tuple[int, ExternalRecord]] = {}
    for run in runs:
        for name, record in run.external.items():
            key = ExternalSet(run.spec.dataset, name, record.fingerprint)
            size = sum(record.counts["test"].values())
            if key not in largest or size > largest[key][0]:
                largest[key] = (size, record)
    labels = _named(largest)
    return tuple(_note(key, labels[key], *largest[key]) for key in sorted(largest))


def _note(of: ExternalSet, label: str, images: int, record: ExternalRecord) -> DataNote:
    lacking = tuple(name for name, count in record.counts["test"].items() if not count)
    return DataNote(
        label=f"{of.dataset}, external {label}",
        dataset=f"{of.dataset}{MARK}{of.name}",
        modality=record.modality,
        classes=len(record.classes),
        images={"test": images},
        rule=record.rule,
        fingerprint=record.fingerprint,
        split_sha256=record.split_sha256,
        skipped=len(record.skipped),
        licence=record.licence,
        source=record.source,
        revision=record.revision,
        procedural=record.procedural,
        problems=record.problems,
        lacking={"test": lacking} if lacking else {},
    )


def _labels(runs: Sequence[BoardRun]) -> dict[ExternalSet, str]:
    return _named(
        {
            ExternalSet(run.dataset, name, one.data)
            for run in runs
            for name, one in run.external.items()
        }
    )


def _named(sets: Mapping[ExternalSet, object] | set[ExternalSet]) -> dict[ExternalSet, str]:
    """Set -> its name, with a fingerprint where other images have the same; in order."""
    states: dict[tuple[str, str], int] = defaultdict(int)
    for one in sets:
        states[one.dataset, one.name] += 1
    return {
        one: f"{one.name} (data {one.data[:SHORT]})" if states[one[:2]] > 1 else one.name
        for one in sorted(sets)
    }


def _figure(
    of: ExternalSet, label: str, found: tuple[Track, Sequence[BoardRun]], metric: str
) -> ExternalFigure:
    """`found`: the track, and the runs of a row."""
    track, runs = found
    blocks = [block for block in track.blocks if block.dataset == of.dataset]
    having = [run for run in runs if run.status == "ok" and _holds(run, of)]
    values: list[float] = []
    internal: list[float] = []
    for block in blocks:
        own = [run for run in having if run.block == block.label]
        given = [_value(run.external[of.name].metrics, metric) for run in own]
        beside = [_value(run.metrics, metric) for run in own]
        if len(own) == _wanted(block):
            values += _mean(given)
            internal += _mean(beside)
    whole = bool(blocks) and len(values) == len(internal) == len(blocks)
    return ExternalFigure(
        dataset=of.dataset,
        name=label,
        data=of.data,
        runs=len(having),
        wanted=sum(map(_wanted, blocks)),
        value=float(np.mean(values)) if whole else None,
        internal=float(np.mean(internal)) if whole else None,
    )


def _holds(run: BoardRun, of: ExternalSet) -> bool:
    found = run.external.get(of.name)
    return run.dataset == of.dataset and found is not None and found.data == of.data


def _wanted(block: Block) -> int:
    return len(block.pairs) or len(block.seeds)


def _value(metrics: Mapping[str, MetricValue], metric: str) -> float | None:
    return metrics[metric].value if metric in metrics else None


def _mean(values: Sequence[float | None]) -> list[float]:
    """The mean, alone; nothing where one is undefined."""
    defined = [value for value in values if value is not None]
    return [float(np.mean(defined))] if values and len(defined) == len(values) else []


# -- what is lost -------------------------------------------------------------------------------


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
    for of, label in _labels(runs).items():
        blocks = [block for block in track.blocks if block.dataset == of.dataset]
        for row in track.rows:
            found = [
                _gain(metric, of, _runs_of(runs, row, block), results, store, groups)
                for block in blocks
                if row.ranked and len(_runs_of(runs, row, block)) == _wanted(block)
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
    """What each group of both sets adds to the difference in each run; None: there is none."""
    added: list[np.ndarray] = []
    strata: np.ndarray | None = None
    tests: set[tuple[object, ...]] = set()
    for run in runs:
        if not (_holds(run, of) and _is_defined(run.metrics, metric)):
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

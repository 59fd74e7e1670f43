"""Further test sets on a board: figures of their own, beside those of the test split.

They are never averaged with them, and in no rank.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.api.leaderboard import (
    Block,
    BoardRun,
    DataNote,
    ExternalFigure,
    ExternalRun,
    Track,
)
from harness.api.records import ExternalRecord, MetricValue, RunResult
from harness.leaderboard.ranking import finite, mean

MARK = ".external-"  # as in the names of split files
SHORT = 8


class ExternalSet(NamedTuple):
    """A further test set: dataset, its name, its fingerprint."""

    dataset: str
    name: str
    data: str


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
    labels = labelled_sets(runs)
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


def labelled_sets(runs: Sequence[BoardRun]) -> dict[ExternalSet, str]:
    """Every further test set of some runs, and what it is called there."""
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
    having = [run for run in runs if run.status == "ok" and holds(run, of)]
    values: list[float] = []
    internal: list[float] = []
    for block in blocks:
        own = [run for run in having if run.block == block.label]
        given = [_value(run.external[of.name].metrics, metric) for run in own]
        beside = [_value(run.metrics, metric) for run in own]
        if len(own) == wanted_runs(block):
            values += _mean(given)
            internal += _mean(beside)
    whole = bool(blocks) and len(values) == len(internal) == len(blocks)
    return ExternalFigure(
        dataset=of.dataset,
        name=label,
        data=of.data,
        runs=len(having),
        wanted=sum(map(wanted_runs, blocks)),
        value=mean(values) if whole else None,
        internal=mean(internal) if whole else None,
    )


def holds(run: BoardRun, of: ExternalSet) -> bool:
    """True if the run predicted that set."""
    found = run.external.get(of.name)
    return run.dataset == of.dataset and found is not None and found.data == of.data


def wanted_runs(block: Block) -> int:
    """Runs of a row in a block."""
    return len(block.pairs) or len(block.seeds)


def _value(metrics: Mapping[str, MetricValue], metric: str) -> float | None:
    return metrics[metric].value if metric in metrics else None


def _mean(values: Sequence[float | None]) -> list[float]:
    """The mean, alone; nothing where one is undefined."""
    defined = [value for value in values if value is not None]
    return [mean(defined)] if values and len(defined) == len(values) else []

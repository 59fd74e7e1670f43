"""A track: its rows, and the figure of every row in every block for every metric."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from harness.leaderboard import Block, BoardRun, Gap, Leaderboard, Row, Track
from harness.metric import Metric
from harness.page_data.rounding import decimals
from harness.page_data.tested import tested
from harness.ranking import DIGITS, average_ranks
from harness.records import Json
from harness.scores import mean

GAPS = 50  # a row's gaps that are spelled out; all are counted


def metric_list(board: Leaderboard, known: Mapping[str, Metric]) -> list[dict[str, Json]]:
    """The metrics of any run, the board's own first; `higher` is None where nobody says."""
    names = {name for run in board.runs for name in run.metrics} | {board.metric}
    own = {board.metric: board.higher_is_better}
    return [
        {
            "id": name,
            "title": known[name].title or name if name in known else name,
            "higher": own.get(name, known[name].higher_is_better if name in known else None),
        }
        for name in sorted(names, key=lambda name: (name != board.metric, name))
    ]


def track_data(
    board: Leaderboard, track: Track, metrics: Sequence[Mapping[str, Json]]
) -> dict[str, Json]:
    """Everything of a track but its runs."""
    rows = {row.label: number for number, row in enumerate(track.rows)}
    blocks = {block.label: number for number, block in enumerate(track.blocks)}
    runs = _by_place(board.runs, track, rows, blocks)
    return {
        **track.model_dump(mode="json", exclude={"rows", "control"}),
        "control": rows.get(track.control) if track.control is not None else None,
        "rows": [_row(row) for row in track.rows],
        "cells": [_cells(track, runs, metric) for metric in metrics],
        "statistics": statistics(board, track),
    }


def statistics(board: Leaderboard, track: Track) -> dict[str, Json] | None:
    """What was tested in a track; None: nothing."""
    rows = {row.label: number for number, row in enumerate(track.rows)}
    blocks = {block.label: number for number, block in enumerate(track.blocks)}
    return tested((board.statistics or {}).get(track.id), rows, blocks)


def _row(row: Row) -> dict[str, Json]:
    kept = row.model_dump(mode="json", exclude={"blocks", "gaps", "settings"})
    settings = [[name, json.dumps(value)] for name, value in sorted(row.settings.items())]
    return kept | {
        "settings": settings,
        "gaps": [_gap(gap) for gap in row.gaps[:GAPS]],
        "lacking": dict(sorted(Counter(gap.kind for gap in row.gaps).items())),
    }


def _gap(gap: Gap) -> list[Json]:
    return [gap.kind, gap.block, gap.seed, gap.reason]


Places = Mapping[tuple[int, int], Sequence[BoardRun]]


def _by_place(
    runs: Sequence[BoardRun], track: Track, rows: Mapping[str, int], blocks: Mapping[str, int]
) -> Places:
    """(row, block) -> its finished runs."""
    found: dict[tuple[int, int], list[BoardRun]] = defaultdict(list)
    for run in runs:
        if run.track == track.id and run.status == "ok":
            found[rows[run.row], blocks[run.block]].append(run)
    return found


def _cells(track: Track, runs: Places, metric: Mapping[str, Json]) -> dict[str, Json]:
    """Means over seeds [row][block], None where a seed is missing, and ranks among complete rows."""
    values = [
        [_mean(runs.get((row, number), ()), block, metric["id"]) for number, block in _of(track)]
        for row in range(len(track.rows))
    ]
    ranks: list[list[float | None]] = [[None] * len(track.blocks) for _ in values]
    complete = [row for row, given in enumerate(values) if None not in given]
    if metric["higher"] is not None:
        for number in range(len(track.blocks)):
            given = [round(values[row][number] or 0.0, DIGITS) for row in complete]
            places = average_ranks(given, higher_is_better=metric["higher"])
            for row, place in zip(complete, places, strict=True):
                ranks[row][number] = decimals(place, 1)
    return {
        "values": [[decimals(value) for value in given] for given in values],
        "ranks": ranks,
    }


def _of(track: Track) -> Sequence[tuple[int, Block]]:
    return list(enumerate(track.blocks))


def _mean(runs: Sequence[BoardRun], block: Block, metric: str) -> float | None:
    given = [figure.value for run in runs if (figure := run.metrics.get(metric))]
    defined = [value for value in given if value is not None]
    return mean(defined) if len(defined) == len(block.seeds) else None

"""A track in the page's terms: rows and blocks by number, differences in points.

Its rows, the figure of every row in every block for every metric, and what was tested.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from harness.api.leaderboard import Block, BoardRun, Gap, Leaderboard, Row, Track, TunedRow
from harness.api.metric import Metric
from harness.api.records import Json
from harness.errors import UsageError
from harness.leaderboard import labels
from harness.leaderboard.html.runs import decimals, figures
from harness.leaderboard.ranking import RULES, mean, rank_values

LEVEL = 0.95  # of intervals, where statistics do not say
GAPS = 50  # a row's gaps that are spelled out; all are counted
POINTS = 4  # decimals of a difference in points
Numbers = Mapping[str, int]


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
    """Everything of a track but its runs; `narrow` is what a tuned one says of its grid."""
    rows = {row.label: number for number, row in enumerate(track.rows)}
    blocks = {block.label: number for number, block in enumerate(track.blocks)}
    runs = _by_place(board.runs, track, rows, blocks)
    return {
        **track.model_dump(mode="json", exclude={"rows", "control"}),
        "control": rows.get(track.control) if track.control is not None else None,
        "rows": [_row(row) for row in track.rows],
        "cells": [_cells(track, runs, metric) for metric in metrics],
        "statistics": _statistics((board.statistics or {}).get(track.id), rows, blocks),
        **({"narrow": labels.narrow_grid(track.rows)} if track.tuned else {}),
    }


def _row(row: Row) -> dict[str, Json]:
    kept = row.model_dump(mode="json", exclude={"blocks", "gaps", "settings"})
    settings = [[name, json.dumps(value)] for name, value in sorted(row.settings.items())]
    if row.tuning is not None:
        kept["tuning"] |= _tuning(row.tuning)
    return kept | {
        "settings": settings,
        "gaps": [_gap(gap) for gap in row.gaps[:GAPS]],
        "lacking": dict(sorted(Counter(gap.kind for gap in row.gaps).items())),
    }


def _tuning(tuned: TunedRow) -> dict[str, Json]:
    """The figures of a row's trials, as short as they are shown; rates from low to high."""
    return {
        "chosen": sorted(tuned.chosen.items(), key=lambda one: float(one[0])),
        "edge": decimals(tuned.edge, POINTS),
        "last_epoch": decimals(tuned.last_epoch, POINTS),
        "seconds": figures(tuned.seconds),
        "best_so_far": [decimals(value, POINTS) for value in tuned.best_so_far],
    }


def _gap(gap: Gap) -> list[Json]:
    """[kind, block, seed, reason], and the split where that is not 0."""
    return [gap.kind, gap.block, gap.seed, gap.reason, *([gap.split] if gap.split else [])]


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
        [
            _mean(runs.get((row, number), ()), block, metric["id"])
            for number, block in enumerate(track.blocks)
        ]
        for row in range(len(track.rows))
    ]
    ranks: list[list[float | None]] = [[None] * len(track.blocks) for _ in values]
    complete = [row for row, given in enumerate(values) if None not in given]
    if metric["higher"] is not None:
        for number in range(len(track.blocks)):
            given = [values[row][number] or 0.0 for row in complete]
            places = rank_values(given, higher_is_better=metric["higher"])
            for row, place in zip(complete, places, strict=True):
                ranks[row][number] = decimals(place, 1)
    return {
        "values": [[decimals(value) for value in given] for given in values],
        "ranks": ranks,
    }


def _mean(runs: Sequence[BoardRun], block: Block, metric: str) -> float | None:
    given = [figure.value for run in runs if (figure := run.metrics.get(metric))]
    defined = [value for value in given if value is not None]
    return mean(defined) if len(defined) == len(block.pairs or block.seeds) else None


def _statistics(
    given: Mapping[str, Json] | None, rows: Numbers, blocks: Numbers
) -> dict[str, Json] | None:
    """Statistics of a track (`harness.leaderboard.statistics`), compact; None: there are none.

    Raises:
        UsageError: a row or a block that the track does not have.
    """
    if given is None or given.get("rules") != RULES:  # of an older harness: other tests
        return None
    others = given.get("others", {})
    lost = [_lost(one, rows) for one in given.get("external", ())]
    more: dict[str, Json] = {"external": lost} if lost else {}
    if (given.get("starts") or {}).get("gains"):
        more["starts"] = _starts(given["starts"], rows)
    return more | {
        "level": given.get("level", LEVEL),
        "basis": given.get("basis", ""),
        "datasets": given.get("datasets", 0),
        "cells": given.get("cells", 0),
        "differences": [_difference(one, rows, blocks) for one in given.get("differences", ())],
        "averages": {
            scope: [
                [_number(rows, row), *_judged(one[scope])]
                for row, one in given.get("averages", {}).items()
                if one[scope] is not None
            ]
            for scope in ("these", "general")
        },
        "others": {
            name: [[_number(rows, row), *_judged(one)] for row, one in others[name].items()]
            for name in others
        },
        "ranks": [
            [_number(rows, row), one["these"], one["general"]]
            for row, one in given.get("ranks", {}).items()
        ],
        "improvement": [
            [_number(rows, row), decimals(value)]
            for row, value in given.get("improvement", {}).items()
        ],
        "comparisons": [_comparison(one, rows) for one in given.get("comparisons", ())],
    }


def _number(numbers: Numbers, label: str) -> int:
    if label not in numbers:
        raise UsageError(f"statistics speak of {label!r}, which is not in the track they are for")
    return numbers[label]


def _lost(one: Mapping[str, Json], rows: Numbers) -> list[Json]:
    """[row, dataset, further test set, block or nothing, and as `_judged`]."""
    return [_number(rows, one["row"]), one["dataset"], one["name"], one["block"], *_judged(one)]


def _starts(given: Mapping[str, Json], rows: Numbers) -> dict[str, Json]:
    """`over`: the start that others are held against; `gains`: [start, [[row, as `_judged`], ...]]."""
    gains = [
        [start, [[_number(rows, row), *_judged(one)] for row, one in found.items()]]
        for start, found in given["gains"].items()
    ]
    return {"over": given["over"], "gains": gains}


def _difference(one: Mapping[str, Json], rows: Numbers, blocks: Numbers) -> list[Json]:
    """[row, block, gain, low, high in points, p, verdict, seeds]."""
    return [_number(rows, one["row"]), _number(blocks, one["block"]), *_judged(one)]


def _judged(one: Mapping[str, Json]) -> list[Json]:
    """[gain, low, high in points, p, verdict, seeds]."""
    points = [decimals(one[key] * 100, POINTS) for key in ("value", "low", "high")]
    return [*points, figures(one["p"]), one["verdict"], one["seeds"]]


def _comparison(one: Mapping[str, Json], rows: Numbers) -> dict[str, Json]:
    nemenyi = one["nemenyi"]
    return {
        "scope": one["scope"],
        "blocks": one["blocks"],
        "ranks": [[_number(rows, row), decimals(rank)] for row, rank in one["ranks"].items()],
        "friedman": [figures(one["friedman"]["statistic"]), figures(one["friedman"]["p"])],
        "difference": decimals(nemenyi["difference"]),
        "cliques": [[_number(rows, row) for row in clique] for clique in nemenyi["cliques"]],
        "note": one["note"],
    }

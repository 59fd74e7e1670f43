"""Statistics of a track in the page's terms: rows and blocks by number, differences in points."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import UsageError
from harness.page_data.rounding import POINTS, decimals, figures
from harness.page_data.shape import Comparison, Difference, Interval, TrackStatistics, Wins
from harness.records import Json

LEVEL = 0.95
Numbers = Mapping[str, int]


def tested(given: TrackStatistics | None, rows: Numbers, blocks: Numbers) -> dict[str, Json] | None:
    """The same, compact; None where nothing was computed.

    Raises:
        UsageError: a row or a block that the track does not have.
    """
    if given is None:
        return None
    return {
        "level": given.get("level", LEVEL),
        "differences": [_difference(one, rows, blocks) for one in given.get("differences", ())],
        "comparisons": [_comparison(one, rows) for one in given.get("comparisons", ())],
        "improvement": _intervals(given.get("improvement", {}), rows),
        "iqm": _intervals(given.get("iqm", {}), rows),
        "wins": [_wins(_number(rows, row), one) for row, one in given.get("wins", {}).items()],
    }


def _number(numbers: Numbers, label: str) -> int:
    if label not in numbers:
        raise UsageError(f"statistics speak of {label!r}, which is not in the track they are for")
    return numbers[label]


def _difference(one: Difference, rows: Numbers, blocks: Numbers) -> list[Json]:
    """[row, block, gain, low, high in points, p, verdict, seeds]."""
    points = [decimals(one[key] * 100, POINTS) for key in ("value", "low", "high")]
    place = [_number(rows, one["row"]), _number(blocks, one["block"])]
    return [*place, *points, figures(one["p"]), one["verdict"], one["seeds"]]


def _comparison(one: Comparison, rows: Numbers) -> dict[str, Json]:
    nemenyi, signed = one["nemenyi"], one["wilcoxon"]
    return {
        "scope": one["scope"],
        "blocks": one["blocks"],
        "ranks": [[_number(rows, row), decimals(rank)] for row, rank in one["ranks"].items()],
        "friedman": [figures(one["friedman"]["statistic"]), figures(one["friedman"]["p"])],
        "difference": decimals(nemenyi["difference"]),
        "cliques": [[_number(rows, row) for row in clique] for clique in nemenyi["cliques"]],
        "wilcoxon": None
        if signed is None
        else [
            [_number(rows, row), figures(test["p"]), test["verdict"]]
            for row, test in signed.items()
        ],
        "note": one["note"],
    }


def _intervals(given: Mapping[str, Interval], rows: Numbers) -> list[Json]:
    return [
        [_number(rows, row), *(decimals(one[key]) for key in ("value", "low", "high"))]
        for row, one in given.items()
    ]


def _wins(row: int, one: Wins) -> list[Json]:
    """[row, wins, losses, cells, share, low, high, least]."""
    shares = [decimals(one[key]) for key in ("share", "low", "high", "least")]
    return [row, one["wins"], one["losses"], one["cells"], *shares]

"""The last screen of a call: the conclusion, the ranking with intervals, where the rest is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from harness.api.leaderboard import Leaderboard, Row, Track
from harness.api.records import Json
from harness.leaderboard.conclusion import conclude
from harness.leaderboard.render.document import Cell, Column, Table
from harness.leaderboard.render.terminal import grid, wrapped
from harness.utils import text
from harness.utils.text import NOTHING, clean

FEWEST = 2  # rows that make a ranking
LINES, ROWS, LEAST = 20, 8, 1  # of the screen; most and least rows of its ranking
ROOM = 6  # lines that the ranking leaves to the conclusion and to where the rest is
ROOMY = 70  # columns from which on the mean itself is shown, too
POINTS = 100.0


def render(
    board: Leaderboard,
    rest: str,
    width: int,
    done: str = "",
    asked: Collection[str] = (),
) -> str:
    """At most 20 lines.

    Args:
        board: with its conclusion.
        rest: where everything else is.
        width: columns.
        done: what the call did.
        asked: ids of the runs that the call asked for; of several rankings the one that holds most of
            them is shown.
    """
    track = _asked_track(board, frozenset(asked))
    table = _ranking(board, track, width) if track is not None else []
    last = wrapped(f"{done}. {rest}" if done else rest, width).splitlines()
    room = LINES - len(table) - len(last) - 2 * bool(table)
    sentences = board.conclusion if track in board.tracks[:1] else conclude(board, track)
    lines = [*_conclusion(sentences, width, room), *([""] if table else []), *table, "", *last]
    return "\n".join(lines) + "\n"


def _asked_track(board: Leaderboard, asked: frozenset[str]) -> Track | None:
    """Of the tracks that rank anything the one that holds most of the runs that were asked for."""
    ranking = [one for one in board.tracks if sum(row.ranked for row in one.rows) >= FEWEST]
    held = Counter(run.track for run in board.runs if run.run_id in asked)
    return max(ranking or board.tracks, key=lambda track: held[track.id], default=None)


def _conclusion(given: Sequence[str], width: int, room: int) -> list[str]:
    """As many whole sentences as there is room for; what is left out is counted."""
    sentences = list(given) or ["No statistics: nothing is concluded."]
    for count in range(len(sentences), 0, -1):
        left = len(sentences) - count
        more = [f"({text.plural(left, 'sentence')} more in full.)"] if left else []
        lines = wrapped(" ".join([*sentences[:count], *more]), width).splitlines()
        if len(lines) <= room or count == 1:
            return lines
    return []


def _ranking(board: Leaderboard, track: Track, width: int) -> list[str]:
    """As many rows as there is room for; names that are too long for a line take several."""
    for count in range(ROWS, LEAST, -1):
        lines = _rows(board, track, width, count)
        if len(lines) <= LINES - ROOM:
            return lines
    return _rows(board, track, width, LEAST)


def _rows(board: Leaderboard, track: Track, width: int, count: int) -> list[str]:
    """Rows in order of rank with their average difference to the control and its interval."""
    blocks = text.plural(len(track.blocks), "block")
    if track.question:
        blocks = f"over {clean(track.question)}, {blocks}"
    caption = f"{board.metric}, {blocks}; difference in points [95 %]"
    if len(track.rows) > count:
        caption += f"; {text.plural(len(track.rows) - count, 'row')} more"
    if track.tuned:
        caption = f"Tuned: {caption}"
    table = ranking(board, track, most=count, mean=width >= ROOMY)
    return [*wrapped(caption, width).splitlines(), *grid(table, width).splitlines()]


def ranking(
    board: Leaderboard, track: Track, *, most: int | None = None, mean: bool = True
) -> Table:
    """Place, strategy, mean, difference to the control with its interval, verdict.

    Args:
        board: where the statistics are.
        track: whose rows these are.
        most: only so many rows; None: all.
        mean: the mean itself is shown, too.
    """
    given = (board.statistics or {}).get(track.id) or {}
    averages: Mapping[str, Json] = given.get("averages", {})
    rows = track.rows[:most]
    columns: list[tuple[Column, Sequence[str]]] = [
        (Column("#"), [NOTHING if row.position is None else str(row.position) for row in rows]),
        (Column("strategy", words=True), [clean(row.label) for row in rows]),
    ]
    if mean:
        columns.append((Column("mean"), [text.metric(row.value) for row in rows]))
    columns += [
        (Column(f"vs {board.control}"), [_difference(row, track, averages) for row in rows]),
        (Column("verdict", words=True), [_verdict(row, track, averages) for row in rows]),
    ]
    names = tuple(heading for heading, _ in columns)
    cells = zip(*(values for _, values in columns), strict=True)
    return Table(names, tuple(tuple(map(Cell, values)) for values in cells), stub=2)


def _difference(row: Row, track: Track, averages: Mapping[str, Json]) -> str:
    if row.label == track.control:
        return "control"
    one = averages.get(row.label, {}).get("these")
    if one is None:
        return NOTHING if row.ranked else f"{row.runs} of {row.wanted} runs"
    value, low, high = (text.points(one[key] * POINTS) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _verdict(row: Row, track: Track, averages: Mapping[str, Json]) -> str:
    one = averages.get(row.label, {}).get("these")
    if one is None or row.label == track.control:
        return NOTHING
    return str(one["verdict"])

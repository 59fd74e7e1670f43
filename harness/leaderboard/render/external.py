"""Further test sets of a track, for readers: a table of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.api.leaderboard import ExternalFigure, Leaderboard, Row, Track
from harness.api.records import Json
from harness.leaderboard.ranking import RULES
from harness.leaderboard.render.document import (
    Bullets,
    Cell,
    Column,
    Heading,
    Paragraph,
    Part,
    Table,
)
from harness.utils import text
from harness.utils.text import NOTHING

LEVEL = 0.95  # of intervals, where statistics do not say
Drops = Mapping[tuple[str, str, str], Mapping[str, Json]]


def external_tests(board: Leaderboard, track: Track) -> Iterator[Part]:
    """Figures of every row on further test sets, and the difference from the test split."""
    sets = list(
        dict.fromkeys((one.dataset, one.name) for row in track.rows for one in row.external)
    )
    if not sets:
        return
    drops = _drops(board, track)
    yield Heading(3, "External tests")
    yield _table(board, track, sets, drops)
    yield Paragraph(_caption(board, track, drops))
    remarks = [*_incomplete(track), *_lacking(board, sets)]
    if remarks:
        yield Bullets(tuple(remarks))


def _drops(board: Leaderboard, track: Track) -> Drops:
    """(row, dataset, name) -> the difference over all backbones, with its interval."""
    found = (board.statistics or {}).get(track.id)
    if found is None or found.get("rules") != RULES:
        return {}
    given: dict[tuple[str, str, str], Mapping[str, Json]] = {}
    for one in found.get("external", ()):
        key = (one["row"], one["dataset"], one["name"])
        if not one["block"] or key not in given:
            given[key] = one
    return given


def _table(board: Leaderboard, track: Track, sets: list[tuple[str, str]], drops: Drops) -> Table:
    heads = [Column("strategy", words=True)]
    several = len({dataset for dataset, _ in sets}) > 1
    for dataset, name in sets:
        shown = f"{dataset}\n{name}" if several else name
        heads += [Column(shown), Column(f"{shown}\nless test (points)")]
    rows = []
    for row in track.rows:
        cells = [Cell(row.label)]
        for key in sets:
            figure = _figure(row, *key)
            cells += [
                Cell(text.metric(figure.value) if figure else NOTHING),
                Cell(_difference(board, figure, drops.get((row.label, *key)))),
            ]
        rows.append(tuple(cells))
    return Table(tuple(heads), tuple(rows))


def _figure(row: Row, dataset: str, name: str) -> ExternalFigure | None:
    return next((one for one in row.external if (one.dataset, one.name) == (dataset, name)), None)


def _difference(
    board: Leaderboard, figure: ExternalFigure | None, drop: Mapping[str, Json] | None
) -> str:
    """Like `-4.1 [-9.0, +0.8]`, positive is better."""
    if drop is not None:
        value, low, high = (text.points(100 * drop[end]) for end in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"
    if figure is None or figure.value is None or figure.internal is None:
        return NOTHING
    sign = 1 if board.higher_is_better else -1
    return text.points(100 * sign * (figure.value - figure.internal))


def _caption(board: Leaderboard, track: Track, drops: Drops) -> str:
    said = (
        f"Further test sets that every run predicts: {board.metric}, mean over seeds and backbones; "
        "in no rank, average or test above. Less test: the difference from the test split in the "
        "same runs, positive is better"
    )
    if not drops:
        return f"{said}."
    level = f"{(board.statistics or {})[track.id].get('level', LEVEL):.0%}"
    kinds = {one["basis"] for one in drops.values()}
    if kinds == {"test images only"}:
        over = "other images of both sets (one seed says nothing of another)"
    elif "images, seeds and splits" in kinds:
        over = "other images of both sets, other seeds and other splits"
    else:
        over = "other images of both sets and other seeds"
    return f"{said}; intervals of {level} over {over}, not adjusted for their number."


def _incomplete(track: Track) -> Iterator[str]:
    for row in track.rows:
        for one in row.external:
            if one.runs < one.wanted:
                yield f"{row.label}: {one.runs} of {one.wanted} runs have {one.dataset}, {one.name}."


def _lacking(board: Leaderboard, sets: list[tuple[str, str]]) -> Iterator[str]:
    names = {f"{dataset}, external {name}" for dataset, name in sets}
    for note in board.data:
        if note.label in names and (lacking := note.lacking.get("test")):
            yield (
                f"{note.label} has no image of {', '.join(lacking)}: its figures, and so the difference, "
                "are over the other classes."
            )

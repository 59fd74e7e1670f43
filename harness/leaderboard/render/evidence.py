"""Evidence from the stored predictions, for readers: tests of a track, and answers to claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from harness.api.leaderboard import ClaimAnswer, Leaderboard, Track
from harness.api.records import Json
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

T = TypeVar("T")
Plain: TypeAlias = Mapping[str, Json]  # statistics of a track, or a part of them

VERDICTS = ("better", "undecided", "worse")
LEVEL = 0.95  # of intervals, where statistics do not say
SMALLEST = 0.001  # p-values below it are not told apart
CELLS = "cells\nbetter/undecided/worse"


def tested(board: Leaderboard, track: Track) -> Iterator[Part]:
    """Differences to the control with their verdicts, and all blocks together."""
    found: Plain | None = (board.statistics or {}).get(track.id)
    if found is None or not (found.get("differences") or found.get("comparisons")):
        return
    yield Heading(3, "Tested on the stored predictions")
    yield _table(track, found)
    yield Paragraph(_caption(track, found))
    comparisons = found.get("comparisons", ())
    if comparisons:
        yield Bullets(tuple(_comparison(one) for one in comparisons))


def _table(track: Track, found: Plain) -> Table:
    rows = [row.label for row in track.rows if row.ranked]
    columns: list[tuple[str, Mapping[str, str]]] = [(CELLS, _verdicts(found))]
    if "comparisons" in found:
        columns += [
            ("interquartile\nmean", _each(found.get("iqm", {}), _interval(text.metric))),
            ("P(better than\ncontrol)", _each(found.get("improvement", {}), _interval(_share))),
            ("share of\ncells won", _each(found.get("wins", {}), _won)),
            ("Wilcoxon\np (Holm)", _signed(found["comparisons"])),
        ]
    heads = (Column("strategy", words=True), *(Column(title) for title, _ in columns))
    cells = ((Cell(row), *(Cell(texts.get(row, NOTHING)) for _, texts in columns)) for row in rows)
    return Table(heads, tuple(cells))


def _caption(track: Track, found: Plain) -> str:
    caption = f"Intervals of {found.get('level', LEVEL):.0%} in brackets."
    if track.control is not None:
        caption += (
            f" Cells: paired bootstrap against {track.control} over groups and seeds, Holm over the "
            "strategies of a cell; with fewer than three seeds nothing is decided. A cell is won by more than a "
            "point."
        )
    return caption


def _verdicts(found: Plain) -> dict[str, str]:
    counts: dict[str, Counter[str]] = {}
    for one in found.get("differences", ()):
        counts.setdefault(one["row"], Counter())[one["verdict"]] += 1
    return {row: "/".join(str(seen[word]) for word in VERDICTS) for row, seen in counts.items()}


def _each(given: Mapping[str, T], form: Callable[[T], str]) -> dict[str, str]:
    return {row: form(one) for row, one in given.items()}


def _interval(form: Callable[[float | None], str]) -> Callable[[Plain], str]:
    return lambda one: form(one["value"]) + _between(one["low"], one["high"], form)


def _won(one: Plain) -> str:
    return _share(one["share"]) + _between(one["low"], one["high"], _share)


def _between(low: float | None, high: float | None, form: Callable[[float | None], str]) -> str:
    return "" if low is None or high is None else f" [{form(low)}, {form(high)}]"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _signed(comparisons: Sequence[Plain]) -> dict[str, str]:
    """Over all blocks of the track."""
    (whole,) = (one for one in comparisons if not one["scope"])
    return {row: _p(one["p"]) for row, one in (whole["wilcoxon"] or {}).items()}


def _p(value: float) -> str:
    return f"< {SMALLEST}" if value < SMALLEST else f"{value:.3f}"


def _comparison(one: Plain) -> str:
    friedman, p = one["friedman"], _p(one["friedman"]["p"])
    outcome = (
        f"{one['scope'] or 'All'}, {text.plural(one['blocks'], 'block')}: Friedman's chi-square "
        f"{friedman['statistic']:.2f}, p {p if p.startswith('<') else f'= {p}'}; mean ranks more "
        f"than {one['nemenyi']['difference']:.2f} apart differ (Nemenyi)."
    )
    return f"{outcome} {one['note']}" if one["note"] else outcome


# -- claims -------------------------------------------------------------------------------------


def answered(answers: Sequence[ClaimAnswer]) -> Iterator[Part]:
    """Claims of the study, each with verdict, effect, interval and n."""
    if answers:
        yield Heading(2, "Claims")
        yield _claims_table(answers)
        yield Paragraph(
            "Supported: the whole 95 % interval lies beyond the claim's threshold; contradicted: "
            "short of it. Undecided otherwise, with fewer than five seeds, or without every cell."
        )


def _claims_table(answers: Sequence[ClaimAnswer]) -> Table:
    tracks = any(one.track for one in answers)
    heads = (
        Column("claim", words=True),
        Column("answer", words=True),
        Column("effect"),
        Column("95 % interval"),
        Column("cells"),
        Column("seeds"),
        *([Column("track", words=True)] if tracks else []),
    )
    rows = (
        (
            *map(Cell, (one.text, _answer(one), _effect(one), _range(one))),
            Cell(f"{one.cells} of {one.of}"),
            Cell(str(one.seeds)),
            *([Cell(one.track)] if tracks else []),
        )
        for one in answers
    )
    return Table(heads, tuple(rows))


def _answer(one: ClaimAnswer) -> str:
    reason = f" ({one.reason})" if one.reason else ""
    detail = f"; {one.detail}" if one.detail else ""
    return f"{one.verdict}{reason}{detail}"


def _effect(one: ClaimAnswer) -> str:
    return NOTHING if one.effect is None else _in_unit(one, one.effect)


def _range(one: ClaimAnswer) -> str:
    if one.low is None or one.high is None:
        return NOTHING
    return f"{_in_unit(one, one.low)} to {_in_unit(one, one.high)}"


def _in_unit(one: ClaimAnswer, value: float) -> str:
    return text.points(value) if one.unit == "points" else f"{value:.0%}"

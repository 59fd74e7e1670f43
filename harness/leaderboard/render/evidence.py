"""Evidence from the stored predictions, for readers: tests of a track, and answers to claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from harness.api.leaderboard import ClaimAnswer, Leaderboard, Track
from harness.api.records import Json
from harness.leaderboard.labels import BASES
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

T = TypeVar("T")
Plain: TypeAlias = Mapping[str, Json]  # statistics of a track, or a part of them

VERDICTS = ("better", "undecided", "worse")
LEVEL = 0.95  # of intervals, where statistics do not say
SMALLEST = 0.001  # p-values below it are not told apart
CELLS = "cells\nbetter/undecided/worse"
ONE_SEED = "test images only"  # what an interval of a single seed holds


def tested(board: Leaderboard, track: Track) -> Iterator[Part]:
    """Gains over the control with their verdicts, places, and what is only described."""
    found: Plain | None = (board.statistics or {}).get(track.id)
    if found is None or found.get("rules") != RULES:  # of an older harness: other tests
        return
    if not (found.get("differences") or found.get("comparisons")):
        return
    yield Heading(3, "Tested on the stored predictions")
    yield _table(track, found)
    yield Paragraph(_caption(track, found))
    if found.get("others"):
        yield _others(track, found)
        yield Paragraph(_others_caption(track, found))
    if (found.get("starts") or {}).get("gains"):
        yield _by_row(track, list(_starts(found)))
        yield Paragraph(
            f"Starting points: average gain of the same strategy over the start {found['starts']['over']}, "
            f"in the same cells and seeds; intervals of {found.get('level', LEVEL):.0%} over "
            f"{_holds(found)}. No verdicts: those are about strategies."
        )
    comparisons = found.get("comparisons", ())
    if comparisons:
        yield Paragraph("Mean ranks over datasets, a description; verdicts are those above:")
        yield Bullets(tuple(_comparison(one) for one in comparisons))


def _table(track: Track, found: Plain) -> Table:
    averages, ranks = found.get("averages", {}), found.get("ranks", {})
    these = f"these datasets\n{_over(found)}points"
    columns: list[tuple[str, Mapping[str, str]]] = []
    if averages:
        columns += [
            (these, {row: _judged(one["these"]) for row, one in averages.items()}),
            ("datasets in\ngeneral, points", _each(averages, lambda one: _judged(one["general"]))),
        ]
    if found.get("differences"):
        columns.append((CELLS, _verdicts(found)))
    if ranks:
        columns += [
            (
                f"rank, these datasets\n{_over(found)}places",
                _each(ranks, lambda one: _places(one["these"])),
            ),
            ("rank, in\ngeneral", _each(ranks, lambda one: _places(one["general"]))),
        ]
    if found.get("improvement"):
        columns.append(("P(better than\ncontrol)", _each(found["improvement"], _share)))
    return _by_row(track, columns)


def _by_row(track: Track, columns: Sequence[tuple[str, Mapping[str, str]]]) -> Table:
    rows = [row.label for row in track.rows if row.ranked]
    heads = (Column("strategy", words=True), *(Column(title) for title, _ in columns))
    cells = ((Cell(row), *(Cell(texts.get(row, NOTHING)) for _, texts in columns)) for row in rows)
    return Table(heads, tuple(cells))


def _over(found: Plain) -> str:
    """For a column's title: an interval of one seed says so."""
    return f"{ONE_SEED}, " if found.get("basis") == ONE_SEED else ""


def _caption(track: Track, found: Plain) -> str:
    level = f"{found.get('level', LEVEL):.0%}"
    if track.control is None:
        return _ranks(found, level)
    sets = text.plural(found.get("datasets", 0), "dataset")
    cells = text.plural(found.get("cells", 0), "cell")
    these = (
        f"These datasets: the average gain over {track.control} in these {cells} of {sets}, with "
        f"the interval of {level} over {_holds(found)}."
    )
    general = (
        "Datasets in general: the same on datasets like these; its interval holds how much gains "
        "vary from dataset to dataset, and takes four of them."
    )
    said = [these, general]
    verdicts = {one["verdict"] for one in found.get("differences", ())}
    if verdicts != {"untested"}:
        said.append(
            "better, worse: where no strategy differed, any such word would stand on at most 5% "
            "of boards. Intervals are not adjusted for their number."
        )
    else:
        runs = "splits" if "splits" in found.get("basis", "") else "seeds"
        said.append(f"Fewer than three {runs}: nothing is decided ({NOTHING}).")
    if found.get("ranks"):
        said.append(_ranks(found, level))
    said.append("P(better than control): of one run against another in the same cell, as measured.")
    return " ".join(said)


def _ranks(found: Plain, level: str) -> str:
    only = f" Of one seed: over {ONE_SEED}." if found.get("basis") == ONE_SEED else ""
    return f"Ranks: the places that a strategy may have; all of them right in {level}.{only}"


def _holds(found: Plain) -> str:
    if found.get("basis") == ONE_SEED:
        return f"{ONE_SEED}: one seed says nothing of what another would have changed"
    return BASES.get(found.get("basis", ""), BASES["images and seeds"])


def _verdicts(found: Plain) -> dict[str, str]:
    """Cells of each row by verdict; a dash where none was tested."""
    counts: dict[str, Counter[str]] = {}
    for one in found.get("differences", ()):
        counts.setdefault(one["row"], Counter())[one["verdict"]] += 1
    return {
        row: "/".join(str(seen[word]) for word in VERDICTS)
        if any(seen[word] for word in VERDICTS)
        else NOTHING
        for row, seen in counts.items()
    }


def _each(given: Mapping[str, T], form: Callable[[T], str]) -> dict[str, str]:
    return {row: form(one) for row, one in given.items()}


def _judged(one: Plain | None) -> str:
    """Like `+1.2 [-0.3, +2.7] better`."""
    if one is None:
        return NOTHING
    low, high = (text.points(100 * one[end]) for end in ("low", "high"))
    verdict = f" {one['verdict']}" if one["verdict"] in {"better", "worse"} else ""
    return f"{text.points(100 * one['value'])} [{low}, {high}]{verdict}"


def _places(ends: Sequence[int] | None) -> str:
    if ends is None:
        return NOTHING
    low, high = ends
    return str(low) if low == high else f"{low}-{high}"


def _starts(found: Plain) -> Iterator[tuple[str, Mapping[str, str]]]:
    for start, given in found["starts"]["gains"].items():
        title = f"{start}, {_over(found)}points\nover {found['starts']['over']}"
        yield title, _each(given, _judged)


def _others(track: Track, found: Plain) -> Table:
    return _by_row(
        track,
        [
            (f"{name}\n{_over(found)}points", _each(given, _judged))
            for name, given in found["others"].items()
        ],
    )


def _others_caption(track: Track, found: Plain) -> str:
    return (
        f"Other metrics: average gain over {track.control} on these datasets, in hundredths, "
        f"positive is better for each; intervals of {found.get('level', LEVEL):.0%} over "
        f"{_holds(found)}. No verdicts: those are about the metric of the board."
    )


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _p(value: float) -> str:
    return f"< {SMALLEST}" if value < SMALLEST else f"{value:.3f}"


def _comparison(one: Plain) -> str:
    friedman, p = one["friedman"], _p(one["friedman"]["p"])
    outcome = (
        f"{one['scope'] or 'All backbones'}, {text.plural(one['blocks'], 'dataset')}: Friedman's "
        f"chi-square {friedman['statistic']:.2f}, p {p if p.startswith('<') else f'= {p}'}; "
        f"critical difference {one['nemenyi']['difference']:.2f} ranks (Nemenyi)."
    )
    return f"{outcome} {one['note']}" if one["note"] else outcome


# -- claims -------------------------------------------------------------------------------------


def answered(answers: Sequence[ClaimAnswer]) -> Iterator[Part]:
    """Claims of the study, each with verdict, effect, bounds and n."""
    if answers:
        yield Heading(2, "Claims")
        yield _claims_table(answers)
        yield Paragraph(
            "Supported: the lower bound lies beyond the claim's threshold; contradicted: the upper "
            "one lies short of it; each errs in at most 2.5%. Undecided otherwise, with fewer than "
            "five seeds, or without every cell. Beside it the average gain, with its interval of "
            "95%."
        )


def _claims_table(answers: Sequence[ClaimAnswer]) -> Table:
    tracks = any(one.track for one in answers)
    heads = (
        Column("claim", words=True),
        Column("answer", words=True),
        Column("effect"),
        Column("bounds"),
        Column("average gain (points)", words=True),
        Column("cells"),
        Column("seeds"),
        *([Column("track", words=True)] if tracks else []),
    )
    rows = (
        (
            *map(Cell, (one.text, _answer(one), _effect(one), _range(one), _average(one))),
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
    basis = f"; {ONE_SEED}" if one.basis == ONE_SEED else ""
    return f"{one.verdict}{reason}{detail}{basis}"


def _effect(one: ClaimAnswer) -> str:
    return NOTHING if one.effect is None else _in_unit(one, one.effect)


def _range(one: ClaimAnswer) -> str:
    if one.low is None or one.high is None:
        return NOTHING
    return f"{_in_unit(one, one.low)} to {_in_unit(one, one.high)}"


def _average(one: ClaimAnswer) -> str:
    if one.average is None or one.average_low is None or one.average_high is None:
        return NOTHING
    low, high = text.points(one.average_low), text.points(one.average_high)
    return f"{text.points(one.average)} [{low}, {high}] {one.average_of}"


def _in_unit(one: ClaimAnswer, value: float) -> str:
    return text.points(value) if one.unit == "points" else f"{value:.0%}"

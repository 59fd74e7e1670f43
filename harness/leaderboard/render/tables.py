"""The tables of a readable board."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.api.leaderboard import (
    DataNote,
    GroupFigure,
    Leaderboard,
    Row,
    Track,
    TunedRow,
    WeightsNote,
)
from harness.leaderboard.render.document import Cell, Column, Table
from harness.utils import text
from harness.utils.text import NOTHING

Filled = tuple[Column, list[Cell]]

SPLITS = ("train", "validation", "test")


def main_table(board: Leaderboard, track: Track) -> Table:
    """Strategies in order of rank: by how much one is ahead, and on how many runs."""
    rows, lowest = track.rows, not board.higher_is_better
    spent = [row.spend.median_seconds if row.ranked else None for row in rows]
    return _table(
        _plain("#", [_position(row) for row in rows]),
        _strategies(rows),
        _best("mean\nrank", text.place, [row.mean_rank for row in rows], lowest=True),
        _best(_two_lines(board.metric), text.metric, [row.value for row in rows], lowest=lowest),
        _plain(f"vs {board.control}\n(points)", [_difference(row, track) for row in rows]),
        _plain("won/tied/lost", [_won(row) for row in rows]),
        _plain("runs", [_runs(row) for row in rows]),
        _best("s/run", text.seconds, spent, lowest=True),
        stub=2,
    )


def group_table(
    rows: Sequence[Row], groups: Sequence[Sequence[GroupFigure]], *, lowest: bool
) -> Table:
    """Mean metric and, in brackets, mean rank: a column a modality, backbone or starting point."""
    return _table(
        _strategies(rows),
        *(_group(rows, column, lowest=lowest) for column in zip(*groups, strict=True)),
    )


def _group(rows: Sequence[Row], column: Sequence[GroupFigure], *, lowest: bool) -> Filled:
    texts = [
        text.metric(figure.value) + (f" ({text.place(figure.rank)})" if figure.rank else "")
        for figure in column
    ]
    keys = [figure.value if row.ranked else None for row, figure in zip(rows, column, strict=True)]
    best = text.best([text.metric(figure.value) for figure in column], keys, lowest=lowest)
    return Column(column[0].group), [Cell(*pair) for pair in zip(texts, best, strict=True)]


def cost_table(rows: Sequence[Row]) -> Table:
    """Time, epochs and parameters of the finished runs, each as if alone."""
    spend = [row.spend for row in rows]
    return _table(
        _strategies(rows),
        _plain("finished\nruns", [str(row.spend.runs) for row in rows]),
        _plain(
            "parameters\nthat learn",
            [text.span(*s.trainable) if s.trainable else "-" for s in spend],
        ),
        _plain("epochs\n(mean)", [_epochs(row) for row in rows]),
        _plain("stopped\nearly", [str(s.stopped) for s in spend]),
        _plain("s/run\n(median)", [text.seconds(s.median_seconds) for s in spend]),
        _plain("s\n(total)", [text.seconds(s.seconds) for s in spend]),
    )


def tuning_table(rows: Sequence[Row]) -> Table:
    """Trials of each row, the rates that were chosen, and their cost."""
    told = [row.tuning for row in rows]
    return _table(
        _strategies(rows),
        _plain("trials", [str(one.trials) if one else NOTHING for one in told]),
        _plain("rates chosen\n(times)", [_rates(one) for one in told], words=True),
        _plain("edge", [text.percent(one.edge) if one else NOTHING for one in told]),
        _plain(
            "still\nlearning", [text.percent(one.last_epoch) if one else NOTHING for one in told]
        ),
        _plain("diverged", [str(one.diverged) if one else NOTHING for one in told]),
        _plain("s, chosen\n(all trials)", [_both_seconds(row) for row in rows]),
    )


def _rates(told: TunedRow | None) -> str:
    """`x1(3), x3(12)`, which no line breaks apart, and the other setting that was searched."""
    if told is None:
        return NOTHING
    rates = ", ".join(f"x{rate}({count})" for rate, count in told.chosen.items())
    return f"{rates}; and {told.knob}" if told.knob else rates


def _both_seconds(row: Row) -> str:
    told = row.tuning
    return f"{text.seconds(row.spend.seconds)} ({text.seconds(told.seconds if told else None)})"


def data_table(notes: Sequence[DataNote]) -> Table:
    """Datasets: modality, classes, images, split rule, licence."""
    return _table(
        _plain("dataset", [note.label for note in notes], words=True),
        _plain("modality", [note.modality for note in notes], words=True),
        _plain("classes", [str(note.classes) for note in notes]),
        _plain("train/val/test", [_images(note) for note in notes]),
        _plain("split rule", [note.rule for note in notes], words=True),
        _plain("licence", [note.licence for note in notes], words=True),
    )


def _images(note: DataNote) -> str:
    return "/".join(str(note.images.get(split, 0)) for split in SPLITS)


def weights_table(notes: Sequence[WeightsNote]) -> Table:
    """Starting weights of the backbones."""
    return _table(
        _plain("backbone", [note.backbone for note in notes], words=True),
        _plain("starting point", [note.name for note in notes], words=True),
        _plain("sha256", [note.sha256[:8] for note in notes], words=True),
        _plain("new\ntensors", [text.span(*note.new) for note in notes]),
        _plain("licence", [note.licence or NOTHING for note in notes], words=True),
    )


def _table(*columns: Filled, stub: int = 1) -> Table:
    rows = zip(*(cells for _, cells in columns), strict=True)
    return Table(tuple(column for column, _ in columns), tuple(rows), stub)


def _plain(title: str, texts: Sequence[str], *, words: bool = False) -> Filled:
    return Column(title, words), [Cell(each) for each in texts]


def _strategies(rows: Sequence[Row]) -> Filled:
    return _plain("strategy", [row.label for row in rows], words=True)


def _best(
    title: str, form: Callable[[float | None], str], values: Sequence[float | None], *, lowest: bool
) -> Filled:
    texts = [form(value) for value in values]
    best = text.best(texts, values, lowest=lowest)
    return Column(title), [Cell(*pair) for pair in zip(texts, best, strict=True)]


def _two_lines(name: str) -> str:
    """Break a long id in its middle: `balanced-accuracy`."""
    words = name.split("-")
    half = (len(words) + 1) // 2
    return "\n".join(filter(None, ("-".join(words[:half]), "-".join(words[half:]))))


def _position(row: Row) -> str:
    return NOTHING if row.position is None else str(row.position)


def _difference(row: Row, track: Track) -> str:
    if row.label == track.control:
        return "control"
    return text.points(row.contrast.difference if row.contrast else None)


def _won(row: Row) -> str:
    found = row.contrast
    return f"{found.better}/{found.equal}/{found.worse}" if found else NOTHING


def _runs(row: Row) -> str:
    return str(row.runs) if row.runs == row.wanted else f"{row.runs} of {row.wanted}"


def _epochs(row: Row) -> str:
    used, planned = row.spend.epochs, row.spend.planned
    if used is None or planned is None:
        return NOTHING
    return f"{used:.3g}" if used >= planned else f"{used:.3g} of {planned:.3g}"

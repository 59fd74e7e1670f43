"""A board for a terminal: at most 100 columns, ASCII only, nothing told by colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import replace

from tabulate import tabulate

from harness.api.leaderboard import Leaderboard
from harness.leaderboard.render.document import (
    Banners,
    Bullets,
    Cell,
    Column,
    Heading,
    Paragraph,
    Part,
    Table,
)
from harness.leaderboard.render.sections import document
from harness.utils.text import clean

WIDTH, GAP, NARROWEST, WIDEST_TITLE = 100, 2, 20, 30
PADDING = 2  # tabulate makes a column this much wider than its header
UNDERLINE = {1: "=", 2: "-"}


def render(board: Leaderboard) -> str:
    """The whole board as text; `*` marks the best."""
    return "\n\n".join(map(_text, document(board))) + "\n"


def _text(part: Part) -> str:
    match part:
        case Heading(level, text):
            return _heading(level, clean(text))
        case Paragraph(text):
            return _wrapped(text)
        case Banners(items):
            return "\n".join(_wrapped(item, "! ") for item in items)
        case Bullets(items):
            return "\n".join(_wrapped(item, "- ") for item in items)
        case Table():
            return "\n\n".join(_grid(piece) for piece in _pieces(_narrowed(_clean(part))))


def _heading(level: int, text: str) -> str:
    wrapped = _wrapped(text)
    if level not in UNDERLINE:
        return wrapped
    return f"{wrapped}\n{UNDERLINE[level] * max(map(len, wrapped.splitlines()))}"


def _wrapped(text: str, mark: str = "") -> str:
    return textwrap.fill(
        clean(text),
        WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_on_hyphens=False,
    )


# -- tables -----------------------------------------------------------------------------------


def _clean(table: Table) -> Table:
    columns = tuple(replace(column, title=_title(column.title)) for column in table.columns)
    rows = tuple(tuple(replace(cell, text=clean(cell.text)) for cell in row) for row in table.rows)
    return replace(table, columns=columns, rows=rows)


def _title(text: str) -> str:
    return "\n".join(_folded(clean(line), WIDEST_TITLE) for line in text.split("\n"))


def _narrowed(table: Table) -> Table:
    """Columns of words are wrapped, the widest first, until the table fits."""
    widths = _widths(table)
    words = [i for i, column in enumerate(table.columns) if column.words]
    while words and _total(widths) > WIDTH:
        widest = max(words, key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    rows = tuple(
        tuple(
            replace(cell, text=_folded(cell.text, width)) if column.words else cell
            for cell, column, width in zip(row, table.columns, widths, strict=True)
        )
        for row in table.rows
    )
    return replace(table, rows=rows)


def _folded(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False)) or text


def _pieces(table: Table) -> Iterator[Table]:
    """The table, or several that fit, each with the leading columns."""
    widths, stub = _widths(table), table.stub
    chosen = list(range(stub))
    for i in range(stub, len(widths)):
        if len(chosen) > stub and _total([widths[j] for j in [*chosen, i]]) > WIDTH:
            yield _columns(table, chosen)
            chosen = list(range(stub))
        chosen.append(i)
    yield _columns(table, chosen)


def _columns(table: Table, chosen: list[int]) -> Table:
    rows = tuple(tuple(row[i] for i in chosen) for row in table.rows)
    return replace(table, columns=tuple(table.columns[i] for i in chosen), rows=rows)


def _widths(table: Table) -> list[int]:
    return [
        max(_width(column.title) + PADDING, *(_width(_shown(cell)) for cell in cells))
        for column, cells in zip(table.columns, zip(*table.rows, strict=True), strict=True)
    ]


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))


def _total(widths: list[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _shown(cell: Cell) -> str:
    """The mark stands in front, so that digits stay in line."""
    return f"*{cell.text}" if cell.best else cell.text


def _grid(table: Table) -> str:
    return tabulate(
        [[_shown(cell) for cell in row] for row in table.rows],
        headers=[column.title for column in table.columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=[_side(column) for column in table.columns],
    )


def _side(column: Column) -> str:
    return "left" if column.words else "right"

"""A board for a terminal: in its width, ASCII only, nothing told by colour."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
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
LEAST, MOST = 60, 200  # columns of a terminal that are used
PADDING = 2  # tabulate makes a column this much wider than its header
UNDERLINE = {1: "=", 2: "-"}


def terminal_width() -> int:
    """Columns to write in: those of the terminal, 60 to 200; 100 where the text goes elsewhere."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return WIDTH
    return min(MOST, max(LEAST, shutil.get_terminal_size().columns))


def render(board: Leaderboard, width: int = WIDTH) -> str:
    """The whole board as text; `*` marks the best."""
    return render_parts(document(board), width)


def render_parts(parts: Iterable[Part], width: int) -> str:
    """Parts of a document as text, with a blank line between two of them."""
    return "\n\n".join(_text(part, width) for part in parts) + "\n"


def _text(part: Part, width: int) -> str:
    match part:
        case Heading(level, text):
            return _heading(level, clean(text), width)
        case Paragraph(text):
            return wrapped(text, width)
        case Banners(items):
            return "\n".join(wrapped(item, width, "! ") for item in items)
        case Bullets(items):
            return "\n".join(wrapped(item, width, "- ") for item in items)
        case Table():
            whole = _narrowed(_clean(part), width)
            return "\n\n".join(grid(piece) for piece in _pieces(whole, width))


def _heading(level: int, text: str, width: int) -> str:
    lines = wrapped(text, width)
    if level not in UNDERLINE:
        return lines
    return f"{lines}\n{UNDERLINE[level] * max(map(len, lines.splitlines()))}"


def wrapped(text: str, width: int, mark: str = "") -> str:
    """A text in lines of at most `width` columns."""
    return textwrap.fill(
        clean(text),
        width,
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


def _narrowed(table: Table, width: int) -> Table:
    """Columns of words are wrapped, the widest first, until the table fits."""
    widths = _widths(table)
    words = [i for i, column in enumerate(table.columns) if column.words]
    while words and _total(widths) > width:
        widest = max(words, key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    rows = tuple(
        tuple(
            replace(cell, text=_folded(cell.text, most)) if column.words else cell
            for cell, column, most in zip(row, table.columns, widths, strict=True)
        )
        for row in table.rows
    )
    return replace(table, rows=rows)


def _folded(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False)) or text


def _pieces(table: Table, width: int) -> Iterator[Table]:
    """The table, or several that fit, each with the leading columns."""
    widths, stub = _widths(table), table.stub
    chosen = list(range(stub))
    for i in range(stub, len(widths)):
        if len(chosen) > stub and _total([widths[j] for j in [*chosen, i]]) > width:
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


def grid(table: Table) -> str:
    """A table as text."""
    return tabulate(
        [[_shown(cell) for cell in row] for row in table.rows],
        headers=[column.title for column in table.columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=[_side(column) for column in table.columns],
    )


def _side(column: Column) -> str:
    return "left" if column.words else "right"

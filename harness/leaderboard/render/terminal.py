"""A board for a terminal: in its width, ASCII only, nothing told by colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from harness.api.leaderboard import Leaderboard
from harness.leaderboard.render.document import (
    Banners,
    Bullets,
    Cell,
    Heading,
    Paragraph,
    Part,
    Table,
)
from harness.leaderboard.render.sections import document
from harness.utils import tables
from harness.utils.tables import GAP, PADDING, fitted
from harness.utils.text import clean

WIDTH, WIDEST_TITLE = 100, 30
UNDERLINE = {1: "=", 2: "-"}


def terminal_width() -> int:
    """Columns to write in: those of the terminal, 60 to 200; 100 where the text goes elsewhere."""
    return tables.terminal_width(WIDTH)


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
            return grid(part, width)


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


def grid(table: Table, width: int) -> str:
    """A table as text, in several pieces where it has to be."""
    most = min(WIDEST_TITLE, width // 2 - GAP - PADDING)
    return fitted(
        [_title(column.title, most) for column in table.columns],
        [[_shown(cell) for cell in row] for row in table.rows],
        width,
        words=[column.words for column in table.columns],
        stub=table.stub,
    )


def _title(text: str, most: int) -> str:
    return "\n".join(
        textwrap.fill(clean(line), most, break_on_hyphens=False) for line in text.split("\n")
    )


def _shown(cell: Cell) -> str:
    """The mark stands in front, so that digits stay in line."""
    return f"*{clean(cell.text)}" if cell.best else clean(cell.text)

"""A board as GitHub markdown.  Names come from plugins: nothing in them is taken for markup."""

from __future__ import annotations

import re

from tabulate import tabulate

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
from harness.utils.text import clean

SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
BLOCK_START = re.compile(r"^(\d*)([-+=#.)])")  # would open a list, a heading or a rule
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render(board: Leaderboard) -> str:
    """The whole board; bold is the best."""
    return "\n\n".join(map(_text, document(board))) + "\n"


def escape(text: str) -> str:
    """Text that reads as it was given, in a line of its own or a table's cell."""
    safe = "".join(ENTITIES.get(c, c) for c in clean(text))
    return SPECIAL.sub(r"\\\g<0>", safe)


def _text(part: Part) -> str:
    match part:
        case Heading(level, text):
            return f"{'#' * level} {_line(text)}"
        case Banners(items):
            return "\n".join(f"> - **{_line(item)}**" for item in items)
        case Paragraph(text):
            return _line(text)
        case Bullets(items):
            return "\n".join(f"- {_line(item)}" for item in items)
        case Table():
            return _grid(part)


def _line(text: str) -> str:
    return BLOCK_START.sub(r"\1\\\2", escape(text))


def _grid(table: Table) -> str:
    return tabulate(
        [[_cell(cell) for cell in row] for row in table.rows],
        headers=[escape(column.title) for column in table.columns],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left" if column.words else "right" for column in table.columns],
    )


def _cell(cell: Cell) -> str:
    return f"**{escape(cell.text)}**" if cell.best else escape(cell.text)

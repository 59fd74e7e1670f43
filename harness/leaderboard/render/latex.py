"""A board in LaTeX, to be input in a paper: tables by booktabs, in the order of the other formats.

Names come from plugins: nothing in them is taken for a command.
"""

from __future__ import annotations

import re

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

PREAMBLE = "% Needs \\usepackage[T1]{fontenc} and \\usepackage{booktabs}."
HEADINGS = {1: "section", 2: "subsection", 3: "subsubsection"}
LONG = 30  # characters; a column of longer words is wrapped
WRAPPED = 0.5  # of the line, shared by such columns
NEW_LINE = r"\\"
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    **{char: f"\\{char}" for char in "{}$&#%_"},
    # After the end of a row and at the start of an item these would be read as options.
    **{char: f"{{{char}}}" for char in "[]*"},
}
UNSAFE = re.compile("|".join(map(re.escape, SPECIAL)))
MINUS = re.compile(r"(?<![\w-])-(?=\d)")


def render(board: Leaderboard) -> str:
    """The whole board; bold is the best."""
    return "\n\n".join([PREAMBLE, *map(_text, document(board))]) + "\n"


def escape(text: str) -> str:
    """Text that is set as it was given."""
    safe = UNSAFE.sub(lambda found: SPECIAL[found[0]], clean(text))
    return MINUS.sub("$-$", safe.replace("--", "-{}-"))


def _text(part: Part) -> str:
    match part:
        case Heading(level, text):
            return f"\\{HEADINGS[level]}*{{{escape(text)}}}"
        case Banners(items):
            return _list([rf"\textbf{{{escape(item)}}}" for item in items])
        case Paragraph(text):
            return escape(text)
        case Bullets(items):
            return _list(list(map(escape, items)))
        case Table():
            return _grid(part)


def _list(items: list[str]) -> str:
    return "\n".join(
        [r"\begin{itemize}", *(rf"  \item {item}" for item in items), r"\end{itemize}"]
    )


def _grid(table: Table) -> str:
    return "\n".join(
        [
            r"\begin{center}",
            r"\small",
            rf"\begin{{tabular}}{{{''.join(_kinds(table))}}}",
            r"\toprule",
            _row([_title(head) for head in table.columns]),
            r"\midrule",
            *(_row(list(map(_cell, row))) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{center}",
        ]
    )


def _kinds(table: Table) -> list[str]:
    """The alignment of each column, as `tabular` takes it."""
    longest = [
        max((len(row[i].text) for row in table.rows), default=0) for i in range(len(table.columns))
    ]
    wrapped = [
        head.words and size > LONG for head, size in zip(table.columns, longest, strict=True)
    ]
    share = WRAPPED / max(1, sum(wrapped))
    return [
        rf"p{{{share:.2f}\linewidth}}" if wide else "l" if head.words else "r"
        for head, wide in zip(table.columns, wrapped, strict=True)
    ]


def _title(column: Column) -> str:
    title = NEW_LINE.join(map(escape, column.title.split("\n")))
    return rf"\shortstack[r]{{{title}}}" if NEW_LINE in title else title


def _row(cells: list[str]) -> str:
    return rf"{' & '.join(cells)} {NEW_LINE}"


def _cell(cell: Cell) -> str:
    return rf"\textbf{{{escape(cell.text)}}}" if cell.best else escape(cell.text)

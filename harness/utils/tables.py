"""Tables of text in a given width: words are wrapped, and what is still too wide comes in pieces."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from tabulate import tabulate

GAP, NARROWEST = 2, 20
PADDING = 2  # tabulate makes a column this much wider than its header
COMMAND = "  harness "
LEAST, MOST = 60, 200  # columns of a terminal that are used


def terminal_width(elsewhere: int) -> int:
    """Columns to write in: those of the terminal, 60 to 200; `elsewhere`: where there is none."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return elsewhere
    return min(MOST, max(LEAST, shutil.get_terminal_size().columns))


def filled(text: str, width: int) -> str:
    """A text whose longer lines are wrapped at `width`, set in by two more than they begin.

    A command on a line of its own stays one line, to be copied.
    """
    return "\n".join(_filled(line, width) for line in text.split("\n"))


def _filled(line: str, width: int) -> str:
    if len(line) <= width or line.startswith(COMMAND):
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line.lstrip(),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def fitted(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    words: Sequence[bool] | None = None,
    stub: int = 1,
) -> str:
    """A table, or several below each other, at most `width` columns wide.

    Args:
        headers: titles; a cell of headers and rows may have several lines.
        rows: cells, one for each column.
        width: columns of the terminal.
        words: columns of text, to the left, whose cells may be wrapped; None: all of them.  The
            others are to the right, and stay as they are.
        stub: leading columns that each piece of a broken table repeats.
    """
    words = [True] * len(headers) if words is None else words
    columns = [list(column) for column in zip(headers, *rows, strict=True)]
    widths = _narrowed(columns, words, width, stub)
    for column, wraps, most in zip(columns, words, widths, strict=True):
        if wraps:
            column[1:] = [
                "\n".join(_folded(line, most) for line in c.split("\n")) for c in column[1:]
            ]
    widths = [_width(column) for column in columns]
    return "\n\n".join(
        tabulate(
            list(zip(*(columns[i][1:] for i in chosen), strict=True)),
            headers=[columns[i][0] for i in chosen],
            tablefmt="simple",
            disable_numparse=True,
            colalign=["left" if words[i] else "right" for i in chosen],
        )
        for chosen in _pieces(widths, width, stub)
    )


def _narrowed(
    columns: Sequence[Sequence[str]], words: Sequence[bool], width: int, stub: int
) -> list[int]:
    """Widths in which columns of words are wrapped: the widest first, until the table fits.

    A word is broken only where no piece of the table could hold it.
    """
    widths = [_width(column) for column in columns]
    beside = width - sum(min(one, width // 2) + GAP for one in widths[:stub])
    least = [
        max(NARROWEST, min(_longest_word(column[1:]), width // 2 if i < stub else beside))
        for i, column in enumerate(columns)
    ]
    while _total(widths) > width:
        wide = [i for i, wraps in enumerate(words) if wraps and widths[i] > least[i]]
        if not wide:
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _pieces(widths: Sequence[int], width: int, stub: int) -> Iterator[list[int]]:
    """Columns of the table, or of several that fit, each with the leading ones."""
    chosen = list(range(stub))
    for i in range(stub, len(widths)):
        if len(chosen) > stub and _total([widths[j] for j in [*chosen, i]]) > width:
            yield chosen
            chosen = list(range(stub))
        chosen.append(i)
    yield chosen


def _folded(line: str, width: int) -> str:
    # Names hold hyphens: they are not places to break a line.
    return "\n".join(textwrap.wrap(line, width, break_on_hyphens=False)) or line


def _width(column: Sequence[str]) -> int:
    """Columns that a header and its cells take."""
    lines = [line for cell in column[1:] for line in cell.split("\n")]
    return max(max(map(len, column[0].split("\n"))) + PADDING, *map(len, lines), 0)


def _longest_word(cells: Sequence[str]) -> int:
    return max((len(word) for cell in cells for word in cell.split()), default=0)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)

"""A leaderboard as text: one function a format, all from the same board."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.api.leaderboard import Leaderboard
from harness.api.records import Json
from harness.leaderboard.html import html_page
from harness.leaderboard.render import csv_file, json_file, latex, markdown, terminal
from harness.utils import files
from harness.utils.names import unknown

FORMATS: Mapping[str, Callable[[Leaderboard], str]] = {
    "terminal": terminal.render,
    "md": markdown.render,
    "csv": csv_file.render,
    "claims": csv_file.render_claims,
    "json": json_file.render,
    "latex": latex.render,
    "html": html_page.render,
}
RANKS = ("csv",)  # formats that show neither tests nor claims
UNLISTED = ("terminal", "md", "claims", "latex")  # formats that list no runs but failed ones
# Format -> the end of its file's name.
FILES: Mapping[str, str] = {
    "md": "md",
    "csv": "csv",
    "claims": "claims.csv",
    "json": "json",
    "latex": "tex",
    "html": "html",
}


UNFINISHED = """\
The files of this board are being replaced, or the call that did it was killed: some may be those of
the board before.  `harness board FOLDER`, or any `harness bench` here, writes all of them again.
"""


def render(board: Leaderboard, format: str) -> str:  # noqa: A002 - the word users know
    """The board in a format of FORMATS, ended by a line feed.

    Raises:
        UsageError: the format is not known.
    """
    if format not in FORMATS:
        raise unknown(format, FORMATS, "format")
    return FORMATS[format](board)


def write(
    board: Leaderboard, folder: Path, page: Mapping[str, Json] | None = None
) -> tuple[Path, ...]:
    """Write `leaderboard.md` and every other file of FILES, all or none.

    Where the process ends among their renames, `leaderboard.unfinished` stays and says so.

    Args:
        board: what is ranked.
        folder: where the files go.
        page: what `page_data` made for the html; None: of the board alone, that is without
            histories and predictions.

    Returns:
        The paths.

    Raises:
        StoreError: the folder cannot be written.
    """
    texts = {} if page is None else {"html": html_page.page(page)}
    texts |= {name: FORMATS[name](board) for name in FILES if name not in texts}
    paths = {name: folder / f"leaderboard.{end}" for name, end in FILES.items()}
    files.write_together(
        {path: texts[name].encode() for name, path in paths.items()},
        folder / files.UNFINISHED_BOARD,
        UNFINISHED,
    )
    return tuple(paths.values())

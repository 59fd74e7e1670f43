"""The answers to the claims as csv: a row an answer, nothing rounded."""

from __future__ import annotations

import csv
import io

from harness.leaderboard import ClaimAnswer, Leaderboard
from harness.render.csv_file import cell


def render(board: Leaderboard) -> str:
    """The whole file, header first; the header alone where no claim was answered."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = tuple(ClaimAnswer.model_fields)
    writer.writerow(names)
    for one in board.claims or ():
        writer.writerow([cell(getattr(one, name)) for name in names])
    return out.getvalue()

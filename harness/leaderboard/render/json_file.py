"""A board as JSON: everything it holds, unrounded, one line an element of each list.

Keys of the board are sorted; those of its parts stand as `leaderboard.py` declares them.
"""

from __future__ import annotations

from harness.api.leaderboard import Leaderboard
from harness.api.records import compact
from harness.utils.text import escaped_json


def render(board: Leaderboard) -> str:
    """Boards of equal runs give equal text, and a changed run is a changed line."""
    shown = board.written_fields()
    lines = [f"{compact(name)}:{_value(getattr(board, name))}" for name in sorted(shown)]
    return escaped_json("{\n" + ",\n".join(lines) + "\n}\n")


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)) and value:
        return "[\n" + ",\n".join(map(compact, value)) + "\n]"
    return compact(value)

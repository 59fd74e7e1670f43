"""A board as JSON: everything it holds, unrounded, keys sorted, one line an element of each list."""

from __future__ import annotations

import json

from harness.leaderboard import Leaderboard
from harness.records import Record


def _fields(value: object) -> dict[str, object]:
    if isinstance(value, Record):
        return vars(value)
    raise TypeError(f"{value!r} is no part of a board")


# Records are opened where they stand: a copy of a large board as plain values takes as long again.
_compact = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, default=_fields
).encode


def render(board: Leaderboard) -> str:
    """Equal boards give equal text, and a changed run is a changed line."""
    lines = [f"{_compact(name)}:{_value(value)}" for name, value in sorted(vars(board).items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)) and value:
        return "[\n" + ",\n".join(map(_compact, value)) + "\n]"
    return _compact(value)

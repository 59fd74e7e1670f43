"""A board as JSON: everything it holds, unrounded, keys sorted, one line an element of each list."""

from __future__ import annotations

import json

from harness.leaderboard import Leaderboard
from harness.records import Json


def render(board: Leaderboard) -> str:
    """Equal boards give equal text, and a changed run is a changed line."""
    fields = sorted(board.model_dump(mode="json").items())
    lines = [f"{json.dumps(name)}:{_value(value)}" for name, value in fields]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: Json) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(map(_compact, value)) + "\n]"
    return _compact(value)


def _compact(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)

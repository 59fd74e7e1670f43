"""Everything `leaderboard.html` shows, as one JSON value, computed here so that the page only draws.

Rows, blocks, metrics and runs are referred to by number.  Figures are rounded to what a plot or a
table can show (`runs`); csv and json hold them in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.api.execution import Predictions
from harness.api.leaderboard import Leaderboard
from harness.api.metric import Metric
from harness.api.records import Json, RunResult
from harness.leaderboard.html.details import run_details, size
from harness.leaderboard.html.runs import run_table
from harness.leaderboard.html.tracks import metric_list, track_data

BUDGET = 3_900_000  # bytes of JSON: with the plotting library the page stays below 5 MB


def page_data(
    board: Leaderboard,
    results: Sequence[RunResult] = (),
    predictions: Callable[[RunResult], Predictions] | None = None,
    *,
    metrics: Mapping[str, Metric] | None = None,
    budget: int = BUDGET,
) -> dict[str, Json]:
    """The page's data.  Equal boards and results give equal data, in whatever order they come.

    Args:
        board: what is ranked.
        results: the stored runs: histories, plugin and library versions.  Without them the page
            has no details.
        predictions: logits of a finished run, as `Store.predictions`; None: no confusion matrices
            and no reliability diagrams.
        metrics: titles and directions by id.  A metric that is neither in here nor the board's own
            has no known direction: it is shown, and not ranked by.
        budget: bytes of JSON; details of runs are left out, and counted, beyond it.
    """
    names = metric_list(board, metrics or {})
    data: dict[str, Json] = {
        "schema_version": 1,
        "title": board.title,
        "suites": list(board.suites),
        "control": board.control,
        **({"conclusion": list(board.conclusion)} if board.conclusion else {}),
        "banners": list(board.banners),
        "notes": list(board.notes),
        "metrics": names,
        "tracks": [track_data(board, track, names) for track in board.tracks],
        "claims": None
        if board.claims is None
        else [answer.model_dump() for answer in board.claims],
        "data": [note.model_dump(mode="json") for note in board.data],
        "weights": [note.model_dump(mode="json") for note in board.weights],
        "assumed": [value.model_dump(mode="json") for value in board.assumed],
        "runs": run_table(board, names, results),
    }
    left = budget - size(data)
    return _fitted(data | {"details": run_details(board, results, predictions, left)}, budget)


def _fitted(data: dict[str, Json], budget: int) -> dict[str, Json]:
    """Without the last details that go beyond the budget."""
    beyond = size(data) - budget
    runs = dict(data["details"]["runs"])
    while runs and beyond > 0:
        number, one = runs.popitem()
        beyond -= size(one) + len(f'"{number}":,')
    return data | {"details": data["details"] | {"runs": runs}}

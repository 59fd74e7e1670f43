"""Every run of the board in columns, as short as the page needs them: digits are most of its bytes.

A column of numbers holds None where there is none.  `coded` columns, of what many runs share, hold
numbers into a list.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from harness.api.leaderboard import BoardRun, Leaderboard
from harness.api.records import Json, RunResult, canonical
from harness.leaderboard.tracks import unique_runs

LIMIT = 10_000  # runs that are listed
SHARE = 6  # decimals of a metric
RUN = 5  # decimals of the figures of a single run
FIGURES = 4  # significant figures of seconds, losses and the like


def decimals(value: float | None, places: int = SHARE) -> float | None:
    """Rounded; None where there is no finite value.  Whole numbers lose their `.0`."""
    if value is None or not math.isfinite(value):
        return None
    return whole(round(value, places))


def figures(value: float | None, count: int = FIGURES) -> float | None:
    """Rounded to `count` significant figures; None where there is no finite value."""
    if value is None or not math.isfinite(value):
        return None
    return whole(float(f"{value:.{count}g}"))


def whole(value: float) -> float:
    """An int where nothing is lost: `-0.0` and `5.0` take two bytes more than `0` and `5`."""
    return int(value) if value.is_integer() else value


# Column -> its value; each distinct value is written once.
CODED: Mapping[str, Callable[[BoardRun], Hashable]] = {
    "suite": lambda run: run.suite,
    "status": lambda run: run.status,
    "tested": lambda run: run.tested,
    "finished": lambda run: run.finished[:10],  # the day
    "split": lambda run: run.split_sha256,
    "weights_name": lambda run: run.weights_name,
    "epochs": lambda run: figures(run.epochs_used),
    "stopped": lambda run: run.stopped,
    "packed": lambda run: run.cost.packed,
    "trainable": lambda run: run.cost.trainable,
    "peak": lambda run: run.cost.peak_bytes,
    "looks": lambda run: run.cost.looks,
}
COSTS: Mapping[str, Callable[[BoardRun], float | None]] = {
    "train": lambda run: run.cost.alone.train,
    "evaluate": lambda run: run.cost.alone.evaluate,
    "load": lambda run: run.cost.alone.load,
    "features": lambda run: run.cost.alone.features,
    "total": lambda run: run.cost.alone.total,
    "incurred": lambda run: run.cost.incurred.total,
    "speed": lambda run: run.cost.images_per_second,
}


def run_table(
    board: Leaderboard, metrics: Sequence[Mapping[str, Json]], results: Sequence[RunResult]
) -> dict[str, Json]:
    """The first LIMIT runs in the order of the board; `of` says how many there are."""
    runs = board.runs[:LIMIT]
    stored = unique_runs(results)
    place = _places(board)
    made = [_origin(run, stored.get(run.run_id)) for run in runs]
    columns: dict[str, Json] = {
        "id": [run.run_id for run in runs],
        "track": [place[run.track][0] for run in runs],
        "row": [place[run.track][1][run.row] for run in runs],
        "block": [place[run.track][2][run.block] for run in runs],
        "seed": [run.seed for run in runs],
        **({"split_seed": [run.split for run in runs]} if any(run.split for run in runs) else {}),
        **{name: [figures(of(run)) for run in runs] for name, of in COSTS.items()},
    }
    return {
        "of": len(board.runs),
        "columns": columns,
        "coded": {
            **{name: _coded([of(run) for run in runs]) for name, of in CODED.items()},
            "made": _coded(made),
            **({"trial": _coded(_trials(board, runs))} if any(map(is_chosen, runs)) else {}),
        },
        "metrics": [_figures(runs, metric["id"]) for metric in metrics],
        "validation": [_validation(run, board.metric) for run in runs],
        "undefined": _undefined(runs, metrics),
        "errors": {str(n): _error(run) for n, run in enumerate(runs) if run.error},
    }


def is_chosen(run: BoardRun) -> bool:
    """True if the run stands for its row as the best of its trials."""
    return run.trial is not None


def _trials(board: Leaderboard, runs: Sequence[BoardRun]) -> list[Json]:
    """Of each run its number among its trials, and the settings that these differ in; or None."""
    shared = {(track.id, row.label): row.settings for track in board.tracks for row in track.rows}
    return [
        {
            "number": run.trial,
            "settings": [
                [name, json.dumps(value)]
                for name, value in sorted(run.settings.items())
                if name not in shared[run.track, run.row]
            ],
        }
        if is_chosen(run)
        else None
        for run in runs
    ]


def _places(board: Leaderboard) -> dict[str, tuple[int, dict[str, int], dict[str, int]]]:
    """Track id -> its number, and the numbers of its rows and blocks by label."""
    return {
        track.id: (
            number,
            {row.label: n for n, row in enumerate(track.rows)},
            {block.label: n for n, block in enumerate(track.blocks)},
        )
        for number, track in enumerate(board.tracks)
    }


def _coded(values: Sequence[Any]) -> dict[str, Json]:
    """`values`: in order of first use; `codes`: numbers into them, None where all are the first."""
    numbers: dict[Any, int] = {}
    kept: list[Any] = []
    codes: list[int] = []
    for value in values:
        key = canonical(value) if isinstance(value, dict) else value
        if key not in numbers:
            numbers[key] = len(kept)
            kept.append(value)
        codes.append(numbers[key])
    return {"values": kept, "codes": codes if len(kept) > 1 else None}


def _origin(run: BoardRun, result: RunResult | None) -> dict[str, Json]:
    """The code that made a run, and the device."""
    found: dict[str, Json] = {
        "harness": run.harness,
        "commit": run.commit,
        "dirty": run.dirty,
        "device": run.device,
        "engine": run.engine,
        "numeric": run.numeric.model_dump(mode="json"),
        "sources": run.sources,
    }
    if result is not None and result.environment is not None:
        found["python"] = result.environment.python
        found["libraries"] = result.environment.libraries
    if result is not None:
        found["plugins"] = {
            role: [record.plugin, record.distribution, record.version, record.dirty]
            for role, record in result.plugins.items()
        }
    return found


def _figures(runs: Sequence[BoardRun], metric: str) -> list[float | None]:
    found = (run.metrics.get(metric) for run in runs)
    return [None if figure is None else decimals(figure.value, RUN) for figure in found]


def _validation(run: BoardRun, metric: str) -> float | None:
    return decimals(run.validation[metric].value, RUN) if metric in run.validation else None


def _undefined(runs: Sequence[BoardRun], metrics: Sequence[Mapping[str, Json]]) -> list[list[Json]]:
    """[run, metric, reason] wherever a finished run has no value."""
    return [
        [number, m, figure.reason or ""]
        for number, run in enumerate(runs)
        for m, metric in enumerate(metrics)
        if (figure := run.metrics.get(metric["id"])) and figure.value is None
    ]


def _error(run: BoardRun) -> list[Json]:
    """[kind, message, phase, step]."""
    error = run.error
    return [] if error is None else [error.kind, error.message, error.phase, error.step]

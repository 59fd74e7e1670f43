"""The details of single runs on the page: history, confusion matrix, reliability bins.

Details are kept for RUNS runs at most, and for fewer where they are large: one seed of every cell
comes first, so that every cell can be opened before any is shown twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from harness.api.execution import Predictions
from harness.api.leaderboard import Leaderboard
from harness.api.metric import softmax
from harness.api.records import EpochRecord, Json, RunResult, compact
from harness.errors import StoreError
from harness.leaderboard.html.runs import LIMIT, decimals, figures
from harness.leaderboard.tracks import unique_runs

if TYPE_CHECKING:
    import numpy as np

RUNS = 2_000
BINS = 15  # as the metric `ece` has them: equal width, (low, high], top label

Predict = Callable[[RunResult], Predictions]


def run_details(
    board: Leaderboard, results: Sequence[RunResult], predictions: Predict | None, budget: int
) -> dict[str, Json]:
    """Details by number of run, within `budget` bytes of JSON.

    A run of two tracks, as an untuned one that was the best of its trials, has its details once, by
    the first of its numbers.  `of` counts the finished runs; `unreadable` lists ids of runs whose predictions are not what
    their results were computed from.
    """
    stored = unique_runs(results)
    found: dict[str, Json] = {}
    classes: dict[tuple[str, ...], int] = {}
    unreadable: list[str] = []
    wanted = [(n, stored[name]) for n, name in _order(board) if name in stored]
    for number, result in wanted[:RUNS]:
        one = _detail(result, predictions, classes, unreadable)
        budget -= size(one) + len(f'"{number}":')
        if budget < 0:
            break
        found[str(number)] = one
    return {
        "of": len({run.run_id for run in board.runs if run.status == "ok"}),
        "stored": bool(stored),
        "predictions": predictions is not None,
        "classes": [list(names) for names in classes],
        "unreadable": unreadable,
        "runs": found,
    }


def size(value: Json) -> int:
    """Characters of a value as JSON."""
    return len(compact(value))


def _order(board: Leaderboard) -> Iterator[tuple[int, str]]:
    """Finished runs, each once: the first seed of every cell, then the second, and so on."""
    first: dict[str, int] = {}
    seen: Counter[tuple[str, str, str]] = Counter()
    turns = []
    for number, run in enumerate(board.runs[:LIMIT]):
        if run.status == "ok":
            cell = (run.track, run.row, run.block)
            turns.append((seen[cell], first.setdefault(run.run_id, number), run.run_id))
            seen[cell] += 1
    return iter(dict.fromkeys((number, run_id) for _, number, run_id in sorted(turns)))


def _detail(
    result: RunResult,
    predictions: Predict | None,
    classes: dict[tuple[str, ...], int],
    unreadable: list[str],
) -> dict[str, Json]:
    found: dict[str, Json] = {"history": _history(result.history)} if result.history else {}
    if predictions is None or result.data is None:
        return found
    try:
        given = predictions(result)
    except StoreError:
        unreadable.append(result.run_id)
        return found
    if "test" not in given.logits:
        return found
    names = result.data.classes
    found["classes"] = classes.setdefault(names, len(classes))
    logits, targets = given.logits["test"], given.targets["test"]
    return found | {
        "confusion": confusion(logits, targets, len(names)),
        "reliability": reliability(logits, targets),
    }


def _history(epochs: Sequence[EpochRecord]) -> dict[str, Json]:
    """In columns; `epoch` is left out where it counts 1, 2, 3."""
    found: dict[str, Json] = {
        "phases": [[name, len(list(same))] for name, same in groupby(e.phase for e in epochs)],
        "loss": [figures(epoch.train_loss) for epoch in epochs],
        "score": [decimals(epoch.score, 4) for epoch in epochs],
    }
    numbers = [figures(epoch.epoch) for epoch in epochs]
    return found if numbers == list(range(1, len(epochs) + 1)) else found | {"epoch": numbers}


def confusion(logits: np.ndarray, targets: np.ndarray, classes: int) -> list[int]:
    """Counts [true class][predicted class] row by row, a run of n zeros written as -n."""
    import numpy as np

    pairs = targets.astype(np.int64) * classes + logits.argmax(axis=1)
    counts = np.bincount(pairs, minlength=classes**2).tolist()
    packed: list[int] = []
    for zero, same in groupby(counts, key=lambda count: count == 0):
        run = list(same)
        packed += [-len(run)] if zero else run
    return packed


def reliability(logits: np.ndarray, targets: np.ndarray) -> list[list[float | None]]:
    """[bin, samples, of them right, mean confidence] of the bins that are not empty."""
    import numpy as np

    shares = softmax(logits)
    if not np.isfinite(shares).all():
        return []
    shares = np.ascontiguousarray(shares.T)  # several times faster to search than short rows
    confidence, right = shares.max(axis=0), shares.argmax(axis=0) == targets
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    samples = np.bincount(bins, minlength=BINS)
    hits, total = (np.bincount(bins, weights=w, minlength=BINS) for w in (right, confidence))
    return [
        [int(b), int(samples[b]), int(hits[b]), decimals(float(total[b] / samples[b]), 4)]
        for b in np.flatnonzero(samples)
    ]

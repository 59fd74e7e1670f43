"""Statistics and claims of a leaderboard, from the predictions that are stored for every sample.

Computed over groups of the shared test sets and over seeds, for the ranked rows of each track.
Scores are balanced accuracy or accuracy: a positive difference is a gain, 0.01 is a point.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

from harness import stats
from harness.api.leaderboard import BoardRun, ClaimAnswer, Leaderboard, Track
from harness.api.records import Json, RunResult
from harness.data.split import read_samples, take
from harness.leaderboard import claims
from harness.leaderboard.claims import ClaimBlock
from harness.results.merge import MergedStore
from harness.stats import Scoring

NAMED: dict[str, Scoring] = {"balanced-accuracy": "balanced-accuracy", "accuracy": "accuracy"}
FEWEST = 2  # rows, and blocks, that can be compared


def add_statistics(board: Leaderboard, store: MergedStore) -> Leaderboard:
    """The board with its statistics and claims; as it is where its metric is no share of samples.

    Raises:
        StoreError: predictions or splits of a run cannot be read.
    """
    if board.metric not in NAMED:
        return board
    results = {result.run_id: result for result in store.results()}
    names = dict.fromkeys(name for suite in store.plan().suites.values() for name in suite.claims)
    found: dict[str, Json] = {}
    answers: list[ClaimAnswer] = []
    for track in board.tracks:
        blocks = list(_blocks(board, track, results, store))
        if blocks:
            found[track.id] = _statistics(track, blocks)
        if track.control is not None:
            title = track.title if len(board.tracks) > 1 else ""
            answers += claims.answer(
                list(names), [block for _, block in blocks], len(track.blocks), title
            )
    return board.model_copy(update={"statistics": found, "claims": tuple(answers)})


# -- from files to blocks -----------------------------------------------------------------------


def _blocks(
    board: Leaderboard,
    track: Track,
    results: Mapping[str, RunResult],
    store: MergedStore,
) -> Iterator[tuple[str, ClaimBlock]]:
    """(label, block) of every block in which two ranked rows have all their seeds."""
    groups = cache(_groups)
    by_block: dict[str, list[BoardRun]] = defaultdict(list)
    for run in board.runs:
        if run.track == track.id and run.ranked and run.run_id in results:
            by_block[run.block].append(run)
    for place in track.blocks:
        runs = by_block[place.label]
        block = _block(runs, place.seeds, results, store, groups, NAMED[board.metric])
        if block is not None and len(block.strategies) >= FEWEST:
            yield place.label, block


def _block(
    runs: Sequence[BoardRun],
    seeds: Sequence[int],
    results: Mapping[str, RunResult],
    store: MergedStore,
    groups: Callable[[Path], np.ndarray],
    metric: Scoring,
) -> ClaimBlock | None:
    if not runs:
        return None
    first = results[runs[0].run_id]
    predictions = store.predictions(first)
    rows, targets = predictions.rows["test"], predictions.targets["test"]
    found: dict[str, dict[int, claims.Run]] = defaultdict(dict)
    for run in runs:
        figure = run.validation.get(str(metric))
        if figure is None or figure.value is None:
            continue
        stored = store.predictions(results[run.run_id])
        # Row numbers of another split file, as where ids were replaced, are of other samples.
        same = run.split_sha256 == runs[0].split_sha256
        if same and np.array_equal(stored.rows["test"], rows):
            predicted = stored.logits["test"].argmax(axis=1)
            found[run.row][run.seed] = claims.Run(figure.value, predicted)
    split = store.home(first).split_file(first)
    cell = (runs[0].dataset, runs[0].backbone)
    return claims.make_block(
        cell, found, seeds, targets, take(groups(split), rows, split), metric=metric
    )


def _groups(split: Path) -> np.ndarray:
    return read_samples(split)["group"]


# -- statistics ---------------------------------------------------------------------------------


def _statistics(track: Track, blocks: Sequence[tuple[str, ClaimBlock]]) -> dict[str, Json]:
    """Records of `harness.stats` as plain JSON, by labels of rows and blocks.

    Returns:
        `level` of every interval; `differences`, if there is a control: a `Comparison` with it for
        every row and block; and, where there are rows and blocks enough, `comparisons`: `Blocks`
        over all blocks and over those of each backbone, `iqm`, `improvement` (row -> `Summary`)
        and `wins` (row -> `WinRate`), the last two against the control.
    """
    rows = [row.label for row in track.rows if row.ranked]
    shared = [row for row in rows if all(row in block.strategies for _, block in blocks)]
    found: dict[str, Json] = {"level": stats.LEVEL}
    if track.control is not None:
        found["differences"] = list(_differences(track.control, blocks))
    if len(blocks) < FEWEST or len(shared) < FEWEST:
        return found
    control = track.control if track.control in shared else None
    found["comparisons"] = list(_comparisons(shared, control, [block for _, block in blocks]))
    scores = {row: _scores(row, [block for _, block in blocks]) for row in shared}
    found["iqm"] = {row: asdict(stats.interquartile_mean(s)) for row, s in scores.items()}
    if control is not None:
        base = scores.pop(control)
        found["improvement"] = {
            row: asdict(stats.probability_of_improvement(s, base)) for row, s in scores.items()
        }
        found["wins"] = {
            row: asdict(stats.win_rate((s.mean(axis=0) - base.mean(axis=0)).tolist()))
            for row, s in scores.items()
        }
    return found


def _scores(row: str, blocks: Sequence[ClaimBlock]) -> np.ndarray:
    """Test scores of a row, [S, blocks]; blocks with fewer seeds set S."""
    seeds = min(len(block.seeds) for block in blocks)
    return np.stack([block.test.points[:seeds, block.column(row)] for block in blocks], axis=1)


def _differences(
    control: str, blocks: Iterable[tuple[str, ClaimBlock]]
) -> Iterator[dict[str, Json]]:
    """Every row against the control in each block; Holm over the rows of a block."""
    for label, block in blocks:
        if control not in block.strategies:
            continue
        others = {row: block.difference(row, control) for row in block.strategies if row != control}
        for row, compared in stats.compare(others).items():
            yield {"row": row, "block": label, **asdict(compared)}


def _comparisons(
    rows: Sequence[str], control: str | None, blocks: Sequence[ClaimBlock]
) -> Iterator[dict[str, Json]]:
    """Over all blocks (scope: empty), and over those of each backbone."""
    scopes = {"": list(blocks)}
    for block in blocks:
        scopes.setdefault(block.backbone, []).append(block)
    for scope, chosen in scopes.items():
        if len(chosen) < FEWEST or (scope and len(scopes) == FEWEST):
            continue
        means = {row: _scores(row, chosen).mean(axis=0).tolist() for row in rows}
        compared = asdict(stats.compare_blocks(means, control))
        del compared["strategies"], compared["nemenyi"]["p"]
        compared["nemenyi"]["cliques"] = list(map(list, compared["nemenyi"]["cliques"]))
        yield {"scope": scope, **compared}

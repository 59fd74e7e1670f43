"""Statistics and claims of a leaderboard, from the predictions that are stored for every sample.

Computed over groups of the shared test sets and over seeds, for the ranked rows of each track.
Scores are turned so that higher is better: a positive difference is a gain, 0.01 is a point.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np

from harness import stats
from harness.api.execution import Predictions
from harness.api.leaderboard import Block, BoardRun, ClaimAnswer, Leaderboard, Track
from harness.api.metric import softmax
from harness.api.records import Json, RunResult
from harness.data.division.split import read_samples, take
from harness.leaderboard import claims, drops
from harness.leaderboard.cells import CellBlock, Run, RunScores, SplitRuns, join_splits, make_block
from harness.leaderboard.labels import label_amount
from harness.leaderboard.ranking import RULES, repeats_of
from harness.results.merge import MergedStore

CLAIMED = ("balanced-accuracy", "accuracy")  # metrics in which a point is what claims mean by it
OTHERS = ("macro-auroc", "ece", "brier")  # shown beside the board's own
REFERENCES = ("imagenet", "default")  # starts that others are held against, where they are there
NONE = "none"  # the start of random weights
FEWEST = 2  # rows, and datasets, that can be compared
Labelled = tuple[str, CellBlock]


def add_statistics(board: Leaderboard, store: MergedStore) -> Leaderboard:
    """The board with its statistics and claims; as it is where its metric has no shares of groups.

    Raises:
        StoreError: predictions or splits of a run cannot be read.
    """
    if board.metric not in stats.SCORED:
        return board
    results = {result.run_id: result for result in store.results()}
    names = dict.fromkeys(name for suite in store.plan().suites.values() for name in suite.claims)
    found: dict[str, Json] = {}
    answers: list[ClaimAnswer] = []
    judged = sum(_is_judged(track) for track in board.tracks)
    for track in board.tracks:
        blocks = list(_blocks(board, track, results, store))
        if blocks:
            found[track.id] = track_statistics(board.metric, track, blocks, judged)
        runs = [run for run in board.runs if run.track == track.id]
        if any(run.external for run in runs):
            lost = drops.drops(board.metric, track, runs, results, store, cache(read_samples))
            found.setdefault(track.id, {"rules": RULES, "level": stats.LEVEL})["external"] = lost
        if track.control is not None and board.metric in CLAIMED:
            asked, budget = _most_labels(track)
            title = track.title if len(board.tracks) > 1 or budget else ""
            if budget and len(asked) < len(track.blocks):
                title += f"; of these {budget} labels"
            places = [(block.dataset, block.backbone) for block in asked.values()]
            given = [block for label, block in blocks if label in asked]
            answers += claims.answer(list(names), given, places, title, board.metric)
    if any(track.tuned for track in board.tracks):  # tuned and not, side by side
        answers.sort(key=lambda answer: list(names).index(answer.claim))
    answered = tuple(answers) if board.metric in CLAIMED else None
    return board.model_copy(update={"statistics": found, "claims": answered})


def _most_labels(track: Track) -> tuple[dict[str, Block], str | None]:
    """The blocks that answer a claim, by label: those of the largest label budget; None: all labels.

    The study is about networks that begin with ImageNet, so those of other starts say nothing.
    """
    said = [block for block in track.blocks if (block.start or "") in claims.STARTS]
    budget = max((block.labels for block in said), key=label_amount, default=None)
    return {block.label: block for block in said if block.labels == budget}, budget


def least_found(board: Leaderboard, store: MergedStore) -> dict[str, dict[str, float]]:
    """Track id -> row -> the smallest average gain over its control that is found with 80 %.

    Of rows that are in every block of a track in which something may be decided.  Nothing of a board
    needs it but a page that says what the board could have seen.

    Raises:
        StoreError: predictions or splits of a run cannot be read.
    """
    results = {result.run_id: result for result in store.results()}
    judged = [track for track in board.tracks if _is_judged(track)]
    found: dict[str, dict[str, float]] = {}
    for track in judged if board.metric in stats.SCORED else []:
        blocks = [block for _, block in _blocks(board, track, results, store)]
        control = str(track.control)
        if blocks and all(control in block.strategies for block in blocks):
            shared = [
                row.label
                for row in track.rows
                if row.label != control and all(row.label in block.strategies for block in blocks)
            ]
            found[track.id] = {
                row: stats.least_found(
                    _average(blocks, row, control, board.metric), len(shared), len(judged)
                )
                for row in shared
            }
    return found


def _is_judged(track: Track) -> bool:
    """Something of it may be decided, so it takes a share of the board's error rate."""
    seeds = max((repeats_of(block) for block in track.blocks), default=0)
    ranked = sum(row.ranked for row in track.rows)
    return track.control is not None and seeds >= stats.SEEDS and ranked >= FEWEST


# -- from files to blocks -----------------------------------------------------------------------


def _blocks(
    board: Leaderboard,
    track: Track,
    results: Mapping[str, RunResult],
    store: MergedStore,
) -> Iterator[Labelled]:
    """(label, block) of every block in which two ranked rows have all their runs."""
    samples = cache(read_samples)
    by_block: dict[str, list[BoardRun]] = defaultdict(list)
    for run in board.runs:
        if run.track == track.id and run.ranked and run.run_id in results:
            by_block[run.block].append(run)
    for place in track.blocks:
        runs = by_block[place.label]
        block = _block(runs, place, results, store, samples, board.metric)
        if block is not None and len(block.strategies) >= FEWEST:
            yield place.label, block


Samples = Callable[[Path], Mapping[str, np.ndarray]]


def on_blocks(
    runs: Sequence[BoardRun], track: Track, store: MergedStore, samples: Samples, metric: str
) -> Iterator[CellBlock]:
    """The blocks of a track with any runs on them, by the names of their rows, ranked or not."""
    results = {result.run_id: result for result in store.results()}
    for place in track.blocks:
        there = [run for run in runs if run.block == place.label and run.run_id in results]
        block = _block(there, place, results, store, samples, metric)
        if block is not None:
            yield block


def _block(
    runs: Sequence[BoardRun],
    place: Block,
    results: Mapping[str, RunResult],
    store: MergedStore,
    samples: Samples,
    metric: str,
) -> CellBlock | None:
    if not runs:
        return None
    cell = (runs[0].dataset, runs[0].backbone)
    splits = sorted({split for split, _ in place.pairs})
    if len(splits) < 2:  # noqa: PLR2004 - one split: runs are told apart by their seed
        part = _on_split(runs, results, store, samples, metric)
        by_seed: dict[str, dict[Run, RunScores]] = {
            row: {seed: run for (_, seed), run in found.items()} for row, found in part.runs.items()
        }
        strata = stats.strata(part.targets, part.groups)
        block = make_block(cell, by_seed, place.seeds, strata, part.test_set)
        return block and replace(block, start=place.start or "")
    of_splits = [[run for run in runs if run.split == split] for split in splits]
    if not all(of_splits):
        return None
    parts = [_on_split(some, results, store, samples, metric) for some in of_splits]
    block = join_splits(cell, parts, place.pairs)
    return block and replace(block, start=place.start or "")


def _on_split(
    runs: Sequence[BoardRun],
    results: Mapping[str, RunResult],
    store: MergedStore,
    samples: Samples,
    metric: str,
) -> SplitRuns:
    """Runs of a block on one split, at least one; those that tested other rows are left out."""
    first = results[runs[0].run_id]
    predictions = store.predictions(first)
    rows, targets = predictions.rows["test"], predictions.targets["test"]
    split = store.home(first).split_file(first)
    known = samples(split)
    member = take(known["group"], rows, split)
    found: dict[str, dict[tuple[int, int], RunScores]] = defaultdict(dict)
    for run in runs:
        figure = run.validation.get(metric)
        if figure is None or figure.value is None:
            continue
        stored = store.predictions(results[run.run_id])
        # Row numbers of another split file, as where ids were replaced, are of other samples.
        same = run.split_sha256 == runs[0].split_sha256
        if same and np.array_equal(stored.rows["test"], rows):
            added = _added(run, stored, member, metric)
            found[run.row][run.split, run.seed] = RunScores(figure.value, added)
    drawn = hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
    return SplitRuns(
        runs=found,
        groups=member,
        targets=targets,
        images=frozenset(take(known["id"], rows, split).tolist()),
        share=len(rows) / len(known["id"]),
        test_set=(runs[0].dataset, runs[0].split_sha256, drawn),
    )


def _added(
    run: BoardRun, stored: Predictions, groups: np.ndarray, metric: str
) -> dict[str, np.ndarray]:
    """The share of each group in the board's metric and, in single precision, to the others."""
    logits, targets = stored.logits["test"], stored.targets["test"]
    shares = softmax(logits)
    added = {metric: stats.group_scores(metric, shares, targets, groups)}
    for name in OTHERS:
        if name != metric and _is_defined(run, name):
            found = stats.group_scores(name, shares, targets, groups)
            added[name] = found.astype(np.float32)
    return added


def _is_defined(run: BoardRun, metric: str) -> bool:
    figure = run.metrics.get(metric)
    if figure is None or figure.value is None:
        return False
    return not (stats.SCORED[metric].every_class and figure.reason)


# -- statistics ---------------------------------------------------------------------------------


def track_statistics(
    metric: str, track: Track, blocks: Sequence[Labelled], tracks: int = 1
) -> dict[str, Json]:
    """Records of `harness.stats` as plain JSON, by labels of rows and blocks.

    Args:
        metric: of `stats.SCORED`.
        track: what is judged.
        blocks: label and runs of each.
        tracks: how many of the board share its error rate.

    Returns:
        `rules`: the number of these rules; `level` of every interval; `basis`: what they hold; `cells` and `datasets`: how many these
        are.  If there is a control, `differences`: what is `Judged` for every row and block.  And,
        for rows that are in every block, `averages` (row -> `these`, `general`), `others` (metric
        -> row -> interval of the average gain), `ranks` (row -> `these`, `general`),
        `improvement` (row -> chance to beat the control), `comparisons`: `Blocks` over datasets
        with all backbones and with each.  `general` is null with fewer than four datasets.
        `starts`, where starting points are compared: the one that the others are held against,
        `over`, and `gains`: start -> row -> interval of the average gain over it.
    """
    rows = [row.label for row in track.rows if row.ranked]
    given = [block for _, block in blocks]
    shared = [row for row in rows if all(row in block.strategies for block in given)]
    basis = min(given, key=lambda block: block.repeats).basis
    found: dict[str, Json] = {
        "rules": RULES,
        "level": stats.LEVEL,
        "basis": basis,
        "cells": len(given),
        "datasets": len({block.dataset for block in given}),
    }
    if track.control is not None:
        found |= _gains(metric, track.control, blocks, shared, tracks)
    if any(block.start for block in given):
        found["starts"] = _starts(metric, track, blocks, shared)
    if len(shared) >= FEWEST:
        found["ranks"] = _ranks(metric, shared, given)
        found["comparisons"] = list(_comparisons(metric, shared, given))
    return found


def _gains(
    metric: str, control: str, blocks: Sequence[Labelled], shared: Sequence[str], tracks: int
) -> dict[str, Json]:
    """Everything against the control."""
    places = [
        (label, row, block)
        for label, block in blocks
        if control in block.strategies
        for row in block.strategies
        if row != control
    ]
    cells = stats.estimate_gains(block.gain(row, control, metric) for _, row, block in places)
    given = [block for _, block in blocks]
    others = [row for row in shared if row != control] if control in shared else []
    averages = {row: _average(given, row, control, metric) for row in others}
    general = dict(zip(others, _general(metric, control, others, given), strict=True))
    named = [(row, one) for (_, row, _), one in zip(places, cells, strict=True)]
    judged = stats.judge(named, averages, general, tracks)
    return {
        "differences": [
            {"row": row, "block": label, **asdict(one)}
            for (label, row, _), one in zip(places, judged.cells, strict=True)
        ],
        "averages": {row: _both(row, judged) for row in others},
        "others": {
            name: {
                row: asdict(stats.judged_as(_average(given, row, control, name), None))
                for row in others
            }
            for name in OTHERS
            if name != metric and others and all(name in block.added for block in given)
        },
        "improvement": {row: _improvement(metric, row, control, given) for row in others},
    }


def _starts(
    metric: str, track: Track, blocks: Sequence[Labelled], rows: Sequence[str]
) -> dict[str, Json]:
    """Every start against the first of `REFERENCES` that is there, in the same cells, seed by seed."""
    budgets = {block.label: block.labels for block in track.blocks}
    places: dict[tuple[str, str, str | None], dict[str, CellBlock]] = defaultdict(dict)
    for label, block in blocks:
        places[block.dataset, block.backbone, budgets[label]][block.start] = block
    names = sorted({block.start for _, block in blocks})
    over = next(
        (name for name in (*REFERENCES, *names) if name in names and name != NONE), names[0]
    )

    def gain(start: str, row: str) -> stats.Estimate:
        found = []
        for same in places.values():
            own, base = same[start], same[over]
            moved = own.added[metric][:, own.column(row)] - base.added[metric][:, base.column(row)]
            found.append(own.measured(moved, row, metric))
        return stats.average_gain(found)

    others = [name for name in names if name != over]
    alike = all(_alike(list(same.values()), names) for same in places.values())
    return {
        "over": over,
        "gains": {
            start: {row: asdict(stats.judged_as(gain(start, row), None)) for row in rows}
            for start in others
            if alike
        },
    }


def _alike(blocks: Sequence[CellBlock], names: Sequence[str]) -> bool:
    """True if a place has a block of every start, on the same images with the same seeds."""
    first = blocks[0]
    return len(blocks) == len(names) and all(
        (block.seeds, block.test_set) == (first.seeds, first.test_set) for block in blocks
    )


def _average(blocks: Sequence[CellBlock], of: str, over: str, metric: str) -> stats.Estimate:
    return stats.average_gain(block.gain(of, over, metric) for block in blocks)


def _both(row: str, judged: stats.Verdicts) -> dict[str, Json]:
    general = judged.general[row]
    return {
        "these": asdict(judged.averages[row]),
        "general": None if general is None else asdict(general),
    }


def _general(
    metric: str, control: str, rows: Sequence[str], blocks: Sequence[CellBlock]
) -> list[stats.Estimate | None]:
    if not rows:
        return []
    scores = _by_dataset(metric, [control, *rows], blocks)
    seeds = min(block.repeats for block in blocks)
    widest = stats.SCORED[metric].widest
    return stats.in_general(scores[:, 1:] - scores[:, :1], seeds, widest)


def _by_dataset(metric: str, rows: Sequence[str], blocks: Sequence[CellBlock]) -> np.ndarray:
    """Scores, mean over seeds and backbones, [datasets, rows]."""
    by_set: dict[str, list[list[float]]] = defaultdict(list)
    for block in blocks:
        means = [float(block.points(row, metric).mean()) for row in rows]
        by_set[block.dataset].append(means)
    return np.array([np.mean(by_set[name], axis=0) for name in sorted(by_set)])


def _improvement(metric: str, of: str, over: str, blocks: Sequence[CellBlock]) -> float:
    """By as many runs as every block has."""
    seeds = min(len(block.seeds) for block in blocks)
    scores, base = (
        np.stack([block.points(row, metric)[:seeds] for block in blocks], axis=1)
        for row in (of, over)
    )
    return stats.probability_of_improvement(scores, base)


def _ranks(metric: str, rows: Sequence[str], blocks: Sequence[CellBlock]) -> dict[str, Json]:
    """The places by average score that each row may have."""
    pairs = np.ones((len(rows), len(rows)))
    for first, second in combinations(range(len(rows)), 2):
        found = _average(blocks, rows[first], rows[second], metric)
        pairs[first, second] = pairs[second, first] = found.p
    scores = [
        float(np.mean([block.points(row, metric).mean() for block in blocks])) for row in rows
    ]
    these = stats.rank_sets(scores, pairs)
    by_set = _by_dataset(metric, rows, blocks)
    general = (
        stats.rank_sets(by_set.mean(axis=0).tolist(), stats.general_pairs(by_set))
        if len(by_set) >= stats.FEWEST_SETS
        else None
    )
    return {
        row: {"these": list(these[n]), "general": list(general[n]) if general else None}
        for n, row in enumerate(rows)
    }


def _comparisons(
    metric: str, rows: Sequence[str], blocks: Sequence[CellBlock]
) -> Iterator[dict[str, Json]]:
    """Datasets with all backbones (scope: empty), with each and with each start: a description."""
    scopes = {"": list(blocks)}
    for block in blocks:
        scopes.setdefault(block.backbone, []).append(block)
    for block in blocks:
        if block.start:
            scopes.setdefault(f"start {block.start}", []).append(block)
    for scope, chosen in scopes.items():
        scores = _by_dataset(metric, rows, chosen)
        if len(scores) < FEWEST or (scope and len(chosen) == len(blocks)):
            continue
        compared = asdict(stats.compare_blocks(dict(zip(rows, scores.T.tolist(), strict=True))))
        del compared["strategies"], compared["nemenyi"]["p"]
        compared["nemenyi"]["cliques"] = list(map(list, compared["nemenyi"]["cliques"]))
        yield {"scope": scope, **compared}

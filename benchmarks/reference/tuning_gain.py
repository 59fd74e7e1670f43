"""The gain of tuning: each strategy with the rate that validation chose, over itself at the protocol's.

    python benchmarks/reference/tuning_gain.py FOLDER

FOLDER holds runs of a tuned suite.  For every row that has all its runs: test figures tuned and not,
and the interval of their difference, over other test images, seeds and splits, as on the board.
No verdicts: these rows were not asked against each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tabulate import tabulate

from harness import stats
from harness.api.leaderboard import BoardRun, Leaderboard, Track
from harness.data.division.split import read_samples
from harness.leaderboard import boards
from harness.leaderboard.cells import CellBlock
from harness.leaderboard.statistics import on_blocks
from harness.plugins.registry import load_plugins
from harness.results.merge import MergedStore
from harness.results.store import Store

TUNED = "{}, tuned"


def both(board: Leaderboard, tuned: Track, plain: Track) -> list[BoardRun]:
    """The runs of both tracks, those that were chosen under another name."""
    chosen = [
        run.model_copy(update={"row": TUNED.format(run.row)})
        for run in board.runs
        if run.track == tuned.id
    ]
    return [*chosen, *(run for run in board.runs if run.track == plain.id)]


def lines(block: CellBlock, metric: str) -> Iterator[list[str]]:
    """A line a strategy: its score tuned, at the protocol's rate, and the difference in points."""
    for row in block.strategies:
        tuned = TUNED.format(row)
        if tuned not in block.strategies:
            continue
        (found,) = stats.estimate_gains([block.gain(tuned, row, metric)])
        low, high = found.interval()
        scores = [block.points(name, metric).mean() for name in (tuned, row)]
        yield [
            f"{block.dataset} / {block.backbone}",
            row,
            *(f"{score:.3f}" for score in scores),
            f"{100 * found.value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
            str(block.repeats),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    store = MergedStore([Store(parser.parse_args().folder)])
    board = boards.rank_folder(store, load_plugins())
    tuned, plain = (next(t for t in board.tracks if t.tuned is kind) for kind in (True, False))
    found = on_blocks(both(board, tuned, plain), plain, store, cache(read_samples), board.metric)
    heads = ("cell", "strategy", "tuned", "one rate", "difference, points [95 %]", "pairs")
    rows = [line for block in found for line in lines(block, board.metric)]
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

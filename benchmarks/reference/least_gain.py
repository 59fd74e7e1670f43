"""The smallest average gain that the reference board would have decided with 80 %.

    python benchmarks/reference/least_gain.py FOLDER

For every strategy that has all its runs, over the control, in points, by the errors that were
measured; as if it were the only one with a gain.  Where nothing can be decided yet, it says why.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.api.leaderboard import Track
from harness.leaderboard import boards
from harness.leaderboard.conclusion import conclude
from harness.leaderboard.statistics import add_statistics, least_found
from harness.plugins.registry import load_plugins
from harness.results.merge import MergedStore
from harness.results.store import Store
from harness.stats import SEEDS


def lines(track: Track, least: Mapping[str, float]) -> Iterator[str]:
    """The gains of a track, a line a strategy, the smallest first."""
    yield f"{track.title}:"
    for row, gain in sorted(least.items(), key=lambda one: one[1]):
        yield f"  {row}: {100 * gain:.1f} points over {track.control}"
    if not least:
        yield "  nothing can be decided yet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    store = MergedStore([Store(parser.parse_args().folder)])
    board = add_statistics(boards.rank_folder(store, load_plugins()), store)
    least = least_found(board, store)
    for track in board.tracks:
        print("\n".join(lines(track, least.get(track.id, {}))))
    if not all(least.get(track.id) for track in board.tracks):
        print(
            f"It takes {SEEDS} seeds, the control and a second strategy, with all their runs.",
            *conclude(board),
        )


if __name__ == "__main__":
    main()

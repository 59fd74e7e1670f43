"""`harness.load`: results folders ranked."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from harness.calls import arguments
from harness.calls.arguments import PathLike, Plugins, warn
from harness.calls.results import Results
from harness.errors import UsageError
from harness.leaderboard import boards
from harness.results.merge import check_places, existing, opened
from harness.results.store import uncollected
from harness.utils.names import first_few

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "1")  # more make none of it faster


def ranking(
    folder: Path,
    wanted: str,
    metric: str | None = None,
    trials: int | None = None,
    **shared: Any,  # noqa: ANN401 - `plugins` and so on, as for `load`
) -> str:
    """A folder's ranking in a format of `UNLISTED`: the text of `load(folder, ranks_only=True)`.

    Its records are read as far as that shows them, in less time and memory, for very many.

    Raises:
        UsageError, StoreError: as `load`.
    """
    os.environ.setdefault(*ONE_THREAD)
    arguments.is_offline(shared["offline"])
    store = existing(folder)
    registry = arguments.loaded(shared["plugins"], strict=shared["strict_plugins"])
    with uncollected():
        board = boards.rank_outlines(store, registry, metric, trials)
        return boards.render_board(board, wanted, registry)


def load(  # noqa: PLR0913 - the options of the command
    *folders: PathLike,
    metric: str | None = None,
    trials: int | None = None,
    ranks_only: bool = False,
    out: PathLike | None = None,
    plugins: Plugins = (),
    strict_plugins: bool = False,
    offline: bool | None = None,
) -> Results:
    """Rank what is in a results folder, or in several as one.

    Args:
        *folders: results folders, or .zip files made by `harness submit`, whatever their order.
        metric: rank by another metric than the suite's.
        trials: of a suite that tunes: as if only the first so many trials had been allowed.
        ranks_only: leave out statistics, claims and conclusion: for very many runs.
        out: write the board there, as `harness board` does; None: nothing is written.
        plugins: as for `harness.bench`.
        strict_plugins: a broken plugin is an error.
        offline: never use the network, which nothing here does but plugins may.

    Raises:
        UsageError: a folder holds no runs, or the metric is not known.
        StoreError: a folder cannot be read or written, or two contradict each other.
    """
    os.environ.setdefault(*ONE_THREAD)
    places = tuple(arguments.place(one) for one in folders)
    if not places:
        raise UsageError("FOLDER: name at least one results folder")
    check_places(places)  # before a folder is made for the board
    tests = not arguments.flag("--ranks-only", ranks_only)
    name = None if metric is None else arguments.needed("--metric", metric, "the name of a metric")
    few = arguments.some_whole("--trials", trials, 1)
    target = arguments.folder("--out", out)
    arguments.is_offline(offline)
    registry = arguments.loaded(plugins, strict=strict_plugins)
    held = nullcontext() if target is None else boards.writing(target)
    with uncollected(), held, opened(places) as store:
        board = boards.rank_folder(store, registry, name, few)
        if store.repeats:
            warn(
                f"{len(store.repeats)} runs were made in several places and came out differently; "
                f"of each the latest counts: {first_few(store.repeats)}"
            )
        if target is not None:
            board = boards.write_board(board, store, target, registry, tests=tests)
        elif tests:
            board = boards.with_statistics(board, store)
    return Results(board, places, registry, _written=target)

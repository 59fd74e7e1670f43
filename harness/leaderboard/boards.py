"""The board of a results folder: ranked, with what its predictions say, written or rendered."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from harness.api.leaderboard import Leaderboard
from harness.api.records import Json, Plan, RunResult
from harness.errors import UsageError
from harness.leaderboard import build, statistics
from harness.leaderboard.conclusion import conclude
from harness.leaderboard.html import html_page, page_data
from harness.leaderboard.render import formats
from harness.leaderboard.tracks import Selection, sort_runs
from harness.plugins.registry import PluginRegistry
from harness.results.merge import MergedStore
from harness.results.outline import Outlines, share_names
from harness.results.store import Store, uncollected
from harness.utils import locks, signs
from harness.utils.names import choose


def refresh_board(store: Store, loaded: PluginRegistry) -> Leaderboard:
    """Rank a folder, write its board there, and return it."""
    with uncollected(), writing(store.folder):
        whole = MergedStore([store])
        return write_board(rank_folder(whole, loaded), whole, store.folder, loaded)


def writing(folder: Path) -> AbstractContextManager[None]:
    """One board at a time in a folder, from the reading of runs to the last file.

    So the files of a board belong together, and a board never takes the place of one that was made
    of later runs: who comes second has to read again.

    Raises:
        StoreError: the folder cannot be written.
    """
    return locks.locked(folder, locks.BOARD_LOCK)


def write_board(
    ranked: Leaderboard,
    store: MergedStore,
    folder: Path,
    loaded: PluginRegistry,
    *,
    tests: bool = True,
) -> Leaderboard:
    """Write the board in every format, with what the predictions say, and return it.

    To be called with `folder` held (`writing`) since before the runs were read.

    Args:
        ranked: what `rank_folder` made of `store`.
        store: where the runs are.
        folder: where the files go.
        loaded: plugins.
        tests: False leaves out statistics and claims, for which all predictions are read.
    """
    board = with_statistics(ranked, store) if tests else ranked
    with signs.doing("writing the board"):
        formats.write(board, folder, _page(board, store, loaded))
    return board


def with_statistics(ranked: Leaderboard, store: MergedStore) -> Leaderboard:
    """With what the predictions say, and the conclusion from it."""
    with signs.doing("comparing strategies"):
        board = statistics.add_statistics(ranked, store)
    return board.model_copy(update={"conclusion": conclude(board)})


def _page(board: Leaderboard, store: MergedStore, loaded: PluginRegistry) -> dict[str, Json]:
    return page_data.page_data(board, store.results(), store.predictions, metrics=loaded.metrics)


def rank_folder(
    store: MergedStore,
    loaded: PluginRegistry,
    metric: str | None = None,
    trials: int | None = None,
) -> Leaderboard:
    """The leaderboard of a results folder, or of several read as one.

    Args:
        store: the runs.
        loaded: plugins.
        metric: what to rank by; None: the suites' primary metric.
        trials: of tuned suites, only the first so many trials count; None: all.

    Raises:
        UsageError: the metric is not known.
    """
    _check_metric(metric, loaded)
    plan = store.plan()
    selection = _selection(plan, loaded, trials)
    runs = (*store.results(), *store.failures())
    return _ranked(runs, plan, loaded, metric, selection)


def _check_metric(metric: str | None, loaded: PluginRegistry) -> None:
    if metric is not None:
        choose([metric], loaded.metrics, "metric")


def rank_outlines(
    store: Store,
    loaded: PluginRegistry,
    metric: str | None = None,
    trials: int | None = None,
) -> Leaderboard:
    """The same of one folder for formats that list no runs: in less time and memory, for very many.

    Args and errors as `rank_folder`.  `runs` holds the failed ones only.
    """
    _check_metric(metric, loaded)
    with store.unchanged():
        plan = store.plan()
        share_names(plan.runs, {})
        selection = _selection(plan, loaded, trials)
        figure = metric or build.primary_metric(plan)
        chosen = any(line.trial is not None for line in plan.runs)
        by = (selection.metric if selection else figure) if chosen else None
        runs = store.outlines(Outlines(figure, by))
    return _ranked(runs, plan, loaded, metric, selection, listed=False)


def _ranked(
    runs: Sequence[RunResult],
    plan: Plan,
    loaded: PluginRegistry,
    metric: str | None,
    selection: Selection | None,
    *,
    listed: bool = True,
) -> Leaderboard:
    name = metric or next((suite.primary for suite in plan.suites.values()), None)
    known = loaded.metrics.get(name) if name else None
    return build.build_leaderboard(
        runs,
        plan if plan.runs else None,
        metric=metric,
        higher_is_better=known is None or known.higher_is_better,
        selection=selection,
        listed=listed,
    )


def chosen_runs(store: Store, loaded: PluginRegistry) -> frozenset[str]:
    """Ids of the runs of a folder that were chosen among the trials of tuned suites.

    Raises:
        UsageError: its suites choose by several metrics.
    """
    plan = store.plan()
    selection = _selection(plan, loaded, None) or Selection(build.METRIC)
    found = sort_runs(store.outlines(Outlines(None, selection.metric)), plan, selection)
    return frozenset(
        run.run_id
        for track in found.tracks
        if track.key.tuned
        for slots in track.runs.values()
        for run in slots.values()
    )


def _selection(plan: Plan, loaded: PluginRegistry, trials: int | None) -> Selection | None:
    """The rule of the plan's tuned suites; None: it has none, and nothing is to be chosen.

    Raises:
        UsageError: `trials` is given and no suite is tuned, or fewer were asked for; or suites choose
            by several metrics.
    """
    named = {
        suite.tuning.selection or suite.primary
        for suite in plan.suites.values()
        if suite.tuning is not None
    }
    if not named:
        if trials is not None:
            raise UsageError("--trials is for boards of suites that tune, and this is none")
        return None
    if len(named) > 1:
        raise UsageError(
            f"the suites of this board choose trials by {' and by '.join(sorted(named))}; "
            "rank their folders one by one"
        )
    made = 1 + max((line.trial for line in plan.runs if line.trial is not None), default=0)
    if trials is not None and trials > made:
        raise UsageError(f"--trials {trials}: at most {made} trials were asked for here")
    name = named.pop()
    known = loaded.metrics.get(name)
    return Selection(name, known is None or known.higher_is_better, trials)


def render_board(board: Leaderboard, wanted: str, loaded: PluginRegistry) -> str:
    """A board in a format of the harness or of a plugin (`harness_render`), as it would be written.

    Raises:
        UsageError: the format is not known.
    """
    if wanted not in formats.FORMATS:
        text = loaded.manager.hook.harness_render(board=board, format=wanted)
        if text is not None:
            return str(text)
    return formats.render(board, wanted)


def render_page(board: Leaderboard, store: MergedStore, loaded: PluginRegistry) -> str:
    """The page of a board with histories and predictions, as it would be written."""
    return html_page.page(_page(board, store, loaded))

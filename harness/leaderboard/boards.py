"""The board of a results folder: ranked, with what its predictions say, written or rendered."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness.api.leaderboard import Leaderboard
from harness.api.records import Json
from harness.leaderboard import build, statistics
from harness.leaderboard.html import html_page, page_data
from harness.leaderboard.render import formats
from harness.plugins.registry import PluginRegistry
from harness.results.merge import MergedStore
from harness.results.store import Store, uncollected
from harness.utils.fork import Aside
from harness.utils.names import choose


def refresh_board(store: Store, loaded: PluginRegistry) -> Leaderboard:
    """Rank a folder, write its board there, and return it."""
    with uncollected():
        whole = MergedStore([store])
        return write_board(rank_folder(whole, loaded), whole, store.folder, loaded)


def write_board(
    ranked: Leaderboard,
    store: MergedStore,
    folder: Path,
    loaded: PluginRegistry,
    *,
    tests: bool = True,
) -> Leaderboard:
    """Write the board in every format, with what the predictions say, and return it.

    Args:
        ranked: what `rank` made of `store`.
        store: where the runs are.
        folder: where the files go.
        loaded: plugins.
        tests: False leaves out statistics and claims, for which all predictions are read.
    """
    drawn = Aside(partial(_drawn, ranked, store, loaded))
    made = statistics.add_statistics(ranked, store) if tests else ranked
    own = [name for name in formats.FILES if name not in (*formats.RANKS, "html")]
    texts = {name: formats.render(made, name) for name in own}
    page, listed = drawn.value()
    formats.write(made, folder, page_data.add_statistics(page, made), texts | listed)
    return made


def _drawn(
    ranked: Leaderboard, store: MergedStore, loaded: PluginRegistry
) -> tuple[dict[str, Json], dict[str, str]]:
    """The page, and all formats that need nothing but ranks."""
    texts = {name: formats.render(ranked, name) for name in formats.RANKS}
    return _page(ranked, store, loaded), texts


def _page(made: Leaderboard, store: MergedStore, loaded: PluginRegistry) -> dict[str, Json]:
    return page_data.page_data(made, store.results(), store.predictions, metrics=loaded.metrics)


def rank_folder(
    store: MergedStore, loaded: PluginRegistry, metric: str | None = None
) -> Leaderboard:
    """The leaderboard of a results folder, or of several read as one."""
    plan = store.plan()
    name = metric or next((suite.primary for suite in plan.suites.values()), None)
    known = loaded.metrics.get(name) if name else None
    return build.build_leaderboard(
        store.results(),
        plan if plan.runs else None,
        store.failures(),
        metric=metric,
        higher_is_better=known is None or known.higher_is_better,
    )


def read(store: MergedStore, loaded: PluginRegistry, metric: str | None = None) -> Leaderboard:
    """The leaderboard of what is there already.

    Raises:
        UsageError: the metric is not known.
    """
    if metric is not None:
        choose([metric], loaded.metrics, "metric")
    return rank_folder(store, loaded, metric)


def render_board(
    ranked: Leaderboard,
    wanted: str,
    store: MergedStore,
    loaded: PluginRegistry,
    *,
    tests: bool = True,
) -> str:
    """A board in a format of the harness or of a plugin (`harness_render`), as it would be written.

    Args:
        ranked: what `rank` made of `store`.
        wanted: the format.
        store: where the runs are.
        loaded: plugins.
        tests: as for `write`.

    Raises:
        UsageError: the format is not known.
    """
    made = (
        statistics.add_statistics(ranked, store)
        if tests and wanted not in formats.RANKS
        else ranked
    )
    if wanted == "html":
        return html_page.page(_page(made, store, loaded))
    if wanted not in formats.FORMATS:
        theirs = loaded.manager.hook.harness_render(board=made, format=wanted)
        if theirs is not None:
            return str(theirs)
    return formats.render(made, wanted)

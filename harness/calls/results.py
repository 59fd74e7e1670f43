"""`Results`: what a call of `harness.bench` or `harness.load` returns."""

from __future__ import annotations

import html
import importlib
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from harness.api.leaderboard import BoardRun, Leaderboard, Track
from harness.benchmark.request import BenchResult
from harness.calls import arguments
from harness.errors import UsageError
from harness.leaderboard import boards
from harness.leaderboard.render import summary, terminal
from harness.plugins.registry import PluginRegistry
from harness.results.merge import opened
from harness.results.store import Store, uncollected
from harness.utils.names import unknown
from harness.utils.text import clean, plural

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

TableName: TypeAlias = Literal["runs", "rows", "blocks", "differences", "predictions"]
PlotName: TypeAlias = Literal["differences", "blocks", "cost"]
EXTRA = "pip install 'finetune-harness[notebook]'"


@dataclass(frozen=True, repr=False)
class Results:
    """A ranked results folder, or several as one.

    In a notebook it shows itself: the conclusion, and the ranking with its intervals.  `print`
    gives the same as text.

    Attributes:
        leaderboard: everything that is on the board, nothing rounded.
        folders: where the runs lie.
        call: what the call of `harness.bench` did; None: the folder was loaded.
    """

    leaderboard: Leaderboard
    folders: tuple[Path, ...]
    _plugins: PluginRegistry = field(compare=False)
    call: BenchResult | None = field(default=None, compare=False)
    _written: Path | None = field(default=None, compare=False)  # the board, into this folder

    @property
    def conclusion(self) -> tuple[str, ...]:
        """The answer in sentences, made by rule from the statistics; empty: none were computed."""
        return self.leaderboard.conclusion

    @property
    def failed(self) -> tuple[BoardRun, ...]:
        """The runs that have no result; `error` of each says why."""
        return self.leaderboard.failed

    @property
    def complete(self) -> bool:
        """Everything that the call of `harness.bench` asked for is there.

        Of a folder that was loaded: no run has failed.
        """
        if self.call is None:
            return not self.failed
        return not (self.call.failed or self.call.without_weights or self.call.without_external)

    # -- as tables and plots --------------------------------------------------------------------

    def to_pandas(self, table: TableName = "runs") -> pd.DataFrame:
        """A table of the board; docs/python.md says what every column is.

        Args:
            table: 'runs' (a row a run, as in leaderboard.csv), 'rows' (a row of the ranking),
                'blocks' (a row of the ranking in a block), 'differences' (to the control, with
                interval and verdict), 'predictions' (a row a sample and run, from the stored logits).

        Raises:
            UsageError: there is no such table, or pandas is not installed.
            StoreError: predictions cannot be read.
        """
        _check_name(table, get_args(TableName), "table")
        tables = _extra("to_pandas", "pandas")
        if table == "predictions":
            with uncollected(), opened(self.folders) as store:
                found: pd.DataFrame = tables.predictions(self.leaderboard, store)
        else:
            found = getattr(tables, table)(self.leaderboard)
        return found

    def plot(
        self, kind: PlotName = "differences", *, track: str | None = None, ax: Axes | None = None
    ) -> Axes:
        """Draw the board with matplotlib.

        Args:
            kind: 'differences' (average difference of each row to the control, with its interval),
                'blocks' (the metric of each row in each block), 'cost' (mean of the metric against
                seconds a run).
            track: title or id of the track; None: the first.
            ax: where to draw; None: a figure of its own.

        Raises:
            UsageError: no such plot or track, nothing to draw, or matplotlib is not installed.
        """
        _check_name(kind, get_args(PlotName), "plot")
        plots = _extra("plot", "matplotlib")
        drawn: Axes = plots.draw(self.leaderboard, self.track(track), kind, ax)
        return drawn

    def track(self, name: str | None = None) -> Track:
        """A track by its title or id; None: the first.

        Raises:
            UsageError: there is none.
        """
        tracks = self.leaderboard.tracks
        if not tracks:
            raise UsageError("the board has no track: no run has been planned or made")
        if name is None:
            return tracks[0]
        for one in tracks:
            if name in {one.id, one.title}:
                return one
        raise unknown(name, [one.title for one in tracks], "track")

    # -- as text --------------------------------------------------------------------------------

    def render(self, format: str = "md") -> str:  # noqa: A002 - the word users know
        """The board in a format: terminal, md, csv, claims, json, latex, html, or of a plugin.

        Raises:
            UsageError: the format is not known.
        """
        arguments.needed("--format", format, "the name of a format")
        if format != "html":
            return boards.render_board(self.leaderboard, format, self._plugins)
        with uncollected(), opened(self.folders) as store:
            return boards.render_page(self.leaderboard, store, self._plugins)

    def text(self, width: int | None = None, *, full: bool = False) -> str:
        """The last screen of `harness bench`, or with `full` everything of `harness board --full`.

        Args:
            width: columns; None: those of the terminal.
            full: the whole board.
        """
        columns = terminal.terminal_width() if width is None else width
        if full:
            return terminal.render(self.leaderboard, columns)
        asked = frozenset() if self.call is None else self.call.asked
        return summary.render(self.leaderboard, self._rest(), columns, self._done(), asked)

    def profile(self) -> str:
        """Seconds by part of the call and of the runs that it asked for, as `--profile` prints them.

        Raises:
            UsageError: the folder was loaded, and nothing was run.
        """
        if self.call is None:
            raise UsageError("no profile: these results were loaded, and nothing was run")
        runs, asked = Store(self.call.folder).results(), self.call.asked
        return self.call.profile.tables([run for run in runs if run.run_id in asked])

    def _done(self) -> str:
        if self.call is None:
            return ""
        done = f"{self.call.ran} runs made, {self.call.already_done} were there already"
        if self.call.left:
            done += f", {self.call.left} left to another call"
        if self.call.extended:
            done += f" ({self.call.extended} got further test sets)"
        return done

    def _rest(self) -> str:
        """The page, if this call wrote one, and the command that prints everything."""
        # Elsewhere nothing is written by the second call: a board of several needs no place then.
        how = "--full" if self._written in self.folders else "--format terminal"
        read = f"harness board {shlex.join(map(str, self.folders))} {how}"
        if self._written is None:
            return f"Everything here: {read}"
        return f"Page: {self._written / 'leaderboard.html'}; everything here: {read}"

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        board = self.leaderboard
        rows = sum(len(track.rows) for track in board.tracks)
        places = ", ".join(map(str, self.folders))
        return f"<Results of {places}: {plural(len(board.runs), 'run')}, {plural(rows, 'row')}>"

    def _repr_html_(self) -> str:
        """The conclusion and the ranking of every track, as HTML that holds nothing but text."""
        board = self.leaderboard
        parts = [f"<p>{_escaped(' '.join(board.conclusion))}</p>"] if board.conclusion else []
        for track in board.tracks:
            caption = f"{track.title}: {board.metric}; difference in points [95 %]"
            table = summary.ranking(board, track)
            head = "".join(f"<th>{_escaped(column.title)}</th>" for column in table.columns)
            rows = "".join(
                f"<tr>{''.join(f'<td>{_escaped(cell.text)}</td>' for cell in row)}</tr>"
                for row in table.rows
            )
            parts.append(
                f"<table><caption>{_escaped(caption)}</caption><thead><tr>{head}</tr></thead>"
                f"<tbody>{rows}</tbody></table>"
            )
        if self.failed:
            parts.append(
                f"<p>{plural(len(self.failed), 'run')} failed: see <code>failed</code>.</p>"
            )
        return "\n".join(parts)


def _escaped(text: str) -> str:
    return html.escape(clean(text))


def _check_name(name: object, known: tuple[str, ...], what: str) -> None:
    if not isinstance(name, str):
        raise UsageError(f"{what} {name!r}: give one of {', '.join(known)}")
    if name not in known:
        raise unknown(name, known, what)


def _extra(what: str, library: str) -> Any:  # noqa: ANN401 - a module that needs a library
    """The module that draws or makes tables.

    Raises:
        UsageError: its library is not installed.
    """
    try:
        importlib.import_module(library)
    except ImportError as error:
        raise UsageError(f"{what} needs {library}, which is not installed: {EXTRA}") from error
    return importlib.import_module(f"harness.calls.{_MODULES[library]}")


_MODULES = {"pandas": "tables", "matplotlib": "plots"}

"""The plots of a board, drawn with matplotlib: marks are told apart by shape and place too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from harness.api.leaderboard import Leaderboard, Track
from harness.errors import UsageError
from harness.utils.text import clean

POINTS = 100.0
MARKS = "osD^vPX*<>ph"  # a shape a row; after twelve they begin again, in other colours


def draw(board: Leaderboard, track: Track, kind: str, ax: Axes | None) -> Axes:
    """Draw one plot.

    Args:
        board: where metric and statistics are.
        track: whose rows are drawn.
        kind: of PLOTS.
        ax: where; None: a figure of its own.

    Raises:
        UsageError: there is nothing to draw.
    """
    draw_rows = PLOTS[kind]
    lines = len(track.blocks) if kind == "blocks" else len(track.rows)
    axes = _axes(lines) if ax is None else ax
    draw_rows(board, track, axes)
    axes.set_title(clean(track.title), fontsize="medium", wrap=True)
    return axes


def _axes(lines: int) -> Axes:
    """Axes of a new figure of pyplot's, which a notebook shows."""
    figure = plt.figure(figsize=(8, max(3.5, 1.2 + 0.35 * lines)), layout="constrained")
    return figure.add_subplot()


def _differences(board: Leaderboard, track: Track, axes: Axes) -> None:
    """The average difference of each row to the control, with its interval, in points."""
    averages = ((board.statistics or {}).get(track.id) or {}).get("averages") or {}
    found = [
        (row.label, averages[row.label]["these"]) for row in track.rows if row.label in averages
    ]
    if not found:
        raise UsageError(
            f"track {track.title!r} has no differences to draw: they take a control and another row "
            "with all their runs"
        )
    for height, (_, one) in enumerate(reversed(found)):
        value, low, high = (one[key] * POINTS for key in ("value", "low", "high"))
        axes.plot([low, high], [height, height], color="0.3")
        axes.plot([value], [height], "o", color="0.1")
    axes.axvline(0, color="0.6", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(found)), [clean(label) for label, _ in reversed(found)])
    axes.set_ylim(-0.6, len(found) - 0.4)
    # At the side, where layouts make room for them: an interval may end at the border.
    verdicts = axes.secondary_yaxis("right")
    verdicts.set_yticks(range(len(found)), [one["verdict"] for _, one in reversed(found)])
    verdicts.tick_params(length=0, labelsize="small")
    axes.set_xlabel(f"{board.metric}: difference to {track.control} in points, 95 % interval")


def _blocks(board: Leaderboard, track: Track, axes: Axes) -> None:
    """The metric of each row in each block, mean over the seeds."""
    names = [block.label for block in reversed(track.blocks)]
    rows = [row for row in track.rows if row.blocks]
    if not rows:
        raise UsageError(
            f"track {track.title!r} has nothing to draw: no row has all seeds of a block"
        )
    for number, row in enumerate(rows):
        values = [figure.value for figure in row.blocks]
        heights = [names.index(figure.block) for figure in row.blocks]
        axes.plot(values, heights, MARKS[number % len(MARKS)], label=clean(row.label))
    axes.set_yticks(range(len(names)), list(map(clean, names)))
    axes.set_xlabel(f"{board.metric}, mean over seeds")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Beside the plot, where it hides nothing."""
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def _cost(board: Leaderboard, track: Track, axes: Axes) -> None:
    """The mean of the metric against the median seconds of a run."""
    found = [
        (row.label, row.spend.median_seconds, row.value)
        for row in track.rows
        if row.value is not None and row.spend.median_seconds is not None
    ]
    if not found:
        raise UsageError(
            f"track {track.title!r} has nothing to draw: no row has a mean and seconds of its own"
        )
    for number, (label, seconds, value) in enumerate(found):
        axes.plot([seconds], [value], MARKS[number % len(MARKS)], label=clean(label))
    axes.set_xlabel("seconds a run, median")
    axes.set_ylabel(f"{board.metric}, mean over blocks")
    _legend(axes)


PLOTS: Mapping[str, Callable[[Leaderboard, Track, Axes], Any]] = {
    "differences": _differences,
    "blocks": _blocks,
    "cost": _cost,
}

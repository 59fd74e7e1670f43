"""The statistics of a board: plain dicts of this shape, in `Leaderboard.statistics`.

They are what `dataclasses.asdict` makes of the records in `harness.stats`.  Scores there are higher-is-better, in units of the metric (0.01 is a point), so a
positive difference is a gain whatever the metric; rows and blocks go by their label on the board.
Every part may be left out: the board then says that it was not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict


class Interval(TypedDict):
    """A figure and its interval; without bounds where there is a single seed."""

    value: float
    low: float | None
    high: float | None


class Difference(TypedDict):
    """A row against the control in one block.  `p` and `verdict` are adjusted (Holm)."""

    row: str
    block: str
    value: float
    low: float
    high: float
    p: float
    seeds: int
    verdict: Literal["better", "worse", "undecided"]


class Friedman(TypedDict):
    statistic: float
    p: float


class Nemenyi(TypedDict):
    """`difference`: the critical one, in ranks; `cliques`: labels of rows that are no further apart."""

    difference: float
    cliques: Sequence[Sequence[str]]


class Signed(TypedDict):
    p: float
    verdict: Literal["better", "worse", "undecided"]


class Comparison(TypedDict):
    """Rows over several blocks.

    Attributes:
        scope: a backbone; empty: every block of the track.
        ranks: label -> mean rank over `blocks` blocks.
        wilcoxon: label -> against the control, adjusted (Holm); None: there is no control.
        note: what so few blocks cannot show.
    """

    scope: str
    blocks: int
    ranks: Mapping[str, float]
    friedman: Friedman
    nemenyi: Nemenyi
    wilcoxon: Mapping[str, Signed] | None
    note: str


class Wins(TypedDict):
    """Blocks won and lost by more than `least`, of `cells`, and the share won with its interval."""

    wins: int
    losses: int
    cells: int
    share: float
    low: float
    high: float
    least: float


class TrackStatistics(TypedDict, total=False):
    """Of one track.

    Attributes:
        level: of every interval, .95 where it is not given.
        improvement: label -> probability that a run of the row beats one of the control.
        iqm: label -> interquartile mean over runs.
        wins: label -> blocks won against the control.
    """

    level: float
    differences: Sequence[Difference]
    comparisons: Sequence[Comparison]
    improvement: Mapping[str, Interval]
    iqm: Mapping[str, Interval]
    wins: Mapping[str, Wins]

"""The conclusion of a board in a few sentences, made by rule from its statistics and nothing else.

The rules stand as a table in docs/conclusions.md: a state of the board, and what is said of it.  A
difference is never named without its interval, and a board of procedural, limited or shortened runs
recommends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness import stats
from harness.api.leaderboard import Leaderboard, Row, Track
from harness.api.records import Json
from harness.leaderboard.labels import BASES
from harness.leaderboard.ranking import repeats_of, splits_of
from harness.utils import text

POINTS = 100.0
NAMED = 3  # strategies that are spelled out
MOST = 50  # seeds or splits; more are no advice


def conclude(board: Leaderboard, of: Track | None = None) -> tuple[str, ...]:
    """The sentences, the answer first; empty: no statistics were made.

    Args:
        board: all of it.
        of: the track they are about; None: the first that has statistics.
    """
    if board.statistics is None:
        return ()
    if not any(row.runs for track in board.tracks for row in track.rows):
        return ("No run has finished: nothing can be said yet.",)
    judged = (one for one in board.tracks if one.id in board.statistics)
    track = of or next(judged, board.tracks[0])
    found = _Found(board, track, board.statistics.get(track.id) or {})
    sentences = [*_no_recommendation(board, track), *_answer(found), *_reach(found)]
    other = next(
        (one for one in board.tracks if track.tuned and _same_but_untuned(one, track)), None
    )
    if other is not None:
        common = _Found(board, other, board.statistics.get(other.id) or {})
        first = next(_answer(common), "")
        sentences.append(f"Under one common rate: {first[:1].lower()}{first[1:]}")
    return (*sentences, *_incomplete(track), *_other_questions(board, track))


def _same_but_untuned(one: Track, track: Track) -> bool:
    return _kind(one) == _kind(track) and one.question == track.question and not one.tuned


def _kind(track: Track) -> tuple[object, ...]:
    """Tracks that agree in it differ in being tuned, and in their question, alone."""
    return (track.protocol_digest, track.limit, track.precision, track.weights, track.engine)


def _other_questions(board: Leaderboard, track: Track) -> Iterator[str]:
    """The rankings over other units that calls on the same folder asked for."""
    if not track.question:
        return
    told = [
        f"{text.plural(sum(row.ranked for row in one.rows), 'row')} over {one.question}"
        for one in board.tracks
        if one is not track and _kind(one) == _kind(track) and one.tuned == track.tuned
    ]
    yield f"This ranking is over {track.question}; also ranked here: {text.shorten(told, NAMED)}."


@dataclass(frozen=True)
class _Found:
    """A track with its statistics, and the figures that sentences are made of."""

    board: Leaderboard
    track: Track
    statistics: Mapping[str, Json]

    @property
    def gains(self) -> dict[str, Mapping[str, Json]]:
        """Row -> its average gain over the control on these datasets."""
        averages = self.statistics.get("averages", {})
        return {row: one["these"] for row, one in averages.items()}

    def having(self, verdict: str) -> list[str]:
        """Rows with a verdict, the largest difference first."""
        found = [row for row, one in self.gains.items() if one["verdict"] == verdict]
        return sorted(found, key=lambda row: (-abs(self.gains[row]["value"]), row))

    def told(self, row: str) -> str:
        """`lp-ft +3.1 [+1.2, +5.0]`, in points."""
        one = self.gains[row]
        value, low, high = (text.points(one[key] * POINTS) for key in ("value", "low", "high"))
        return f"{row} {value} [{low}, {high}]"

    def listed(self, rows: Sequence[str]) -> str:
        return text.shorten([self.told(row) for row in rows], NAMED)

    @property
    def repeats(self) -> int:
        """Splits of the block that has fewest, where they are several, else seeds."""
        return min(map(repeats_of, self.track.blocks), default=0)

    @property
    def repeated(self) -> str:
        """The unit of `repeats`: `split` or `seed`."""
        return "split" if any(splits_of(block) > 1 for block in self.track.blocks) else "seed"

    @property
    def where(self) -> str:
        """`on average over 3 datasets`, or the dataset."""
        datasets = sorted({block.dataset for block in self.track.blocks})
        if len(datasets) == 1:
            return f"on {datasets[0]}"
        return f"on average over these {len(datasets)} datasets"

    @property
    def seconds_a_repeat(self) -> float | None:
        """Seconds that one more seed, or split with its seeds, of every row takes, each run alone."""
        spent = [row.spend.median_seconds for row in self.track.rows]
        known = [one for one in spent if one is not None]
        if not known:
            return None
        trials = max((row.tuning.trials for row in self.track.rows if row.tuning), default=1)
        runs = sum(
            len(block.pairs) / splits_of(block) if block.pairs else 1 for block in self.track.blocks
        )
        return sum(known) / len(known) * len(spent) * runs * trials


def _no_recommendation(board: Leaderboard, track: Track) -> Iterator[str]:
    reasons = []
    if any(note.procedural for note in board.data):
        reasons.append("images drawn by a program")
    if any(note.miniature for note in board.weights):
        reasons.append("miniature networks")
    if track.limit is not None:
        reasons.append(f"at most {track.limit} images of a split")
    if track.shortened:
        reasons.append("fewer epochs than the protocol's")
    if track.weights == "none":
        reasons.append("random starting weights")
    if reasons:
        yield f"No recommendation follows from this board: {', '.join(reasons)}."


def _answer(found: _Found) -> Iterator[str]:
    control = found.track.control
    if control is None or not found.gains:
        yield _nothing_to_compare(found)
    elif found.repeats < stats.SEEDS:
        yield from _too_few_seeds(found, control)
    else:
        yield from _decided(found, control)


def _nothing_to_compare(found: _Found) -> str:
    rows = [row for row in found.track.rows if row.strategy == found.board.control]
    if not rows:
        return f"Nothing is compared: {found.board.control} is not on this board."
    if found.track.control is None:
        return (
            f"Nothing is compared yet: {rows[0].label} is incomplete ({rows[0].runs} of "
            f"{rows[0].wanted} runs)."
        )
    return "Nothing is compared yet: no other strategy has all its runs."


def _too_few_seeds(found: _Found, control: str) -> Iterator[str]:
    largest = max(found.gains, key=lambda row: abs(found.gains[row]["value"]))
    number = found.repeats
    count = "One seed decides" if number == 1 else f"{number} {found.repeated}s decide"
    yield (
        f"{count} nothing: two trainings differ, whatever their strategies. The largest "
        f"difference to {control} seen {found.where}, in points: {found.told(largest)}, the interval "
        f"over {BASES[found.gains[largest]['basis']]}."
    )
    more = stats.SEEDS - number
    yield f"{text.plural(more, found.repeated)} more would allow verdicts{_cost(found, more)}."


def _decided(found: _Found, control: str) -> Iterator[str]:
    better, worse = found.having("better"), found.having("worse")
    if better:
        yield f"Ahead of {control} {found.where}, in points: {found.listed(better)}."
        yield from _first_place(found, better)
    elif len(worse) == len(found.gains):
        yield f"{control} is ahead of every other strategy {found.where}; {_nearest(found, worse)}."
        return
    elif worse:
        yield (
            f"No strategy is shown to be ahead of {control} {found.where}; behind it, in points: "
            f"{found.listed(worse)}."
        )
    else:
        largest = found.having("undecided")[0]
        yield (
            f"No strategy is shown to differ from {control} {found.where}: the largest difference, "
            f"in points, is {found.told(largest)}{_among(found, largest)}."
        )
        yield from _would_decide(found, largest)
    if better and worse:
        yield f"Behind {control}: {found.listed(worse)}."


def _among(found: _Found, row: str) -> str:
    """A remark on an interval beside zero that decides nothing among many; empty: there is none."""
    one = found.gains[row]
    if one["low"] <= 0 <= one["high"]:
        return ""
    return f", which among {len(found.gains)} comparisons decides nothing"


def _nearest(found: _Found, worse: Sequence[str]) -> str:
    return f"the nearest, in points: {found.told(worse[-1])}"


def _first_place(found: _Found, better: Sequence[str]) -> Iterator[str]:
    """The row that is ahead of all, by the places that it may have, or those that may be."""
    ranks = found.statistics.get("ranks", {})
    places = {row: one["these"] for row, one in ranks.items()}
    alone = [row for row in better if places.get(row) == [1, 1]]
    if alone:
        yield f"{alone[0]} is ahead of every other strategy here."
        return
    first = [row for row, span in places.items() if span[0] == 1]
    if len(first) > 1:
        yield f"The first place is not decided among {text.shorten(first, NAMED + 1)}."


def _would_decide(found: _Found, row: str) -> Iterator[str]:
    """Seeds, or splits, that would decide a difference of this size, if they were all that is uncertain."""
    one = found.gains[row]
    half, size = (one["high"] - one["low"]) / 2, abs(one["value"])
    if not size:
        return
    needed = math.ceil(found.repeats * (half / size) ** 2)
    more = needed - found.repeats
    if needed > MOST:
        yield (
            f"More {found.repeated}s alone would not decide a difference of that size: more test "
            "images would."
        )
    elif more > 0:
        yield (
            f"To decide a difference of that size it takes at least {text.plural(more, found.repeated)} "
            f"more{_cost(found, more)}, and more test images where these are what is uncertain."
        )


def _cost(found: _Found, repeats: int) -> str:
    each = found.seconds_a_repeat
    return "" if each is None else f" (about {text.duration(each * repeats)} of computing)"


def _reach(found: _Found) -> Iterator[str]:
    """Sentences on other datasets."""
    if found.track.control is None or not found.having("better"):
        return
    datasets = {block.dataset for block in found.track.blocks}
    if len(datasets) == 1:
        yield "One dataset says nothing about others."
        return
    averages = found.statistics.get("averages", {})
    general = {row: averages[row]["general"] for row in found.having("better")}
    if any(one is None for one in general.values()):
        yield f"{len(datasets)} datasets say nothing about others: it takes {stats.FEWEST_SETS}."
        return
    shown = [row for row, one in general.items() if one["verdict"] == "better"]
    if shown:
        yield f"Shown for datasets like these in general: {', '.join(shown)}."
    else:
        yield "For datasets like these in general none of it is shown."


def _incomplete(track: Track) -> Iterator[str]:
    rows: list[Row] = [row for row in track.rows if not row.ranked]
    if not rows:
        return
    count = {
        kind: sum(gap.kind == kind for row in rows for gap in row.gaps)
        for kind in ("failed", "undefined", "missing")
    }
    why = ", ".join(f"{number} {kind}" for kind, number in count.items() if number)
    runs = "run" if sum(count.values()) == 1 else "runs"
    yield (
        f"Incomplete and not ranked, {len(rows)} of {len(track.rows)} rows: "
        f"{text.shorten([row.label for row in rows], NAMED)}{f' ({why} {runs})' if why else ''}."
    )

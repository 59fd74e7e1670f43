"""Questions of a results folder: the units that its calls asked for, and who was asked for them.

A row is ranked on the units that it was asked for.  Where calls asked different rows for different
units, each set of units is a track of its own, with every row that was asked for all of them; and
where a row lacks runs that were asked for later, the track of what was asked before stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.api.records import Plan, RunResult
from harness.leaderboard.labels import beginning, describe_units, number
from harness.leaderboard.tracks import (
    BlockSeed,
    RowKey,
    Selection,
    SortedRuns,
    TrackKey,
    TrackRuns,
    sort_runs,
)
from harness.utils.text import plural

Units = frozenset[BlockSeed]


def sort_by_question(
    runs: Sequence[RunResult], plan: Plan | None, selection: Selection | None = None
) -> SortedRuns:
    """Runs sorted into tracks (`sort_runs`), a track for each question that was asked.

    With a plan of one call, or none, these are the tracks of `sort_runs`.
    """
    whole = sort_runs(runs, plan, selection)
    calls = sorted({line.call for line in plan.runs}) if plan else []
    if plan is None or len(calls) < 2:  # noqa: PLR2004 - one call, one question
        return whole
    shown = [one for track in whole.tracks for one in _questions(track)]
    ranked, waiting = _complete(shown)
    for last in reversed(calls[:-1]):
        if not waiting:
            break
        lines = tuple(line for line in plan.runs if line.call <= last)
        before = sort_runs(runs, plan.model_copy(update={"runs": lines}), selection)
        for track in before.tracks:
            for one in _questions(track):
                found, _ = _complete([one])
                if found & waiting:
                    shown.append(replace(one, upto=last))
                    ranked |= found
                    waiting -= found
    several = {one.key for one in shown if one.upto is not None}
    named = [
        replace(one, question=frozenset(one.units)) if one.key in several else one for one in shown
    ]
    return replace(whole, tracks=tuple(named))


def describe_change(before: Plan, after: Plan) -> str:
    """Text on what a folder will rank, where a call asks for other units than before; else empty."""
    if not before.runs:
        return ""
    old, new = (sort_by_question([], plan).tracks for plan in (before, after))
    if {(one.key, frozenset(one.units)) for one in old} == {
        (one.key, frozenset(one.units)) for one in new
    }:
        return ""
    told = [
        plural(len({*one.runs, *one.missing}), "row") + (f" over {over}" if over else "") + kind
        for one, over, kind in zip(
            new, describe_units([one.units for one in new]), _kinds(new), strict=True
        )
    ]
    return "\n".join(
        [
            "was asked another question before; once all runs are made it ranks:",
            *(f"  {one}" for one in told),
            "rows that lack runs stay ranked over what they were asked for before;",
            "to keep questions apart, give one of them another --out",
        ]
    )


def _kinds(tracks: Sequence[TrackRuns]) -> list[str]:
    """The protocol, limit, precision, start and tuning of planned tracks, where these differ."""
    parts = [
        (
            one.key.protocol,
            f"at most {number(one.epochs)} epochs",
            "full data" if one.key.limit is None else f"at most {one.key.limit} images a split",
            one.key.precision,
            beginning(one),
            "tuned" if one.key.tuned else "one common rate",
        )
        for one in tracks
    ]
    differ = [len(set(values)) > 1 for values in zip(*parts, strict=True)]
    return [
        "".join(f", {part}" for part, shown in zip(one, differ, strict=True) if shown)
        for one in parts
    ]


def _complete(
    tracks: Iterable[TrackRuns],
) -> tuple[set[tuple[TrackKey, RowKey]], set[tuple[TrackKey, RowKey]]]:
    """The rows that are complete in one of the tracks, and those that are in none."""
    found: dict[tuple[TrackKey, RowKey], bool] = {}
    for track in tracks:
        for row in {*track.runs, *track.missing}:
            key = (track.key, row)
            found[key] = found.get(key, False) or track.is_complete(row)
    return (
        {key for key, complete in found.items() if complete},
        {key for key, complete in found.items() if not complete},
    )


def _questions(track: TrackRuns) -> list[TrackRuns]:
    """The track itself, or a part of it for every set of units that some row was asked for."""
    asked = asked_units(track)
    different = sorted(set(asked.values()), key=lambda units: (-len(units), sorted(units)))
    if different == [frozenset(track.units)] or not different:
        return [track]
    return [
        _part(track, units, {row for row, own in asked.items() if own >= units})
        for units in different
    ]


def asked_units(track: TrackRuns) -> dict[RowKey, Units]:
    """The units that each row was asked for: all of every call that asked for any of it.

    A call asks all of its rows for the same units, though a part of it (a shard, or what was not
    asked before) names only some; rows that differ in their code alone are asked for as one.
    """
    named: dict[tuple[str, str], set[BlockSeed]] = defaultdict(set)
    for found in track.calls.values():
        of_call = set().union(*found.values())
        for row in found:
            named[row.strategy, row.settings] |= of_call
    rows = {*track.runs, *track.missing}
    return {row: frozenset(named[row.strategy, row.settings]) for row in rows}


def _part(track: TrackRuns, units: Units, rows: set[RowKey]) -> TrackRuns:
    """Some rows of a track on some of its units."""
    part = TrackRuns(
        track.key,
        protocol=track.protocol,
        units=set(units),
        modalities=track.modalities,
        epochs=track.epochs,
        shortened=track.shortened,
        question=units,
        calls=track.calls,
    )
    for row in rows:
        part.runs[row] = {unit: run for unit, run in track.runs[row].items() if unit in units}
        part.missing[row] = track.missing[row] & units
        if row in track.trials:
            there = track.trials[row].items()
            part.trials[row].update({unit: trials for unit, trials in there if unit in units})
            part.tuned[row] = track.tuned[row]
    return part

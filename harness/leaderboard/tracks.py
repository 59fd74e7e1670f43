"""Results sorted into tracks, rows and blocks: who may be compared with whom, and what is missing.

Whatever the order of the results, the outcome is the same: they are taken by `run_id`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from harness.api.records import Plan, PlannedRun, Protocol, RunResult, RunSpec, digest

K = TypeVar("K")
_SORTED = json.JSONEncoder(sort_keys=True)


class TrackKey(NamedTuple):
    """Rows are compared only where all of this agrees.  `engine`: its result version."""

    protocol: str
    limit: int | None
    precision: str
    pretrained: bool
    engine: int


class RowKey(NamedTuple):
    """A strategy, its settings as canonical JSON, and the sha256 of its code."""

    strategy: str
    settings: str
    source: str


class BlockKey(NamedTuple):
    """A dataset and a backbone, with fingerprint of the data and sha256 of weights and code."""

    dataset: str
    backbone: str
    data: str
    weights: str
    source: str


class BlockSeed(NamedTuple):
    """A block with a seed: every row of a track must have a run for each."""

    block: BlockKey
    seed: int


class PlannedTrack(NamedTuple):
    """A planned run, as far as it says which track it belongs to."""

    protocol: str
    epochs: float
    limit: int | None
    precision: str
    pretrained: bool


@dataclass
class TrackRuns:
    """The runs of one track: row -> unit -> run, finished or failed."""

    key: TrackKey
    protocol: Protocol | None = None
    runs: dict[RowKey, dict[BlockSeed, RunResult]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    missing: dict[RowKey, set[BlockSeed]] = field(default_factory=lambda: defaultdict(set))
    units: set[BlockSeed] = field(default_factory=set)
    modalities: dict[str, str] = field(default_factory=dict)
    epochs: float = 0.0
    shortened: bool = False


@dataclass(frozen=True)
class SortedRuns:
    """All tracks; `superseded` and `duplicates` count runs that are in none of them."""

    tracks: tuple[TrackRuns, ...]
    superseded: int
    duplicates: int


def sort_runs(runs: Iterable[RunResult], plan: Plan | None) -> SortedRuns:
    """Sort runs, finished and failed, into tracks; a plan adds what is missing from them."""
    unique = unique_runs(runs)
    asked = {run.run_id for run in plan.runs} if plan else unique.keys()
    kept = [unique[name] for name in sorted(unique) if name in asked]
    digests: dict[str, str] = {}
    keys = {run.run_id: _track_key(run.spec, digests) for run in kept}
    tracks: dict[TrackKey, TrackRuns] = {}
    duplicates = sum(_place(run, keys[run.run_id], tracks) for run in kept)
    if plan:
        _add_missing(plan, keys, tracks)
    return SortedRuns(tuple(tracks.values()), len(unique) - len(kept), duplicates)


def _track_key(spec: RunSpec, digests: dict[str, str]) -> TrackKey:
    """`digests` remembers protocols, of which there are few."""
    text = spec.protocol.model_dump_json()
    protocol = digests.get(text)
    if protocol is None:
        protocol = digests[text] = digest(spec.protocol)
    return TrackKey(
        protocol,
        spec.limit,
        spec.numeric.precision,
        spec.weights != "none",
        spec.engine,
    )


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings as they stand in a `RowKey`."""
    return _SORTED.encode(settings)


def _row_key(spec: RunSpec) -> RowKey:
    return RowKey(spec.strategy, settings_text(spec.settings), spec.sources.get("strategy", ""))


def _unit(spec: RunSpec) -> BlockSeed:
    source = spec.sources.get("backbone", "")
    return BlockSeed(
        BlockKey(spec.dataset, spec.backbone, spec.data, spec.weights, source), spec.seed
    )


def unique_runs(runs: Iterable[RunResult]) -> dict[str, RunResult]:
    """One run a `run_id`, the same whatever the order.

    Merged folders may hold it twice, and a failed run may have been retried.
    """
    found: dict[str, RunResult] = {}
    for run in runs:
        other = found.setdefault(run.run_id, run)
        if other is not run and other != run:
            found[run.run_id] = max(other, run, key=lambda r: (*_merit(r), repr(r)))
    return found


def _merit(run: RunResult) -> tuple[bool, str]:
    return (run.status == "ok", run.finished)


def _place(run: RunResult, key: TrackKey, tracks: dict[TrackKey, TrackRuns]) -> bool:
    """Put a run into its track; whether there was another for the same row and unit."""
    track = tracks.setdefault(
        key, TrackRuns(key, run.spec.protocol, epochs=run.spec.protocol.epochs)
    )
    slots, slot = track.runs[_row_key(run.spec)], _unit(run.spec)
    other = slots.get(slot)
    if other is None or _merit(run) > _merit(other):
        slots[slot] = run
    track.units.add(slot)
    track.shortened |= run.shortened
    if run.data is not None:
        track.modalities.setdefault(run.spec.dataset, run.data.modality)
    return other is not None


def _add_missing(
    plan: Plan, keys: Mapping[str, TrackKey], tracks: dict[TrackKey, TrackRuns]
) -> None:
    """Enter the planned runs that are not there into the track their like is in."""
    known = _tracks_of_asked(plan, keys)
    gaps: dict[TrackKey, list[PlannedRun]] = defaultdict(list)
    for line in sorted(plan.runs, key=lambda line: line.run_id):
        key = known.get(_asked(line)) or _expected_track(line)
        if key not in tracks:
            tracks[key] = TrackRuns(key, epochs=line.epochs)
        tracks[key].modalities.setdefault(line.dataset, line.modality)
        if line.run_id not in keys:
            gaps[key].append(line)
    for key, lines in gaps.items():
        _add_gaps(tracks[key], lines)


def _tracks_of_asked(plan: Plan, keys: Mapping[str, TrackKey]) -> dict[PlannedTrack, TrackKey]:
    """Of several engines the newest: what is missing would be run with it."""
    found: dict[PlannedTrack, TrackKey] = {}
    for line in plan.runs:
        if key := keys.get(line.run_id):
            asked = _asked(line)
            found[asked] = max(found.get(asked, key), key, key=lambda k: (k.engine, k.protocol))
    return found


def _asked(line: PlannedRun) -> PlannedTrack:
    return PlannedTrack(
        line.protocol, line.epochs, line.limit, line.precision, line.weights != "none"
    )


def _expected_track(line: PlannedRun) -> TrackKey:
    """The track of a planned run of which no like is there yet.  Engines count from 1."""
    pretrained = line.weights != "none"
    return TrackKey(line.protocol, line.limit, line.precision, pretrained, engine=0)


def _add_gaps(track: TrackRuns, lines: Sequence[PlannedRun]) -> None:
    """A planned run knows no fingerprints: it counts for the block of its name that is there."""
    variants = _group(sorted({u.block for u in track.units}), lambda b: (b.dataset, b.backbone))
    rows = _group(sorted(track.runs), lambda r: (r.strategy, r.settings))
    for line in lines:
        settings = settings_text(line.settings)
        nameless = BlockKey(line.dataset, line.backbone, "", "", "")
        blocks = variants.get((line.dataset, line.backbone), [nameless])
        units = [BlockSeed(block, line.seed) for block in blocks]
        units = [u for u in units if u in track.units] or units[:1]
        track.units.update(units)
        for row in rows.get((line.strategy, settings), [RowKey(line.strategy, settings, "")]):
            lacking = [u for u in units if u not in track.runs[row]]
            track.missing[row].update(lacking[:1])


def _group(
    values: Iterable[K], by: Callable[[K], tuple[str, str]]
) -> dict[tuple[str, str], list[K]]:
    found: dict[tuple[str, str], list[K]] = defaultdict(list)
    for value in values:
        found[by(value)].append(value)
    return dict(found)

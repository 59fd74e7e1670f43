"""Results sorted into tracks, rows and blocks: who may be compared with whom, and what is missing.

Of trials the best on validation is chosen, anew for every block, split and seed.  Whatever the order
of the results, the outcome is the same: they are taken by `run_id`.
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
DIVERGED = "TrainingError"  # kind of the error where a loss is not finite


class TrackKey(NamedTuple):
    """Rows are compared only where all of this agrees.

    Attributes:
        protocol: sha256 of the protocol, whatever random split it names.
        engine: its result version.
        tuned: each run was chosen among trials.
        starts: starting points are an axis of blocks; random weights may be one of them.
    """

    protocol: str
    limit: int | None
    precision: str
    pretrained: bool
    engine: int
    tuned: bool = False
    starts: bool = False


class RowKey(NamedTuple):
    """A strategy, its settings as canonical JSON, and the sha256 of its code."""

    strategy: str
    settings: str
    source: str


class BlockKey(NamedTuple):
    """A dataset and a backbone, with fingerprint of the data and sha256 of weights and code.

    Attributes:
        data: of a dataset that is divided in several ways, the fingerprint of the first.
        labels: the label budget; empty: all labels.
        start: name of the starting point, where they are an axis; else empty.
    """

    dataset: str
    backbone: str
    data: str
    weights: str
    source: str
    labels: str = ""
    start: str = ""


class BlockSeed(NamedTuple):
    """A block with a seed and a split: every row of a track must have a run for each."""

    block: BlockKey
    seed: int
    split: int = 0


class PlannedTrack(NamedTuple):
    """A planned run, as far as it says which track it belongs to."""

    protocol: str
    epochs: float
    limit: int | None
    precision: str
    pretrained: bool
    tuned: bool
    starts: bool = False


class TrialRun(NamedTuple):
    """A run and the number of the trial that it is; 0 is the untuned one.

    Attributes:
        rate: the multiple of the protocol's rate; 1 where the suite tunes none, and a setting of that
            name is the plugin's own.
    """

    number: int
    run: RunResult
    rate: float = 1.0


@dataclass(frozen=True)
class Selection:
    """The rule that chooses among trials.

    Attributes:
        metric: on validation; its value there is all that is looked at.
        higher_is_better: its direction.
        most: only the first so many trials are looked at; None: all.
    """

    metric: str
    higher_is_better: bool = True
    most: int | None = None

    def admits(self, number: int) -> bool:
        """True if a trial of this number may be chosen."""
        return self.most is None or number < self.most

    def choose(self, trials: Sequence[TrialRun]) -> TrialRun:
        """The best trial on validation, ties to the smaller rate, then to the smaller number.

        One that has no score there, as a diverged one, is chosen only if none has.
        """
        return min(trials, key=self._place)

    def _place(self, trial: TrialRun) -> tuple[bool, float, float, int]:
        score = self.score(trial.run)
        if score is None:
            return (True, 0.0, 0.0, trial.number)
        return (False, -score, trial.rate, trial.number)

    def score(self, run: RunResult) -> float | None:
        """The run's score on validation, higher is better; None: it has none."""
        found = run.validation.get(self.metric)
        if run.status != "ok" or found is None or found.value is None:
            return None
        return found.value if self.higher_is_better else -found.value


def _rate(run: RunResult, line: PlannedRun) -> float:
    return float(run.spec.settings.get("rate", 1.0)) if "rate" in line.tuned else 1.0


def has_diverged(run: RunResult) -> bool:
    """True for a trial whose loss was not finite: it was made, and cannot be chosen."""
    return run.status == "failed" and run.error is not None and run.error.kind == DIVERGED


@dataclass
class TrackRuns:
    """The runs of one track: row -> unit -> run, finished or failed.

    Attributes:
        trials: of a tuned track, the runs that each was chosen among.
        tuned: row -> the settings that its trials differ in.
        calls: number of a call -> the rows and units of what it asked for first.
        question: the units that were asked for together, where others of the same key were not;
            None: there is one question.  `upto`: the last call that counts for it; None: all.
    """

    key: TrackKey
    protocol: Protocol | None = None
    runs: dict[RowKey, dict[BlockSeed, RunResult]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    missing: dict[RowKey, set[BlockSeed]] = field(default_factory=lambda: defaultdict(set))
    trials: dict[RowKey, dict[BlockSeed, list[TrialRun]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    tuned: dict[RowKey, set[str]] = field(default_factory=lambda: defaultdict(set))
    units: set[BlockSeed] = field(default_factory=set)
    modalities: dict[str, str] = field(default_factory=dict)
    epochs: float = 0.0
    shortened: bool = False
    calls: dict[int, dict[RowKey, set[BlockSeed]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    question: frozenset[BlockSeed] | None = None
    upto: int | None = None

    def is_complete(self, row: RowKey) -> bool:
        """True if every unit of a row is finished."""
        made = self.runs.get(row, {})
        return all(unit in made and made[unit].status == "ok" for unit in self.units)


@dataclass(frozen=True)
class SortedRuns:
    """All tracks; `superseded` and `duplicates` count runs that are in none of them."""

    tracks: tuple[TrackRuns, ...]
    superseded: int
    duplicates: int


def sort_runs(
    runs: Iterable[RunResult], plan: Plan | None, selection: Selection | None = None
) -> SortedRuns:
    """Sort runs, finished and failed, into tracks; a plan adds what is missing from them.

    Trials that the plan tells of are in a track of their own, in which `selection` has chosen; the
    untuned one of them, number 0, stands in the track of plain runs, too.
    """
    unique = unique_runs(runs)
    asked = _asked_for(plan) if plan else {name: [] for name in unique}
    kept = [unique[name] for name in sorted(unique) if name in asked]
    sorter = _Sorter(_first_divisions(kept), selection or Selection("balanced-accuracy"))
    for run in kept:
        lines = asked[run.run_id]
        plain = [line.call for line in lines if False in _roles(line)]
        if plain or not lines:
            sorter.place(run, min(plain, default=0))
        trials = [line for line in lines if True in _roles(line)]
        if trials:
            sorter.add_trial(run, min(trials, key=lambda line: line.trial or 0))
    sorter.choose()
    if plan:
        _add_missing(plan, sorter)
    return SortedRuns(tuple(sorter.tracks.values()), len(unique) - len(kept), sorter.duplicates)


def _asked_for(plan: Plan) -> dict[str, list[PlannedRun]]:
    found: dict[str, list[PlannedRun]] = defaultdict(list)
    for line in plan.runs:
        found[line.run_id].append(line)
    return found


def _first_divisions(runs: Iterable[RunResult]) -> dict[str, str]:
    """Fingerprint -> that of the lowest split of the same samples."""
    same: dict[tuple[str, str], set[tuple[int, str]]] = defaultdict(set)
    for run in runs:
        if run.data is not None and run.data.samples:
            same[run.spec.dataset, run.data.samples].add(
                (run.spec.protocol.split_seed, run.spec.data)
            )
    return {data: min(found)[1] for found in same.values() for _, data in found}


class _Sorter:
    """Tracks while runs are put into them.

    Attributes:
        first: see `_first_divisions`.
        keys: run id -> the track of plain runs, and of trials, that it is in.
    """

    def __init__(self, first: Mapping[str, str], selection: Selection) -> None:
        self.first, self.selection = first, selection
        self.tracks: dict[TrackKey, TrackRuns] = {}
        self.keys: dict[tuple[str, bool], TrackKey] = {}
        self.duplicates = 0
        self._units: dict[BlockSeed, BlockSeed] = {}
        self._digests: dict[Protocol, str] = {}  # of protocols, of which there are few

    def place(self, run: RunResult, call: int) -> None:
        """Put a run into the track of plain runs."""
        track = self._track(run, tuned=False)
        row, slot = _row_key(run.spec), self._unit(run.spec)
        track.calls[call][row].add(slot)
        slots = track.runs[row]
        other = slots.get(slot)
        self.duplicates += other is not None
        if other is None or _merit(run) > _merit(other):
            slots[slot] = run
        track.units.add(slot)

    def add_trial(self, run: RunResult, line: PlannedRun) -> None:
        """Put a run beside the other trials of its row and unit."""
        track, slot = self._track(run, tuned=True), self._unit(run.spec)
        track.units.add(slot)
        row = _row_key(run.spec, line.tuned)
        track.tuned[row].update(line.tuned)
        track.calls[line.call][row].add(slot)
        if self.selection.admits(line.trial or 0):
            same = track.trials[row][slot]
            # By its settings: with several grids in one folder a number stands for several trials.
            other = next((t for t in same if t.run.spec.settings == run.spec.settings), None)
            if other is not None and _merit(other.run) < _merit(run):
                same.remove(other)
                other = None
            if other is None:
                same.append(TrialRun(line.trial or 0, run, _rate(run, line)))

    def choose(self) -> None:
        """Choose a run for every row and unit among its trials; a failed one stands in the way."""
        for track in self.tracks.values():
            for row, units in track.trials.items():
                for slot, trials in units.items():
                    failed = [
                        t.run for t in trials if t.run.status != "ok" and not has_diverged(t.run)
                    ]
                    best = self.selection.choose(trials).run
                    track.runs[row][slot] = failed[0] if failed else best

    def _track(self, run: RunResult, *, tuned: bool) -> TrackRuns:
        spec = run.spec
        key = self.keys[run.run_id, tuned] = self._track_key(spec, tuned=tuned)
        track = self.tracks.setdefault(key, TrackRuns(key, epochs=spec.protocol.epochs))
        if track.protocol is None or spec.protocol.split_seed < track.protocol.split_seed:
            track.protocol = spec.protocol
        track.shortened |= run.shortened
        if run.data is not None:
            track.modalities.setdefault(spec.dataset, run.data.modality)
        return track

    def _track_key(self, spec: RunSpec, *, tuned: bool) -> TrackKey:
        protocol = self._digests.get(spec.protocol)
        if protocol is None:
            anywhere = spec.protocol.model_copy(update={"split_seed": 0})
            protocol = self._digests[spec.protocol] = digest(anywhere)
        return TrackKey(
            protocol,
            spec.limit,
            spec.numeric.precision,
            spec.weights != "none" or spec.start is not None,
            spec.engine,
            tuned,
            starts=spec.start is not None,
        )

    def _unit(self, spec: RunSpec) -> BlockSeed:
        source, data = spec.sources.get("backbone", ""), self.first.get(spec.data, spec.data)
        block = BlockKey(
            spec.dataset, spec.backbone, data, spec.weights, source, spec.labels or "",
            spec.start or "",
        )  # fmt: skip
        unit = BlockSeed(block, spec.seed, spec.protocol.split_seed)
        return self._units.setdefault(unit, unit)  # one for all rows: 20 MB of 100,000 runs


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings as they stand in a `RowKey`."""
    return _SORTED.encode(settings)


def tuned_settings(settings: Mapping[str, object], tuned: Iterable[str]) -> dict[str, object]:
    """The settings that all trials of a row share."""
    left = set(tuned)
    return {name: value for name, value in settings.items() if name not in left}


def _row_key(spec: RunSpec, tuned: Iterable[str] = ()) -> RowKey:
    settings = tuned_settings(spec.settings, tuned)
    return RowKey(spec.strategy, settings_text(settings), spec.sources.get("strategy", ""))


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


def _add_missing(plan: Plan, sorter: _Sorter) -> None:
    """Enter the planned runs that are not there into the track their like is in."""
    known = _tracks_of_asked(plan, sorter.keys)
    gaps: dict[TrackKey, list[PlannedRun]] = defaultdict(list)
    for line in sorted(plan.runs, key=lambda line: line.run_id):
        for tuned in _roles(line):
            if tuned and not sorter.selection.admits(line.trial or 0):
                continue
            asked = _asked(line, tuned=tuned)
            key = known.get(asked) or _expected_track(line, tuned=tuned)
            if key not in sorter.tracks:
                sorter.tracks[key] = TrackRuns(key, epochs=line.epochs)
            sorter.tracks[key].modalities.setdefault(line.dataset, line.modality)
            if (line.run_id, tuned) not in sorter.keys:
                gaps[key].append(line)
    for key, lines in gaps.items():
        _add_gaps(sorter.tracks[key], lines)


def _roles(line: PlannedRun) -> list[bool]:
    """The tracks that a planned run belongs to: that of plain runs (False), that of trials (True)."""
    plain, trial = line.trial in {None, 0}, line.trial is not None
    return [False] * plain + [True] * trial


def _tracks_of_asked(
    plan: Plan, keys: Mapping[tuple[str, bool], TrackKey]
) -> dict[PlannedTrack, TrackKey]:
    """Of several engines the newest: what is missing would be run with it."""
    found: dict[PlannedTrack, TrackKey] = {}
    for line in plan.runs:
        for tuned in (False, True):
            if key := keys.get((line.run_id, tuned)):
                asked = _asked(line, tuned=tuned)
                found[asked] = max(found.get(asked, key), key, key=lambda k: (k.engine, k.protocol))
    return found


def _asked(line: PlannedRun, *, tuned: bool) -> PlannedTrack:
    starts = line.start is not None
    pretrained = starts or line.weights != "none"
    return PlannedTrack(
        line.protocol, line.epochs, line.limit, line.precision, pretrained, tuned, starts
    )


def _expected_track(line: PlannedRun, *, tuned: bool) -> TrackKey:
    """The track of a planned run of which no like is there yet.  Engines count from 1."""
    asked = _asked(line, tuned=tuned)
    return TrackKey(
        line.protocol, line.limit, line.precision, asked.pretrained, engine=0, tuned=tuned,
        starts=asked.starts,
    )  # fmt: skip


def _add_gaps(track: TrackRuns, lines: Sequence[PlannedRun]) -> None:
    """A planned run knows no fingerprints: it counts for the block of its name that is there."""
    variants = _group(
        sorted({u.block for u in track.units}), lambda b: (b.dataset, b.backbone, b.labels, b.start)
    )
    rows = _group(sorted(track.runs), lambda r: (r.strategy, r.settings))
    for line in lines:
        tuned = line.tuned if track.key.tuned else ()
        settings, labels = settings_text(tuned_settings(line.settings, tuned)), line.labels or ""
        start = line.start or ""
        nameless = BlockKey(line.dataset, line.backbone, "", "", "", labels, start)
        blocks = variants.get((line.dataset, line.backbone, labels, start), [nameless])
        units = [BlockSeed(block, line.seed, line.split) for block in blocks]
        units = [u for u in units if u in track.units] or units[:1]
        track.units.update(units)
        for row in rows.get((line.strategy, settings), [RowKey(line.strategy, settings, "")]):
            track.tuned[row].update(tuned)
            track.calls[line.call][row].update(units)
            # A unit that lacks a trial is not decided, whatever the others of it say.
            lacking = units if track.key.tuned else [u for u in units if u not in track.runs[row]]
            for unit in lacking[:1]:
                track.runs[row].pop(unit, None)
                track.missing[row].add(unit)


def _group(
    values: Iterable[K], by: Callable[[K], tuple[str, ...]]
) -> dict[tuple[str, ...], list[K]]:
    found: dict[tuple[str, ...], list[K]] = defaultdict(list)
    for value in values:
        found[by(value)].append(value)
    return dict(found)

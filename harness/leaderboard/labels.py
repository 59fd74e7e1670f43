"""Words on the board: names of rows, blocks and tracks, and what the numbers rest on.

A name says what tells it from the others of its kind, and no more; banners and notes are told from
the runs themselves.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from harness.api.leaderboard import AssumedValue, DataNote, Row, WeightsNote
from harness.api.records import DataRecord, Plan, RunResult, started
from harness.leaderboard.tracks import BlockKey, BlockSeed, RowKey, TrackKey, TrackRuns

PLAIN_WORD = re.compile(r"[A-Za-z][\w.-]*")
RESERVED = ("true", "false", "null", "unset")
RANDOM = "none"  # the starting point that loads nothing
SHORT = 8  # hex digits of a hash that are shown
# What an interval holds, by its basis (`harness.stats`): the same words in every format and on the page.
BASES = {
    "images, seeds and splits": "other test images, seeds and splits",
    "images and seeds": "other test images and seeds",
    "test images only": "other test images only",
}
EDGE = 0.2  # share of choices at the edge of a grid from which on it is called too narrow


def row_labels(rows: Iterable[RowKey], marked: Iterable[RowKey] = ()) -> dict[RowKey, str]:
    """Strategy names, with the settings and code that tell rows of one strategy apart.

    `marked`: rows some of whose figures are over the classes that are there.
    """
    by_strategy: dict[str, list[RowKey]] = defaultdict(list)
    for row in rows:
        by_strategy[row.strategy].append(row)
    labels: dict[RowKey, str] = {}
    for same in by_strategy.values():
        labels |= _labels_of_one_strategy(same)
    for row in marked:
        labels[row] += " [classes missing]"
    return labels


def _labels_of_one_strategy(rows: Sequence[RowKey]) -> dict[RowKey, str]:
    settings = {row: json.loads(row.settings) for row in rows}
    names = sorted({name for values in settings.values() for name in values})
    texts = {
        row: {name: _text(values[name]) if name in values else "unset" for name in names}
        for row, values in settings.items()
    }
    differing = [name for name in names if len({text[name] for text in texts.values()}) > 1]
    several_sources = len({row.source for row in rows}) > 1
    labels = {}
    for row in rows:
        parts = [f"{name}={texts[row][name]}" for name in differing]
        if several_sources and row.source:
            parts.append(f"source {row.source[:SHORT]}")
        labels[row] = _with_parts(row.strategy, parts)
    return labels


def _text(value: object) -> str:
    """JSON, with the quotes left off a word that cannot be taken for anything else."""
    plain = isinstance(value, str) and PLAIN_WORD.fullmatch(value) and value not in RESERVED
    return str(value) if plain else json.dumps(value, sort_keys=True)


def _with_parts(name: str, parts: Sequence[str]) -> str:
    return f"{name} ({', '.join(parts)})" if parts else name


def block_labels(blocks: Iterable[BlockKey]) -> dict[BlockKey, str]:
    """`dataset / backbone[@start]`, with a hash only where several states of the two occur."""
    by_place: dict[tuple[str, str, str], list[BlockKey]] = defaultdict(list)
    for block in blocks:
        begun = started(block.backbone, block.start)
        by_place[block.dataset, begun, block.labels].append(block)
    labels: dict[BlockKey, str] = {}
    for (dataset, backbone, budget), same in by_place.items():
        differing = [
            role
            for role in ("data", "weights", "source")
            if len({getattr(block, role) for block in same}) > 1
        ]
        for block in same:
            parts = [f"{budget} labels"] if budget else []
            parts += [f"{role} {getattr(block, role)[:SHORT] or 'unknown'}" for role in differing]
            labels[block] = _with_parts(f"{dataset} / {backbone}", parts)
    return labels


class TrackName(NamedTuple):
    """The title of a track, and its question: the end of the title, or empty."""

    title: str
    question: str


def track_names(tracks: Sequence[TrackRuns]) -> list[TrackName]:
    """Titles: always limit, budget, weights and precision; the rest where it differs."""
    titles = _titles_of_kinds({track.key: track for track in tracks})
    names = []
    for track in tracks:
        question = _question(track, tracks)
        title = titles[track.key]
        names.append(TrackName(f"{title}; over {question}" if question else title, question))
    return names


def _titles_of_kinds(kinds: Mapping[TrackKey, TrackRuns]) -> dict[TrackKey, str]:
    """Titles without the question."""
    tracks = list(kinds.values())
    several_engines = len({track.key.engine for track in tracks}) > 1
    tuned = any(track.key.tuned for track in tracks)
    ways = {True: "tuned", False: "one common rate" if tuned else ""}
    titles = [_track_title(track, ways[track.key.tuned], several_engines) for track in tracks]
    return {
        track.key: f"{title} (protocol {track.key.protocol[:SHORT]})"
        if titles.count(title) > 1
        else title
        for title, track in zip(titles, tracks, strict=True)
    }


def _question(track: TrackRuns, tracks: Sequence[TrackRuns]) -> str:
    """The units of a track in the words that tell it from others of its kind; empty: it is alone."""
    if track.question is None:
        return ""
    same = [one for one in tracks if one.key == track.key]
    named = describe_units([one.units for one in same])
    words = next(name for name, one in zip(named, same, strict=True) if one is track)
    if named.count(words) > 1:
        number = "" if track.upto is None else f", as of call {track.upto + 1}"
        return f"{words} ({len(track.units)} runs a row{number})".strip()
    return words


def describe_units(given: Sequence[Collection[BlockSeed]]) -> list[str]:
    """Sets of units by their datasets, backbones, starts, label budgets, splits and seeds, where these differ."""
    kinds: dict[str, Callable[[BlockSeed], str | int]] = {
        "": lambda unit: unit.block.dataset,
        "backbone": lambda unit: unit.block.backbone,
        "starting point": lambda unit: unit.block.start or "as the suite says",
        "label budget": lambda unit: unit.block.labels or "all",
        "split": lambda unit: unit.split,
        "seed": lambda unit: unit.seed,
    }
    parts: list[list[str]] = [[] for _ in given]
    for name, kind in kinds.items():
        found = [{kind(unit) for unit in units} for units in given]
        if any(one != found[0] for one in found):
            for own, there in zip(parts, found, strict=True):
                head = f"{name}{'s' if len(there) > 1 else ''} " if name else ""
                own.append(head + ", ".join(map(str, sorted(there, key=_in_order))))
    return ["; ".join(own) for own in parts]


def _in_order(value: str | int) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, value)


def _track_title(track: TrackRuns, way: str, several_engines: bool) -> str:  # noqa: FBT001 - private
    key = track.key
    parts = [way] if way else []
    parts += [
        _amount(track),
        f"{'shortened to' if track.shortened else 'at most'} {number(track.epochs)} epochs",
        beginning(track),
        key.precision,
    ]
    if several_engines:
        parts.append(f"engine {key.engine or 'unknown'}")
    name = track.protocol.name if track.protocol else "nothing run yet"
    return f"{name}: {', '.join(parts)}"


def beginning(track: TrackRuns) -> str:
    """The starting points of the runs of a track."""
    if track.key.starts:
        return f"starting points {', '.join(starts_of(track))}"
    return "pre-trained weights" if track.key.pretrained else "random weights"


def starts_of(track: TrackRuns) -> list[str]:
    """The starting points that a track compares, by name; empty: they are no axis of it."""
    return sorted({unit.block.start for unit in track.units} - {""})


def _amount(track: TrackRuns) -> str:
    """The images that its runs use; a label budget where all have the same."""
    budgets = {unit.block.labels for unit in track.units}
    budget = next(iter(budgets)) if len(budgets) == 1 else ""
    if track.key.limit is None:
        return f"{budget} labels" if budget else "full data"
    return f"at most {track.key.limit} images a split" + (f", {budget} labels" if budget else "")


def number(value: float) -> str:
    """A count that may have a fraction: `15`, `0.5`."""
    return f"{value:.10g}"


def track_banners(track: TrackRuns) -> tuple[str, ...]:
    """Warnings that must be read before the numbers of this track."""
    found = []
    if not track.key.pretrained:
        found.append(
            "Random weights: no starting point was loaded. This is no result about transfer."
        )
    elif RANDOM in starts_of(track):
        found.append(
            f"Blocks of the starting point {RANDOM} begin with random weights: they are no result about "
            "transfer, and count in every rank and average here."
        )
    if track.key.limit is not None:
        found.append(
            f"Limited: at most {track.key.limit} images of each split were used. "
            "Ranked among runs of the same limit only."
        )
    if track.shortened:
        found.append(
            f"Shortened: {number(track.epochs)} epochs instead of what the protocol says. "
            "Ranked among runs of the same length only."
        )
    if len({(unit.split, unit.seed) for unit in track.units}) == 1:
        found.append("One seed: differences are within noise unless tested.")
    return tuple(found)


def narrow_grid(rows: Iterable[Row]) -> str | None:
    """The warning that the grid ends too early for some rows; None: for none."""
    wide = [row.label for row in rows if row.tuning and row.tuning.edge > EDGE]
    if not wide:
        return None
    return (
        f"The edge of the grid was chosen in more than a fifth of the runs of {', '.join(wide)}: "
        "their best rate may lie outside; a wider grid would tell."
    )


def label_amount(budget: str | None) -> tuple[bool, float]:
    """Label budgets from small to large: counts first, then shares; all labels are 100 %."""
    text = budget or "100%"
    return text.endswith("%"), float(text.removesuffix("%"))


def data_notes(runs: Sequence[RunResult]) -> tuple[DataNote, ...]:
    """One note a dataset and state of its samples; of several records the fullest, of the first split."""
    chosen: dict[tuple[str, str], tuple[tuple[int, int], DataRecord]] = {}
    fingerprints: dict[tuple[str, str], set[str]] = defaultdict(set)
    partial = {(run.spec.dataset, run.spec.data) for run in runs if run.spec.present_only}
    for run in runs:
        if run.data is not None:
            key = (run.spec.dataset, run.data.samples or run.spec.data)
            fingerprints[key].add(run.spec.data)
            size = (_size(run.data), -run.spec.protocol.split_seed)
            if key not in chosen or size > chosen[key][0]:
                chosen[key] = (size, run.data)
    states: dict[str, int] = defaultdict(int)
    for dataset, _ in chosen:
        states[dataset] += 1
    found = [
        (dataset, record, len(fingerprints[dataset, state]))
        for (dataset, state), (_, record) in chosen.items()
    ]
    return tuple(
        _data_note(
            dataset,
            record,
            several=states[dataset] > 1,
            partial=(dataset, record.fingerprint) in partial,
            splits=splits,
        )
        for dataset, record, splits in sorted(found, key=lambda one: (one[0], one[1].fingerprint))
    )


def _size(data: DataRecord) -> int:
    return sum(sum(by_class.values()) for by_class in data.counts.values())


def _data_note(
    dataset: str, data: DataRecord, *, several: bool, partial: bool, splits: int
) -> DataNote:
    lacking = {
        split: tuple(name for name, count in by_class.items() if not count)
        for split, by_class in data.counts.items()
        if partial and not all(by_class.values())
    }
    return DataNote(
        label=f"{dataset} (data {data.fingerprint[:SHORT]})" if several else dataset,
        dataset=dataset,
        modality=data.modality,
        classes=len(data.classes),
        images={split: sum(by_class.values()) for split, by_class in data.counts.items()},
        rule=data.rule if splits == 1 else f"{splits} random splits, the first: {data.rule}",
        fingerprint=data.fingerprint,
        split_sha256=data.split_sha256,
        skipped=len(data.skipped),
        licence=data.licence,
        source=data.source,
        revision=data.revision,
        procedural=data.procedural,
        problems=data.problems,
        contradicting=data.contradicting,
        lacking=lacking,
    )


def weights_notes(runs: Iterable[RunResult]) -> tuple[WeightsNote, ...]:
    """One note a backbone and file."""
    by_file: dict[tuple[str, str], list[RunResult]] = defaultdict(list)
    for run in runs:
        if run.weights is not None:
            by_file[run.spec.backbone, run.spec.weights].append(run)
    return tuple(_weights_note(same) for _, same in sorted(by_file.items()))


def _weights_note(runs: Sequence[RunResult]) -> WeightsNote:
    records = [run.weights for run in runs if run.weights is not None]
    new = [len(record.new) for record in records]
    first = records[0]
    return WeightsNote(
        backbone=runs[0].spec.backbone,
        name=first.name,
        sha256=first.sha256,
        new=(min(new), max(new)),
        source=first.source,
        licence=first.licence,
        miniature=first.miniature,
    )


def board_banners(
    plan: Plan | None, data: Sequence[DataNote], weights: Sequence[WeightsNote]
) -> tuple[str, ...]:
    """Warnings that must be read before any number: the suite's own notes first."""
    suites = plan.suites if plan else {}
    found = [note for name in sorted(suites) for note in suites[name].notes]
    procedural = [note.label for note in data if note.procedural]
    if procedural:
        which = "" if len(procedural) == len(data) else f" ({', '.join(procedural)})"
        found.append(f"Procedural images{which}: drawn by a program, no result about patients.")
    small = sorted({note.backbone for note in weights if note.miniature})
    if small:
        found.append(f"Miniature networks ({', '.join(small)}): no result about the real ones.")
    found += [
        f"{note.label}: {note.skipped} bad {_images(note.skipped)} skipped."
        for note in data
        if note.skipped
    ]
    for note in data:
        if note.contradicting:
            found.append(
                f"{note.label}: {note.contradicting} images have a copy with another label; no network "
                "can get both right."
            )
        found += [
            f"{note.label}: {split} has no image of {', '.join(map(repr, names))}; figures that need "
            "every class are over the classes that are there."
            for split, names in note.lacking.items()
        ]
    return tuple(dict.fromkeys(found))


def unfinished_shards(plan: Plan | None, made: Collection[str]) -> tuple[str, ...]:
    """A warning that names the shards of a plan whose runs are not all `made` (run ids)."""
    asked, missing = Counter[str](), Counter[str]()
    for line in plan.runs if plan else ():
        if line.shard:
            asked[line.shard] += 1
            missing[line.shard] += line.run_id not in made
    parts = sorted((name for name in asked if missing[name]), key=_shard_number)
    if not parts:
        return ()
    told = ", ".join(
        f"{name} ({'none' if missing[name] == asked[name] else asked[name] - missing[name]} of "
        f"{asked[name]} runs)"
        for name in parts
    )
    return (f"Shards that are not here in full: {told}.",)


def _shard_number(name: str) -> tuple[int, int]:
    part, _, parts = name.partition("/")
    return int(parts), int(part)


def _images(count: int) -> str:
    return "image was" if count == 1 else "images were"


def board_notes(superseded: int, duplicates: int) -> tuple[str, ...]:
    """Footnotes: runs that are in the folder and not in the tables."""
    found = []
    if superseded:
        found.append(
            f"Superseded: {superseded} run(s) in the folder are no longer asked for "
            "(other code, data or settings) and count nowhere."
        )
    if duplicates:
        found.append(
            f"Duplicates: {duplicates} run(s) answer what another run answers as well; "
            "the latest counts."
        )
    return tuple(found)


def assumed_values(plan: Plan | None) -> tuple[AssumedValue, ...]:
    """Values of the protocols that no source states."""
    suites = plan.suites if plan else {}
    return tuple(
        AssumedValue(suite=name, field=field, source=source)
        for name in sorted(suites)
        for field, source in sorted(suites[name].assumed.items())
    )


def board_title(plan: Plan | None, suites: Sequence[str]) -> str:
    """The suites' titles, or their names."""
    known = plan.suites if plan else {}
    names = sorted(known) or list(suites)
    return "; ".join(
        f"{name}: {known[name].title}" if name in known and known[name].title else name
        for name in names
    )

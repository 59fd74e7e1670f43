"""The face of a board: what the numbers rest on, told from the runs themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.labels import SHORT
from harness.leaderboard import AssumedValue, DataNote, WeightsNote
from harness.records import DataRecord, Plan, RunResult


def data_notes(runs: Iterable[RunResult]) -> tuple[DataNote, ...]:
    """One note a dataset and fingerprint; of limited and full records the full one."""
    largest: dict[tuple[str, str], tuple[int, DataRecord]] = {}
    for run in runs:
        if run.data is not None:
            key, size = (run.spec.dataset, run.spec.data), _size(run.data)
            if key not in largest or size > largest[key][0]:
                largest[key] = (size, run.data)
    fingerprints: dict[str, int] = defaultdict(int)
    for dataset, _ in largest:
        fingerprints[dataset] += 1
    return tuple(
        _data_note(dataset, record, several=fingerprints[dataset] > 1)
        for (dataset, _), (_, record) in sorted(largest.items(), key=lambda item: item[0])
    )


def _size(data: DataRecord) -> int:
    return sum(sum(by_class.values()) for by_class in data.counts.values())


def _data_note(dataset: str, data: DataRecord, *, several: bool) -> DataNote:
    return DataNote(
        label=f"{dataset} (data {data.fingerprint[:SHORT]})" if several else dataset,
        dataset=dataset,
        modality=data.modality,
        classes=len(data.classes),
        images={split: sum(by_class.values()) for split, by_class in data.counts.items()},
        rule=data.rule,
        fingerprint=data.fingerprint,
        split_sha256=data.split_sha256,
        skipped=len(data.skipped),
        licence=data.licence,
        source=data.source,
        revision=data.revision,
        procedural=data.procedural,
        problems=data.problems,
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
    """What must be read before any number: the suite's own notes first."""
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
    return tuple(dict.fromkeys(found))


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

"""Further test sets of a dataset: read, held against what is trained on, decoded.

They change nothing of the dataset itself: neither its splits nor its fingerprint, so no run id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from harness.api.dataset import Access, Dataset, LocalDataset
from harness.api.execution import ExternalImages
from harness.api.records import ExternalRecord, Protocol
from harness.data.cache.check import PixelCheck
from harness.data.cache.entry import entry_for
from harness.data.decoding import Progress
from harness.data.division.split import Splits, all_tested, lacking_classes, limited
from harness.data.division.stratify import Sample
from harness.data.duplicates import find_duplicates, known_duplicates
from harness.data.images import PixelForm, Source
from harness.data.pixels.suspects import find_problems
from harness.data.preparation.arrangement import (
    ArrangedImages,
    Arrangement,
    arrange_known,
    decode_arranged,
)
from harness.data.preparation.info import ExternalInfo
from harness.data.table import DatasetTable, read_table
from harness.errors import DataError, UsageError
from harness.utils.names import did_you_mean, first_few

MARK = ".external-"  # between the name of a dataset and that of its further test set
OWN, FURTHER = "own/", "further/"  # before ids, where both sets are looked at as one


@dataclass(frozen=True)
class PreparedExternal:
    """A further test set that is ready.

    Attributes:
        check: as of `PreparedDataset`.
        notes: sentences on what was passed over or joined.
    """

    images: ExternalImages
    splits: Splits
    check: PixelCheck | None
    notes: tuple[str, ...]


class FurtherSet(NamedTuple):
    """A further test set: what its split file is called, and where it comes from."""

    name: str
    declared: Dataset


@dataclass(frozen=True)
class Trained:
    """A dataset that is trained on, as far as its further test sets are held against it.

    Attributes:
        declared: the dataset.
        splits: one for each way in which it is divided.
    """

    declared: Dataset
    table: DatasetTable
    splits: Sequence[Splits]


def with_external(
    datasets: Mapping[str, Dataset], given: Iterable[tuple[str, Dataset]]
) -> dict[str, Dataset]:
    """The datasets with what `--external [DATASET:]NAME=FOLDER` adds to them.

    Args:
        datasets: those of the call, by name.
        given: dataset, empty where it was left out, and a further test set of the name given.

    Raises:
        UsageError: no such dataset, it is not clear which, or the name is taken.
    """
    found = dict(datasets)
    for of, further in given:
        if not of and len(found) > 1:
            raise UsageError(
                f"--external {further.name}=...: say of which dataset, as in --external "
                f"{next(iter(found))}:{further.name}=FOLDER; this call has {', '.join(found)}"
            )
        name = of or next(iter(found))
        if name not in found:
            raise UsageError(
                f"--external {name}:{further.name}=...: this call has no dataset {name!r}"
                f"{did_you_mean(name, found)}; it has {', '.join(found)}"
            )
        known = found[name].external
        found[name] = found[name].model_copy(
            update={"external": {**known, further.name: _placed(name, further, known)}}
        )
    return found


def _placed(of: str, given: Dataset, known: Mapping[str, Dataset]) -> Dataset:
    """A folder, or the set that the dataset declares under its name, which lies there."""
    declared = known.get(given.name)
    if declared is None:
        return given
    if isinstance(declared, LocalDataset) and declared.path is None:
        return declared.model_copy(update={"path": getattr(given, "path", None)})
    raise UsageError(
        f"--external {of}:{given.name}=...: dataset {of!r} has a further test set of this name; "
        "choose another name"
    )


def external_sets(
    dataset: Dataset, access: Access
) -> tuple[dict[str, FurtherSet], tuple[str, ...]]:
    """The further test sets that are at hand, by name, and a word on the others."""
    found, notes = {}, []
    for name, further in dataset.external_sets(access).items():
        if further.at_hand(access):
            called = f"{dataset.name}{MARK}{name}"
            found[name] = FurtherSet(called, further.pinned(access))
            continue
        way = f"--external {dataset.name}:{name}=FOLDER gives its place"
        if not isinstance(further, LocalDataset):
            way = f"`harness data fetch {further.name}` brings what is registered"
        source = f" ({further.source})" if further.source else ""
        notes.append(f"external {name} is not here{source}, and is left out; {way}")
    return found, tuple(notes)


def prepare_external(
    further: FurtherSet,
    trained: Trained,
    protocol: Protocol,
    access: Access,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> PreparedExternal:
    """Load, check and decode a further test set.

    Args:
        further: of `external_sets`.
        trained: what no image of it may be trained or chosen on.
        protocol: the transform; its `split_seed` chooses the images of a limit.
        access: where the cache is, and what may be lacking.
        limit: at most so many images, classes in proportion.
        progress: called with (images decoded, images in all).

    Raises:
        DataError: it has other classes, lacks one, has bad images, or images that the dataset
            trains or chooses on; all named.
        StoreError: the cache cannot be written.
    """
    table = read_table(further.declared, access, trained.table)
    arrange = partial(_arrange, further, table, protocol, access, limit)
    found = decode_arranged(arrange, further.name, table, access, progress)
    procedural = further.declared.procedural and trained.declared.procedural
    near = () if procedural else _near(trained.table, table, access, progress)
    notes = (*table.notes, *_check_apart(further, table, trained, near), *_scale(table, trained))
    problems = tuple(find_problems([one.id for one in table.samples], table.spans.values()))
    return PreparedExternal(
        _images(further, found, problems, trained.declared.modality),
        found.arrangement.splits,
        found.check,
        notes,
    )


def survey_external(
    further: FurtherSet, trained: Trained, protocol: Protocol, access: Access, limit: int | None
) -> ExternalInfo:
    """As `prepare_external`, without decoding and without refusing bad images: for plans.

    Raises:
        DataError: as there, as far as it is known yet.
    """
    table = read_table(further.declared, access, trained.table)
    arrange = partial(_arrange, further, table, protocol, access, limit)
    arranged, _, _ = arrange_known(arrange, table, access)
    near = known_duplicates(_Both.of(trained.table, table), access.cache)
    pairs = () if near is None else _across(near.pairs(_Both.of(trained.table, table).samples))
    _check_apart(further, table, trained, pairs)
    return ExternalInfo(len(arranged.ids), arranged.splits.fingerprint)


def _arrange(
    further: FurtherSet,
    table: DatasetTable,
    protocol: Protocol,
    access: Access,
    limit: int | None,
    bad: Mapping[str, str],
) -> Arrangement:
    """All samples that are not bad, in test; raise DataError where they lack a class."""
    samples = [sample for sample in table.samples if sample.id not in bad]
    if not samples:
        raise DataError(f"dataset {further.name!r}: none of its images can be used")
    splits = all_tested(further.name, table.classes, samples)
    _check_lacking(splits, access)
    rows = limited(splits, limit, protocol.split_seed)
    ids = [splits.samples[row].id for row in rows["test"]]
    form = PixelForm.of(protocol)
    entry = entry_for(further.name, table.contents(ids), form, dicom=table.dicom)
    return Arrangement(splits, rows, ids, entry)


def _check_lacking(splits: Splits, access: Access) -> None:
    lacking = lacking_classes(splits).get("test", ())
    if lacking and not access.allow_missing_classes:
        raise DataError(
            f"dataset {splits.dataset!r} has no image of {first_few([repr(one) for one in lacking])}, "
            "which is trained on; add some, or go on with --allow-missing-classes, with figures over "
            "the classes that are there"
        )


def _images(
    further: FurtherSet, found: ArrangedImages, problems: tuple[str, ...], modality: str
) -> ExternalImages:
    """`problems`: what is wrong with the images."""
    import numpy as np

    splits, rows = found.arrangement.splits, found.arrangement.rows["test"]
    number = {name: label for label, name in enumerate(splits.classes)}
    labels = [splits.samples[row].label for row in rows]
    return ExternalImages(
        images=found.pixels,
        labels=np.array([number[label] for label in labels], dtype=np.int64),
        rows=np.array(rows, dtype=np.int32),
        record=ExternalRecord(
            modality=modality,
            classes=splits.classes,
            counts={"test": {name: labels.count(name) for name in splits.classes}},
            fingerprint=splits.fingerprint,
            split_file=f"splits/{further.name}.json",
            split_sha256=splits.sha256,
            rule=splits.rule,
            skipped=tuple(sorted(found.bad)),
            licence=further.declared.licence,
            source=further.declared.source,
            revision=further.declared.revision,
            procedural=further.declared.procedural,
            problems=(*further.declared.problems, *problems),
        ),
    )


# -- what must not be in both -----------------------------------------------------------------


def _check_apart(
    further: FurtherSet,
    table: DatasetTable,
    trained: Trained,
    near: Sequence[tuple[str, str]],
) -> tuple[str, ...]:
    """Refuse images that are trained or chosen on; a word on those of the test split.

    `near`: ids of the dataset and of the further set that look alike.
    """
    pairs = sorted({*_same(trained.table, table), *near})
    learned: set[str] = set()
    tested: set[str] = set()
    for splits in trained.splits:
        for sample in splits.samples:
            (tested if sample.split == "test" else learned).add(sample.id)
    seen = [f"{other} (as {own})" for own, other in pairs if own in learned]
    if seen:
        count = len({other for own, other in pairs if own in learned})
        raise DataError(
            f"dataset {further.name!r}: {count} of its images are trained or chosen on: "
            f"{first_few(seen)}; take them out of it, or out of {trained.declared.name!r}"
        )
    count = len({other for own, other in pairs if own in tested})
    said = f"{count} images are in the test split, too: the two tests are not independent"
    return (said,) if count else ()


def _same(own: DatasetTable, further: DatasetTable) -> Iterator[tuple[str, str]]:
    """Ids of images whose files are the same, bit for bit, in whatever range they are shown."""
    having: dict[str, list[str]] = {}
    for sample in own.samples:
        having.setdefault(sample.content.partition(" ")[0], []).append(sample.id)
    for sample in further.samples:
        if sample.content:
            for name in having.get(sample.content.partition(" ")[0], ()):
                yield name, sample.id


def _near(
    own: DatasetTable, further: DatasetTable, access: Access, progress: Progress | None
) -> Sequence[tuple[str, str]]:
    """Ids of images that look alike.

    The dataset is decoded once more for that; what is found is remembered.
    """
    both = _Both.of(own, further)
    return _across(find_duplicates(both, access.cache, progress).pairs(both.samples))


def _across(pairs: Iterable[tuple[Sample, Sample, object]]) -> list[tuple[str, str]]:
    found = []
    for one, other, _ in pairs:
        first, second = sorted((one.id, other.id), reverse=True)
        if first.startswith(OWN) and second.startswith(FURTHER):
            found.append((first.removeprefix(OWN), second.removeprefix(FURTHER)))
    return found


@dataclass(frozen=True)
class _Both(DatasetTable):
    """Two tables as one, to look for near duplicates across them; `parts`: by what ids begin with."""

    parts: Mapping[str, DatasetTable] = field(default_factory=dict)

    @classmethod
    def of(cls, own: DatasetTable, further: DatasetTable) -> _Both:
        parts = {OWN: own, FURTHER: further}
        samples = [
            replace(sample, id=start + sample.id)
            for start, table in parts.items()
            for sample in table.samples
        ]
        return cls(
            classes=own.classes,
            samples=tuple(sorted(samples, key=lambda sample: sample.id)),
            unreadable={},
            images=own.images,
            row_of={},
            dicom=own.dicom or further.dicom,
            parts=parts,
        )

    def sources(self, ids: Sequence[str]) -> list[Source]:
        found: dict[str, Source] = {}
        for start, table in self.parts.items():
            names = [name.removeprefix(start) for name in ids if name.startswith(start)]
            if names:
                sources = table.sources(names)
                found |= {start + name: one for name, one in zip(names, sources, strict=True)}
        return [found[name] for name in ids]


def _scale(table: DatasetTable, trained: Trained) -> tuple[str, ...]:
    wider = set(table.spans.values()) - set(trained.table.spans.values())
    if not (wider and trained.table.spans):
        return ()
    return ("its values run beyond those that are trained on: it is shown on a wider scale",)

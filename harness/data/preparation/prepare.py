"""A dataset made ready for runs: checked, split, decoded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.api.execution import ImageSet, PickedImages
from harness.api.records import DataRecord, Protocol, digest
from harness.data.cache import cache
from harness.data.cache.check import PixelCheck
from harness.data.decoding import Output, Progress
from harness.data.division.split import Division, Splits, lacking_classes
from harness.data.duplicates import find_duplicates, known_duplicates
from harness.data.images import PixelForm
from harness.data.pixels.dicom import STORED
from harness.data.pixels.suspects import find_problems
from harness.data.preparation.arrangement import (
    ArrangedImages,
    Arrangement,
    ReadDataset,
    Rows,
    check_lacking,
    decode_arranged,
    describe_contradicting,
    with_labels,
)
from harness.data.preparation.external import (
    PreparedExternal,
    Trained,
    external_sets,
    prepare_external,
)
from harness.data.preparation.info import DatasetInfo, ExternalInfo, count_tested
from harness.data.table import DatasetTable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset that is ready: its images, the text of `splits/<dataset>.json`, seconds it took.

    `notes`: sentences on what was passed over or joined.
    `check`: see `DecodedImages`; None: the images are sound.
    `others`: the dataset divided in other ways; seconds, notes and check are shared.
    `external`: name -> a further test set; with a limit each division has its own images of it.
    `aside`: seconds that these took, which no run is charged with.
    `forms`: the same images in other forms; seconds and notes are shared.
    """

    images: ImageSet
    splits: Splits
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    check: PixelCheck | None = None
    others: Mapping[Division, PreparedDataset] = field(default_factory=dict)
    external: Mapping[str, PreparedExternal] = field(default_factory=dict)
    aside: float = 0.0
    forms: Mapping[PixelForm, PreparedDataset] = field(default_factory=dict)

    def formed(self, form: PixelForm) -> PreparedDataset:
        """The dataset with its images in this form."""
        return self.forms.get(form, self)

    def divided(self, division: Division) -> PreparedDataset:
        """The dataset divided so."""
        return self.others.get(division, self)

    @property
    def checks(self) -> tuple[PixelCheck, ...]:
        """Every check that is still to be made of the images, divided in whatever way."""
        formed = (self, *self.forms.values())
        whole = [one for each in formed for one in (each, *each.others.values())]
        found = [one.check for one in whole]
        found += [further.check for one in whole for further in one.external.values()]
        return tuple(dict.fromkeys(check for check in found if check is not None))

    @property
    def fingerprint(self) -> str:
        """Identity of the data: of all samples, limited or not."""
        return self.splits.fingerprint

    @property
    def info(self) -> DatasetInfo:
        """Its classes, counts and fingerprint."""
        counts = {split: len(self.images.labels[split]) for split in SPLITS}
        return DatasetInfo(
            self.images.classes,
            counts,
            self.fingerprint,
            decoded=True,
            notes=self.notes,
            lacking=lacking_classes(self.splits),
            others={division: other.info for division, other in self.others.items()},
            external={
                name: ExternalInfo(len(one.images.labels), one.splits.fingerprint)
                for name, one in self.external.items()
            },
            tested=count_tested(self.splits, self.images.rows["test"].tolist()),
        )


def prepare_dataset(
    dataset: Dataset,
    protocol: Protocol,
    access: Access,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    divisions: Sequence[Division] = (),
) -> PreparedDataset:
    """Load, check, split and decode a dataset; see `prepare_unchecked`.

    Raises:
        DataError: as there.
        StoreError: as there; or cached images are damaged and cannot be removed.
    """
    while True:
        prepared = prepare_unchecked(
            dataset, protocol, access,
            limit=limit, progress=progress, divisions=divisions,
        )  # fmt: skip
        if not any(check.damaged() for check in prepared.checks):
            return prepared


def prepare_unchecked(
    dataset: Dataset,
    protocol: Protocol,
    access: Access,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    divisions: Sequence[Division] = (),
) -> PreparedDataset:
    """Load, check, split and decode a dataset; a check of cached pixels is left to the caller.

    Near duplicates are looked for among all images, limited or not, and never cross splits; not in
    a procedural dataset, whose program knows what it draws.  The order of the source's rows makes
    no difference.  A bad image that may be skipped is treated as if its file were not there.

    Args:
        dataset: what to load.
        protocol: shares and seed of the splits, and the transform.
        access: where the cache is, and whether bad images are skipped.
        limit: at most so many images of each split, see `split.limited`; the splits and the
            fingerprint stay those of the whole dataset.
        progress: called with (images decoded, images in all).
        divisions: further ways to divide it, beside the protocol's own; they share its pixels.

    Raises:
        UsageError: a division asks for more labels than train has.
        DataError: the dataset contradicts itself, cannot be split, or has bad images, all of which
            are found before this is raised (with a limit: among the images used).
        StoreError: the cache cannot be written.
    """
    prepared, table = _prepare(
        dataset, protocol, access, limit=limit, progress=progress, divisions=divisions
    )
    began = time.perf_counter()
    divided = (prepared, *prepared.others.values())
    trained = Trained(dataset, table, [one.splits for one in divided])
    sets, absent = external_sets(dataset, access)
    external = {
        name: prepare_external(one, trained, protocol, access, limit=limit, progress=progress)
        for name, one in sets.items()
    }
    whole = _with_external(prepared, external, absent)
    spent = sum(one.aside for one in divided) + time.perf_counter() - began
    return replace(whole, aside=spent)


def _prepare(
    dataset: Dataset,
    protocol: Protocol,
    access: Access,
    *,
    limit: int | None,
    progress: Progress | None,
    divisions: Sequence[Division],
) -> tuple[PreparedDataset, DatasetTable]:
    """As `prepare_unchecked`, without further test sets; with its table."""
    data = ReadDataset.of(dataset, access)
    with _early(data, protocol, access, limit) as early:
        look = partial(find_duplicates, cache=access.cache, progress=progress, also=early)
        data = data.joined(look)
        table = data.table

        def arrange(bad: Mapping[str, str]) -> Arrangement:
            arranged = data.arrange(protocol, bad, limit)
            check_lacking(arranged.splits, access)
            return arranged

        in_order = partial(_in_order, table, early)
        found = decode_arranged(arrange, data.declared.name, table, access, progress, in_order)
    twins = data.contradicting()
    base = PreparedDataset(
        _image_set(data, found, len(twins)),
        found.arrangement.splits,
        notes=(*table.notes, *describe_contradicting(twins)),
        check=found.check,
    )
    others = {}
    for division in divisions:
        again, seeded = data.divided_anew(protocol, division)
        if limit is None or division.split == protocol.split_seed:
            anew = with_labels(again.arrange(seeded, found.bad, limit), division, access)
            others[division] = _divided(base, found, *anew)
        else:  # a limit takes other images of another split
            more = prepare_unchecked(
                again.declared, seeded, access,
                limit=limit, progress=progress, divisions=[division],
            )  # fmt: skip
            others[division] = more.divided(division)
    return replace(base, others=others), table


def _with_external(
    prepared: PreparedDataset, external: Mapping[str, PreparedExternal], notes: Sequence[str]
) -> PreparedDataset:
    """With further test sets, for every division that has none of its own yet."""

    def one(of: PreparedDataset) -> PreparedDataset:
        if of.external:
            return of
        images = {name: further.images for name, further in external.items()}
        return replace(of, images=replace(of.images, external=images), external=external)

    said = [f"external {name}: {note}" for name, one in external.items() for note in one.notes]
    others = {division: one(other) for division, other in prepared.others.items()}
    return replace(one(prepared), others=others, notes=(*prepared.notes, *notes, *said))


def _divided(
    base: PreparedDataset, decoded: ArrangedImages, splits: Splits, rows: Rows
) -> PreparedDataset:
    """A dataset divided in another way, on the same pixels."""
    import numpy as np

    place = {name: row for row, name in enumerate(decoded.arrangement.ids)}
    picked: dict[Split, np.ndarray] = {
        split: np.array([place[splits.samples[row].id] for row in rows[split]], np.int64)
        for split in SPLITS
    }
    images = ImageSet(
        classes=splits.classes,
        images=PickedImages(decoded.pixels, picked),
        **_rows_and_labels(splits, rows),
        record=base.images.record.model_copy(update=_split_facts(splits, rows)),
    )
    return PreparedDataset(images, splits, notes=base.notes, check=base.check)


def _samples_digest(table: DatasetTable, bad: Mapping[str, str]) -> str:
    """Identity of the samples, whatever split they are in."""
    lines = [
        [one.id, table.classes[one.label], one.group, one.content]
        for one in sorted(table.samples, key=lambda one: one.id)
        if one.id not in bad
    ]
    return digest({"classes": list(table.classes), "samples": lines})


def _early(
    data: ReadDataset, protocol: Protocol, access: Access, limit: int | None
) -> AbstractContextManager[Output | None]:
    """A place to decode for training too, where all images are decoded to look for near duplicates.

    Their order comes from the splits, and these from what is found.
    """
    if (
        data.declared.procedural
        or limit is not None
        or known_duplicates(data.table, access.cache) is not None
    ):
        return nullcontext()
    return cache.decode_unordered(access.cache, PixelForm.of(protocol))


def _in_order(
    table: DatasetTable, early: Output | None, ids: Sequence[str]
) -> cache.UnorderedImages | None:
    """The images of `ids` as they lie already; None: not all of them, or some more than once."""
    if early is None or not early.path.is_file():
        return None
    place = {content: row for row, content in enumerate(table.first_ids())}
    order = [place[content] for content in table.contents(ids)]
    whole = len(order) == len(place) == len(set(order))
    return cache.UnorderedImages(early.path, order) if whole else None


def _image_set(data: ReadDataset, found: ArrangedImages, contradicting: int) -> ImageSet:
    """The images, whose pixels are those of train, then of validation, then of test."""
    import numpy as np

    dataset, table, images = data.declared, data.table, found.pixels
    splits, rows = found.arrangement.splits, found.arrangement.rows
    ends = np.cumsum([len(rows[split]) for split in SPLITS]).tolist()
    problems = find_problems([one.id for one in table.samples], table.spans.values())
    return ImageSet(
        classes=splits.classes,
        images={s: images[end - len(rows[s]) : end] for s, end in zip(SPLITS, ends, strict=True)},
        **_rows_and_labels(splits, rows),
        record=DataRecord(
            modality=dataset.modality,
            classes=splits.classes,
            **_split_facts(splits, rows),
            split_file=f"splits/{dataset.name}.json",
            skipped=tuple(sorted(found.bad)),
            licence=dataset.licence,
            source=dataset.source,
            revision=dataset.revision,
            procedural=dataset.procedural,
            problems=(*dataset.problems, *problems),
            contradicting=contradicting,
            samples=_samples_digest(table, found.bad),
            ranges=dict(table.ranges),
            window="" if table.window == STORED else table.window,
        ),
    )


def _rows_and_labels(splits: Splits, rows: Rows) -> dict[str, Any]:
    """`rows` and `labels` of an `ImageSet`."""
    import numpy as np

    number = {name: label for label, name in enumerate(splits.classes)}
    labels = {split: [number[splits.samples[row].label] for row in rows[split]] for split in SPLITS}
    return {
        "labels": {split: np.array(labels[split], dtype=np.int64) for split in SPLITS},
        "rows": {split: np.array(rows[split], dtype=np.int32) for split in SPLITS},
    }


def _split_facts(splits: Splits, rows: Rows) -> dict[str, Any]:
    """The fields of a `DataRecord` that come from the splits."""
    names = {split: (splits.samples[row].label for row in rows[split]) for split in SPLITS}
    return {
        "counts": {split: _counts(splits.classes, names[split]) for split in SPLITS},
        "fingerprint": splits.fingerprint,
        "split_sha256": splits.sha256,
        "rule": splits.rule,
    }


def _counts(classes: Sequence[str], names: Iterable[str]) -> dict[str, int]:
    """Of every class, also where it is zero."""
    return dict.fromkeys(classes, 0) | Counter(names)

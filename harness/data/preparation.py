"""From a dataset to what a run is trained on: checked, split, decoded."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.api.execution import ImageSet, PickedImages
from harness.api.records import DataRecord, Protocol, digest
from harness.data import cache
from harness.data.division.given import as_given
from harness.data.division.split import (
    Division,
    Splits,
    labelled,
    lacking_classes,
    limited,
    make_splits,
    with_metadata,
)
from harness.data.division.stratify import Pair, Sample
from harness.data.duplicates import (
    NearDuplicates,
    confirmed_pairs,
    find_duplicates,
    known_duplicates,
)
from harness.data.external import (
    ExternalInfo,
    PreparedExternal,
    Trained,
    external_sets,
    prepare_external,
    survey_external,
)
from harness.data.images import Output, PixelForm, Progress, read, resize_crop
from harness.data.pixels.dicom import STORED
from harness.data.pixels.suspects import find_problems
from harness.data.table import DatasetTable, read_table
from harness.errors import DataError
from harness.utils.names import first_few
from harness.utils.parallel import cores

if TYPE_CHECKING:
    import numpy as np

Rows = Mapping[Split, Sequence[int]]
TRIED = 8  # images that are decoded to see how long all of them will take


@dataclass(frozen=True)
class DatasetInfo:
    """The facts of a dataset that runs and plans depend on.

    Attributes:
        counts: images of each split that are used.
        fingerprint: identity of the data, limited or not; before decoding, what it will be if no
            bad image and no near duplicate turns up that is not known yet.
        decoded: the images are in the cache; None: nobody looked.
        notes: sentences on what was passed over or joined, and on what cannot be right.
        lacking: split -> classes that it has no sample of.
        others: the dataset divided in other ways.
        external: name -> a further test set.
        tested: class -> images in test of each group that has any; empty: not known.
        seconds: that making it ready takes, as far as can be foretold; 0: it is ready.
    """

    classes: tuple[str, ...]
    counts: Mapping[Split, int]
    fingerprint: str
    decoded: bool | None
    notes: tuple[str, ...] = ()
    lacking: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)
    others: Mapping[Division, DatasetInfo] = field(default_factory=dict)
    external: Mapping[str, ExternalInfo] = field(default_factory=dict)
    tested: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: float = 0.0

    def divided(self, division: Division) -> DatasetInfo:
        """The facts of the dataset divided so."""
        return self.others.get(division, self)


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
    check: cache.PixelCheck | None = None
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
    def checks(self) -> tuple[cache.PixelCheck, ...]:
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
            tested=_tested(self.splits, self.images.rows["test"].tolist()),
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
    dataset = as_given(dataset.pinned(access), access)
    table = read_table(dataset, access)
    with _early(dataset, table, protocol, access, limit) as early:
        near = None
        if not dataset.procedural:
            near = find_duplicates(table, access.cache, progress, early)
        whole = _pairs(table, near)
        bad = dict(table.unreadable)
        while True:
            splits, rows, ids, entry = _arrange(dataset, table, bad, protocol, limit, whole)
            _check_lacking(splits, access)
            found = cache.decoded(
                access.cache,
                entry,
                table.fetch(ids),
                progress,
                _in_order(table, early, ids),
                defer_check=True,
            )
            bad |= {ids[row]: why for row, why in found.bad.items()}
            if bad and not access.skip_bad_images:
                raise _bad_images(dataset, table, bad)
            if found.images is not None:
                problems = (
                    *dataset.problems,
                    *find_problems([one.id for one in table.samples], table.spans.values()),
                )
                known_set = dataset.model_copy(update={"problems": problems})
                samples = _samples_digest(table, bad)
                images = _image_set(known_set, splits, rows, found.images, sorted(bad), samples)
                twins = _contradicting(table, near)
                record = images.record.model_copy(
                    update={
                        "contradicting": len(twins),
                        "ranges": dict(table.ranges),
                        "window": "" if table.window == STORED else table.window,
                    }
                )
                notes = (*table.notes, *_contradictions(twins))
                base = PreparedDataset(
                    replace(images, record=record), splits, notes=notes, check=found.check
                )
                place = {name: row for row, name in enumerate(ids)}
                others = {}
                for division in divisions:
                    again, seeded = _divided_anew(dataset, table, protocol, division)
                    if limit is None or division.split == protocol.split_seed:
                        arranged = _arrange(again, table, bad, seeded, limit, whole)
                        picked = _Decoded(found.images, place)
                        others[division] = _divided(division, base, picked, arranged[:2], access)
                    else:  # a limit takes other images of another split
                        more = prepare_unchecked(
                            again, seeded, access,
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


def _divided_anew(
    dataset: Dataset, table: DatasetTable, protocol: Protocol, division: Division
) -> tuple[Dataset, Protocol]:
    """The dataset, and the protocol's shares, as a further split divides it.

    An official test stays; an official validation split is drawn anew, as large as it is.
    """
    seeded = protocol.model_copy(update={"split_seed": division.split})
    count = Counter(sample.split for sample in table.samples)
    if seeded == protocol or dataset.splits != "official" or not count["test"]:
        return dataset, seeded
    if count["validation"]:
        share = count["validation"] / (count["train"] + count["validation"])
        seeded = seeded.model_copy(update={"validation_share": share})
    return dataset.model_copy(update={"splits": "official-test"}), seeded


class _Decoded(NamedTuple):
    """Decoded images, and the row of each id among them."""

    pixels: np.ndarray
    place: Mapping[str, int]


def _divided(
    division: Division,
    base: PreparedDataset,
    decoded: _Decoded,
    arranged: tuple[Splits, Rows],
    access: Access,
) -> PreparedDataset:
    """A dataset divided in another way, on the same pixels."""
    import numpy as np

    splits, rows = arranged
    _check_lacking(splits, access)
    rows = _budgeted(splits, rows, division)
    picked: dict[Split, np.ndarray] = {
        split: np.array([decoded.place[splits.samples[row].id] for row in rows[split]], np.int64)
        for split in SPLITS
    }
    images = ImageSet(
        classes=splits.classes,
        images=PickedImages(decoded.pixels, picked),
        **_rows_and_labels(splits, rows),
        record=base.images.record.model_copy(update=_split_facts(splits, rows)),
    )
    return PreparedDataset(images, splits, notes=base.notes, check=base.check)


def _budgeted(splits: Splits, rows: Rows, division: Division) -> Rows:
    return {**rows, "train": labelled(splits, rows["train"], division.labels, division.split)}


def _samples_digest(table: DatasetTable, bad: Mapping[str, str]) -> str:
    """Identity of the samples, whatever split they are in."""
    lines = [
        [one.id, table.classes[one.label], one.group, one.content]
        for one in sorted(table.samples, key=lambda one: one.id)
        if one.id not in bad
    ]
    return digest({"classes": list(table.classes), "samples": lines})


def _early(
    dataset: Dataset, table: DatasetTable, protocol: Protocol, access: Access, limit: int | None
) -> AbstractContextManager[Output | None]:
    """A place to decode for training too, where all images are decoded to look for near duplicates.

    Their order comes from the splits, and these from what is found.
    """
    if dataset.procedural or limit is not None or known_duplicates(table, access.cache) is not None:
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


def survey_dataset(
    dataset: Dataset,
    protocol: Protocol,
    access: Access,
    *,
    limit: int | None = None,
    divisions: Sequence[Division] = (),
    timed: bool = True,
) -> DatasetInfo:
    """As `prepare_dataset`, without decoding and without refusing bad images: for plans.

    With `timed` some images are decoded, to tell how long all of them will take.

    Raises:
        DataError: the dataset contradicts itself, or cannot be split.
    """
    began = time.perf_counter()
    dataset = as_given(dataset.pinned(access), access)
    table = read_table(dataset, access)
    near = None if dataset.procedural else known_duplicates(table, access.cache)
    whole = _pairs(table, near)
    bad = dict(table.unreadable)
    while True:
        splits, rows, ids, entry = _arrange(dataset, table, bad, protocol, limit, whole)
        known = cache.find_entry(access.cache, entry)
        if known is None or not known.bad:
            _check_lacking(splits, access)
            facts = DatasetInfo(
                table.classes,
                {split: len(rows[split]) for split in SPLITS},
                splits.fingerprint,
                known is not None,
                (*table.notes, *_contradictions(_contradicting(table, near))),
                lacking_classes(splits),
                tested=_tested(splits, rows["test"]),
                seconds=time.perf_counter() - began,  # to read it takes as long once more
            )
            if known is None and timed:
                decoding = _decoding(table, ids, protocol)
                facts = replace(facts, seconds=facts.seconds + decoding)
            others, splits_of = {}, [splits]
            for division in divisions:
                again, seeded = _divided_anew(dataset, table, protocol, division)
                found = _arrange(again, table, bad, seeded, limit, whole)[:2]
                others[division] = _surveyed(facts, found, division, access)
                splits_of.append(found[0])
            sets, absent = external_sets(dataset, access)
            trained = Trained(dataset, table, splits_of)
            external = {
                name: survey_external(one, trained, protocol, access, limit)
                for name, one in sets.items()
            }
            notes = (*facts.notes, *absent)
            return replace(facts, others=others, external=external, notes=notes)
        bad |= {ids[row]: why for row, why in known.bad.items()}


def survey_splits(
    dataset: Dataset, protocol: Protocol, access: Access, divisions: Sequence[Division]
) -> dict[Division, Splits]:
    """The splits of a dataset, as far as bad images and near duplicates are known.

    Raises:
        DataError: the dataset contradicts itself, or cannot be split.
    """
    dataset = as_given(dataset.pinned(access), access)
    table = read_table(dataset, access)
    near = None if dataset.procedural else find_duplicates(table, access.cache)
    whole, found = _pairs(table, near), {}
    for division in divisions:
        again, seeded = _divided_anew(dataset, table, protocol, division)
        found[division] = _arrange(again, table, table.unreadable, seeded, None, whole)[0]
    return found


def _surveyed(
    facts: DatasetInfo, arranged: tuple[Splits, Rows], division: Division, access: Access
) -> DatasetInfo:
    """The facts of a dataset divided in another way."""
    splits, rows = arranged
    _check_lacking(splits, access)
    rows = _budgeted(splits, rows, division)
    return replace(
        facts,
        counts={split: len(rows[split]) for split in SPLITS},
        fingerprint=splits.fingerprint,
        lacking=lacking_classes(splits),
        tested=_tested(splits, rows["test"]),
    )


def _tested(splits: Splits, rows: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Class -> images in test of each group that has any."""
    found: dict[str, Counter[str]] = {name: Counter() for name in splits.classes}
    for row in rows:
        sample = splits.samples[row]
        found[sample.label][sample.group] += 1
    return {name: tuple(sorted(groups.values())) for name, groups in found.items()}


def _decoding(table: DatasetTable, ids: Sequence[str], protocol: Protocol) -> float:
    """About how many seconds decoding images takes, by all cores: as some of them do by one.

    A file that cannot be decoded takes none; it is reported where it is decoded in earnest.
    """
    tried = ids[:: max(1, len(ids) // TRIED)][:TRIED]
    sources = table.sources([*tried[:1], *tried])
    began = time.perf_counter()
    for number, source in enumerate(sources):
        if number == 1:  # the first one waited for imports
            began = time.perf_counter()
        with contextlib.suppress(DataError):
            resize_crop(read(source), **PixelForm.of(protocol)._asdict())
    spent = time.perf_counter() - began
    return spent / max(1, len(tried)) * len(ids) / cores()


def _arrange(
    dataset: Dataset,
    table: DatasetTable,
    bad: Mapping[str, str],
    protocol: Protocol,
    limit: int | None,
    pairs: Sequence[Pair] | None,
) -> tuple[Splits, Rows, list[str], cache.CacheEntry]:
    """The splits without the bad images, the rows used, their ids, and where they are decoded."""
    splits = make_splits(
        dataset.name,
        table.classes,
        [sample for sample in table.samples if sample.id not in bad],
        rule=dataset.splits,
        protocol=protocol,
        pairs=pairs,
    )
    splits = with_metadata(splits, table.metadata)
    rows = limited(splits, limit, protocol.split_seed)
    ids = [splits.samples[row].id for split in SPLITS for row in rows[split]]
    entry = cache.entry_for(
        dataset.name,
        table.contents(ids),
        PixelForm.of(protocol),
        dicom=table.dicom,
    )
    return splits, rows, ids, entry


def _pairs(table: DatasetTable, near: NearDuplicates | None) -> list[Pair] | None:
    """Pairs of ids that stay together; None: nobody looked for any."""
    return None if near is None else list(confirmed_pairs(near, table.samples))


def _check_lacking(splits: Splits, access: Access) -> None:
    lacking = lacking_classes(splits)
    if not lacking or access.allow_missing_classes:
        return  # that train lacks one is an error of `make_splits`
    texts = [
        f"{split} has no sample of {first_few([repr(name) for name in names])}"
        for split, names in lacking.items()
    ]
    raise DataError(
        f"dataset {splits.dataset!r}: {' and '.join(texts)} ({splits.rule}); add images of it (to be in "
        "every split that is made, a class needs three groups of images), take the class out of all "
        "splits, or go on with --allow-missing-classes, with figures over the classes that are there"
    )


def _contradicting(table: DatasetTable, near: NearDuplicates | None) -> dict[str, str]:
    """Id of an image -> that of a copy, exact or confirmed, that has another label."""
    found: dict[str, str] = {}
    by_content: dict[str, list[Sample]] = {}
    for sample in table.samples:
        if sample.content:
            by_content.setdefault(sample.content, []).append(sample)
    for same in by_content.values():
        if len({sample.label for sample in same}) > 1:
            for one in same:
                found[one.id] = next(other.id for other in same if other.label != one.label)
    labels = {sample.id: sample.label for sample in table.samples}
    for first, second in confirmed_pairs(near, table.samples) if near else ():
        if labels[first] != labels[second]:
            found.setdefault(first, second)
            found.setdefault(second, first)
    return found


def _contradictions(found: Mapping[str, str]) -> tuple[str, ...]:
    if not found:
        return ()
    pairs = dict.fromkeys(" ~ ".join(sorted(pair)) for pair in sorted(found.items()))
    named = first_few(list(pairs))
    text = f"{len(found)} images have a copy with another label: {named}; see `harness data audit`"
    return (text,)


def _bad_images(dataset: Dataset, table: DatasetTable, bad: Mapping[str, str]) -> DataError:
    listed = [f"{name} ({bad[name]})" for name in sorted(bad)]
    return DataError(
        f"dataset {dataset.name!r}: {len(bad)} of {len(table.samples)} images cannot be used: "
        f"{first_few(listed)}; put right or remove them, or leave them out with --skip-bad-images"
    )


def _image_set(
    dataset: Dataset,
    splits: Splits,
    rows: Rows,
    images: np.ndarray,
    skipped: Sequence[str],
    samples: str,
) -> ImageSet:
    """`images` hold the rows of train, then of validation, then of test."""
    import numpy as np

    ends = np.cumsum([len(rows[split]) for split in SPLITS]).tolist()
    return ImageSet(
        classes=splits.classes,
        images={s: images[end - len(rows[s]) : end] for s, end in zip(SPLITS, ends, strict=True)},
        **_rows_and_labels(splits, rows),
        record=DataRecord(
            modality=dataset.modality,
            classes=splits.classes,
            **_split_facts(splits, rows),
            split_file=f"splits/{dataset.name}.json",
            skipped=tuple(skipped),
            licence=dataset.licence,
            source=dataset.source,
            revision=dataset.revision,
            procedural=dataset.procedural,
            problems=dataset.problems,
            samples=samples,
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

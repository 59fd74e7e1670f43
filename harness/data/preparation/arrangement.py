"""Images of a dataset put in their places: read, joined where they look alike, split, limited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.api.records import Protocol
from harness.data.cache import cache
from harness.data.cache.check import PixelCheck
from harness.data.cache.entry import CacheEntry, entry_for
from harness.data.decoding import Progress
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
from harness.data.duplicates import NearDuplicates, confirmed_pairs
from harness.data.images import PixelForm
from harness.data.table import DatasetTable, read_table
from harness.errors import DataError
from harness.utils.names import first_few

if TYPE_CHECKING:
    import numpy as np

Rows = Mapping[Split, Sequence[int]]


class Arrangement(NamedTuple):
    """A dataset divided in one way.

    Attributes:
        splits: all samples but bad ones.
        rows: of `splits.samples`, those that are used, of each split.
        ids: of these images, train first, then validation, then test.
        entry: of the cache, with these images in that order.
    """

    splits: Splits
    rows: Rows
    ids: list[str]
    entry: CacheEntry


Arrange = Callable[[Mapping[str, str]], Arrangement]  # without these bad images: id -> why


class ArrangedImages(NamedTuple):
    """The decoded images of an arrangement: uint8 [N, 3, crop, crop] in the order of its ids.

    Attributes:
        check: as of `DecodedImages`.
        bad: id -> why; images that were left out.
    """

    arrangement: Arrangement
    pixels: np.ndarray
    check: PixelCheck | None
    bad: Mapping[str, str]


@dataclass(frozen=True)
class ReadDataset:
    """A dataset whose rows are read.

    Attributes:
        pairs: ids of images that look alike, which stay together; None: nobody looked for any.
    """

    declared: Dataset
    table: DatasetTable
    pairs: Sequence[Pair] | None = None

    @classmethod
    def of(cls, dataset: Dataset, access: Access) -> ReadDataset:
        """Read a dataset, with the splits that a file may give.

        Raises:
            DataError: it contradicts itself.
        """
        dataset = as_given(dataset.pinned(access), access)
        return cls(dataset, read_table(dataset, access))

    def joined(self, look: Callable[[DatasetTable], NearDuplicates | None]) -> ReadDataset:
        """With the near duplicates that `look` finds; the program of a procedural one knows its own."""
        near = None if self.declared.procedural else look(self.table)
        return (
            self if near is None else replace(self, pairs=confirmed_pairs(near, self.table.samples))
        )

    def arrange(
        self, protocol: Protocol, bad: Mapping[str, str], limit: int | None = None
    ) -> Arrangement:
        """Divide it, without the images whose ids are `bad`.

        Raises:
            DataError: it cannot be split.
        """
        splits = make_splits(
            self.declared.name,
            self.table.classes,
            [sample for sample in self.table.samples if sample.id not in bad],
            rule=self.declared.splits,
            protocol=protocol,
            pairs=self.pairs,
        )
        splits = with_metadata(splits, self.table.metadata)
        rows = limited(splits, limit, protocol.split_seed)
        ids = [splits.samples[row].id for split in SPLITS for row in rows[split]]
        entry = entry_for(
            self.declared.name,
            self.table.contents(ids),
            PixelForm.of(protocol),
            dicom=self.table.dicom,
        )
        return Arrangement(splits, rows, ids, entry)

    def divided_anew(self, protocol: Protocol, division: Division) -> tuple[ReadDataset, Protocol]:
        """The dataset, and the protocol's shares, as a further split divides it.

        An official test stays; an official validation split is drawn anew, as large as it is.
        """
        seeded = protocol.model_copy(update={"split_seed": division.split})
        count = Counter(sample.split for sample in self.table.samples)
        if seeded == protocol or self.declared.splits != "official" or not count["test"]:
            return self, seeded
        if count["validation"]:
            share = count["validation"] / (count["train"] + count["validation"])
            seeded = seeded.model_copy(update={"validation_share": share})
        again = self.declared.model_copy(update={"splits": "official-test"})
        return replace(self, declared=again), seeded

    def contradicting(self) -> dict[str, str]:
        """Id of an image -> that of a copy, exact or confirmed, that has another label."""
        found: dict[str, str] = {}
        by_content: dict[str, list[Sample]] = {}
        for sample in self.table.samples:
            if sample.content:
                by_content.setdefault(sample.content, []).append(sample)
        for same in by_content.values():
            if len({sample.label for sample in same}) > 1:
                for one in same:
                    found[one.id] = next(other.id for other in same if other.label != one.label)
        labels = {sample.id: sample.label for sample in self.table.samples}
        for first, second in self.pairs or ():
            if labels[first] != labels[second]:
                found.setdefault(first, second)
                found.setdefault(second, first)
        return found


def arrange_known(
    arrange: Arrange, table: DatasetTable, access: Access
) -> tuple[Arrangement, Mapping[str, str], bool]:
    """Arrange a table, the images left out that are known to be bad (id -> why); True: it is decoded."""
    bad = dict(table.unreadable)
    while True:
        arranged = arrange(bad)
        known = cache.find_entry(access.cache, arranged.entry)
        if known is None or not known.bad:
            return arranged, bad, known is not None
        bad |= {arranged.ids[row]: why for row, why in known.bad.items()}


def decode_arranged(
    arrange: Arrange,
    name: str,
    table: DatasetTable,
    access: Access,
    progress: Progress | None = None,
    early: Callable[[Sequence[str]], cache.UnorderedImages | None] = lambda _: None,
) -> ArrangedImages:
    """Arrange a table and decode its images, again without those that turn out bad.

    `progress` is called with (images decoded, images in all); `early`: ids -> their images, where
    they were decoded before.

    Raises:
        DataError: images are bad, all of which are named.
        StoreError: the cache cannot be written.
    """
    bad = dict(table.unreadable)
    while True:
        arranged = arrange(bad)
        ids = arranged.ids
        found = cache.decoded(
            access.cache, arranged.entry, table.fetch(ids), progress, early(ids), defer_check=True
        )
        bad |= {ids[row]: why for row, why in found.bad.items()}
        if bad and not access.skip_bad_images:
            listed = [f"{one} ({bad[one]})" for one in sorted(bad)]
            raise DataError(
                f"dataset {name!r}: {len(bad)} of {len(table.samples)} images cannot be used: "
                f"{first_few(listed)}; put right or remove them, or leave them out with "
                "--skip-bad-images"
            )
        if found.images is not None:
            return ArrangedImages(arranged, found.images, found.check, bad)


def with_labels(arranged: Arrangement, division: Division, access: Access) -> tuple[Splits, Rows]:
    """The splits, and their rows with as many of train as the division has labels of.

    Raises:
        UsageError: it asks for more labels than train has.
        DataError: as `check_lacking`.
    """
    splits, rows = arranged.splits, arranged.rows
    check_lacking(splits, access)
    return splits, {
        **rows,
        "train": labelled(splits, rows["train"], division.labels, division.split),
    }


def check_lacking(splits: Splits, access: Access) -> None:
    """Refuse a split without a sample of some class, unless that is allowed.

    Raises:
        DataError: naming the classes.
    """
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


def describe_contradicting(found: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence on images that have a copy with another label; empty: there are none."""
    if not found:
        return ()
    pairs = dict.fromkeys(" ~ ".join(sorted(pair)) for pair in sorted(found.items()))
    named = first_few(list(pairs))
    text = f"{len(found)} images have a copy with another label: {named}; see `harness data audit`"
    return (text,)

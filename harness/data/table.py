"""A dataset's tables, checked: samples in order of their ids, and access to their files."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.data.division.given import placed
from harness.data.division.stratify import Sample
from harness.data.images import Depth, Fetch, Scaled, Source, find_depth
from harness.data.pixels.dicom import STORED, WindowedFile, is_dicom
from harness.data.pixels.values import DEPTHS, SIGNED, Range, find_range
from harness.errors import DataError, HarnessError
from harness.utils import signs
from harness.utils.faults import told
from harness.utils.names import (
    did_you_mean,
    find_spellings,
    first_few,
    is_placeholder,
    show_spellings,
)
from harness.utils.parallel import in_order

if TYPE_CHECKING:
    import datasets

COLUMNS = ("image", "label", "group", "id")
BATCH = 64  # rows of a table that are read at a time
Ends = Mapping[tuple[bool, bool], Range]
Stamp = tuple[int, int]  # of a file: bytes, nanoseconds


@dataclass(frozen=True, eq=False)
class DatasetTable:
    """All samples of a dataset, whatever their split, sorted by id.

    Attributes:
        classes: names in label order.
        samples: with the sha256 of their bytes, see `_content`; '' for a file that cannot be read.
        unreadable: id -> why.
        notes: sentences on what was passed over or joined.
        metadata: id -> what a list says of a sample besides, for people.
        window: as a dataset of DICOM files declares it; part of what `sources` give.
        spans: id -> what becomes black and white, of files of more than eight bits.
        dicom: some files are DICOM.
        ends: kind of file of more than eight bits -> least and greatest value in any.
        ranges: the spans by kind of numbers.
        stamps: id -> size and time of change of its file when it was hashed.
    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    unreadable: Mapping[str, str]
    images: datasets.Dataset
    row_of: Mapping[str, int]
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    window: str = STORED
    spans: Mapping[str, Range] = field(default_factory=dict)
    dicom: bool = False
    ends: Ends = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    stamps: Mapping[str, Stamp] = field(default_factory=dict)

    def contents(self, ids: Sequence[str]) -> list[str]:
        """The sha256 of the image files of samples."""
        known = {sample.id: sample.content for sample in self.samples}
        return [known[name] for name in ids]

    def first_ids(self) -> dict[str, str]:
        """Content -> the first id that has it, in the order of ids; not of unreadable files."""
        found: dict[str, str] = {}
        for sample in self.samples:
            if sample.content:
                found.setdefault(sample.content, sample.id)
        return found

    def sources(self, ids: Sequence[str]) -> list[Source]:
        """The image files of samples, or their bytes.

        Raises:
            DataError: a file is not the one that was hashed.
        """
        found = self.images[[self.row_of[name] for name in ids]]
        plain = _sources(found["image"], self.window)
        for name, source in zip(ids, plain, strict=True):
            if name in self.stamps and _stamp(source) != self.stamps[name]:
                raise DataError(
                    f"the file of {name} was changed while the dataset was read: run again"
                )
        return [
            Scaled(source, self.spans[name]) if name in self.spans else source
            for name, source in zip(ids, plain, strict=True)
        ]

    def fetch(self, ids: Sequence[str]) -> Fetch:
        """The image files of samples, or their bytes, a run of `ids` at a time."""
        return lambda run: self.sources(ids[run.start : run.stop])


class _Known(NamedTuple):
    """A table, and what it was asked for as."""

    dataset: Dataset
    access: Access
    tested_by: DatasetTable | None
    table: DatasetTable


_known: ContextVar[list[_Known] | None] = ContextVar("tables read so far", default=None)


@contextlib.contextmanager
def reading_once() -> Iterator[None]:
    """Inside, `read_table` reads each dataset once: for the plan, and then for decoding."""
    token = _known.set([])
    try:
        yield
    finally:
        _known.reset(token)


def read_table(
    dataset: Dataset, access: Access, tested_by: DatasetTable | None = None
) -> DatasetTable:
    """Load a dataset, check what it yields against what it declares, hash every image file.

    `tested_by`: it is a further test set of that one, whose classes it has, or some of them, and
    whose values of more than eight bits mean the same grey.

    Raises:
        DataError: it cannot be loaded, or contradicts itself or its declaration.
    """
    known = _known.get()
    for one in known or ():
        if (one.dataset, one.access, one.tested_by) == (dataset, access, tested_by):
            return one.table
    table = _read_table(dataset, access, tested_by)
    if known is not None:
        known.append(_Known(dataset, access, tested_by, table))
    return table


def _read_table(dataset: Dataset, access: Access, tested_by: DatasetTable | None) -> DatasetTable:
    with signs.doing(f"loading {dataset.name}"):
        import datasets

        try:
            loaded = dataset.load(access)
        except (HarnessError, MemoryError):
            raise
        except Exception as error:
            why = told(error, type(dataset).__module__)
            raise DataError(f"dataset {dataset.name!r}: load() raised {why}") from error
    tables = {
        split: _checked(dataset, split, table)
        for split, table in _by_split(dataset, loaded).items()
    }
    labels = [label for table in tables.values() for label in _labels(dataset, table)]
    classes = (
        _classes(dataset, labels) if tested_by is None else _shared(dataset, labels, tested_by)
    )
    number = {name: place for place, name in enumerate(classes)}
    splits = [split for split, table in tables.items() for _ in range(len(table))]
    ids = _texts(dataset, tables.values(), "id")
    _check_ids(dataset, ids)
    groups, joined = _one_spelling(ids, _texts(dataset, tables.values(), "group"))
    _check_groups(dataset, ids, groups)
    images = datasets.concatenate_datasets([t.select_columns(["image"]) for t in tables.values()])
    window = str(getattr(dataset, "window", STORED))
    with signs.doing(f"reading {dataset.name}", "files") as read:
        hashes = list(_hashes(images, window, read))
    ends = _ends([found.depth for found in hashes], {} if tested_by is None else tested_by.ends)
    spans = _spans([found.depth for found in hashes], ends)
    samples = [
        Sample(name, number[label], group, split, _content(found, span))
        for name, label, group, split, found, span in zip(
            ids, labels, groups, splits, hashes, spans, strict=True
        )
    ]
    samples = placed(dataset.name, samples, access)
    return DatasetTable(
        classes=classes,
        samples=tuple(sorted(samples, key=lambda sample: sample.id)),
        unreadable={name: one.why for name, one in zip(ids, hashes, strict=True) if one.why},
        images=images,
        row_of={name: row for row, name in enumerate(ids)},
        notes=(*getattr(loaded, "notes", ()), *joined),
        metadata=getattr(loaded, "metadata", {}),
        window=window,
        spans={name: span for name, span in zip(ids, spans, strict=True) if span},
        dicom=any(found.dicom for found in hashes),
        ends=ends,
        ranges={
            found.depth.kind_name: span
            for found, span in zip(hashes, spans, strict=True)
            if found.depth and span
        },
        stamps={name: one.stamp for name, one in zip(ids, hashes, strict=True) if one.stamp},
    )


def _by_split(dataset: Dataset, loaded: object) -> dict[Split, object]:
    if not isinstance(loaded, Mapping):
        raise DataError(f"dataset {dataset.name!r}: load() gave no mapping of split to table")
    unknown = sorted(str(split) for split in loaded if split not in SPLITS)
    if unknown:
        raise DataError(
            f"dataset {dataset.name!r} has a split named {first_few(unknown)}; "
            f"the names are {', '.join(SPLITS)}"
        )
    tables = {split: loaded[split] for split in SPLITS if split in loaded}
    if not tables:
        raise DataError(f"dataset {dataset.name!r} holds no table at all")
    return tables


def _checked(dataset: Dataset, split: Split, table: object) -> datasets.Dataset:
    import datasets

    where = f"dataset {dataset.name!r}, {split}"
    if not isinstance(table, datasets.Dataset):
        raise DataError(f"{where}: {type(table).__name__} is no table (datasets.Dataset)")
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DataError(
            f"{where}: no column {', '.join(missing)}; there are: {', '.join(table.column_names)}. "
            "Has the source renamed it?"
        )
    if not isinstance(table.features["image"], datasets.Image):
        kind = table.features["image"]
        raise DataError(f"{where}: column image holds {kind}, not datasets.Image(decode=False)")
    plain = table.select_columns(list(COLUMNS)).with_format(None)
    return plain.cast_column("image", datasets.Image(decode=False))


def _column(table: datasets.Dataset, name: str) -> list[Any]:
    return list(table.select_columns([name])[:][name])


def _labels(dataset: Dataset, table: datasets.Dataset) -> list[str]:
    """Class names of a table's rows."""
    import datasets

    kind = table.features["label"]
    values = _column(table, "label")
    if None in values or (isinstance(kind, datasets.ClassLabel) and -1 in values):
        row = next(row for row, value in enumerate(values) if value in {None, -1})
        name = _column(table, "id")[row]
        raise DataError(f"dataset {dataset.name!r}: sample {name!r} has no label")
    if isinstance(kind, datasets.ClassLabel):
        return [kind.names[value] for value in values]
    if isinstance(kind, datasets.Value) and kind.dtype in {"string", "large_string"}:
        return values
    if isinstance(kind, datasets.Value) and "int" in kind.dtype and dataset.classes:
        if min(values, default=0) >= 0 and max(values, default=0) < len(dataset.classes):
            return [dataset.classes[value] for value in values]
        raise DataError(
            f"dataset {dataset.name!r}: label numbers run from {min(values)} to {max(values)}, "
            f"but {len(dataset.classes)} classes are declared"
        )
    raise DataError(
        f"dataset {dataset.name!r}: column label holds {kind}; it takes one label an image: a class "
        "name, a ClassLabel, or a number into declared classes (multi-label sets cannot be used)"
    )


def _classes(dataset: Dataset, labels: Sequence[str]) -> tuple[str, ...]:
    """Class names in label order: as declared, else sorted."""
    found = set(labels)
    if not dataset.classes:
        _check_spellings(dataset, labels)
    classes = dataset.classes or tuple(sorted(found))
    new, absent = sorted(found - set(classes)), sorted(set(classes) - found)
    if new or absent:
        wrong = [f"{first_few(new)} not declared"] * bool(new) + [
            f"{first_few(absent)} absent"
        ] * bool(absent)
        raise DataError(
            f"dataset {dataset.name!r}: the labels are not its {len(classes)} classes "
            f"({', '.join(classes)}): {'; '.join(wrong)}"
        )
    if len(set(classes)) < max(2, len(classes)):
        raise DataError(
            f"dataset {dataset.name!r} needs two or more classes, each named once; it has: "
            f"{', '.join(classes) or 'none'}"
        )
    return classes


def _shared(dataset: Dataset, labels: Sequence[str], tested_by: DatasetTable) -> tuple[str, ...]:
    """The classes of the dataset that is tested on this one."""
    classes = tested_by.classes
    if new := sorted(set(labels) - set(classes)):
        near = did_you_mean(new[0], classes)
        raise DataError(
            f"dataset {dataset.name!r}: {first_few([repr(name) for name in new])} is no class of what "
            f"is trained ({', '.join(classes)}){near}; a further test set has the same class names"
        )
    return classes


def _check_spellings(dataset: Dataset, labels: Sequence[str]) -> None:
    """Refuse labels that are read as the same, or as missing; declared classes are meant so."""
    if several := find_spellings(labels):
        shown = first_few([show_spellings(same) for same in several])
        raise DataError(
            f"dataset {dataset.name!r}: labels that read the same: {shown}; write them alike, or declare "
            "its classes"
        )
    # 'none' is a word, too.
    missing = sorted({label for label in labels if is_placeholder(label) and label != "none"})
    if missing:
        raise DataError(
            f"dataset {dataset.name!r}: the label {first_few([repr(one) for one in missing])} stands for "
            "a missing value; leave these images out, or declare its classes"
        )


def _texts(dataset: Dataset, tables: Iterable[datasets.Dataset], column: str) -> list[str]:
    values = []
    for table in tables:
        some = _column(table, column)
        if bare := [row for row, value in enumerate(some, start=1) if value in {None, ""}]:
            raise DataError(
                f"dataset {dataset.name!r}: {len(bare)} rows of {len(some)} have no {column}: row "
                f"{first_few(list(map(str, bare)))} of their table; a sample without {column} cannot be used"
            )
        values += some
    return [str(value) for value in values]


NUMBER = re.compile(r"\s*[-+]?\d+(?:[.,]\d+)?\s*")


def _one_spelling(ids: Sequence[str], groups: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Groups that are the same in one spelling: 6 of one table is 6.0 of another.

    An image that is a group of its own keeps it.  Case and space may tell patients apart, so what
    differs in them alone stays apart, and is said.
    """
    named = [group for name, group in zip(ids, groups, strict=True) if name != group]
    several = find_spellings(named)
    joined = [same for same in several if all(map(NUMBER.fullmatch, same))]
    first = {spelling: same[0] for same in joined for spelling in same}
    notes = {
        "groups joined, which read the same": joined,
        "groups kept apart that read the same (spell them alike if each pair is one patient)": [
            same for same in several if same not in joined
        ],
    }
    return (
        [
            group if name == group else first.get(group, group)
            for name, group in zip(ids, groups, strict=True)
        ],
        tuple(
            f"{note}: {first_few(list(map(show_spellings, some)))}"
            for note, some in notes.items()
            if some
        ),
    )


def _check_groups(dataset: Dataset, ids: Sequence[str], groups: Sequence[str]) -> None:
    for name, group in zip(ids, groups, strict=True):
        if name != group and is_placeholder(group):
            raise DataError(
                f"dataset {dataset.name!r}: sample {name!r} has the group {group!r}, which stands for a "
                "missing value: say whose image it is, or leave it out"
            )


def _check_ids(dataset: Dataset, ids: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(map(_number, ids)).items() if count > 1)
    if twice:
        raise DataError(
            f"dataset {dataset.name!r}: {len(twice)} ids name more than one sample: "
            f"{first_few(twice)}"
        )


def _number(name: str) -> str:
    """An id that is a number, as it is read: 6.0 is 6."""
    return name.removesuffix(".0") if re.fullmatch(r"\d+\.0", name) else name


def _sources(cells: Sequence[Mapping[str, Any]], window: str) -> list[bytes | Path | WindowedFile]:
    """The bytes of an image cell, else its path."""
    found = [Path(cell["path"]) if cell["bytes"] is None else cell["bytes"] for cell in cells]
    return found if window == STORED else [WindowedFile(source, window) for source in found]


@dataclass(frozen=True, slots=True)
class _File:
    """A file that was read: sha256 and, of over eight bits, its values; or '' and why it cannot."""

    sha256: str
    why: str = ""
    depth: Depth | None = None
    dicom: bool = False
    stamp: Stamp | None = None


def _hashes(images: datasets.Dataset, window: str, read: signs.Work) -> Iterator[_File]:
    starts = range(0, len(images), BATCH)
    batches = (_sources(images[start : start + BATCH]["image"], window) for start in starts)
    for found in in_order(lambda batch: [_hash(source) for source in batch], batches):
        read(read.done + len(found), len(images))
        yield from found


def _hash(source: bytes | Path | WindowedFile) -> _File:
    stamp = _stamp(source)  # before it is read, so that a change meanwhile is seen
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        return _File("", f"cannot be read: {error.strerror}")
    return _File(
        hashlib.sha256(data).hexdigest(), depth=find_depth(data), dicom=is_dicom(data), stamp=stamp
    )


def _stamp(source: bytes | Path | WindowedFile) -> Stamp | None:
    """Size and time of change of a file; None: bytes, or there is no such file."""
    path = source.source if isinstance(source, WindowedFile) else source
    if isinstance(path, bytes):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _ends(depths: Sequence[Depth | None], known: Ends) -> Ends:
    """The ends of the values of each kind of file of more than eight bits."""
    ends = dict(known)
    for depth in depths:
        if depth is not None and isfinite(depth.low) and isfinite(depth.high):
            low, high = ends.get(depth.kind, (depth.low, depth.high))
            ends[depth.kind] = min(low, depth.low), max(high, depth.high)
    return ends


def _spans(depths: Sequence[Depth | None], ends: Ends) -> list[Range | None]:
    """For each file of more than eight bits the range of all files of its kind."""
    spans = {
        (whole, signed): find_range(*found, whole=whole, depths=SIGNED if signed else DEPTHS)
        for (whole, signed), found in ends.items()
    }
    return [spans.get(depth.kind) if depth else None for depth in depths]


def _content(found: _File, span: Range | None) -> str:
    """The sha256 of a file, with a mark where its pixels are not what version 0.1 made of it.

    So fingerprint, cache and near duplicates are new for the sets that hold such files, and for no
    others.
    """
    if found.depth is None or span is None or span == found.depth.before:
        return found.sha256
    return f"{found.sha256} {span[0]!r} to {span[1]!r}"

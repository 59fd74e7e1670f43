"""Images of a folder with label, split and group, as its lists and its folders say.

`Listed` is one of them.  Lists are read by `harness.data.on_disk.lists`; the images that are there are found
by `harness.data.on_disk.files`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from harness.api.dataset import SPLITS, Split
from harness.data.on_disk.columns import EXTERNAL, SPLIT_NAMES, Roles, assign_roles
from harness.data.on_disk.files import LAYOUT
from harness.data.on_disk.listing import as_on_disk
from harness.data.on_disk.lists import Columns, ListTable, as_text, find_lists, read_list
from harness.data.pixels import dicom
from harness.errors import DataError
from harness.utils.names import (
    did_you_mean,
    find_spellings,
    first_few,
    is_placeholder,
    show_spellings,
)
from harness.utils.parallel import in_order
from harness.utils.text import short

ID = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Listed:
    """One image: path from the folder, and what a list or the folders say; None: nothing.

    `external`: the further test set that it is of, so that it is in no split; empty: of none.
    """

    file: str
    label: str | None = None
    split: Split | None = None
    group: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    external: str = ""


@dataclass(frozen=True)
class Lists:
    """Rows of all lists of a folder.  `notes`: what was passed over."""

    rows: tuple[Listed, ...]
    notes: tuple[str, ...] = ()


def read_lists(folder: Path, columns: Columns | None = None) -> tuple[Listed, ...] | None:
    """Rows of the lists in a folder, or None: there is none.

    Raises:
        DataError: a list cannot be read, lacks a column or has one too many, or contradicts itself.
    """
    others = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    found = rows_of_lists(folder, find_lists(folder, others, ()), columns or {})
    return None if found is None else found.rows


def rows_of_lists(folder: Path, paths: Sequence[Path], columns: Columns) -> Lists | None:
    if not paths:
        return None
    rows: list[Listed] = []
    notes: list[str] = []
    for path in paths:
        table = read_list(path, columns)
        roles = assign_roles(table, columns)
        notes += [
            f"{path}: column {name} only numbers the rows; passed over" for name in roles.passed
        ]
        rows += _rows(table, roles, path.parent.relative_to(folder))
    _check_once(rows, folder)
    return Lists(tuple(rows), tuple(notes))


def _rows(table: ListTable, roles: Roles, below: Path) -> list[Listed]:
    rows = []
    for place, cells in table.rows:
        where = f"{table.path}, {place}"
        values = {role: cells[at] for role, at in roles.single.items()}
        more = ((name, as_text(cells[at])) for name, at in roles.metadata.items())
        rows.append(_row(values, tuple(pair for pair in more if pair[1]), below, where))
    placed = [row for row in rows if not row.external]
    without = [row.file for row in placed if row.split is None]
    if 0 < len(without) < len(placed):
        raise DataError(f"{table.path}: some rows have a split, others none: {first_few(without)}")
    return rows


def split_named(name: str, place: str) -> Split:
    """The split that a name stands for; `place` says where it was found.

    Raises:
        DataError: none has this name.
    """
    split = SPLIT_NAMES.get(name.lower())
    if split is None:
        hint = did_you_mean(name, SPLIT_NAMES)
        raise DataError(
            f"{place}: unknown split {short(name)!r}{hint}; use train, validation or test"
        )
    return split


def _row(
    values: Mapping[str, object], metadata: tuple[tuple[str, str], ...], below: Path, place: str
) -> Listed:
    cells = {role: as_text(value) for role, value in values.items()}
    file = _relative(cells["file"], below, place)
    shown = short(file)
    label = cells.get("label")
    if label == "":
        raise DataError(
            f"{place}: {shown} has no label; write one, or take the row and the image out"
        )
    if label is not None and is_placeholder(label):
        raise DataError(
            f"{place}: {shown} has the label {label!r}, which stands for a missing value: write the "
            "label, or take the row and the image out; a class of that name needs another word"
        )
    if label is not None and ("|" in label or isinstance(values["label"], (list, tuple, dict))):
        raise DataError(
            f"{place}: {shown} has several labels ({short(label)}); only single-label sets can be "
            "used: keep one label an image"
        )
    group = cells.get("group")
    if group is not None and is_placeholder(group):
        raise DataError(
            f"{place}: {shown} has the group {group!r}, which stands for a missing value: write whose "
            "image it is; if that is not known, a name of its own, its file name, say"
        )
    split = cells.get("split", "")
    further = _external_named(split, place)
    return Listed(
        file=file,
        label=label,
        split=split_named(split, place) if split and not further else None,
        group=group,
        metadata=metadata,
        external=further,
    )


def _external_named(text: str, place: str) -> str:
    """NAME of `external:NAME`; empty: a split is meant, or nothing."""
    kind, colon, name = text.partition(":")
    if kind.strip().lower() != EXTERNAL.removesuffix(":"):
        return ""
    if not (colon and ID.fullmatch(name.strip())):
        raise DataError(
            f"{place}: split {short(text)!r}: a further test set is external:NAME, with a name of "
            "lower-case letters, digits and hyphens"
        )
    return name.strip()


def _relative(name: str, below: Path, place: str) -> str:
    """A path from the folder, with forward slashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{place}: {short(name)!r} is no path from the folder of the list to an image"
        )
    return (PurePosixPath(below.as_posix()) / path).as_posix()


def _check_once(rows: Iterable[Listed], folder: Path) -> None:
    first: dict[str, Listed] = {}
    again: list[str] = []
    for row in rows:
        known = first.setdefault(row.file, row)
        if known is row:
            continue
        if known.label != row.label:
            raise DataError(
                f"{folder}: {short(row.file)} is listed as {short(str(known.label))!r} and as "
                f"{short(str(row.label))!r}; only "
                "single-label sets can be used: keep one row an image"
            )
        again.append(row.file)
    if again:
        raise DataError(
            f"{folder}: {len(again)} files are listed more than once: {first_few(again)}"
        )


def by_patient(folder: Path, samples: list[Listed], scans: frozenset[str]) -> list[Listed]:
    """The samples with patients as groups, where DICOM files name them and no list says more."""
    if not scans or any(sample.group for sample in samples):
        return samples
    found = dict(
        in_order(
            lambda names: (names, dicom.patient_group(folder / names)),
            sorted(sample.file for sample in samples if sample.file in scans),
        )
    )
    without = [name for name, patient in found.items() if patient is None]
    remedy = "write a manifest.csv (file, label, group) that says which images belong together"
    if 0 < len(without) < len(found):
        raise DataError(
            f"{folder}: {len(without)} of {len(found)} DICOM files have no patient id: "
            f"{first_few(without)}; {remedy}"
        )
    patients = set(found.values()) - {None}
    if len(patients) == 1 and len(found) > 1:
        raise DataError(
            f"{folder}: all {len(found)} DICOM files have the same patient id, as some programs "
            f"write to hide it; {remedy}"
        )
    return [replace(sample, group=found.get(sample.file)) for sample in samples]


def from_folders(folder: Path, files: Sequence[str], folders: Sequence[str]) -> list[Listed]:
    """Labels and splits by the folders alone."""
    tops = sorted({file.split("/")[0] for file in files if "/" in file})
    split_tops = [top for top in tops if top.lower() in SPLIT_NAMES]
    depth = 2 if split_tops else 1
    for top in tops if split_tops else ():
        split_named(top, f"{folder / top}, beside {split_tops[0]!r}")
    for split in SPLITS:
        same = [top for top in split_tops if SPLIT_NAMES[top.lower()] == split]
        if len(same) > 1:
            raise DataError(f"{folder}: {' and '.join(same)} are both {split}; join them")
    misplaced = [file for file in files if file.count("/") != depth]
    if misplaced:
        expected = "split/class/image" if split_tops else "class/image"
        raise DataError(
            f"{folder}: {len(misplaced)} images do not lie at {expected}: {first_few(misplaced)}; "
            f"{LAYOUT}, or write a manifest.csv (file, split, label, group)"
        )
    samples = [
        Listed(
            file, split=SPLIT_NAMES.get(parts[0].lower()) if split_tops else None, label=parts[-2]
        )
        for file in files
        for parts in [file.split("/")]
    ]
    leaves = {path.split("/")[-1] for path in folders if path.count("/") == depth - 1}
    empty = sorted(leaves - {str(sample.label) for sample in samples})
    if empty:
        raise DataError(f"{folder}: no image in class folder {first_few(empty)}; fill or remove it")
    return samples


def _nearest(missing: Sequence[str], unlisted: Sequence[str]) -> str:
    """` (images/im0.jpg is there, unlisted)`: what the first missing name most likely means."""
    for key in (
        str.casefold,
        lambda name: PurePosixPath(name).name,
        lambda name: PurePosixPath(name).stem,
    ):
        there: dict[str, list[str]] = {}
        for name in unlisted:
            there.setdefault(key(name), []).append(name)
        for name in missing:
            if len(found := there.get(key(name), [])) == 1:
                return f" ({found[0]} is there, and not listed)"
    return ""


def from_list(
    folder: Path, files: Iterable[str], rows: Sequence[Listed], *, by_folder: bool
) -> list[Listed]:
    """Labels by the list, or by the folder of each image; splits by both."""
    names = as_on_disk([row.file for row in rows], files)
    rows = [replace(row, file=name) for row, name in zip(rows, names, strict=True)]
    _check_once(rows, folder)  # two spellings of one name may be rows of one file
    listed, there = {row.file for row in rows}, set(files)
    unlisted, without = sorted(there - listed), sorted(listed - there)
    if without:
        raise DataError(
            f"{folder}: {len(without)} files are listed but there is no such image: "
            f"{first_few(without)}{_nearest(without, sorted(there - listed))}; add them, or take the "
            "rows out"
        )
    if unlisted:
        raise DataError(
            f"{folder}: {len(unlisted)} images are not listed: {first_few(unlisted)}; "
            "add rows for them, or take them away"
        )
    labels = {row.label for row in rows} - {None}
    samples = sorted(
        (_joined(folder, row, labels, by_folder=by_folder) for row in rows),
        key=lambda row: row.file,
    )
    placed = [sample for sample in samples if not sample.external]
    bare = [sample.file for sample in placed if sample.split is None]
    if 0 < len(bare) < len(placed):
        raise DataError(f"{folder}: some images have a split, others none: {first_few(bare)}")
    return samples


def _joined(folder: Path, row: Listed, labels: set[str | None], *, by_folder: bool) -> Listed:
    """A row and the folders its file lies in; these speak only in names that mean something."""
    above = row.file.split("/")[:-1]
    split: Split | None = SPLIT_NAMES.get(above[0].lower()) if above else None
    rest = above[1:] if split else above
    label = rest[-1] if rest and (by_folder or rest[-1] in labels) else None
    listed = row.split or (row.external and EXTERNAL + row.external)
    if split and listed and split != listed:
        raise DataError(f"{folder}: {row.file} lies in {above[0]!r} but is listed as {listed!r}")
    if label and row.label and label != row.label:
        raise DataError(
            f"{folder}: {row.file} lies in {label!r} but is listed as {short(row.label)!r}"
        )
    if not label and not row.label:
        raise DataError(f"{folder}: {row.file} has no label, neither in the list nor by its folder")
    return replace(row, split=row.split or split, label=row.label or label)


def one_spelling(
    folder: Path, samples: Sequence[Listed], *, join: bool
) -> tuple[list[Listed], tuple[str, ...]]:
    """Labels that are read as the same in one spelling, and what was joined.

    Raises:
        DataError: a label stands for a missing value, or has several spellings and none is to be
            joined.
    """
    labels = [str(sample.label) for sample in samples]
    for label, sample in zip(labels, samples, strict=True):
        # 'none' is a word for a folder, too; in a list it was refused.
        if is_placeholder(label) and label != "none":
            raise DataError(
                f"{folder}: {sample.file} lies in {label!r}, which stands for a missing value: give "
                "the folder the name of a class, or take it away"
            )
    several = find_spellings(labels)
    if several and not join:
        counts = Counter(labels)
        shown = [
            f"{show_spellings(same)} ({' and '.join(str(counts[one]) for one in same)} images)"
            for same in several
        ]
        raise DataError(
            f"{folder}: labels that read the same: {first_few(shown)}; write them alike, or make "
            "them one class with --join-labels"
        )
    first = {spelling: same[0] for same in several for spelling in same}
    samples = [
        replace(sample, label=first.get(str(sample.label), sample.label)) for sample in samples
    ]
    return samples, tuple(f"labels joined: {show_spellings(same)}" for same in several)


def check_apart(folder: Path, samples: Sequence[Listed]) -> None:
    """Refuse a group that is in a further test set and outside of it."""
    home: dict[str, Listed] = {}
    for sample in samples:
        if sample.group:
            first = home.setdefault(sample.group, sample)
            if bool(first.external) != bool(sample.external):
                inside, outside = sorted((first, sample), key=lambda one: not one.external)
                raise DataError(
                    f"{folder}: group {short(sample.group)!r} is in {EXTERNAL}{inside.external} "
                    f"({inside.file}) and outside of it ({outside.file}): what is tested there must "
                    "not be trained on; take its images out of one of them"
                )


def check_classes(folder: Path, samples: Sequence[Listed]) -> None:
    counts = Counter(str(sample.label) for sample in samples)
    if len(counts) < 2:  # noqa: PLR2004 - a choice needs two
        raise DataError(
            f"{folder} has a single class, {first_few(list(counts))}; it takes two or more"
        )
    single = sorted(label for label, count in counts.items() if count == 1)
    if single:
        raise DataError(
            f"{folder}: a single image in class {first_few(single)}; a class needs two at least, "
            "one to train and one to test: add images, or take the class away"
        )

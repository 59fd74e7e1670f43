"""A folder of images as a dataset: `class/*.jpg`, or `train|validation|test/class/*.jpg`.

A list beside the images says more, see `harness.data.lists`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import field_validator

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.data.listing import as_on_disk, walk
from harness.data.lists import (
    EXTERNAL,
    FOLDER,
    SPLIT_NAMES,
    Columns,
    ListTable,
    Roles,
    as_text,
    assign_roles,
    check_roles,
    find_lists,
    is_table,
    parse_columns,
    read_list,
)
from harness.data.pixels import dicom
from harness.data.rows import NOTES, LoadedTables, Row, image_extensions, make_table
from harness.errors import DataError, UsageError
from harness.utils.names import (
    did_you_mean,
    find_spellings,
    first_few,
    is_placeholder,
    show_spellings,
)
from harness.utils.parallel import in_order
from harness.utils.text import short

if TYPE_CHECKING:
    import datasets

UNKNOWN_MODALITY = "unknown"
ID = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
LAYOUT = "lay it out as class/image.jpg or train|validation|test/class/image.jpg"


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


class FolderDataset(Dataset):
    """Images in a folder; sample ids are paths from it, with forward slashes.

    `validation` may also be called `val` or `valid`.  A list called manifest or metadata (.csv, .tsv,
    .jsonl, .parquet) says more where there is one: then every image must be in it, images may lie
    anywhere, and what it says must not contradict the folders.  Its columns are `file` (or
    `file_name`: from where the list lies), `label`, `split` and `group`, and those that `columns`
    names; any other is an error.  `external:NAME` in place of a split makes the image one of a
    further test set, which is neither trained on nor part of the test split.  Beside a list no folder is a label, unless `columns` says so.
    Without splits the harness makes them; without groups every image is its own.

    What counts as an image is any file whose extension Pillow knows, and DICOM files, whatever their
    names; without groups in a list, those of a patient are a group, under a hash of the patient id.
    Hidden files and notes
    (.txt .md .rst .json .xml .yaml .yml .html .pdf .ini .db that are no lists) are passed over,
    and so is whatever lies beside the class or split folders; any other file among the images is an
    error, since an image in a format that cannot be read must not go missing in silence.

    Attributes:
        path: the folder.
        columns: role (file, label, split, group, metadata, ignore) -> names of columns of the list;
            `label=@folder`: the folder that an image lies in.
        join_labels: labels that a person reads as the same (`1` and `1.0`) are one class.
        window: of DICOM files: 'stored' (the file's own, else the range of its values), 'min-max',
            a name as `lung`, or CENTRE/WIDTH.
    """

    path: Path
    columns: Mapping[str, tuple[str, ...]] = {}
    join_labels: bool = False
    window: str = dicom.STORED

    @field_validator("columns", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:  # noqa: ANN401 - whatever a plugin gives
        if not isinstance(given, Mapping):
            return given
        return {
            role: (names,) if isinstance(names, str) else names for role, names in given.items()
        }

    @field_validator("columns")
    @classmethod
    def _roles(cls, given: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        check_roles(given)
        return given

    def pinned(self, access: Access) -> FolderDataset:
        """With the window in its source, where one is declared: a record says how it was read."""
        if self.window == dicom.STORED:
            return self
        source = "; ".join(filter(None, (self.source, f"DICOM window {self.window}")))
        return self.model_copy(update={"source": source})

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        """As `Dataset.load`; images are paths.

        Raises:
            DataError: no such folder, nothing in it, folders and list disagree, several labels an
                image, a class of one image, a column or a list that nothing says the use of.
        """
        folder = self.path.expanduser().resolve()
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            raise DataError(f"dataset {self.name!r}: {self.path} {what}")
        dicom.check_window(self.window, f"dataset {self.name!r}")
        found = _scan(folder)
        scans = _scans(folder, found.images, self.window)
        lists = self._lists(folder, found)
        if lists is None:
            self._check_no_columns(folder)
            samples = _from_folders(folder, found.images, found.folders)
        else:
            folders = FOLDER in self.columns.get("label", ())
            samples = _from_list(folder, found.images, lists.rows, by_folder=folders)
        samples, joined = _one_spelling(folder, samples, join=self.join_labels)
        samples = _by_patient(folder, samples, scans)
        _check_apart(folder, samples)
        samples, further = self._own(folder, samples)
        return _tables(folder, samples, (*(lists.notes if lists else ()), *joined, *further))

    def external_sets(self, access: Access) -> Mapping[str, Dataset]:
        """Those that are declared, and those that a list in the folder names.

        Raises:
            DataError: as `load`; a name stands for two.
        """
        folder = self.path.expanduser().resolve()
        lists = self._lists(folder, _scan(folder)) if folder.is_dir() else None
        listed = sorted({row.external for row in lists.rows} - {""}) if lists else []
        if twice := [name for name in listed if name in self.external]:
            raise DataError(
                f"dataset {self.name!r}: the list in {folder} has a further test set {twice[0]!r}, and "
                "another of this name is given: call one of them something else"
            )
        given = {name: getattr(self, name) for name in FolderDataset.model_fields}
        given["external"] = {}
        parts = {one: ExternalFolder(**{**given, "name": one}, part=one) for one in listed}
        return {**self.external, **parts}

    def _lists(self, folder: Path, found: _Scan) -> Lists | None:
        return _read_lists(folder, find_lists(folder, found.others, found.images), self.columns)

    def _own(self, folder: Path, samples: Sequence[Listed]) -> tuple[list[Listed], tuple[str, ...]]:
        """The samples of the dataset itself, and a word on the others."""
        own = [sample for sample in samples if not sample.external]
        _check_classes(folder, own)
        others = Counter(sample.external for sample in samples if sample.external)
        notes = (f"{count} images are of {EXTERNAL}{name}" for name, count in others.items())
        return own, tuple(notes)

    def _check_no_columns(self, folder: Path) -> None:
        if self.columns:
            roles = ", ".join(f"{role}={','.join(names)}" for role, names in self.columns.items())
            raise DataError(
                f"dataset {self.name!r}: columns are declared ({roles}), but {folder} holds no list "
                "(manifest or metadata .csv, .tsv, .jsonl, .parquet)"
            )


Folder = TypeVar("Folder", bound=FolderDataset)


class ExternalFolder(FolderDataset):
    """A folder whose images are a further test set, whatever split they are in.

    Attributes:
        part: only those that its list has under `external:PART`; empty: all.
    """

    part: str = ""

    def external_sets(self, access: Access) -> Mapping[str, Dataset]:
        """It has none of its own."""
        return {}

    def _own(self, folder: Path, samples: Sequence[Listed]) -> tuple[list[Listed], tuple[str, ...]]:
        if self.part:
            return [sample for sample in samples if sample.external == self.part], ()
        note = f"all images of {folder} are tested on, whatever split its list or folders say"
        placed = any(sample.split or sample.external for sample in samples)
        return list(samples), (note,) if placed else ()


def parse_external_option(text: str) -> tuple[str, ExternalFolder]:
    """Dataset, or empty, and folder of `--external NAME=FOLDER` or `--external DATASET:NAME=FOLDER`.

    Raises:
        UsageError: another form, a name that is no id, or nothing is there.
    """
    left, equals, path = text.partition("=")
    dataset, colon, name = left.rpartition(":")
    if not (equals and path and name) or (colon and not dataset):
        raise UsageError(f"--external {text!r}: write NAME=FOLDER or DATASET:NAME=FOLDER")
    _check_id(name, f"--external {text!r}")
    if not Path(path).expanduser().exists():
        raise UsageError(f"--external {left}=...: {path} does not exist")
    return dataset, ExternalFolder(name=name, modality=UNKNOWN_MODALITY, path=Path(path))


def parse_data_option(text: str, where: str = "") -> FolderDataset:
    """The dataset of `--data NAME=FOLDER` or `--data MODALITY:NAME=FOLDER`.

    Its id is NAME; without a modality it is `unknown`, a modality of its own on the board.
    `where`: what a message begins with, if it is not of the command line.

    Raises:
        UsageError: another form, or a name that is no id.
    """
    where = where or f"--data {text!r}"
    left, equals, path = text.partition("=")
    modality, colon, name = left.rpartition(":")
    if not (equals and path and name) or (colon and not modality):
        raise UsageError(f"{where}: write NAME=FOLDER or MODALITY:NAME=FOLDER")
    for word in filter(None, (name, modality)):
        _check_id(word, where)
    return FolderDataset(name=name, modality=modality or UNKNOWN_MODALITY, path=Path(path))


def _check_id(word: str, where: str) -> None:
    if not ID.fullmatch(word):
        raise UsageError(f"{where}: {word!r} is no id; use lower-case letters, digits and hyphens")


def with_windows(folders: Iterable[Folder], options: Iterable[str]) -> list[Folder]:
    """The folders after `--window WINDOW` (all of them) and `--window NAME:WINDOW`.

    Raises:
        UsageError: no such folder, or no such window.
    """
    found = list(folders)
    names = [one.name for one in found]
    for option in options:
        name, colon, window = option.rpartition(":")
        dicom.check_window(window, f"--window {option}")
        if not found or (colon and name not in names):
            near = did_you_mean(name, names) if name else ""
            raise UsageError(
                f"--window {option}: it is for folders of --data, and "
                + (f"none is named {name!r}{near}" if found else "none is given")
            )
        found = [
            one if colon and one.name != name else one.model_copy(update={"window": window})
            for one in found
        ]
    return found


def with_options(
    folders: Iterable[Folder], columns: Iterable[str] = (), *, join_labels: bool = False
) -> list[Folder]:
    """Folders as `--columns [NAME:]ROLE=COLUMN` and `--join-labels` say; the options count first.

    Raises:
        UsageError: an option of another form, or for a folder that is not there.
    """
    found, options = list(folders), parse_columns(columns)
    names = [folder.name for folder in found]
    for name in options:
        if name and name not in names:
            raise UsageError(
                f"--columns {name}:...: no folder is called {name!r}{did_you_mean(name, names)}; it "
                "takes the name of a --data NAME=FOLDER"
            )
    if not found and (options or join_labels):
        which = "--columns" if options else "--join-labels"
        raise UsageError(f"{which} is about folders of your own: give --data NAME=FOLDER too")
    return [
        folder.model_copy(
            update={
                "columns": {
                    **folder.columns,
                    **options.get("", {}),
                    **options.get(folder.name, {}),
                },
                "join_labels": folder.join_labels or join_labels,
            }
        )
        for folder in found
    ]


# -- lists -----------------------------------------------------------------------------------------


def read_lists(folder: Path, columns: Columns | None = None) -> tuple[Listed, ...] | None:
    """Rows of the lists in a folder, or None: there is none.

    Raises:
        DataError: a list cannot be read, lacks a column or has one too many, or contradicts itself.
    """
    others = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    found = _read_lists(folder, find_lists(folder, others, ()), columns or {})
    return None if found is None else found.rows


def _read_lists(folder: Path, paths: Sequence[Path], columns: Columns) -> Lists | None:
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


@dataclass(frozen=True)
class _Scan:
    """Paths from a folder, sorted: image files, files of other kinds, and folders."""

    images: list[str]
    others: list[str]
    folders: list[str]


def _scan(folder: Path) -> _Scan:
    extensions = image_extensions()
    images: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    for here, below, files in walk(folder):
        prefix = f"{here}/" if here else ""
        folders += [prefix + name for name in below]
        for name in files:
            if name == dicom.DIRECTORY:
                continue
            file = prefix + name
            extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - Path is slow for many
            image = extension in extensions or (
                not _is_note(file) and dicom.is_dicom_file(folder / file)
            )
            (images if image else others).append(file)
    strange = [file for file in others if not _is_note(file)]
    among = sorted(file for file in strange if "/" in file)
    if among:
        raise DataError(
            f"{folder}: {len(among)} files are no images that can be read: {first_few(among)}; "
            "convert them (to PNG, say) or move them elsewhere"
        )
    if not images:
        kinds = Counter(PurePosixPath(file).suffix or "no extension" for file in strange)
        seen = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(3))
        found = f" (only {seen})" if seen else ""
        raise DataError(f"{folder} holds no image{found}; {LAYOUT}")
    return _Scan(sorted(images), sorted(others), folders)


def _is_note(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in NOTES or is_table(file)


def _scans(folder: Path, files: Sequence[str], window: str) -> frozenset[str]:
    """The DICOM files among images, whatever their names.

    Raises:
        DataError: what reads them is not installed, or a window is declared and there is none.
    """
    known = image_extensions()
    scans = frozenset(
        file
        for file in files
        if PurePosixPath(file).suffix.lower() not in known or dicom.is_read_as_dicom(folder / file)
    )
    if scans and not dicom.is_installed():
        raise DataError(
            f"{folder} holds {len(scans)} DICOM files ({first_few(sorted(scans))}); install what "
            f"reads them: {dicom.INSTALL}"
        )
    if not scans and window != dicom.STORED:
        raise DataError(f"{folder} holds no DICOM file, and only these have a window: {window!r}")
    return scans


def _by_patient(folder: Path, samples: list[Listed], scans: frozenset[str]) -> list[Listed]:
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


def _from_folders(folder: Path, files: Sequence[str], folders: Sequence[str]) -> list[Listed]:
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


def _from_list(
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


def _one_spelling(
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


def _check_apart(folder: Path, samples: Sequence[Listed]) -> None:
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


def _check_classes(folder: Path, samples: Sequence[Listed]) -> None:
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


def _tables(
    folder: Path, samples: Sequence[Listed], notes: tuple[str, ...]
) -> dict[str, datasets.Dataset]:
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for sample in samples:
        row = Row(folder / sample.file, str(sample.label), sample.group or sample.file, sample.file)
        rows[sample.split or "train"].append(row)
    return LoadedTables(
        {split: make_table(some) for split, some in rows.items() if some},
        notes=notes,
        metadata={sample.file: dict(sample.metadata) for sample in samples if sample.metadata},
    )

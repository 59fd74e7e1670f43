"""A folder of images as a dataset: `class/*.jpg`, or `train|validation|test/class/*.jpg`.

A list beside the images says more: `manifest.csv`, or `metadata.csv` as the Hub has it.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.data.listing import as_on_disk, walk
from harness.data.rows import NOTES, Row, image_extensions, make_table
from harness.errors import DataError, UsageError
from harness.utils.names import did_you_mean, first_few

if TYPE_CHECKING:
    import datasets

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
UNKNOWN_MODALITY = "unknown"
LAYOUT = "lay it out as class/image.jpg or train|validation|test/class/image.jpg"


@dataclass(frozen=True, slots=True)
class Listed:
    """One image: path from the folder, and what a list or the folders say; None: nothing."""

    file: str
    label: str | None = None
    split: Split | None = None
    group: str | None = None


class FolderDataset(Dataset):
    """Images in a folder; sample ids are paths from it, with forward slashes.

    `validation` may also be called `val` or `valid`.  `manifest.csv` (`file, split, label, group`)
    or `metadata.csv` (`file_name` instead of `file`) says more where there is one: then every image
    must be in it, images may lie anywhere, and what it says must not contradict the folders.
    Without splits the harness makes them; without groups every image is its own.

    What counts as an image is any file whose extension Pillow knows.  Hidden files and notes
    (.csv .tsv .txt .md .rst .json .xml .yaml .yml .html .pdf .xlsx .ini .db) are passed over,
    and so is whatever lies beside the class or split folders; any other file among the images is an
    error, since an image in a format that cannot be read must not go missing in silence.

    Attributes:
        path: the folder.
    """

    path: Path

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        """As `Dataset.load`; images are paths.

        Raises:
            DataError: no such folder, nothing in it, folders and list disagree, several labels an
                image, a class of one image.
        """
        folder = self.path.expanduser().resolve()
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            raise DataError(f"dataset {self.name!r}: {self.path} {what}")
        files, class_folders = _scan(folder)
        rows = read_lists(folder)
        samples = (
            _from_folders(folder, files, class_folders)
            if rows is None
            else _from_list(folder, files, rows)
        )
        _check_classes(folder, samples)
        return _tables(folder, samples)


def parse_data_option(text: str) -> FolderDataset:
    """The dataset of `--data NAME=FOLDER` or `--data MODALITY:NAME=FOLDER`.

    Its id is NAME; without a modality it is `unknown`, a modality of its own on the board.

    Raises:
        UsageError: another form, or a name that is no id.
    """
    left, equals, path = text.partition("=")
    modality, colon, name = left.rpartition(":")
    if not (equals and path and name) or (colon and not modality):
        raise UsageError(f"--data {text!r}: write NAME=FOLDER or MODALITY:NAME=FOLDER")
    for word in filter(None, (name, modality)):
        if not re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", word):
            raise UsageError(
                f"--data {text!r}: {word!r} is no id; use lower-case letters, digits and hyphens"
            )
    return FolderDataset(name=name, modality=modality or UNKNOWN_MODALITY, path=Path(path))


def read_lists(folder: Path) -> tuple[Listed, ...] | None:
    """Rows of `manifest.csv` (`file`, `label`; `split` and `group` may be missing), or None.

    Or of `metadata.csv` (`file_name` instead of `file`, from where the list lies; `label` may be
    missing where the folders say it), in the folder itself or in its split folders.

    Raises:
        DataError: a list cannot be read, lacks a column, or contradicts itself.
    """
    if (folder / "metadata.jsonl").is_file():
        raise DataError(f"{folder / 'metadata.jsonl'} is not read; write metadata.csv instead")
    manifest = folder / "manifest.csv"
    metadata = sorted([folder / "metadata.csv", *folder.glob("*/metadata.csv")])
    metadata = [path for path in metadata if path.is_file()]
    if manifest.is_file() and metadata:
        raise DataError(f"{folder} has both manifest.csv and {metadata[0]}: keep one of them")
    if manifest.is_file():
        rows = _read(manifest, folder, "file", needed=("file", "label"))
    elif metadata:
        rows = [
            row for path in metadata for row in _read(path, folder, "file_name", ("file_name",))
        ]
    else:
        return None
    _check_once(rows, folder)
    return tuple(rows)


def split_named(name: str, place: str) -> Split:
    """The split that a name stands for; `place` says where it was found.

    Raises:
        DataError: none has this name.
    """
    split = SPLIT_NAMES.get(name.lower())
    if split is None:
        hint = did_you_mean(name, SPLIT_NAMES)
        raise DataError(f"{place}: unknown split {name!r}{hint}; use train, validation or test")
    return split


def _read(path: Path, folder: Path, key: str, needed: Sequence[str]) -> list[Listed]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_header(path, header, needed)
            reader.fieldnames = header
            rows = [
                _row(row, key, path.parent.relative_to(folder), f"{path}, line {reader.line_num}")
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as comma-separated UTF-8 text: {error}") from error
    without = [row.file for row in rows if row.split is None]
    if 0 < len(without) < len(rows):
        raise DataError(f"{path}: some rows have a split, others none: {first_few(without)}")
    return rows


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)} (it has: {', '.join(header) or 'nothing'}); "
            "columns are file, split, label, group in manifest.csv, separated by commas; file_name "
            "in metadata.csv"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path} has column {', '.join(twice)} more than once")


def _row(row: dict[str, str], key: str, below: Path, place: str) -> Listed:
    if None in cast("dict[str | None, object]", row) or None in row.values():
        raise DataError(f"{place}: more or fewer cells than the header has columns")
    cells = {name: cell.strip() for name, cell in row.items()}
    file = _relative(cells[key], below, place)
    if cells.get("label") == "":
        raise DataError(f"{place}: {file} has no label")
    if "|" in cells.get("label", ""):
        raise DataError(
            f"{place}: {file} has several labels ({cells['label']}); only single-label sets can be "
            "used: keep one label an image"
        )
    split = cells.get("split")
    return Listed(
        file=file,
        label=cells.get("label"),
        split=split_named(split, place) if split else None,
        group=cells.get("group") or None,
    )


def _relative(name: str, below: Path, place: str) -> str:
    """A path from the folder, with forward slashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{place}: {name!r} is no path from the folder of the list to an image")
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
                f"{folder}: {row.file} is listed as {known.label!r} and as {row.label!r}; only "
                "single-label sets can be used: keep one row an image"
            )
        again.append(row.file)
    if again:
        raise DataError(
            f"{folder}: {len(again)} files are listed more than once: {first_few(again)}"
        )


def _scan(folder: Path) -> tuple[list[str], list[str]]:
    """Image files and folders below `folder`, as sorted paths from it."""
    extensions = image_extensions()
    images: list[str] = []
    folders: list[str] = []
    strange: list[str] = []
    for here, below, files in walk(folder):
        prefix = f"{here}/" if here else ""
        folders += [prefix + name for name in below]
        for name in files:
            extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - Path is slow for many
            if extension in extensions:
                images.append(prefix + name)
            elif extension not in NOTES:
                strange.append(prefix + name)
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
    return sorted(images), folders


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


def _from_list(folder: Path, files: Sequence[str], rows: Sequence[Listed]) -> list[Listed]:
    """Labels and splits by the list, and by the folders where it says nothing."""
    names = as_on_disk([row.file for row in rows], files)
    rows = [replace(row, file=name) for row, name in zip(rows, names, strict=True)]
    _check_once(rows, folder)  # two spellings of one name may be rows of one file
    listed, there = {row.file for row in rows}, set(files)
    unlisted, without = sorted(there - listed), sorted(listed - there)
    if without:
        raise DataError(
            f"{folder}: {len(without)} files are listed but there is no such image: "
            f"{first_few(without)}; add them, or take the rows out"
        )
    if unlisted:
        raise DataError(
            f"{folder}: {len(unlisted)} images are not listed: {first_few(unlisted)}; "
            "add rows for them, or take them away"
        )
    labels = {row.label for row in rows} - {None}
    samples = sorted((_joined(folder, row, labels) for row in rows), key=lambda row: row.file)
    bare = [sample.file for sample in samples if sample.split is None]
    if 0 < len(bare) < len(samples):
        raise DataError(f"{folder}: some images have a split, others none: {first_few(bare)}")
    return samples


def _joined(folder: Path, row: Listed, labels: set[str | None]) -> Listed:
    """A row and the folders its file lies in; these speak only in names that mean something."""
    above = row.file.split("/")[:-1]
    split: Split | None = SPLIT_NAMES.get(above[0].lower()) if above else None
    rest = above[1:] if split else above
    label = rest[-1] if rest and (not labels or rest[-1] in labels) else None
    if split and row.split and split != row.split:
        raise DataError(f"{folder}: {row.file} lies in {above[0]!r} but is listed as {row.split!r}")
    if label and row.label and label != row.label:
        raise DataError(f"{folder}: {row.file} lies in {label!r} but is listed as {row.label!r}")
    if not label and not row.label:
        raise DataError(f"{folder}: {row.file} has no label, neither in the list nor by its folder")
    return replace(row, split=row.split or split, label=row.label or label)


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


def _tables(folder: Path, samples: Sequence[Listed]) -> dict[str, datasets.Dataset]:
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for sample in samples:
        row = Row(folder / sample.file, str(sample.label), sample.group or sample.file, sample.file)
        rows[sample.split or "train"].append(row)
    return {split: make_table(some) for split, some in rows.items() if some}

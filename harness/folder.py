"""A folder of images as a dataset: `class/*.jpg`, or `train|validation|test/class/*.jpg`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harness.dataset import SPLITS, Access, Dataset, Split
from harness.errors import DataError, UsageError
from harness.filetypes import NOTES, image_extensions, is_hidden
from harness.manifest import SPLIT_NAMES, Listed, named, read_lists, split_named

if TYPE_CHECKING:
    import datasets

UNKNOWN_MODALITY = "unknown"
LAYOUT = "lay it out as class/image.jpg or train|validation|test/class/image.jpg"


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


def _scan(folder: Path) -> tuple[list[str], list[str]]:
    """Image files and folders below `folder`, as sorted paths from it."""
    extensions = image_extensions()
    images: list[str] = []
    folders: list[str] = []
    strange: list[str] = []
    for place, below, files in os.walk(folder, followlinks=True):
        below[:] = sorted(name for name in below if not is_hidden(name))
        here = Path(place).relative_to(folder)
        folders += [(here / name).as_posix() for name in below]
        for name in files:
            extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - Path is slow for many
            file = (here / name).as_posix()
            if extension in extensions and not is_hidden(name):
                images.append(file)
            elif not is_hidden(name) and extension not in NOTES:
                strange.append(file)
    among = sorted(file for file in strange if "/" in file)
    if among:
        raise DataError(
            f"{folder}: {len(among)} files are no images that can be read: {named(among)}; convert "
            "them (to PNG, say) or move them elsewhere"
        )
    if not images:
        kinds = Counter(PurePosixPath(file).suffix or "no extension" for file in strange)
        seen = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(3))
        found = f" (only {seen})" if seen else ""
        raise DataError(f"{folder} holds no image{found}; {LAYOUT}")
    return sorted(images), folders


def _from_folders(folder: Path, files: Sequence[str], folders: Sequence[str]) -> list[Listed]:
    """What the folders alone say."""
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
            f"{folder}: {len(misplaced)} images do not lie at {expected}: {named(misplaced)}; "
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
        raise DataError(f"{folder}: no image in class folder {named(empty)}; fill or remove it")
    return samples


def _from_list(folder: Path, files: Iterable[str], rows: Sequence[Listed]) -> list[Listed]:
    """What the list says, and the folders where it says nothing."""
    listed, there = {row.file for row in rows}, set(files)
    unlisted, without = sorted(there - listed), sorted(listed - there)
    if without:
        raise DataError(
            f"{folder}: {len(without)} files are listed but there is no such image: "
            f"{named(without)}; add them, or take the rows out"
        )
    if unlisted:
        raise DataError(
            f"{folder}: {len(unlisted)} images are not listed: {named(unlisted)}; "
            "add rows for them, or take them away"
        )
    labels = {row.label for row in rows} - {None}
    samples = sorted((_joined(folder, row, labels) for row in rows), key=lambda row: row.file)
    bare = [sample.file for sample in samples if sample.split is None]
    if 0 < len(bare) < len(samples):
        raise DataError(f"{folder}: some images have a split, others none: {named(bare)}")
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
        raise DataError(f"{folder} has a single class, {named(list(counts))}; it takes two or more")
    single = sorted(label for label, count in counts.items() if count == 1)
    if single:
        raise DataError(
            f"{folder}: a single image in class {named(single)}; a class needs two at least, one "
            "to train and one to test: add images, or take the class away"
        )


def _tables(folder: Path, samples: Sequence[Listed]) -> dict[str, datasets.Dataset]:
    import datasets

    text = datasets.Value("string")
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": text, "group": text, "id": text}
    )
    tables = {}
    for split in SPLITS:
        rows = [sample for sample in samples if (sample.split or "train") == split]
        columns = {
            "image": [str(folder / row.file) for row in rows],
            "label": [row.label for row in rows],
            "group": [row.group or row.file for row in rows],
            "id": [row.file for row in rows],
        }
        if rows:
            tables[str(split)] = datasets.Dataset.from_dict(columns, features=features)
    return tables

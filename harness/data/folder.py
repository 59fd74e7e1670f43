"""A folder of images as a dataset: `class/*.jpg`, or `train|validation|test/class/*.jpg`.

A list beside the images says more, see `harness.data.on_disk.lists`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import field_validator

from harness.api.dataset import SPLITS, Access, Dataset
from harness.data.on_disk.columns import EXTERNAL, FOLDER, check_roles, parse_columns
from harness.data.on_disk.files import Scan, dicom_files, scan_folder
from harness.data.on_disk.lists import find_lists
from harness.data.on_disk.samples import (
    ID,
    Listed,
    Lists,
    by_patient,
    check_apart,
    check_classes,
    from_folders,
    from_list,
    one_spelling,
    rows_of_lists,
)
from harness.data.pixels import dicom
from harness.data.rows import LoadedTables, Row, make_table
from harness.errors import DataError, UsageError
from harness.utils.names import did_you_mean

if TYPE_CHECKING:
    import datasets

UNKNOWN_MODALITY = "unknown"


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
        found = scan_folder(folder)
        scans = dicom_files(folder, found.images, self.window)
        lists = self._lists(folder, found)
        if lists is None:
            self._check_no_columns(folder)
            samples = from_folders(folder, found.images, found.folders)
        else:
            folders = FOLDER in self.columns.get("label", ())
            samples = from_list(folder, found.images, lists.rows, by_folder=folders)
        samples, joined = one_spelling(folder, samples, join=self.join_labels)
        samples = by_patient(folder, samples, scans)
        check_apart(folder, samples)
        samples, further = self._own(folder, samples)
        return _tables(folder, samples, (*(lists.notes if lists else ()), *joined, *further))

    def external_sets(self, access: Access) -> Mapping[str, Dataset]:
        """Those that are declared, and those that a list in the folder names.

        Raises:
            DataError: as `load`; a name stands for two.
        """
        folder = self.path.expanduser().resolve()
        lists = self._lists(folder, scan_folder(folder)) if folder.is_dir() else None
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

    def _lists(self, folder: Path, found: Scan) -> Lists | None:
        return rows_of_lists(folder, find_lists(folder, found.others, found.images), self.columns)

    def _own(self, folder: Path, samples: Sequence[Listed]) -> tuple[list[Listed], tuple[str, ...]]:
        """The samples of the dataset itself, and a word on the others."""
        own = [sample for sample in samples if not sample.external]
        check_classes(folder, own)
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

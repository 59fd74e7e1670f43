"""Datasets of the Hugging Face Hub as declarations: which files, which columns, what a group is.

Nothing here uses the network.  `harness data fetch` brings the files of one revision to
`CACHE/hub/ORG--NAME/REVISION/` and writes what they are, with the sha256 of each, into the lock
file and beside them; `load` reads them from there, and only if every byte is as it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import Field, StringConstraints, ValidationError, model_validator

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.api.records import digest
from harness.data import lock, rows
from harness.data.lock import Commit, LockedDataset, LockedFile
from harness.errors import DataError

if TYPE_CHECKING:
    import datasets

Repo = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
FETCHED = "fetched.json"  # beside the files of a revision: what they are


class HubDataset(Dataset):
    """Images of a dataset repository, declared; no further code is needed.

    Sample ids are `split/class/file name`, or what `id_column` says.  Every sample is a group of
    its own unless one of the group rules says more; a subclass may also override `group_of`.

    Attributes:
        repo: ORG/NAME.
        revision: a commit; None: settled by the first `harness data fetch`, in the lock file.
        files: split -> globs of the repository's files (`*` matches `/` too): parquet, zip archives
            of images, or images.  Every glob must match; nothing else is fetched.  In archives and
            folders the class of an image is the folder it lies in.
        image_column, label_column, id_column, group_column: names in the parquet files; '': none.
        group_pattern: a regular expression that finds the group in a file name (its first group).
        groups_restart: groups are numbered anew in every split.
        unique_column: rows with an equal value are one image; the first one is kept.
        images: how many images a split has, about; for plans of what is not fetched yet.
        every_row: rows that are one image stay apart, each with its place in its id; for audits.
    """

    repo: Repo
    revision: Commit | None = None
    files: dict[Split, tuple[str, ...]] = Field(min_length=1)
    image_column: str = "image"
    label_column: str = "label"
    id_column: str = ""
    group_column: str = ""
    group_pattern: str = ""
    groups_restart: bool = False
    unique_column: str = ""
    images: dict[Split, int] = Field(default_factory=dict)
    every_row: bool = False

    @model_validator(mode="before")
    @classmethod
    def _source(cls, given: Any) -> Any:  # noqa: ANN401 - whatever a plugin gives
        if isinstance(given, dict) and "repo" in given and not given.get("source"):
            return given | {"source": f"https://huggingface.co/datasets/{given['repo']}"}
        return given

    # -- where it is ------------------------------------------------------------------------------

    def folder(self, access: Access, revision: str) -> Path:
        """The folder of a revision's files."""
        return access.cache / "hub" / self.repo.replace("/", "--") / revision

    def locked(self, access: Access) -> LockedDataset | None:
        """The files fetched, by the lock file or, if pinned, by the cache; None: none were.

        Raises:
            DataError: the lock file cannot be read.
        """
        entry = lock.read(access.lock).datasets.get(self.name)
        if entry is None and self.revision is not None:
            entry = _fetched(self.folder(access, self.revision))
        if entry is None or entry.repo != self.repo or self.revision not in {None, entry.revision}:
            return None
        return entry if self._covered(entry) else None

    def _covered(self, entry: LockedDataset) -> bool:
        paths = [file.path for file in entry.files]
        return all(matching(glob, paths) for globs in self.files.values() for glob in globs)

    def at_hand(self, access: Access) -> bool:
        """True if its files are there in full size; what is in them is checked by `load`."""
        entry = self.locked(access)
        if entry is None:
            return False
        folder = self.folder(access, entry.revision)
        places = [(folder / file.path, file.bytes) for file in entry.files]
        return all(place.is_file() and place.stat().st_size == size for place, size in places)

    def pinned(self, access: Access) -> Dataset:
        """With the revision that the lock file names, where none is declared."""
        entry = self.locked(access)
        return self.model_copy(update={"revision": entry.revision}) if entry else self

    def as_published(self) -> Dataset:
        return self.model_copy(update={"every_row": True}) if self.unique_column else self

    # -- what it holds ----------------------------------------------------------------------------

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        """As `Dataset.load`.

        Raises:
            DataError: it was not fetched, a byte has changed, or it is not what was declared.
        """
        entry = self.locked(access)
        if entry is None:
            self._refuse(access)
        folder = self.folder(access, entry.revision)
        problem = lock.verify(folder, entry.files)
        if problem:
            raise DataError(
                f"dataset {self.name!r}: {problem}: cut short, changed, or not there; "
                f"'harness data fetch {self.name}' fetches it again"
            )
        try:
            found = {split: self._read(split, entry, access) for split in self._splits()}
            return self._tables(found)
        except DataError as error:
            raise DataError(
                f"dataset {self.name!r} ({self.repo}, revision {entry.revision}): {error}"
            ) from error

    def group_of(self, file: str) -> str:
        """The group of an image by its file name.

        Raises:
            DataError: the name does not have the form declared.
        """
        found = re.search(self.group_pattern, file)
        if found is None:
            raise DataError(
                f"no group in file name {file!r} by the pattern {self.group_pattern!r}; correct "
                "group_pattern"
            )
        return found[1] if found.re.groups else found[0]

    def _splits(self) -> list[Split]:
        return [split for split in SPLITS if split in self.files]

    def _refuse(self, access: Access) -> NoReturn:
        why = (
            f"revision {self.revision} was not fetched"
            if self.revision
            else f"its revision is not pinned, and {access.lock} does not settle it"
        )
        raise DataError(f"dataset {self.name!r}: {why}: run 'harness data fetch {self.name}'")

    def _read(self, split: Split, entry: LockedDataset, access: Access) -> rows.SourceRows:
        folder = self.folder(access, entry.revision)
        chosen = select(self.files[split], entry.files)
        kinds = {PurePosixPath(file.path).suffix.lower() for file in chosen}
        if kinds == {".parquet"}:
            name = digest({"files": [file.sha256 for file in chosen]})[:20]
            return rows.read_parquet(
                [folder / file.path for file in chosen],
                self.image_column,
                self._columns(),
                access.cache / "hub" / "prepared" / name,
            )
        if ".parquet" in kinds:
            raise DataError(f"{split} mixes parquet files with others: {', '.join(sorted(kinds))}")
        paths: list[Path] = []
        for file in chosen:
            place = folder / file.path
            archive = place.suffix.lower() == ".zip"
            unpacked = access.cache / "hub" / "unpacked"
            paths += rows.unpack(place, file.sha256, unpacked) if archive else [place]
        return rows.read_images(paths, self.label_column)

    def _columns(self) -> list[str]:
        named = (self.label_column, self.id_column, self.group_column, self.unique_column)
        return [name for name in dict.fromkeys(named) if name]

    def _tables(self, found: Mapping[Split, rows.SourceRows]) -> dict[str, datasets.Dataset]:
        seen: dict[object, tuple[str, str]] = {}
        tables = {str(split): self._table(split, one, seen) for split, one in found.items()}
        return {split: table for split, table in tables.items() if len(table)}

    def _table(
        self, split: Split, found: rows.SourceRows, seen: dict[object, tuple[str, str]]
    ) -> datasets.Dataset:
        import datasets

        labels = self._labels(split, found)
        ids = self._ids(split, found, labels)
        groups = self._groups(split, found, ids)
        text = datasets.Value("string")
        rest = datasets.Dataset.from_dict(
            {"label": labels, "group": groups, "id": ids},
            features=datasets.Features(label=text, group=text, id=text),
        )
        whole = datasets.concatenate_datasets([found.images, rest], axis=1)
        if self.every_row or not self.unique_column:
            return whole
        values = found.columns[self.unique_column]
        kept = [
            row
            for row, value in enumerate(values)
            if _first(value, (labels[row], groups[row]), seen)
        ]
        return whole.select(kept)

    def _labels(self, split: Split, found: rows.SourceRows) -> list[Any]:
        """Class names; numbers are into the declared classes."""
        values = list(found.columns[self.label_column])
        if self.classes and all(isinstance(value, int) for value in values):
            values = [
                self.classes[value] if 0 <= value < len(self.classes) else value for value in values
            ]
        strange = sorted({str(value) for value in values} - set(self.classes))
        if self.classes and strange:
            raise DataError(
                f"{split} has the label {strange[0]!r}, which is none of the {len(self.classes)} "
                f"declared ({', '.join(self.classes)}): correct classes, or pin the revision they "
                "were written for"
            )
        return values

    def _ids(self, split: Split, found: rows.SourceRows, labels: Sequence[object]) -> list[str]:
        if self.id_column:
            ids = [str(value) for value in found.columns[self.id_column]]
        else:
            named = enumerate(zip(labels, found.names, strict=True))
            ids = [f"{split}/{label}/{name or f'{row:06d}'}" for row, (label, name) in named]
        return (
            [f"{split}/{row:06d}/{name}" for row, name in enumerate(ids)] if self.every_row else ids
        )

    def _groups(self, split: Split, found: rows.SourceRows, ids: Sequence[str]) -> list[str | None]:
        if self.group_column:
            values = [None if v is None else str(v) for v in found.columns[self.group_column]]
        elif self.group_pattern or type(self).group_of is not HubDataset.group_of:
            values = [self.group_of(name) for name in found.names]
        else:
            return list(ids)
        return [f"{split}/{value}" if self.groups_restart and value else value for value in values]


def matching(glob: str, paths: Sequence[str]) -> list[str]:
    """The repository paths that a glob names, sorted."""
    return sorted(path for path in paths if fnmatchcase(path, glob))


def select(globs: Sequence[str], files: Sequence[LockedFile]) -> list[LockedFile]:
    """The files that one of the globs names, by path."""
    chosen = {f.path: f for f in files if any(fnmatchcase(f.path, glob) for glob in globs)}
    return [chosen[path] for path in sorted(chosen)]


def _fetched(folder: Path) -> LockedDataset | None:
    """The content of `FETCHED`; None: nothing was fetched here in full."""
    try:
        return LockedDataset.model_validate_json((folder / FETCHED).read_bytes())
    except (OSError, ValidationError):
        return None


def _first(value: object, row: tuple[Any, Any], seen: dict[object, tuple[Any, Any]]) -> bool:
    """True if a row is the first of its kind; those after it must say the same."""
    if value not in seen:
        seen[value] = row
        return True
    if seen[value] != row:
        raise DataError(
            f"rows of {value!r} disagree: {' / '.join(map(str, seen[value]))} against "
            f"{' / '.join(map(str, row))}"
        )
    return False

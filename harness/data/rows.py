"""Rows of a dataset's tables, out of parquet files, archives of images, and image files."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from harness.data.pixels.formats import known_formats
from harness.errors import DataError

if TYPE_CHECKING:
    import datasets

NOTES = frozenset(
    {".csv", ".tsv", ".txt", ".md", ".rst", ".json", ".xml", ".yaml", ".yml"}
    | {".html", ".pdf", ".xlsx", ".ini", ".db"}
)


def is_hidden(name: str) -> bool:
    """True if a file or folder of this name is passed over."""
    return name.startswith(".") or name == "__MACOSX"


@cache
def image_extensions() -> frozenset[str]:
    """Extensions, with the dot and in lower case, of what Pillow can read."""
    from PIL import Image

    formats = known_formats()
    return frozenset(e for e, name in Image.registered_extensions().items() if name in formats)


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a table; `label` is the class name.  See `Dataset.load`."""

    image: Path | bytes
    label: str
    group: str
    id: str


@dataclass(frozen=True)
class SourceRows:
    """The images of a split as the source has them.

    Attributes:
        images: one column, `image`.
        names: the file name of each; '' where the source has none.
        columns: what else was asked for, by the source's names.
    """

    images: datasets.Dataset
    names: Sequence[str]
    columns: Mapping[str, Sequence[Any]]


class LoadedTables(dict[str, "datasets.Dataset"]):
    """Tables of `Dataset.load`, and what cannot stand in them.

    Attributes:
        notes: sentences on what was passed over or joined.
        metadata: id of a sample -> name -> text; never trained on.
    """

    def __init__(
        self,
        tables: Mapping[str, datasets.Dataset],
        *,
        notes: tuple[str, ...] = (),
        metadata: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(tables)
        self.notes = notes
        self.metadata = metadata or {}


def make_table(rows: Iterable[Row]) -> datasets.Dataset:
    """A table as `Dataset.load` gives them; image bytes are kept in memory, paths are read later."""
    import datasets

    text = datasets.Value("string")
    kinds = {"image": datasets.Image(decode=False), "label": text, "group": text, "id": text}
    listed = list(rows)
    columns = {
        "image": [_cell(row.image) for row in listed],
        "label": [row.label for row in listed],
        "group": [row.group for row in listed],
        "id": [row.id for row in listed],
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def _cell(image: Path | bytes) -> dict[str, object]:
    if isinstance(image, bytes):
        return {"bytes": image, "path": None}
    return {"bytes": None, "path": str(image)}


# -- parquet --------------------------------------------------------------------------------------


def read_parquet(
    paths: Sequence[Path], image: str, others: Sequence[str], prepared: Path
) -> SourceRows:
    """The rows of parquet files whose `image` column is one of the Hub's.

    `prepared` is the folder of the copy that can be mapped into memory: one for these bytes.

    Raises:
        DataError: a file is no parquet, or lacks a column.
    """
    import datasets
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = list(dict.fromkeys([image, *others]))
    for path in paths:
        try:
            there = pq.read_schema(path).names
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} is no parquet file ({error})") from error
        if missing := [name for name in wanted if name not in there]:
            raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(there)}")
    try:
        with _quiet():
            # Not load_dataset: that counts its use on the network, even of local files.
            raw = datasets.Dataset.from_parquet(
                [str(path) for path in paths], columns=wanted, cache_dir=str(prepared)
            )
    except (datasets.exceptions.DatasetGenerationError, OSError) as error:
        reason = error.__cause__ or error
        raise DataError(f"{paths[0].parent} cannot be copied to {prepared}: {reason}") from error
    raw = raw.cast_column(image, datasets.Image(decode=False))
    names = pc.struct_field(raw.data.column(image), "path").to_pylist()
    columns = {name: _values(raw, name) for name in others}
    images = raw.select_columns([image]).rename_columns({image: "image"})
    return SourceRows(images, [PurePosixPath(name or "").name for name in names], columns)


def _values(raw: datasets.Dataset, name: str) -> list[Any]:
    """A column's values; class numbers as class names."""
    import datasets

    kind = raw.features[name]
    values = list(raw.select_columns([name])[:][name])
    if isinstance(kind, datasets.ClassLabel):
        return [None if value in {None, -1} else kind.names[value] for value in values]
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar of the library's: it fills logs."""
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()


# -- images in folders and archives ---------------------------------------------------------------
# Read here and not by the library's `imagefolder`: version 5.2 takes the folder that an archive
# lies in for the class of the images in it.


def read_images(paths: Sequence[Path], label: str) -> SourceRows:
    """Image files; the folder that an image lies in is its class, under the column name `label`."""
    rows = make_table(Row(path, path.parent.name, "", "") for path in paths)
    names = [path.name for path in paths]
    return SourceRows(
        rows.select_columns(["image"]), names, {label: [p.parent.name for p in paths]}
    )


def unpack(archive: Path, sha256: str, place: Path) -> list[Path]:
    """The images of a zip archive, sorted, unpacked once into a folder of `place`.

    Raises:
        DataError: it is no sound archive, or holds files of unknown kind or no image.
    """
    target = place / f"{archive.stem}-{sha256[:20]}"
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _image_members(archive, opened)
            found = [target / member.filename for member in members]
            if not all(_is_there(*pair) for pair in zip(found, members, strict=True)):
                _extract(opened, members, target)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{archive} cannot be unpacked into {place}: {error}") from error
    return sorted(found)


def _image_members(archive: Path, opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = []
    for member in opened.infolist():
        path = PurePosixPath(member.filename)
        outside = path.is_absolute() or ".." in path.parts
        passed_over = any(map(is_hidden, path.parts)) or path.suffix.lower() in NOTES
        if member.is_dir() or (passed_over and not outside):
            continue
        if outside or len(path.parts) == 1:
            raise DataError(f"{archive} holds {member.filename}, which lies in no class folder")
        if path.suffix.lower() not in image_extensions():
            raise DataError(f"{archive} holds {member.filename}, which is no image known here")
        members.append(member)
    if not members:
        raise DataError(f"{archive} holds no image")
    return members


def _is_there(path: Path, member: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == member.file_size


def _extract(opened: zipfile.ZipFile, members: list[zipfile.ZipInfo], target: Path) -> None:
    """All or nothing, and two processes that do it do not meet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        opened.extractall(staging, members)
        if target.exists():
            shutil.rmtree(target)  # damaged: a sound one is not unpacked again
        try:
            staging.rename(target)
        except OSError:
            if not all(_is_there(target / one.filename, one) for one in members):
                raise  # else another process was first: its copy is as good
    finally:
        shutil.rmtree(staging, ignore_errors=True)

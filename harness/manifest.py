"""Lists of images beside a folder of images: `manifest.csv`, or `metadata.csv` as the Hub has it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from harness.dataset import Split
from harness.errors import DataError
from harness.suggest import did_you_mean

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
NAMED = 5  # of many wrong things, the first few are named


@dataclass(frozen=True, slots=True)
class Listed:
    """One image: path from the folder, and what a list or the folders say; None: nothing."""

    file: str
    label: str | None = None
    split: Split | None = None
    group: str | None = None


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


def named(names: Sequence[str]) -> str:
    """`a, b and 7 more`: the first few, and how many there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


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
        raise DataError(f"{path}: some rows have a split, others none: {named(without)}")
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
        raise DataError(f"{folder}: {len(again)} files are listed more than once: {named(again)}")

"""Lists beside images: found, and read as tables of text.

A list is called manifest or metadata and is comma, semicolon or tab separated text, JSON lines or
parquet: what the Hub's ImageFolder, pandas or a spreadsheet leaves.  A file that looks like a list
and is not read is refused by name.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from harness.errors import DataError
from harness.utils.text import short

Columns = Mapping[str, tuple[str, ...]]  # role -> names of columns
STEMS = ("manifest", "metadata")
SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
READ = (*SEPARATORS, *JSON_LINES, *PARQUET)
UNREAD = frozenset(
    {".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".feather", ".ftr", ".arrow", ".orc"}
    | {".avro", ".pkl", ".pickle", ".dta", ".sav", ".sas7bdat", ".rds", ".rdata", ".tab", ".psv"}
    | {".sqlite", ".sqlite3"}
)
# May be notes, may be lists: their names or the images they name tell.
TEXTS = frozenset({".txt", ".json", ".xml", ".yaml", ".yml", ".lst", ".list", ".dat", ".toml", ""})
PROSE = frozenset({".md", ".rst", ".html", ".htm", ".pdf", ".ini", ".db"})
LISTY = frozenset({
    "manifest", "metadata", "label", "labels", "annotation", "annotations", "groundtruth", "ground",
    "truth", "split", "splits", "fold", "folds", "groups", "patients",
})  # fmt: skip
FILLERS = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "image", "images", "img"}
    | {"data", "dataset", "file", "files", "my", "all", "of", "the", "and"}
)
LONGEST = 200  # characters of a name, or of a reason, that a message has room for
LOOKED_AT = 1 << 20  # bytes of a text in which names of images are looked for

# Role -> the names that its column may have.
NAMES = {
    "file": ("file", "file_name"),
    "label": ("label",),
    "split": ("split",),
    "group": ("group",),
}


@dataclass(frozen=True)
class ListTable:
    """The cells of a list as text.  `rows`: where each stands (`line 3`), and its cells."""

    path: Path
    header: tuple[str, ...]
    rows: Sequence[tuple[str, Sequence[object]]]

    def values(self, column: int) -> list[str]:
        """A column's cells."""
        return [as_text(cells[column]) for _, cells in self.rows]


# -- finding ---------------------------------------------------------------------------------------


def find_lists(folder: Path, others: Sequence[str], images: Iterable[str]) -> list[Path]:
    """The lists among `others`, the files that are no images; paths from `folder`.

    Raises:
        DataError: a file looks like a list and is not read, or two could be meant.
    """
    lists = sorted(name for name in others if _is_list(PurePosixPath(name)))
    names: set[str] | None = None
    for name in sorted(set(others) - set(lists)):
        path = PurePosixPath(name)
        if names is None and path.suffix.lower() in TEXTS:
            names = {image.split("/")[-1] for image in images}
        if _looks_like_list(folder, path, names or set()):
            raise _not_read(folder, name, lists)
    stems: dict[str, str] = {}
    places: dict[PurePosixPath, str] = {}
    for name in lists:
        path = PurePosixPath(name)
        beside = places.setdefault(path.parent, name)
        stems.setdefault(path.name.split(".")[0].lower(), name)
        if beside != name or len(stems) > 1:
            one, other = (beside, name) if beside != name else sorted(stems.values(), key=_name)
            raise DataError(f"{folder} has both {one} and {folder / other}: keep one of them")
    return [folder / name for name in lists]


def _name(path: str) -> str:
    return path.rsplit("/", maxsplit=1)[-1].lower()


def is_table(name: str) -> bool:
    """True for the name of a file that can only hold a table, read here or not."""
    return PurePosixPath(name).suffix.lower() in {*READ, *UNREAD}


def _is_list(path: PurePosixPath) -> bool:
    return path.suffix.lower() in READ and path.name.lower().rpartition(".")[0] in STEMS


def _looks_like_list(folder: Path, path: PurePosixPath, images: set[str]) -> bool:
    if path.name.startswith("~$"):  # a spreadsheet that is open
        return False
    kind = path.suffix.lower()
    if is_table(path.name):
        return True
    if kind in PROSE:
        return False
    words = set(re.split(r"[^a-z]+", path.name.split(".")[0].lower())) - {""}
    if words & LISTY and words <= LISTY | FILLERS:
        return True
    return kind in TEXTS and _names_images(folder / path, images)


def _names_images(path: Path, images: set[str]) -> bool:
    """True if a text names two of the images: the files beside an image name that one only."""
    try:
        with path.open("rb") as file:
            text = file.read(LOOKED_AT).decode("utf-8", "replace")
    except OSError:
        return False
    words = {word.split("/")[-1] for word in re.split(r"[\s\"'<>,;:=|\\\[\]{}()]+", text)}
    return len(words & images) > 1


def _not_read(folder: Path, name: str, lists: Sequence[str]) -> DataError:
    path = PurePosixPath(name)
    away = "move it out of the folder, or let its name begin with a dot"
    if lists:
        return DataError(
            f"{folder / name} looks like a list and is not read, beside {folder / lists[0]}, which "
            f"is: put what it says into {PurePosixPath(lists[0]).name}, and {away}"
        )
    if path.suffix.lower() in READ:
        remedy = f"if it is the list of the images, call it manifest{path.suffix.lower()}"
    else:
        remedy = "if it is the list of the images, save it as manifest.csv"
    return DataError(
        f"{folder / name} looks like a list and is not read: lists are manifest or metadata "
        f"({', '.join(READ)}) with the columns file, label, split, group; {remedy}, else {away}"
    )


# -- reading ---------------------------------------------------------------------------------------


def read_list(path: Path, columns: Columns) -> ListTable:
    """The cells of a list.  `columns` help to tell what separates the cells of a text.

    Raises:
        DataError: it cannot be read, or a row has more or fewer cells than the header.
    """
    kind = path.suffix.lower()
    if kind in PARQUET:
        return _read_parquet(path)
    lines = _text(path)
    return _read_json_lines(path, lines) if kind in JSON_LINES else _read_text(path, lines, columns)


def _text(path: Path) -> str:
    what = "JSON lines" if path.suffix.lower() in JSON_LINES else "comma-separated"
    try:
        data = path.read_bytes()
        code = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
        text = data.decode(code)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as {what} UTF-8 text: {error}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise DataError(
            f"{path} cannot be read as {what} UTF-8 text: it holds zero bytes, as UTF-16 without a "
            "mark does; save it as UTF-8"
        )
    return text


def _read_text(path: Path, text: str, columns: Columns) -> ListTable:
    first, _, rest = text.partition("\n")
    # A spreadsheet's note of what separates the cells.
    noted = re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE)
    try:
        separator = noted[1] if noted else _separator(path, text, columns)
        reader = csv.reader(
            io.StringIO(rest if noted else text, newline=""), strict=True, delimiter=separator
        )
        rows = [(f"line {reader.line_num + bool(noted)}", cells) for cells in reader if cells]
    except (csv.Error, ValueError) as error:  # the latter of what cannot separate
        raise DataError(f"{path} cannot be read as comma-separated UTF-8 text: {error}") from error
    header = tuple(rows[0][1]) if rows else ()
    for place, cells in rows[1:]:
        if len(cells) != len(header):
            raise DataError(
                f"{path}, {place}: more or fewer cells than the header has columns "
                f"({len(cells)}, not {len(header)})"
            )
    # Spreadsheets end with rows of nothing.
    filled = [row for row in rows[1:] if any(cell.strip() for cell in row[1])]
    return ListTable(path, header, filled)


def _separator(path: Path, text: str, columns: Columns) -> str:
    """The separator that gives the header the most columns that are known, else the most."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    own = SEPARATORS[path.suffix.lower()]
    known = {name for names in (*NAMES.values(), *columns.values()) for name in map(fold, names)}

    def rank(separator: str) -> tuple[int, int, bool]:
        names = [fold(name) for name in next(csv.reader([head], delimiter=separator), [])]
        return len(known.intersection(names)), len(names), separator == own

    return max((",", ";", "\t"), key=rank)


def _read_json_lines(path: Path, text: str) -> ListTable:
    found: list[tuple[str, dict[str, object]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, {place}: {error}; write one JSON object a line") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, {place}: no JSON object; write one a line")
        found.append((place, row))
    header = tuple(dict.fromkeys(name for _, row in found for name in row))
    return ListTable(
        path, header, [(place, [row.get(name) for name in header]) for place, row in found]
    )


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _read_parquet(path: Path) -> ListTable:
    import pyarrow.parquet as pq

    try:
        # A file by itself: as a data set, columns would be made of its folders' names.
        table = pq.ParquetFile(path).read()
        names = tuple(table.column_names)
        columns = [table.column(number).to_pylist() for number in range(table.num_columns)]
    except Exception as error:
        # Values that Python has none for (years, time zones, texts) raise anything.
        reason = short(str(error) or type(error).__name__, LONGEST)
        raise DataError(f"{path} cannot be read as a parquet file: {reason}") from error
    rows = enumerate(zip_longest(*columns), start=1)
    return ListTable(path, names, [(f"row {number}", cells) for number, cells in rows])


def as_text(cell: object) -> str:
    """A cell as text; nothing is ''."""
    if cell is None:
        return ""
    if isinstance(cell, (list, dict, tuple)):
        return json.dumps(cell, default=str)
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace").strip()
    return str(cell).strip()


def fold(name: str) -> str:
    """Names of columns are compared without regard to case and the spaces around them."""
    return name.strip().lower()

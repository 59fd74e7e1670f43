"""Lists beside images: found, read as tables of text, and their columns given roles.

A list is called manifest or metadata and is comma, semicolon or tab separated text, JSON lines or
parquet: what the Hub's ImageFolder, pandas or a spreadsheet leaves.  A file that looks like a list
and is not read is refused by name.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from harness.api.dataset import Split
from harness.errors import DataError, UsageError
from harness.utils.names import did_you_mean, first_few
from harness.utils.text import short, shorten

Columns = Mapping[str, tuple[str, ...]]  # role -> names of columns
ROLES = ("file", "label", "split", "group", "metadata", "ignore")
SINGLE = ROLES[:4]
FOLDER = "@folder"  # `label=@folder`: the folder that an image lies in

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
EXTERNAL = "external:"  # before the name of a further test set, in place of a split
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
LISTY = frozenset(
    {
        "manifest",
        "metadata",
        "label",
        "labels",
        "annotation",
        "annotations",
        "groundtruth",
        "ground",
    }
    | {"truth", "split", "splits", "fold", "folds", "groups", "patients"}
)
FILLERS = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "image", "images", "img"}
    | {"data", "dataset", "file", "files", "my", "all", "of", "the", "and"}
)
LONGEST, MOST_NAMES = 200, 30  # characters of a name, and names, that a message has room for
LOOKED_AT = 1 << 20  # bytes of a text in which names of images are looked for

_NAMES = {
    "file": ("file", "file_name"),
    "label": ("label",),
    "split": ("split",),
    "group": ("group",),
}
# Words in a column's name that tell what it holds.
_LOOKS = {
    "group": frozenset(
        {
            "group",
            "groups",
            "patient",
            "patients",
            "patientid",
            "pid",
            "subject",
            "subjects",
            "case",
        }
        | {
            "lesion",
            "study",
            "mrn",
            "person",
            "participant",
            "individual",
            "donor",
            "slide",
            "animal",
        }
        | {
            "specimen",
            "biopsy",
            "exam",
            "examination",
            "series",
            "accession",
            "video",
            "visit",
            "eye",
        }
        | {"proband", "mouse", "volume", "scan", "encounter", "wsi"}
    ),
    "split": frozenset(
        {"split", "splits", "fold", "folds", "subset", "subsets", "partition", "set", "traintest"}
        | {"phase", "usage"}
    ),
    "label": frozenset({"label", "labels", "class", "diagnosis", "dx", "target", "category", "y"}),
    "file": frozenset({"file", "filename", "filepath", "image", "img", "path", "picture"}),
}
_NAMELESS = re.compile(r"|unnamed: ?\d+(_level_\d+)?|__index_level_\d+__")


@dataclass(frozen=True)
class ListTable:
    """The cells of a list as text.  `rows`: where each stands (`line 3`), and its cells."""

    path: Path
    header: tuple[str, ...]
    rows: Sequence[tuple[str, Sequence[object]]]

    def values(self, column: int) -> list[str]:
        """A column's cells."""
        return [as_text(cells[column]) for _, cells in self.rows]


@dataclass(frozen=True)
class Roles:
    """Numbers of the columns that have a role; `passed`: names of those passed over."""

    single: Mapping[str, int]
    metadata: Mapping[str, int] = field(default_factory=dict)
    passed: tuple[str, ...] = ()


# -- the option and the field ----------------------------------------------------------------------


def parse_columns(options: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """`--columns [NAME:]ROLE=COLUMN[,COLUMN]`: the name of a set, '' for all -> role -> columns.

    Raises:
        UsageError: another form, an unknown role, or a role given twice.
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for option in options:
        left, equals, right = option.partition("=")
        name, _, role = left.strip().rpartition(":")
        names = tuple(filter(None, (part.strip() for part in right.split(","))))
        if not (equals and names and role):
            raise UsageError(
                f"--columns {option!r}: write ROLE=COLUMN or NAME:ROLE=COLUMN, as in group=patient_id; "
                f"roles are {', '.join(ROLES)}"
            )
        roles = found.setdefault(name, {})
        if role in roles and role in SINGLE:
            raise UsageError(f"--columns {option!r}: {role} is given twice")
        roles[role] = (*roles.get(role, ()), *names)
    for roles in found.values():
        try:
            check_roles(roles)
        except ValueError as error:
            raise UsageError(f"--columns: {error}") from error
    return found


def check_roles(roles: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError for an unknown role, several columns for one, a column with two roles."""
    for role, names in roles.items():
        if role not in ROLES:
            raise ValueError(
                f"unknown role {role!r}{did_you_mean(role, ROLES)}; roles are {', '.join(ROLES)}"
            )
        if role in SINGLE and len(names) != 1:
            raise ValueError(f"{role} takes one column, not {len(names)} ({', '.join(names)})")
        if FOLDER in names and role != "label":
            raise ValueError(f"{FOLDER} can only be the label, not {role}")
    named = [fold(name) for names in roles.values() for name in names]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise ValueError(f"column {', '.join(twice)} has more than one role")


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
    known = {name for names in (*_NAMES.values(), *columns.values()) for name in map(fold, names)}

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


# -- roles -----------------------------------------------------------------------------------------


def fold(name: str) -> str:
    """Names of columns are compared without regard to case and the spaces around them."""
    return name.strip().lower()


def assign_roles(table: ListTable, columns: Columns) -> Roles:
    """The role of every column.

    Raises:
        DataError: a column that is needed is not there, stands there twice, or nothing says what it
            is for; with the nearest name and the option that says it.
    """
    header = [fold(name) for name in table.header]
    nameless = [at for at, name in enumerate(header) if _NAMELESS.fullmatch(name)]
    twice = sorted({name for name in header if header.count(name) > 1} - {""})
    if twice:
        raise DataError(f"{table.path} has column {first_few(twice)} more than once")
    declared = _declared(table, header, columns)
    single = {role: found[0] for role, found in declared.items() if role in SINGLE}
    used = {at for found in declared.values() for at in found}
    for role, names in _NAMES.items():
        if role not in columns:
            there = [header.index(name) for name in names if name in header]
            there = [at for at in there if at not in used]
            if len(there) > 1:
                both = " and ".join(header[at] for at in there)
                raise DataError(
                    f"{table.path} has the columns {both}: say which one counts, as in "
                    f"--columns {role}={header[there[0]]} --columns ignore={header[there[1]]}"
                )
            if there:
                single[role] = there[0]
    used |= set(single.values())
    numbering = [at for at in nameless if at not in used and _numbers_rows(table, at)]
    rest = [at for at in range(len(header)) if at not in used and at not in numbering]
    missing = [role for role in ("file", "label") if role not in single and role not in columns]
    if missing or rest:
        raise _unclear(table, single, missing, rest)
    return Roles(
        single,
        {table.header[at].strip(): at for at in declared.get("metadata", ())},
        tuple(table.header[at].strip() or "without a name" for at in numbering),
    )


def _declared(table: ListTable, header: Sequence[str], columns: Columns) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for role, names in columns.items():
        for name in names:
            if name == FOLDER:
                continue
            if fold(name) not in header:
                near = did_you_mean(fold(name), header)
                raise DataError(
                    f"{table.path} has no column {name!r}, which is declared as {role}{near}; it has: "
                    f"{_names(table)}"
                )
            found.setdefault(role, []).append(header.index(fold(name)))
    return found


def _numbers_rows(table: ListTable, column: int) -> bool:
    """True for a data frame's index, or a spreadsheet's column with nothing in it."""
    values = table.values(column)
    whole = all(value.isdecimal() for value in values) and len(set(values)) == len(values)
    return whole or not any(values)


def _unclear(
    table: ListTable, single: Mapping[str, int], missing: Sequence[str], rest: Sequence[int]
) -> DataError:
    """Name what is missing, and what each column without a role looks like."""
    faults = []
    if missing:
        has = _names(table) or "nothing"
        faults.append(f"has no column {', '.join(missing)} (it has: {has})")
    looks = {at: _looks_like(table, at, single) for at in rest}
    described = [_described(table, at, looks[at]) for at in rest]
    if rest:
        faults.append(f"has unknown column{'s' * (len(rest) > 1)} {first_few(described)}")
    taken: set[str] = set(single)
    options = []
    for at in rest:
        name, role = table.header[at].strip() or "NAME", looks[at]
        if role is None or role in taken or (role == "split" and not _holds_splits(table, at)):
            role = "metadata"
        taken |= {role} & set(SINGLE)
        if len(name) <= LONGEST:
            options.append(f"--columns {shlex.quote(f'{role}={name}')}")
    if "label" in missing and not any(option.startswith("--columns label=") for option in options):
        options.append(f"--columns label={FOLDER} if the folder that an image lies in is its label")
    way = f"; say what it is: {', '.join(options[:5])}" if options else ""
    ignore = " (or ignore=COLUMN; metadata are kept and never trained on)" if rest else ""
    known = "known columns are file (or file_name), label, split, group"
    if len(table.header) == 1:
        known += ", separated by commas, semicolons or tabs in a text"
    return DataError(f"{table.path} {' and '.join(faults)}{way}{ignore}; {known}")


def _names(table: ListTable) -> str:
    return shorten([short(name) for name in table.header], MOST_NAMES)


def _described(table: ListTable, column: int, role: str | None) -> str:
    name = table.header[column].strip()
    shown = repr(short(name)) if name else f"number {column + 1}, without a name"
    if role is None:
        near = did_you_mean(fold(name), [one for names in _NAMES.values() for one in names])
        return f"{shown} ({near.removeprefix('; ')})" if near else shown
    text = f"{shown} (it looks like {'the' if role in {'file', 'label'} else 'a'} {role}"
    if role == "split" and not _holds_splits(table, column):
        values = first_few(sorted(set(table.values(column))))
        text += f", but its values, {values}, are not train, validation and test: write these"
    return f"{text})"


def _holds_splits(table: ListTable, column: int) -> bool:
    values = {fold(value) for value in table.values(column)} - {""}
    further = {value for value in values if value.startswith(EXTERNAL)}
    return bool(values) and values - further <= set(SPLIT_NAMES)


def _looks_like(table: ListTable, column: int, single: Mapping[str, int]) -> str | None:
    """The role that a column's name, or its values, make likely."""
    name = table.header[column].strip()
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    tokens = [word.lower() for word in words]
    tokens.append("".join(tokens))
    if _holds_splits(table, column):
        return "split"
    for exact in (True, False):
        for role, known in _LOOKS.items():
            if role in single and role in {"file", "label"}:
                continue
            if any(_alike(token, known, exact=exact) for token in tokens):
                return role
    return None


def _alike(token: str, known: frozenset[str], *, exact: bool) -> bool:
    if exact:
        return token in known
    return len(token) > 3 and bool(get_close_matches(token, known, n=1, cutoff=0.8))  # noqa: PLR2004

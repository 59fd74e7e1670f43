"""Roles of a list's columns: which one names the file, the label, the split, the group."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from harness.api.dataset import Split
from harness.data.on_disk.lists import LONGEST, NAMES, Columns, ListTable, fold
from harness.errors import DataError, UsageError
from harness.utils.names import did_you_mean, first_few
from harness.utils.text import short, shorten

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
MOST_NAMES = 30  # names that a message has room for

# Words in a column's name that tell what it holds.
_LOOKS = {
    "group": frozenset({
        "group", "groups", "patient", "patients", "patientid", "pid", "subject", "subjects", "case",
        "lesion", "study", "mrn", "person", "participant", "individual", "donor", "slide", "animal",
        "specimen", "biopsy", "exam", "examination", "series", "accession", "video", "visit", "eye",
        "proband", "mouse", "volume", "scan", "encounter", "wsi",
    }),
    "split": frozenset({
        "split", "splits", "fold", "folds", "subset", "subsets", "partition", "set", "traintest",
        "phase", "usage",
    }),
    "label": frozenset({"label", "labels", "class", "diagnosis", "dx", "target", "category", "y"}),
    "file": frozenset({"file", "filename", "filepath", "image", "img", "path", "picture"}),
}  # fmt: skip
_NAMELESS = re.compile(r"|unnamed: ?\d+(_level_\d+)?|__index_level_\d+__")


@dataclass(frozen=True)
class Roles:
    """Numbers of the columns that have a role; `passed`: names of those passed over."""

    single: Mapping[str, int]
    metadata: Mapping[str, int] = field(default_factory=dict)
    passed: tuple[str, ...] = ()


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
    for role, names in NAMES.items():
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
        near = did_you_mean(fold(name), [one for names in NAMES.values() for one in names])
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

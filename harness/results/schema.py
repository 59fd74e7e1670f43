"""Records read from files of every age: old ones are brought up to date, newer ones refused."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import ValidationError

from harness.api.records import Json, Record
from harness.errors import StoreError
from harness.utils import files
from harness.utils.text import short

R = TypeVar("R", bound=Record)
Step = Callable[[dict[str, Json]], dict[str, Json]]

# A number that may be beyond the largest there is.
HUGE = re.compile(rb"[eE]\+?\d{3,}[,\s\]}]|\d{300}")
MOST_BYTES = 1 << 30  # of a record; a split file of a million samples has a fifth of it
# Record -> schema version -> what turns the JSON of that version into the next one.  A step is
# never removed: every file that was ever written loads.
MIGRATIONS: dict[type[Record], dict[int, Step]] = {}


def load(path: Path, model: type[R]) -> R:
    """The record in a file.

    Raises:
        StoreError: the file is missing, damaged, or from a newer harness.
    """
    return parse(path, files.read(path, MOST_BYTES), model)


def load_exactly(path: Path, model: type[R]) -> R:
    """The same of a file in which no key stands twice, which `load` does not look for.

    Raises:
        StoreError: as `load`, or some key stands twice: readers may differ in which one counts.
    """
    content = files.read(path, MOST_BYTES)
    record = parse(path, content, model)
    try:
        json.loads(content, object_pairs_hook=_once)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    return record


def parse(path: Path, content: bytes, model: type[R]) -> R:
    """The record in the content of a file; `path` is for messages.

    Raises:
        StoreError: as `load`.
    """
    try:
        record = model.model_validate_json(content)
    except ValidationError as error:  # rare: only then look what kind of file it is
        return _load_other(path, content, model, error)
    suspect = b"NaN" in content or b"Infinity" in content or HUGE.search(content)
    if suspect and has_infinite(record):  # a look at every number would take as long as reading
        raise _damaged(path, "it holds a number that is not finite")
    return record


def has_infinite(value: object) -> bool:
    """True if a number anywhere in a value is not finite."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Record):
        value = dict(value)
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list | tuple) and any(map(has_infinite, value))


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {short(twice)!r} stands twice in it")
    return found


def _load_other(path: Path, content: bytes, model: type[R], error: ValidationError) -> R:
    try:
        raw = json.loads(content)
    except RecursionError as broken:
        raise _damaged(path, "its lists are nested far too deep") from broken
    except ValueError as broken:
        raise _damaged(path, str(broken)) from broken
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int):
        raise _damaged(path, "it has no schema_version")
    now = current(model)
    if version > now:
        raise StoreError(
            f"{path} was written by a newer harness (schema {short(str(version))}, this one reads up to {now}):"
            " upgrade with pip install --upgrade finetune-harness"
        )
    if version == now:
        raise _damaged(path, first_problem(error)) from error
    return _migrated(path, raw, version, model)


def current(model: type[Record]) -> int:
    """The schema version a record is written with."""
    (version,) = get_args(model.model_fields["schema_version"].annotation)
    return int(version)


def _migrated(path: Path, raw: dict[str, Json], version: int, model: type[R]) -> R:
    steps = MIGRATIONS.get(model, {})
    for step in range(version, current(model)):
        if step not in steps:
            raise _damaged(path, f"there never was a schema {short(str(step))}")
        try:
            raw = {**steps[step](raw), "schema_version": step + 1}
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path, f"it does not hold as schema {step}") from error
    try:
        record = model.model_validate_json(json.dumps(raw))
    except (ValidationError, RecursionError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else "nested too deep"
        raise _damaged(path, why) from error
    if has_infinite(record):
        raise _damaged(path, "it holds a number that is not finite")
    return record


def first_problem(error: ValidationError) -> str:
    """The first place in which a record does not hold, and why: `spec.seed: Field required`."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = short(".".join(str(part) for part in first["loc"]))
    return f"{place}: {short(first['msg'])}" if place else short(first["msg"])


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"{path} is damaged ({why}): delete it and run the same command again")

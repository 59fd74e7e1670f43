"""Records read from files of every age: old ones are brought up to date, newer ones refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import ValidationError

from harness.api.records import Json, Record
from harness.errors import StoreError
from harness.utils import files

R = TypeVar("R", bound=Record)
Step = Callable[[dict[str, Json]], dict[str, Json]]

# Record -> schema version -> what turns the JSON of that version into the next one.  A step is
# never removed: every file that was ever written loads.
MIGRATIONS: dict[type[Record], dict[int, Step]] = {}


def load(path: Path, model: type[R]) -> R:
    """The record in a file.

    Raises:
        StoreError: the file is missing, damaged, or from a newer harness.
    """
    content = files.read(path)
    try:
        return model.model_validate_json(content)
    except ValidationError as error:  # rare: only then look what kind of file it is
        return _load_other(path, content, model, error)


def _load_other(path: Path, content: bytes, model: type[R], error: ValidationError) -> R:
    try:
        raw = json.loads(content)
    except ValueError as broken:
        raise _damaged(path, str(broken)) from broken
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int):
        raise _damaged(path, "it has no schema_version")
    now = current(model)
    if version > now:
        raise StoreError(
            f"{path} was written by a newer harness (schema {version}, this one reads up to {now}):"
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
            raise _damaged(path, f"there never was a schema {step}")
        raw = {**steps[step](raw), "schema_version": step + 1}
    try:
        return model.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise _damaged(path, first_problem(error)) from error


def first_problem(error: ValidationError) -> str:
    """The first place in which a record does not hold, and why: `spec.seed: Field required`."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"{path} is damaged ({why}): delete it and run the same command again")

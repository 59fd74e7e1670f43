"""The field tables of docs/results.md, made from the records; `generate.py` writes them."""  # noqa: INP001 - beside a script

from __future__ import annotations

import json
import re
import types
import typing
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from harness.api import records
from harness.data.division.split import Splits, SplitSample
from harness.results.package import Manifest

PAGE = Path(__file__).with_name("results.md")
TABLE = re.compile(r"<!-- fields of (\w+) -->\n.*?<!-- end -->", re.DOTALL)
FILES: tuple[type, ...] = (records.RunResult, records.Plan, Splits, Manifest)
RECORDS = {one.__name__: one for one in vars(records).values() if isinstance(one, type)}
MODELS: dict[str, type] = {
    **{name: one for name, one in RECORDS.items() if issubclass(one, records.Record)},
    "EpochRecord": records.EpochRecord,
    "MetricValue": records.MetricValue,
    "Splits": Splits,
    "SplitSample": SplitSample,
    "Manifest": Manifest,
}
PLAIN = {str: "text", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def current(page: str) -> str:
    """The page with every table as the records are now."""
    return TABLE.sub(
        lambda found: f"<!-- fields of {found[1]} -->\n{table(MODELS[found[1]])}<!-- end -->", page
    )


def table(model: type) -> str:
    """The fields of a record."""
    told = meanings(model)
    heads = ["field", "type", "default", *["meaning"] * bool(told)]
    rows = [heads, ["---"] * len(heads)]
    for name, field in fields(model).items():
        row = [f"`{name}`", kind(field.annotation), default(field), told.get(name, "")]
        rows.append(row[: len(heads)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def fields(model: type) -> dict[str, FieldInfo]:
    """Of a record, or of a dataclass that is validated as one."""
    found: dict[str, FieldInfo] = getattr(model, "model_fields", None) or model.__pydantic_fields__
    return found


def meanings(model: type) -> dict[str, str]:
    """Field -> meaning, from `Attributes:` in the docstring; a line may name several fields."""
    found: dict[str, str] = {}
    names: list[str] = []
    _, _, text = (model.__doc__ or "").partition("Attributes:\n")
    for line in text.splitlines():
        start = re.match(r" {8}(\w[\w, ]*): (.*)", line)
        if start:
            names = [name.strip() for name in start[1].split(",")]
            found |= dict.fromkeys(names, start[2])
        elif line.startswith(" " * 12):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            break
    return {name: text.replace("|", "\\|").replace("None", "null") for name, text in found.items()}


def kind(annotation: object) -> str:
    """A type as JSON knows it."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind(args[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(kind(one) for one in args)
    if origin in {dict, tuple}:
        inner = kind(args[1] if origin is dict else args[0])
        inner = f"({inner})" if " or " in inner else inner
        return f"{'object' if origin is dict else 'list'} of {inner}"
    if isinstance(annotation, type) and annotation.__name__ in MODELS:
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return PLAIN.get(annotation, "any") if isinstance(annotation, type) else "any"


def default(field: FieldInfo) -> str:
    """The value of a field that a file does not give."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, records.Record | dict):
        return "`{}`"
    return f"`{json.dumps(value)}`"


def needed(models: typing.Iterable[type] = FILES) -> set[str]:
    """Every record that stands in a file."""
    found: set[str] = set()
    for model in models:
        found.add(model.__name__)
        told = " ".join(kind(field.annotation) for field in fields(model).values())
        found |= needed(MODELS[name] for name in re.findall(r"\[(\w+)\]", told))
    return found

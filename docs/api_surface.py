"""The surface that a plugin may rely on, as lines of text: recorded in docs/api-surface-N.txt, N the version."""  # noqa: INP001 - beside the pages

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

import harness
import harness.testing
from harness.api import hooks
from harness.api.deprecation import NAMES

DOCS = Path(__file__).parent
FILE = DOCS / f"api-surface-{harness.API_VERSION}.txt"
LITERAL = re.compile(r"Literal\[(.*)\]")


def surface() -> list[str]:
    """Everything a plugin may rely on, a line for each thing that can be lost or changed."""
    lines = [
        *(line for name in harness.__all__ for line in _thing(name, getattr(harness, name))),
        *(
            line
            for name in harness.testing.__all__
            for line in _thing(f"testing.{name}", getattr(harness.testing, name))
        ),
        *(line for name, function in hook_specs() for line in _hook(name, function)),
        *(f"{name}: deprecated, use {instead}" for name, (_, instead) in NAMES.items()),
    ]
    return sorted(dict.fromkeys(lines))


def judge(recorded: Iterable[str], present: Iterable[str]) -> tuple[list[str], list[str]]:
    """(what breaks plugins of this version, what was added and is not recorded)."""
    recorded, present = list(recorded), list(present)
    added = [line for line in present if line not in set(recorded)]
    lost = [f"gone or changed: {line}" for line in recorded if line not in set(present)]
    needed = [
        f"new, and needs a default: {line}"
        for line in added
        if re.search(r": (argument|field) \d", line)
        and " = " not in line
        and line.partition(": ")[0].rpartition(".")[0] in recorded
    ]
    return [*lost, *needed], added


def unannounced(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """Lines of a version that the next one lacks, though what they belong to was not deprecated."""
    before, after = list(before), set(after)
    gone = [name for line in before if (name := _deprecated(line))]
    return [
        line
        for line in before
        if line not in after and not any(re.match(rf"{re.escape(one)}\b", line) for one in gone)
    ]


def _deprecated(line: str) -> str:
    """The name or hook that a line says is deprecated, else nothing."""
    name, _, _ = line.partition(": deprecated")
    return name if name != line else ""


def read(file: Path = FILE) -> list[str]:
    """The lines of docs/api-surface-N.txt."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


def page(lines: Iterable[str]) -> str:
    """The text of docs/api-surface-N.txt."""
    head = f"# The surface of plugin API version {harness.API_VERSION}; python docs/generate.py adds to it."
    return "\n".join([head, *lines]) + "\n"


def _hook(name: str, function: types.FunctionType) -> Iterator[str]:
    first = " (first answer)" * function.harness_spec["firstresult"]
    yield f"hook {name} -> {inspect.signature(function).return_annotation}{first}"
    if warning := function.harness_spec["warn_on_impl"]:
        yield f"hook {name}: deprecated, {warning}"
    for one in inspect.signature(function).parameters.values():
        yield f"hook {name} passes {one.name}: {one.annotation}"


def _thing(name: str, value: object) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _class(name, value)
    elif inspect.isfunction(value):
        yield from _function(name, value)
    elif isinstance(value, types.UnionType):
        yield from (f"{name}: or {one.__name__}" for one in value.__args__)
    elif isinstance(value, (str, int)):
        yield f"{name}: {value}"
    else:
        yield name


def _class(name: str, cls: type) -> Iterator[str]:
    yield name
    public = {
        getattr(harness, one) for one in harness.__all__ if one[0].isupper() and one != "Params"
    }
    for base in cls.__mro__[1:]:
        if base in public or base is Exception:
            yield f"{name}: is a {base.__name__}"
    annotations = {
        key: text
        for key, text in inspect.get_annotations(cls).items()
        if not key.startswith(("_", "model_"))
    }
    for number, (key, text) in enumerate(annotations.items(), start=1):
        place = f"field {number}, " if _positional(cls) else "field, "
        yield from _typed(f"{name}.{key}", place, str(text), _field_default(cls, key))
    for key, value in vars(cls).items():
        if key in annotations or (key.startswith(("_", "model_")) and key != "__call__"):
            continue
        yield from _member(f"{name}.{key}", value)
    if "__init__" in vars(cls) and issubclass(cls, BaseException):
        yield from _function(f"{name}.__init__", cls.__init__)


def _positional(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) and not all(f.kw_only for f in dataclasses.fields(cls))


def _member(name: str, value: object) -> Iterator[str]:
    abstract = " (abstract)" * getattr(value, "__isabstractmethod__", False)
    if isinstance(value, property):
        returned = inspect.signature(value.fget).return_annotation
        yield f"{name}: property, {returned}{abstract}"
    elif isinstance(value, (staticmethod, classmethod)):
        yield from _function(name, value.__func__)
    elif inspect.isfunction(value):
        yield from _function(name, value, abstract)
    elif isinstance(value, (bool, int, str)):
        yield f"{name}: {value!r}"


def _function(name: str, function: types.FunctionType, abstract: str = "") -> Iterator[str]:
    signature = inspect.signature(function)
    yield name
    yield f"{name}: returns {signature.return_annotation}{abstract}"
    for number, one in enumerate(signature.parameters.values()):
        if one.name == "self":
            continue
        keyword = one.kind is one.KEYWORD_ONLY
        place = "argument 0 by keyword, " if keyword else f"argument {number}, "
        default = "" if one.default is one.empty else f" = {one.default!r}"
        yield from _typed(f"{name}.{one.name}", place, str(one.annotation), default)


def _typed(name: str, place: str, text: str, default: str) -> Iterator[str]:
    """A field or argument; the values of a Literal one by one, since more may come."""
    if values := LITERAL.fullmatch(text):
        yield f"{name}: {place}Literal{default}"
        yield from (f"{name}: may be {value}" for value in values[1].split(", "))
    else:
        yield f"{name}: {place}{text}{default}"


def _field_default(cls: type, key: str) -> str:
    fields = getattr(cls, "__dataclass_fields__", {}) | getattr(cls, "model_fields", {})
    if key not in fields:
        return f" = {vars(cls)[key]!r}" if key in vars(cls) else ""
    field = fields[key]
    if getattr(field, "default_factory", None) not in {None, dataclasses.MISSING}:
        return f" = {field.default_factory.__name__}()"
    required = field.default is dataclasses.MISSING or repr(field.default) == "PydanticUndefined"
    if inspect.isfunction(field.default):
        return f" = {field.default.__name__}"
    if isinstance(field.default, BaseModel):  # a record may grow
        return f" = {type(field.default).__name__}(...)"
    return "" if required else f" = {field.default!r}".replace("PosixPath(", "Path(")


def hook_specs() -> Iterator[tuple[str, types.FunctionType]]:
    """(name, specification) in the order of the file."""
    for name, value in vars(hooks).items():
        if hasattr(value, "harness_spec"):
            yield name, value

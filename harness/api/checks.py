"""Checks of the values that directives are made of, where they are made: what, where, what to do."""

from __future__ import annotations

import functools
import inspect
import math
import reprlib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from harness.errors import PhaseError

Made = TypeVar("Made")


def known_fields(kind: type[Made]) -> type[Made]:
    """Decorate a dataclass: an argument that is no field of it is named with the nearest one."""
    plain: Any = kind.__init__
    names = list(inspect.signature(plain).parameters)[1:]

    @functools.wraps(plain)
    def init(self: Made, *args: Any, **given: Any) -> None:  # noqa: ANN401 - the fields
        for name in given:
            if name not in names:
                raise PhaseError(
                    f"{kind.__name__} has no field {name!r}{_near(name, names)}; its fields: "
                    f"{', '.join(names)}"
                )
        plain(self, *args, **given)

    kind.__init__ = init  # type: ignore[assignment]
    return kind


def check_name(what: str, name: object) -> None:
    """Refuse a name that is no text.

    Raises:
        PhaseError: it is none.
    """
    if not (isinstance(name, str) and name.strip()):
        raise PhaseError(f"a {what} needs a name to show it by, not {short(name)}")


def check_epochs(where: str, epochs: object) -> None:
    """Refuse a length that is no finite number of 0 or more.

    Raises:
        PhaseError: it is none; `where` begins the message.
    """
    if not is_number(epochs):
        raise PhaseError(f"{where} asks for {short(epochs)} epochs; it must be a number, 0 or more")


def check_values(where: str, field: str, values: object) -> None:
    """Refuse what is no mapping of names, or globs, to finite numbers of 0 or more.

    Raises:
        PhaseError: it is none; `where` begins the message, such as `phase 'ft' trains`.
    """
    if not isinstance(values, Mapping):
        named: list[object] = [values]
        if isinstance(values, Iterable) and not isinstance(values, str):
            named = list(values)
        shown = ", ".join(f"{name!r}: 1.0" for name in named[:3])
        raise PhaseError(
            f"{where} {short(values)}, which says no number for each; write {field}={{{shown}}}"
        )
    for name, value in values.items():
        if not isinstance(name, str):
            raise PhaseError(f"{where} {short(name)}, which is no name of a stage or parameter")
        if not is_number(value):
            raise PhaseError(f"{where} {name!r} at {short(value)}; it must be a number, 0 or more")


def check_choices(where: str, made: object) -> None:
    """Refuse a value that its field's type does not name: of every `Literal` and `bool` field.

    Raises:
        PhaseError: with the nearest value.
    """
    kind: type = type(made)
    for field, choices in _choices(kind).items():
        value = getattr(made, field)
        # By type too: 1 is True to Python.
        if not any(type(value) is type(one) and value == one for one in choices):
            texts = [one for one in choices if isinstance(one, str)]
            near = _near(value, texts) if isinstance(value, str) else ""
            allowed = " or ".join(map(repr, choices))
            raise PhaseError(f"{where}: {field} is {short(value)}{near}; it must be {allowed}")


@functools.cache
def _choices(kind: type) -> dict[str, tuple[Any, ...]]:
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name[0] != "_"}
    found = {n: get_args(hint) for n, hint in hints.items() if get_origin(hint) is Literal}
    return found | {name: (True, False) for name, hint in hints.items() if hint is bool}


def check_callables(where: str, field: str, values: object) -> None:
    """Refuse what is no tuple or list of things to call.

    Raises:
        PhaseError: it is none, or holds a class in place of an instance.
    """
    if not isinstance(values, tuple | list):
        raise PhaseError(f"{where}: {field} is {short(values)}; give a tuple: {field}=(..., )")
    for value in values:
        check_callable(where, field, value)


def check_callable(where: str, field: str, value: object) -> None:
    """Refuse what cannot be called, and a class.

    Raises:
        PhaseError: it is one.
    """
    if inspect.isclass(value):
        name = value.__name__
        raise PhaseError(f"{where}: {field} is the class {name}; give an instance: {name}()")
    if not callable(value):
        raise PhaseError(f"{where}: {field} is {short(value)}, which cannot be called")


def check_numbers(where: str, field: str, values: object) -> None:
    """Refuse what is no tuple or list of finite numbers above 0, or empty.

    Raises:
        PhaseError: it is one.
    """
    if not isinstance(values, tuple | list) or not values:
        given = f"({short(values)},)" if is_number(values) else "(0.1, 1.0, 10.0)"
        raise PhaseError(
            f"{where}: {field} is {short(values)}; give values to try: {field}={given}"
        )
    for value in values:
        if not (is_number(value) and value > 0):
            raise PhaseError(f"{where}: {field} holds {short(value)}; it must be a number above 0")


def check_shares(where: str, field: str, values: object) -> None:
    """Refuse what is no tuple or list of different numbers from 0 to 1, or empty.

    Raises:
        PhaseError: it is one.
    """
    if not isinstance(values, tuple | list) or not values:
        given = f"({short(values)},)" if is_number(values) else "(0.0, 0.5, 1.0)"
        raise PhaseError(
            f"{where}: {field} is {short(values)}; give values to try: {field}={given}"
        )
    for number, value in enumerate(values):
        if not (is_number(value) and value <= 1):
            raise PhaseError(
                f"{where}: {field} holds {short(value)}; it must be a number from 0 to 1"
            )
        if value in values[:number]:
            raise PhaseError(f"{where}: {field} holds {short(value)} twice")


def check_names(where: str, field: str, values: object) -> None:
    """Refuse what is no collection of names; a single text is one of letters.

    Raises:
        PhaseError: it is none.
    """
    if isinstance(values, str):
        raise PhaseError(f"{where}: {field} is the text {values!r}; write {field}=({values!r},)")
    if not isinstance(values, tuple | list) or not all(isinstance(one, str) for one in values):
        raise PhaseError(f"{where}: {field} is {short(values)}; give a tuple of names")


def check_strength(where: str, field: str, value: object) -> None:
    """Refuse what is no finite number of 0 or more.

    Raises:
        PhaseError: it is none.
    """
    if not is_number(value):
        raise PhaseError(f"{where}: {field} is {short(value)}; it must be a number, 0 or more")


def short(value: object) -> str:
    """A value as it is shown in a message."""
    return reprlib.repr(value)


def is_number(value: Any) -> bool:  # noqa: ANN401 - whatever was given
    """True for a finite number of 0 or more, of whatever library; a text that reads as one is none."""
    if isinstance(value, str | bytes):
        return False
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return number >= 0 and math.isfinite(number)


def _near(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'best'?`, or nothing where no name is close.

    By hand: `utils.names` would make the longest chain of imports longer than the house allows.
    """
    close = get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

"""Exceptions of somebody else's code, told in one line."""

from __future__ import annotations

import traceback

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.utils.text import short


def told(error: BaseException, module: str) -> str:
    """An exception in one line: its last line, and the line of `module` that led to it.

    Its type is in front, unless it is an error of the harness, whose text says it all.
    """
    if isinstance(error, ValidationError):
        text = f"{error.title} is not valid: {'; '.join(faults(error))}"
    elif isinstance(error, HarnessError):
        text = " ".join(str(error).split())
    else:
        said = str(error).partition("\n\nFor further information visit ")[0]  # as pydantic ends
        lines = said.strip().splitlines() or [""]
        text = f"{type(error).__name__}: {lines[-1].strip()}".removesuffix(": ")
    lines_of_module = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if f"{frame.f_globals.get('__name__')}.".startswith(f"{module}.")
    ]
    return f"{text} ({lines_of_module[-1]})" if lines_of_module else text


def faults(error: ValidationError, *, given: bool = False) -> list[str]:
    """The faults that pydantic found, one a line; with `given`, the value that was there."""
    lines = []
    for fault in error.errors():
        said = fault["msg"]
        if fault["type"] == "frozen_instance":
            said = "it is fixed once it is made; keep what changes in a local variable"
        place = ".".join(map(str, fault["loc"]))
        shown = f" (given: {short(repr(fault['input']))})" if given else ""
        lines.append(f"{place}: {said}{shown}" if place else f"{said}{shown}")
    return lines


def explain(error: ValidationError, where: str) -> str:
    """Faults that pydantic found, one after another, in a line."""
    return f"{where}: " + "; ".join(faults(error, given=True))

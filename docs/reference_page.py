"""docs/reference.md: every name of `harness.__all__` and `harness.testing`, by the module it is from.

The text comes from docstrings, when the site is built (mkdocstrings reads the source).
"""  # noqa: INP001 - beside the pages

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import harness
import harness.testing

PAGE = Path(__file__).parent / "reference.md"
HEAD = """\
# Reference

What a plugin may import: every name of `harness`, then the kit for tests of plugins, `harness.testing`.
Each entry is the docstring of the code.
What hooks are given is in [Hooks](hooks.md), the lines that only grow in [api-surface-1.txt](api-surface-1.txt)."""


def page() -> str:
    """The text of docs/reference.md."""
    parts = [HEAD]
    for module, names in {**by_module(harness), **by_module(harness.testing)}.items():
        first = (inspect.getdoc(importlib.import_module(module)) or "").partition("\n\n")[0]
        parts += [f"## `{module}`", " ".join(first.split()), *(f"::: {name}" for name in names)]
    return "\n\n".join(parts) + "\n"


def by_module(package: ModuleType) -> dict[str, list[str]]:
    """`{module: [full names]}` of what a package exports, in the order it is imported there."""
    exported, found = set(package.__all__), dict(_origins(package))
    names = [*found, *sorted(exported - found.keys())]
    pages: dict[str, list[str]] = {}
    for name in names:
        if name in exported:
            module = found.get(name, package.__name__)
            pages.setdefault(module, []).append(f"{package.__name__}.{name}")
    return pages


def _origins(package: ModuleType) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(inspect.getsource(package))):  # in order, also for type checkers
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("harness."):
            yield from ((one.asname or one.name, node.module) for one in node.names)

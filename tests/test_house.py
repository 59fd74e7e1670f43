"""The house: names that stay free, folders that can be taken in, imports that go one way."""

import ast
import importlib
import inspect
import pkgutil
import runpy
from collections import Counter

from places import DOCS, ROOT

import harness

MAP = runpy.run_path(str(DOCS / "house_map.py"))
ASKING = ("What", "Whatever", "Who", "Whose", "Whether", "Which", "How", "Where", "When", "Why")


def test_no_module_hides_a_function_of_the_package():
    for module in pkgutil.walk_packages(harness.__path__, "harness."):
        importlib.import_module(module.name)
    functions = ("bench", "load", "compare", "check", "verify", "audit", "predict")
    assert [name for name in functions if inspect.ismodule(getattr(harness, name, None))] == []


def test_a_folder_can_be_taken_in():
    files = [path for path in (ROOT / "harness").rglob("*") if "__pycache__" not in path.parts]
    sizes = Counter(str(path.parent.relative_to(ROOT)) for path in files)
    assert {folder: size for folder, size in sizes.items() if size > 20} == {}


def test_a_docstring_begins_with_what_the_thing_is():
    """Those of tests are sentences about a case, and those of plugins are part of what ids are made of."""
    named = (ast.Module, ast.ClassDef, ast.FunctionDef)
    asking = [
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for folder in ("harness", "benchmarks", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, named) and (text := ast.get_docstring(node))
        if not getattr(node, "name", "").startswith("test_")
        if text.split(maxsplit=1)[0].strip(",") in ASKING
    ]
    assert asking == []


def test_imports_go_one_way_and_not_far():
    """Those within functions and for type checkers too; a `CycleError` names the modules of a cycle."""
    chain = MAP["longest_chain"]()
    assert len(chain) <= 16, chain  # the functions that commands print are one of them


def test_the_map_is_current():
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert page == MAP["current"](page), "run `python docs/generate.py`"

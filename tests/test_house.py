"""The house: names that stay free, folders that can be taken in, imports that go one way."""

import importlib
import inspect
import pkgutil
import runpy
from collections import Counter

from places import DOCS, ROOT

import harness

MAP = runpy.run_path(str(DOCS / "house_map.py"))


def test_no_module_hides_a_function_of_the_package():
    for module in pkgutil.walk_packages(harness.__path__, "harness."):
        importlib.import_module(module.name)
    functions = ("bench", "load", "compare", "check", "verify", "audit", "predict")
    assert [name for name in functions if inspect.ismodule(getattr(harness, name, None))] == []


def test_a_folder_can_be_taken_in():
    files = [path for path in (ROOT / "harness").rglob("*") if "__pycache__" not in path.parts]
    sizes = Counter(str(path.parent.relative_to(ROOT)) for path in files)
    assert {folder: size for folder, size in sizes.items() if size > 20} == {}


def test_imports_go_one_way(monkeypatch):
    """Those within functions and for type checkers too; a `CycleError` names the modules of a cycle."""
    edges = dict(MAP["edges"]())
    # Until the state of a run is in parts, steps names the phase for type checkers.
    edges["harness.engine.steps"] -= {"harness.engine.phase"}
    monkeypatch.setitem(MAP["longest_chain"].__globals__, "edges", lambda: edges)
    chain = MAP["longest_chain"]()
    assert len(chain) <= 17, chain  # to become 15

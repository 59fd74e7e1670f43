"""The map of the house: packages, modules, lines, and who imports whom.

    python docs/house_map.py

prints it; `python docs/generate.py` puts it into docs/architecture.md.  Imports inside functions and
under `TYPE_CHECKING` count: the map shows what a reader meets.
"""  # noqa: INP001 - a script

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
MAP = re.compile(r"<!-- map -->\n.*?<!-- end -->", re.DOTALL)


def current(page: str) -> str:
    """The page with the map as the code is now."""
    return MAP.sub(f"<!-- map -->\n{render()}<!-- end -->", page)


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of `harness`; a package is its `__init__`."""
    files = sorted((ROOT / "harness").rglob("*.py"))
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


@cache
def edges() -> dict[str, frozenset[str]]:
    """Module -> the modules of `harness` that it imports, wherever in its code."""
    known = modules()
    return {name: frozenset(_imported(file, known) - {name}) for name, file in known.items()}


def _imported(file: Path, known: dict[str, Path]) -> set[str]:
    targets: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            targets |= {name if name in known else node.module for name in names}
    return targets & known.keys()


def room(module: str) -> str:
    """The package of `harness` that a module lies in, or its own name at the top."""
    return module.partition(".")[2].partition(".")[0] or "harness"


def longest_chain() -> list[str]:
    """The longest way from module to module by imports; a `CycleError` names a cycle."""
    chains: dict[str, list[str]] = {}
    for module in TopologicalSorter(edges()).static_order():
        chains[module] = [
            module,
            *max((chains[one] for one in sorted(edges()[module])), key=len, default=[]),
        ]
    return max(chains.values(), key=lambda chain: (len(chain), chain))  # of equals always the same


def render() -> str:
    """The map as markdown."""
    known, lines = modules(), Counter[str]()
    for name, file in known.items():
        lines[room(name)] += len(file.read_text(encoding="utf-8").splitlines())
    members = Counter(room(name) for name in known)
    above = {one: sorted({room(t) for m in known if room(m) == one for t in edges()[m]} - {one})
             for one in members}  # fmt: skip
    rows = [
        f"| `{one}` | {members[one]} | {lines[one]:,} | {' '.join(above[one])} |"
        for one in sorted(members, key=lambda one: (len(above[one]), one))
    ]
    total = f"| all | {members.total()} | {lines.total():,} | {sum(map(len, edges().values()))} imports |"
    head = ["| package | modules | lines | imports from |", "| --- | ---: | ---: | --- |"]
    chain = longest_chain()
    longest = f"The longest chain of imports has {len(chain)} modules: {' > '.join(chain)}."
    return "\n".join([*head, *rows, total, "", longest.replace("harness.", "")]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())

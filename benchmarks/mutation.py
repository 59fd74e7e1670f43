"""Nightly: all small faults that mutmut makes in a module, held against the module's tests.

    pip install mutmut==3.8.1
    python benchmarks/mutation.py                    # the modules below
    python benchmarks/mutation.py harness/stats/ranks.py tests/stats/test_ranks.py

It works in a copy, and prints the number of mutants, of those that survive, and what they change.
mutmut makes no mutants of decorated functions nor of constants; tests marked slow are left out.
The scores stand in `docs/tests.md`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("plugins", "docs", "benchmarks", "README.md", "CHANGELOG.md", "tests", "pyproject.toml")
MODULES = {
    "harness/stats/estimate.py": ("tests/stats/test_estimate.py",),
    "harness/data/division/stratify.py": ("tests/data/test_stratify.py",),
    "harness/stats/paired.py": tuple(
        f"tests/stats/test_{name}.py" for name in ("paired", "cells", "families")
    ),
    "harness/results/gate/check.py": tuple(
        f"tests/results/gate/test_{name}.py" for name in ("verdict", "check")
    ),
    "harness/engine/optimizer.py": ("tests/engine/test_optimizer.py",),
}


def survey(module: str, tests: tuple[str, ...]) -> tuple[Counter[str], list[str]]:
    """Numbers of a module's mutants that were killed, survived, ...; and the changes that survived."""
    with tempfile.TemporaryDirectory(prefix="mutmut-") as folder:
        copy = Path(folder)
        for name in ("harness", *BESIDE):
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, copy / name, ignore=ignored)
            else:
                shutil.copy2(ROOT / name, copy / name)
        lines = ["[mutmut]", "source_paths=harness/", f"only_mutate={module}"]
        lines += ["pytest_add_cli_args_test_selection=", *(f"    {test}" for test in tests)]
        lines += ["    -m", "    not slow", "also_copy=", *(f"    {name}" for name in BESIDE)]
        (copy / "setup.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
        mutated = copy / "mutants"  # where mutmut puts the package; there before Python looks
        mutated.mkdir()
        path = os.pathsep.join([str(mutated), str(copy / "plugins")])
        # Hypothesis draws the same cases for every mutant.
        env = os.environ | {"PYTHONPATH": path, "CI": "true"}

        def mutmut(*args: str) -> str:
            done = subprocess.run(
                ["mutmut", *args], cwd=copy, env=env, capture_output=True, text=True, check=False
            )
            if done.returncode:
                said = f"{done.stdout}\n{done.stderr}"[-3000:]
                raise SystemExit(f"mutmut {' '.join(args)}: {said}")
            return done.stdout

        mutmut("run", "--max-children", str(os.cpu_count() or 1))
        found = [
            line.strip().rsplit(": ", 1) for line in mutmut("results", "--all", "true").splitlines()
        ]
        ends = Counter(end for _, end in found)
        shown = [mutmut("show", name) for name, end in found if end == "survived"]
    changes = [
        "\n".join(
            line
            for line in text.splitlines()
            if line[:1] in "+-" and line[:3] not in ("---", "+++")
        )
        for text in shown
    ]
    return ends, changes


def main() -> None:
    """Print a table row and the survivors of each module."""
    given = sys.argv[1:]
    modules = {given[0]: tuple(given[1:])} if given else MODULES
    for module, tests in modules.items():
        ends, changes = survey(module, tests)
        for change in changes:
            print(change, end="\n\n")
        rest = ", ".join(f"{count} {end}" for end, count in ends.items())
        print(f"{module}: {sum(ends.values())} mutants: {rest}", flush=True)


if __name__ == "__main__":
    main()

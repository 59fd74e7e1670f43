"""The promise of a plugin as a whole: every command loads it, so loading it takes no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from harness.plugins.discovery import PluginInfo
from harness.plugins.registry import PluginRegistry
from harness.testing.promise import Broken, Rule, Unchecked

HEAVY = ("torch", "datasets", "evaluate", "sklearn")
# Each plugin is imported once more, in a process that has imported nothing heavy and refuses to.
_PROGRAM = """
import json, os, sys

heavy, args, modules = json.load(sys.stdin)
found, seen = {}, []


class Refusing:
    def find_spec(self, name, path, target=None):
        if name not in heavy:
            return None
        frame, place = sys._getframe(), ""
        while frame is not None and not place:
            if f"{frame.f_globals.get('__name__')}.".startswith(f"{module}."):
                place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            frame = frame.f_back
        seen.append((name, place))
        raise ImportError(f"{name} is refused here")


from harness.plugins.discovery import find

sys.meta_path.insert(0, Refusing())
said, sys.stdout = sys.stdout, sys.stderr
for one in find(args, os.environ)[0]:
    module, seen = one.info.module, []
    if one.info.plugin in modules:
        try:
            one.fetch()
        except BaseException:
            pass
        found[one.info.plugin] = seen[:1]
print(json.dumps(found), file=said)
"""


@dataclass(frozen=True)
class PluginCase:
    """A plugin that was loaded, and what it was loaded with."""

    info: PluginInfo
    loaded: PluginRegistry


def is_imported(case: PluginCase) -> bool:
    """True for a plugin that is found by a name; False for an object that a program gave."""
    made = case.loaded.manager.get_plugin(case.info.plugin)
    return case.info.distribution is not None or isinstance(made, ModuleType)


def loads_fast(case: PluginCase) -> None:
    # Those that come with the harness all at once: they are asked for together, if at all.
    of_ours = tuple(name for name, info in case.loaded.plugins.items() if info.builtin)
    plugins = of_ours if case.info.builtin else (case.info.plugin,)
    found = _heavy_imports(case.loaded.args, plugins)
    if case.info.plugin not in found:
        raise Unchecked("another process does not find it")
    for name, place in found[case.info.plugin]:
        where = f" ({place})" if place else ""
        raise Broken(f"it imports {name} when it is loaded{where}")


@cache
def _heavy_imports(args: tuple[str, ...], plugins: tuple[str, ...]) -> dict[str, list[list[str]]]:
    """Plugin -> its first heavy import, as (module, place in the plugin's file), or none."""
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-P", "-c", _PROGRAM],
        input=json.dumps([HEAVY, args, plugins]),
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unchecked(f"another process ended early: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, list[list[str]]] = json.loads(done.stdout)
    return found


RULES: tuple[Rule[PluginCase], ...] = (
    Rule(
        "loads-fast",
        f"every command loads every plugin: {', '.join(HEAVY)} are imported inside functions",
        loads_fast,
    ),
)

"""Find plugins: entry points, `-p`, `HARNESS_PLUGINS`.

Nothing is imported here before `Candidate.fetch` is called, and no file is taken because it lies
in the current folder.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from harness.errors import PluginError
from harness.utils.names import did_you_mean, unknown

GROUP = "harness"
DISTRIBUTION = "finetune-harness"
# What code that is not ours may raise; a plugin that calls sys.exit() must not end the harness.
FAULTS = (Exception, SystemExit)


@dataclass(frozen=True)
class PluginInfo:
    """The name of a plugin, and where it is from.

    Attributes:
        plugin: name of its entry point, of the module or file (without `.py`) given by `-p`.
        module: where it was imported from; for an object, the module of its class.
        distribution, version: what was installed; None for a loose file, module or object.
        builtin: it ships with the harness.
        file: the loose file.
    """

    plugin: str
    module: str
    distribution: str | None = None
    version: str | None = None
    builtin: bool = False
    file: Path | None = None

    @property
    def path(self) -> Path | None:
        """The loose file, or that of the module (`__init__.py` of a package), once imported."""
        file = self.file or getattr(sys.modules.get(self.module), "__file__", None)
        return None if file is None else Path(file)

    def __str__(self) -> str:
        """`plugin 'conv-lora' (conv-lora-harness 1.2)`, for messages."""
        installed = f"{self.distribution} {self.version}" if self.distribution else None
        return f"plugin {self.plugin!r} ({installed or self.file or 'not installed'})"


@dataclass(frozen=True)
class Candidate:
    """A plugin that was found but not imported; `fetch` imports it and raises what that raises."""

    info: PluginInfo
    fetch: Callable[[], object]


def find(
    extra: Sequence[object], environ: Mapping[str, str]
) -> tuple[list[Candidate], frozenset[str]]:
    """The plugins to load, in loading order, and the names that were blocked.

    The order: built-ins by name; other distributions by distribution and name; `HARNESS_PLUGINS`;
    `extra`.  `HARNESS_NO_AUTOLOAD` (anything but empty or 0) leaves out the entry points of all
    distributions but the harness's own; `-p NAME` still takes one of them.  Blocking wins.

    Raises:
        PluginError: a file or module does not exist.
        UsageError: a blocked name does not.
    """
    listed = [*split_list(environ.get("HARNESS_PLUGINS", "")), *extra]
    blocked = {str(one)[3:] for one in listed if _blocks(one)}
    installed = _installed()
    autoload = environ.get("HARNESS_NO_AUTOLOAD", "") in {"", "0"}
    chosen = {key: one for key, one in installed.items() if autoload or one.info.builtin}
    for one in listed:
        if not _blocks(one):
            chosen.setdefault(*_candidate(one, installed))
    known = {one.info.plugin for one in (*installed.values(), *chosen.values())}
    for name in sorted(blocked - known):
        raise unknown(name, known, "plugin to block")
    return [one for one in chosen.values() if one.info.plugin not in blocked], frozenset(blocked)


def split_list(text: str) -> list[str]:
    """`HARNESS_PLUGINS`: separated by commas or os.pathsep; the colon of `no:NAME` is neither."""
    parts = re.findall(rf"(?:\s*no:)?[^,{re.escape(os.pathsep)}]+", text)
    return [part.strip() for part in parts if part.strip()]


def absolute(option: str) -> str:
    """A `-p` option that means the same in every folder."""
    return str(Path(option).expanduser().resolve()) if _is_path(option) else option


def _blocks(option: object) -> bool:
    return isinstance(option, str) and option.startswith("no:")


def _is_path(option: str) -> bool:
    return not _blocks(option) and (option.endswith(".py") or "/" in option or os.sep in option)


def _installed() -> dict[Hashable, Candidate]:
    """Every entry point of the group: the harness's own first, then by distribution and name."""
    name_of = cache(_distribution)  # each look parses the metadata, and most have one owner
    found = [
        Candidate(PluginInfo(point.name, point.module, *name_of(point.dist)), point.load)
        for point in metadata.entry_points(group=GROUP)
    ]
    found.sort(key=lambda one: (not one.info.builtin, one.info.distribution or "", one.info.plugin))
    return {("installed", one.info.distribution, one.info.plugin): one for one in found}


def _distribution(owner: metadata.Distribution | None) -> tuple[str | None, str | None, bool]:
    """The name and version of a distribution, and whether it is the harness's own."""
    if owner is None:
        return None, None, False
    name = re.sub(r"[-_.]+", "-", owner.name).lower()
    return name, owner.version, name == DISTRIBUTION


def _candidate(one: object, installed: Mapping[Hashable, Candidate]) -> tuple[Hashable, Candidate]:
    """The plugin of one `-p` option, or an object, with a key that is the same for the same."""
    if not isinstance(one, str):
        name = getattr(one, "__name__", type(one).__name__)
        module = name if isinstance(one, ModuleType) else type(one).__module__
        return id(one), Candidate(PluginInfo(name, module), lambda: one)
    if _is_path(one):
        return _of_file(Path(absolute(one)))
    for key, candidate in installed.items():
        if one in {candidate.info.plugin, candidate.info.module}:
            return key, candidate
    if not _importable(one):
        near = did_you_mean(one, (candidate.info.plugin for candidate in installed.values()))
        raise PluginError(
            f"-p {one}: no plugin and no module of this name is installed{near}; "
            "a file is given by its path: -p ./my_plugin.py"
        )
    return one, Candidate(_of_module(one), partial(importlib.import_module, one))


def _importable(module: str) -> bool:
    """True if there is such a module, whatever happens when it is imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:  # a parent is missing, or lacks a requirement of its own
        return not f"{module}.".startswith(f"{error.name}.")
    except FAULTS:  # a parent raises: told when the module is fetched
        return True


def _of_module(module: str) -> PluginInfo:
    owners = metadata.packages_distributions().get(module.partition(".")[0], [])
    if not owners:
        return PluginInfo(module, module)
    return PluginInfo(module, module, owners[0], metadata.version(owners[0]))


def _of_file(path: Path) -> tuple[Hashable, Candidate]:
    if path.suffix != ".py" or not path.is_file():
        raise PluginError(
            f"no plugin file at {path}; -p takes the path of a .py file, an installed module, "
            "or the name of an installed plugin"
        )
    # A name of its own, the same in every process: the file must not hide an installed module,
    # and pydantic and pickle look classes up by it.
    mark = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    module = f"harness_file_{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}_{mark}"
    return path, Candidate(
        PluginInfo(path.stem, module, file=path), partial(_import_file, module, path)
    )


class _SourceLoader(SourceFileLoader):
    """Reads the source every time and writes nothing beside it.

    Cached bytecode is matched by whole seconds and size: too coarse for a file under work.
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_file(name: str, path: Path) -> ModuleType:
    loader = _SourceLoader(name, str(path))
    spec = ModuleSpec(name, loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module

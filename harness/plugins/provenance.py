"""Origin of code and place of a run: what a result records beside its figures.

Nothing here names the machine, its user or a place on its disk; the kind of machine is said.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from harness.api.execution import Engine
from harness.api.records import Environment, PluginRecord
from harness.errors import PluginError
from harness.plugins.discovery import DISTRIBUTION
from harness.utils.parallel import cores

LIBRARIES = ("torch", "torchvision", "numpy", "datasets", "evaluate", "scikit-learn")
GIT_SECONDS = 10
# Set while git runs a hook: they would point every question at that repository.
GIT_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


def plugin_record(
    plugin: str, module: str | ModuleType, distribution: str | None = None
) -> PluginRecord:
    """Record where a plugin's code came from.

    Args:
        plugin: its name among the plugins.
        module: the imported module, or its name in `sys.modules`.
        distribution: what installed it; None for a loose file or module.

    Raises:
        PluginError: the module is not imported, or has no source file.
    """
    name = module if isinstance(module, str) else module.__name__
    return _plugin_record(plugin, name, distribution)


@cache
def _plugin_record(plugin: str, module: str, distribution: str | None) -> PluginRecord:
    return PluginRecord(
        plugin=plugin,
        distribution=distribution,
        version=_version(distribution) if distribution else None,
        source=source_hash(module),
        dirty=_dirty(_sources(module), distribution),
    )


@cache
def source_hash(module: str) -> str:
    """sha256 (hex) over the Python files of the module's package, or over its one file.

    It covers relative paths and contents: the same code has the same hash wherever it lies, and
    with whatever line endings it was checked out.

    Raises:
        PluginError: the module is not imported, or has no source file.
    """
    sources = _sources(module)
    whole = hashlib.sha256()
    for file in sources.files:
        content = file.read_bytes().replace(b"\r\n", b"\n")
        whole.update(hashlib.sha256(sources.name(file).encode()).digest())
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()


class _Sources(NamedTuple):
    """`path`: the folder of a package or the file of a lone module; `files`: its Python files."""

    path: Path
    files: tuple[Path, ...]

    def name(self, file: Path) -> str:
        """The file's name below the folder it belongs to."""
        return file.name if file == self.path else file.relative_to(self.path).as_posix()


def _sources(module: str) -> _Sources:
    """The package that holds `module`, or the lone module."""
    found = sys.modules.get(module)
    package = sys.modules.get(getattr(found, "__package__", None) or "")
    for folder in getattr(package, "__path__", ()):
        sources = _package(Path(folder))
        if sources.files:
            return sources
    file = getattr(found, "__file__", None)
    if file is None:
        raise PluginError(
            f"the module '{module}' has no source file, so results could not say what code made "
            "them; put the plugin into a .py file"
        )
    return _Sources(Path(file), (Path(file),))


def _package(folder: Path) -> _Sources:
    bare = _Sources(folder, ())
    return _Sources(folder, tuple(sorted(folder.rglob("*.py"), key=bare.name)))


def environment(device: str, engine: Engine = "fast") -> Environment:
    """Record where this process runs; `device` is told as the engine names it."""
    torch = sys.modules.get("torch")  # a process that has not loaded it computes nothing
    found: dict[str, object] = {"device": device, "engine": engine, "machine": machine()}
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        found["processor"] = torch.backends.cpu.get_cpu_capability()
    return _fixed().model_copy(update=found)


@cache
def machine(listing: Path = Path("/proc/cpuinfo")) -> str:
    """The kind of machine, `AMD EPYC 9654 x 2`: its processor and how many cores may be used.

    Seconds measured on one are no evidence for another.
    """
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    model = next(named, "") or platform.processor() or platform.machine()
    return f"{model} x {cores()}"


def environment_difference(one: Environment | None, other: Environment | None) -> str:
    """Differences of two environments that may round differently, first against second; or empty.

    Which of several equal cards ran a run is nothing; another processor, library or thread count
    is, and so is the reference engine.
    """
    if one is None or other is None:
        return "nothing recorded of where it was made"
    names = sorted({*one.libraries, *other.libraries})
    pairs = [
        (_kind(one.device), _kind(other.device)),
        (one.platform, other.platform),
        (one.processor or "unknown processor", other.processor or "unknown processor"),
        (f"{one.threads} threads", f"{other.threads} threads"),
        (f"the {one.engine or 'fast'} engine", f"the {other.engine or 'fast'} engine"),
        *((f"{n} {one.libraries.get(n)}", f"{n} {other.libraries.get(n)}") for n in names),
    ]
    return ", ".join(f"{ours} instead of {theirs}" for ours, theirs in pairs if ours != theirs)


def _kind(device: str) -> str:
    """`cuda:1 (NVIDIA H200)` -> `cuda (NVIDIA H200)`."""
    kind, _, rest = device.partition(":")
    return f"{kind} {rest.partition(' ')[2]}".strip()


@cache
def _fixed() -> Environment:
    here = Path(__file__)
    libraries = {name: version for name in LIBRARIES if (version := _version(name))}
    return Environment(
        harness=_version(DISTRIBUTION) or "unknown",
        python=platform.python_version(),
        libraries=libraries,
        commit=_commit(here),
        dirty=_dirty(_package(here.parents[1]), DISTRIBUTION),
        device="",
        platform=f"{platform.system()}-{platform.machine()}",
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _dirty(sources: _Sources, distribution: str | None) -> bool | None:
    """True if code differs from what was installed or committed; None where neither is known."""
    altered = None if distribution is None else _altered(sources.files, distribution)
    if altered is not None:
        return altered
    folder, path = sources.files[0].parent, str(sources.path)
    if _git(folder, "status", "--porcelain", "--", path):
        return True
    # An environment inside somebody's checkout is ignored there: no change, and no knowledge.
    return False if _git(folder, "ls-files", "--", path) else None


def _altered(files: Sequence[Path], distribution: str) -> bool | None:
    """True if files differ from the hashes their wheel recorded; None where it lists none."""
    try:
        listed = metadata.files(distribution) or ()
    except metadata.PackageNotFoundError:
        return None
    hashes = {Path(str(one.locate())): one.hash for one in listed if one.suffix == ".py"}
    recorded = [hashes.get(file) for file in files]
    if any(one is None for one in recorded):
        return None
    return any(
        one is not None and one.value != _wheel_hash(file, one.mode)
        for one, file in zip(recorded, files, strict=True)
    )


def _wheel_hash(file: Path, mode: str) -> str:
    found = hashlib.new(mode, file.read_bytes()).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def _commit(file: Path) -> str | None:
    """The commit checked out where `file` is tracked; None where it lies there by chance."""
    if _git(file.parent, "ls-files", "--error-unmatch", "--", str(file)) is None:
        return None
    found = _git(file.parent, "rev-parse", "HEAD")
    return found.strip() if found else None


def _git(folder: Path, *question: str) -> str | None:
    """The answer of git; None without git, outside a work tree, or when it takes too long."""
    surroundings = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    try:
        done = subprocess.run(  # noqa: S603 - fixed questions about paths of our own
            ["git", "--no-optional-locks", "-C", str(folder), *question],  # noqa: S607
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            env=surroundings,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

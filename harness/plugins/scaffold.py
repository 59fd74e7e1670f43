"""A new plugin: a package that installs, passes its own tests and runs, before a line is changed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

from harness.errors import UsageError
from harness.plugins.discovery import DISTRIBUTION
from harness.plugins.registry import PluginRegistry
from harness.plugins.validation import KEBAB, KINDS

SUFFIX = ".template"


@dataclass(frozen=True)
class Kind:
    """A kind of plugin that can be made: the words of its README.

    Attributes:
        bench: the command that puts it on the board, without `harness bench`.
        next_step: what to do after the four commands.
    """

    bench: str
    next_step: str


PLUGINS = {
    "strategy": Kind(
        "demo --datasets demo-xray --backbones resnet50-mini --strategies $name,full-ft",
        "Then write your own `phases`: it yields `Phase` values and is sent a report for each.",
    ),
    "backbone": Kind(
        "demo --datasets demo-xray --backbones $name --strategies full-ft,linear-probe "
        "--weights none",
        "Then write your own `build`, and declare where its weights are (`harness.Weights`).",
    ),
    "dataset": Kind(
        "demo --datasets $name --backbones resnet50-mini --strategies full-ft,linear-probe",
        "Then write your own `load`, and declare licence, source and what a group is (a patient, a "
        "lesion, a video).",
    ),
    "metric": Kind(
        "demo --datasets demo-xray --backbones resnet50-mini --strategies full-ft,linear-probe",
        "Every run computes all metrics; `harness board results/demo --metric $name` ranks by this "
        "one.\nThen write your own `compute`.",
    ),
}


def create(name: str, kind: str, into: Path, loaded: PluginRegistry) -> Path:
    """Write the package of a new plugin into the folder `into/name`, and return that folder.

    Args:
        name: kebab-case; the name of the plugin and of what it offers.
        kind: 'strategy', 'backbone', 'dataset' or 'metric'.
        into: made if it is not there.
        loaded: the plugins that are here already.

    Raises:
        UsageError: the name is no name or taken, or the folder exists or cannot be written.
    """
    _check_name(name)
    words = _words(name, kind)
    _check_free(name, words["module"], loaded)
    files = {path: Template(text).substitute(words) for path, text in _templates(kind, words)}
    folder = into / name
    try:
        folder.mkdir(parents=True)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise UsageError(
            f"{folder} exists already; choose another name, another place (--out FOLDER), or remove it"
        ) from error
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def bench_command(name: str, kind: str) -> str:
    """The command that puts a new plugin on the board."""
    return Template(f"harness bench {PLUGINS[kind].bench}").substitute(name=name)


def _check_name(name: str) -> None:
    if KEBAB.fullmatch(name):
        return
    kebab = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()).strip("-")
    hint = f"; did you mean {kebab!r}?" if kebab else ""
    raise UsageError(
        f"{name!r} is no name for a plugin: lower-case letters and digits, with hyphens in between"
        + hint
    )


def _check_free(name: str, module: str, loaded: PluginRegistry) -> None:
    plugins = [*loaded.plugins.values(), *(broken.info for broken in loaded.broken)]
    if taken := [info for info in plugins if info.plugin == name]:
        raise UsageError(f"there is a {taken[0]} already; choose another name")
    for kind, rule in KINDS.items():
        if name in getattr(loaded, kind):
            owner = loaded.owner(kind, name)
            raise UsageError(f"there is a {rule.what} {name!r} already, of {owner}; choose another")
    if importlib.util.find_spec(module) is not None:
        raise UsageError(f"a module {module!r} is installed already; choose another name")


def _words(name: str, kind: str) -> dict[str, str]:
    """The words that fill the templates."""
    bare = name.removeprefix("harness-")
    identifier = bare.replace("-", "_")
    camel = "".join(part.capitalize() for part in bare.split("-"))
    return {
        "name": name,
        "kind": kind,
        "title": bare.replace("-", " ").capitalize(),
        "identifier": identifier,
        "distribution": f"harness-{bare}",
        "module": f"harness_{identifier}",
        "class_name": camel if camel[0].isalpha() else f"{kind.capitalize()}{camel}",
        "harness_version": metadata.version(DISTRIBUTION),
        "bench": bench_command(name, kind),
        "next_step": Template(PLUGINS[kind].next_step).substitute(name=name),
    }


def _templates(kind: str, words: dict[str, str]) -> Iterator[tuple[PurePosixPath, str]]:
    """(path in the package, template) of every file."""
    folder = resources.files(__package__) / "templates"
    for part in ("shared", kind):
        for path, file in _walk(folder / part, PurePosixPath()):
            named = str(path).removesuffix(SUFFIX).replace("dot-", ".")
            named = named.replace("MODULE", words["module"])
            yield (
                PurePosixPath(named.replace("IDENTIFIER", words["identifier"])),
                file.read_text(encoding="utf-8"),
            )


def _walk(folder: Traversable, here: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for one in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if one.is_dir():
            yield from _walk(one, here / one.name)
        elif one.name.endswith(SUFFIX):
            yield here / one.name, one

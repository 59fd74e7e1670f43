"""A suite by its name, or from a TOML file of one's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.api.records import Protocol, Suite
from harness.benchmark.suite.values import check_finite, check_plain
from harness.data.folder import FolderDataset, parse_data_option
from harness.data.pixels.dicom import check_window
from harness.errors import StoreError, UsageError
from harness.plugins.registry import PluginRegistry
from harness.utils import files
from harness.utils.faults import explain
from harness.utils.names import choose, did_you_mean, first_few
from harness.utils.text import short

FOLDER_KEYS = ("columns", "join_labels", "window")  # of a table in `[data]`, beside its path


def named_suite(name: str, loaded: PluginRegistry) -> Suite:
    """The registered suite of this name, or the only one that a glob matches.

    Raises:
        UsageError: there is none, or a glob matches several.
    """
    found = choose([name], loaded.suites, "suite")
    if len(found) > 1:
        raise UsageError(f"{name!r} matches {len(found)} suites ({first_few(found)}): name one")
    return loaded.suites[found[0]]


def read_suite(path: Path, loaded: PluginRegistry) -> tuple[Suite, list[FolderDataset]]:
    """A suite file (TOML): the fields of `Suite`, `extends = "SUITE"`, and a table `[data]`.

    Raises:
        UsageError: unreadable, an unknown key (with the nearest one), or a value that does not fit.
    """
    try:
        content = tomllib.loads(files.read(path).decode())
    except StoreError as error:
        cause = getattr(error.__cause__, "strerror", None)
        raise UsageError(f"suite file {path}: {cause or error}") from error
    except RecursionError as error:
        raise UsageError(f"suite file {path} is nested far too deep") from error
    except ValueError as error:  # of TOML, of UTF-8, or of a number with thousands of digits
        raise UsageError(f"suite file {path} is not valid TOML: {short(str(error))}") from error
    _known_kinds(content, path)
    _known_keys(content, {*Suite.model_fields, "extends", "data"}, f"suite file {path}")
    check_finite(content, f"suite file {path}")
    base: dict[str, Any] = {}
    if extends := content.pop("extends", None):
        base = named_suite(extends, loaded).model_dump()
        base |= {"notes": (), "title": "", "description": "", "name": path.stem}
    folders = [_folder(path, name, given) for name, given in dict(content.pop("data", {})).items()]
    protocol = content.pop("protocol", {})
    _known_keys(protocol, set(Protocol.model_fields), f"suite file {path}, [protocol]")
    merged = {"name": path.stem, **base, **content}
    merged["protocol"] = {"name": merged["name"], **base.get("protocol", {}), **protocol}
    try:
        suite = Suite.model_validate(merged)
    except ValidationError as error:
        raise UsageError(explain(error, f"suite file {path}")) from error
    check_plain(suite.model_dump(), f"suite file {path}")
    return suite, folders


def _known_kinds(content: Mapping[str, Any], path: Path) -> None:
    """Check the kinds of the values that are read before the suite as a whole is checked."""
    texts = [("extends", content.get("extends", ""))]
    for key in ("data", "protocol"):
        table = content.get(key, {})
        if not isinstance(table, dict):
            raise UsageError(f"suite file {path}: {key} must be a table, as in [{key}]")
        if key == "data":  # a table is looked at with its folder
            texts += [(f"data.{n}", one) for n, one in table.items() if not isinstance(one, dict)]
    for name, value in texts:
        if not isinstance(value, str) or "\0" in value:
            raise UsageError(f"suite file {path}: {name} must be a text, not {short(repr(value))}")


def _folder(path: Path, name: str, given: object) -> FolderDataset:
    """A line of `[data]`: a folder, or a table of all that the command line can say of one.

    Paths are from the file; the name may be MODALITY:NAME, as for `--data`.
    """
    table: dict[str, Any] = given if isinstance(given, dict) else {"path": given}
    where = f"suite file {path}, [data] {name}"
    _known_keys(table, {"path", *FOLDER_KEYS}, where)
    if not isinstance(table.get("path"), str) or "\0" in table["path"]:
        raise UsageError(f"{where}: write a folder, or a table with path = FOLDER")
    folder = parse_data_option(f"{name}={path.parent / table['path']}", where)
    try:
        found = FolderDataset.model_validate({**folder.model_dump(), **table, "path": folder.path})
    except ValidationError as error:
        raise UsageError(explain(error, where)) from error
    check_window(found.window, where)
    return found


def _known_keys(content: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")

"""Suites of one's own: TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import UsageError
from harness.folder import FolderDataset, parse_data_option
from harness.plugins import Loaded
from harness.records import Protocol, Suite
from harness.suggest import choose, did_you_mean


def read_suite(path: Path, loaded: Loaded) -> tuple[Suite, list[FolderDataset]]:
    """A suite file (TOML): the fields of `Suite`, `extends = "SUITE"`, and a table `[data]`.

    Raises:
        UsageError: unreadable, an unknown key (with the nearest one), or a value that does not fit.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"suite file {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"suite file {path} is not valid TOML: {error}") from error
    _known_keys(content, {*Suite.model_fields, "extends", "data"}, f"suite file {path}")
    base: dict[str, Any] = {}
    if extends := content.pop("extends", None):
        base = loaded.suites[choose([extends], loaded.suites, "suite")[0]].model_dump()
        base |= {"notes": (), "title": "", "description": "", "name": path.stem}
    folders = [
        parse_data_option(f"{name}={path.parent / folder}")
        for name, folder in content.pop("data", {}).items()
    ]
    protocol = content.pop("protocol", {})
    _known_keys(protocol, set(Protocol.model_fields), f"suite file {path}, [protocol]")
    merged = {"name": path.stem, **base, **content}
    merged["protocol"] = {"name": merged["name"], **base.get("protocol", {}), **protocol}
    try:
        return Suite.model_validate(merged), folders
    except ValidationError as error:
        raise UsageError(explain(error, f"suite file {path}")) from error


def _known_keys(content: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")


def explain(error: ValidationError, where: str) -> str:
    """What pydantic found, one fault after another, in a line."""
    lines = [
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (given: {fault['input']!r})"
        for fault in error.errors()
    ]
    return f"{where}: " + "; ".join(lines)

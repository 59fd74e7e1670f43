"""Checkpoints of runs under way, in a hidden folder of the results folder.

    .unfinished/<run_id>/checkpoint.json     written last: who made it, how far it is, and the files
                                             that belong to it with their sha256
    .unfinished/<run_id>/<steps>.state       everything that changes during a run
    .unfinished/<run_id>/<number>.start      what the strategy knew before a phase

Each file is whole or not there, and none is a result: nothing that reads results looks here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import ResumeError, StoreError
from harness.utils import files

FOLDER = ".unfinished"
HEADER = "checkpoint.json"
SCHEMA = 1


def folder_of(results: Path, run_id: str) -> Path:
    """The folder of a run's checkpoint."""
    return results / FOLDER / run_id


@dataclass(frozen=True)
class Header:
    """The description that a checkpoint bears.

    Attributes:
        made_by: versions, device and threads that the same bits depend on.
        phase: that was under way; epoch: of the run, of at most `epochs`.
        made: when.
        state: name and sha256 of the file with the run's state; starts: of those of its phases.
    """

    made_by: Mapping[str, str]
    phase: str
    epoch: float
    epochs: float
    state: tuple[str, str]
    starts: tuple[tuple[str, str], ...]
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def place(self) -> str:
        """For people: how far the run was, and when."""
        return f"phase {self.phase}, epoch {self.epoch:.4g} of {self.epochs:g}, {self.made}"


@dataclass(frozen=True)
class Checkpoint:
    """The files of one run's checkpoint; `made_by`: what must be the same for the same bits."""

    folder: Path
    made_by: Mapping[str, str]

    def header(self) -> Header | None:
        """The description of the checkpoint; None: there is none.

        Raises:
            ResumeError: it is damaged, or was made in another way.
        """
        path = self.folder / HEADER
        try:
            if not files.exists(path):
                return None
            found = json.loads(files.read(path))
            if found.pop("schema") != SCHEMA:
                raise ResumeError("another version of the harness wrote it")
            header = Header(**found)
            self._compare(header)
        except (StoreError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ResumeError(f"{path.name} is damaged") from error
        return header

    def _compare(self, header: Header) -> None:
        for name, value in self.made_by.items():
            if header.made_by.get(name) != value:
                there = header.made_by.get(name, "unknown")
                raise ResumeError(f"it was made with {name} {there}, and this is {value}")

    def checked(self, file: tuple[str, str]) -> Path:
        """The path of a file that belongs to a checkpoint.

        Raises:
            ResumeError: it is missing, or not what was written.
        """
        name, digest = file
        path = self.folder / name
        try:
            with path.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise ResumeError(f"{name} cannot be read ({error.strerror})") from error
        if found != digest:
            raise ResumeError(f"{name} is damaged")
        return path

    def write(self, name: str, put: Callable[[Path], None]) -> tuple[str, str]:
        """Make a file by `put`; returns its name and sha256.

        Raises:
            OSError: it could not be written; nothing half-written is left.
        """
        path = self.folder / name
        with files.replacing(path) as temporary:
            put(temporary)
        with path.open("rb") as opened:
            return name, hashlib.file_digest(opened, "sha256").hexdigest()

    def finish(self, header: Header) -> None:
        """Put a checkpoint in the place of the one before, whose state goes.

        Raises:
            OSError: it could not be written; the one before stays.
        """
        content: dict[str, Any] = {"schema": SCHEMA, **vars(header)}
        files.put(self.folder / HEADER, json.dumps(content, indent=1).encode())
        keep = {HEADER, header.state[0], *(name for name, _ in header.starts)}
        for path in self.folder.iterdir():
            if path.name not in keep and not path.name.endswith(".tmp"):
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all of it, the header first."""
        with contextlib.suppress(OSError):  # what stays has no header, and is no checkpoint
            (self.folder / HEADER).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other runs' are there, or nothing
            self.folder.parent.rmdir()

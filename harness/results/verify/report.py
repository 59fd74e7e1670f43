"""The report of a verification."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.api.records import RunResult
from harness.utils.text import clean

Check = Literal[
    "schema", "name", "split", "predictions", "metrics", "record", "plan", "repeat",
    "completeness", "stranger", "package", "replay", "board", "reference",
]  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A file that does not hold; `file`: path from the folder, with forward slashes."""

    file: str
    check: Check
    message: str

    def __str__(self) -> str:
        return clean(f"{self.file}: {self.check}: {self.message}")


@dataclass(frozen=True)
class Replayed:
    """The outcome of a run that was carried out again.

    Attributes:
        compared: 'bits', 'figures' (two replays and a paired test), or 'nothing': it could not be run
            again.
        difference: mean absolute difference of the probabilities; None: nothing was compared.
        told: for people.
    """

    result: RunResult
    holds: bool
    compared: str
    difference: float | None
    told: str


@dataclass
class VerificationReport:
    """Everything that a verification found.

    Attributes:
        runs, failed: finished and failed runs that were looked at.
        superseded: runs that the plan no longer asks for.
        figures: metric values that were computed again.
        unchecked: what could not be checked and why -> in how many runs.
    """

    folder: Path
    runs: int = 0
    failed: int = 0
    superseded: int = 0
    figures: int = 0
    problems: list[Problem] = field(default_factory=list)
    unchecked: Counter[str] = field(default_factory=Counter)

    def wrong(self, path: Path | str, check: Check, message: str) -> None:
        """A file of the folder does not hold."""
        self.problems.append(Problem(self.name(path), check, message))

    def name(self, path: Path | str) -> str:
        """A path as problems name it."""
        return path.relative_to(self.folder).as_posix() if isinstance(path, Path) else path

    def told(self, error: Exception) -> str:
        """An error's message without the place of the folder."""
        return str(error).replace(f"{self.folder}/", "")

    @property
    def files(self) -> list[str]:
        """The files that do not hold, each once."""
        return sorted({problem.file for problem in self.problems})

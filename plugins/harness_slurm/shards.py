"""The folder of an array job.

It holds `slurm.json`, what was sent; `job.sh`, the script that was sent last; `logs`, what tasks print;
and `shard-3`, the results folder of `harness bench --shard 3/8`, and so on.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import HarnessError, UsageError

SCHEMA = 1
NAME = "slurm.json"
AGAIN = "--retry-failed"  # the one word in which a second call may differ


@dataclass(frozen=True)
class Sent:
    """Tasks sent at once; `by`: `slurm` or `local`; `jobs`: number of a shard -> id of its task."""

    at: str
    by: str
    jobs: dict[int, str]


@dataclass(frozen=True)
class Manifest:
    """A call that was sent, and its tasks.

    Attributes:
        words: of `harness bench`, without `--shard` and `--out`.
        cwd: where it was called: names of files are relative to it.
        shards: how many there are.
        minutes, memory: that each task has.
        planned: what came of the plan, in words.
        runs: planned in each shard, as far as the plan was made where it was sent.
    """

    words: tuple[str, ...]
    cwd: str
    shards: int
    minutes: int
    memory: str
    planned: str
    runs: tuple[int, ...] = ()
    sent: tuple[Sent, ...] = ()
    schema: int = SCHEMA

    def write(self, folder: Path) -> None:
        """Write it whole or not at all."""
        beside = folder / f".{NAME}.{os.getpid()}"
        beside.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        beside.replace(folder / NAME)

    @property
    def last(self) -> dict[int, tuple[str, str]]:
        """Number of a shard -> who had its last task, and its id."""
        return {part: (one.by, job) for one in self.sent for part, job in one.jobs.items()}


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder; None: it has none.

    Raises:
        HarnessError: it cannot be read, or a newer harness wrote it.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] > SCHEMA:
            raise HarnessError(f"{path} was written by a newer version of the harness")
        sent = [
            one | {"jobs": {int(part): job for part, job in one["jobs"].items()}}
            for one in found["sent"]
        ]
        texts = {name: tuple(found[name]) for name in ("words", "runs")}
        return Manifest(**{**found, **texts, "sent": tuple(Sent(**one) for one in sent)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarnessError(
            f"{path} cannot be read ({error!r}); move it away, and send the same call again: finished "
            "runs are kept"
        ) from error


@dataclass(frozen=True)
class Progress:
    """Runs of a shard; `asked` None: its task has not planned them yet."""

    asked: int | None
    made: int = 0
    failed: int = 0

    def left(self, *, again: bool) -> bool:
        """True if a task has anything to do; `again`: runs that failed are made again."""
        if self.asked is None:
            return True
        return self.made + (0 if again else self.failed) < self.asked


@dataclass(frozen=True)
class Shards:
    """The shards in a folder."""

    folder: Path
    count: int
    words: tuple[str, ...] = field(default=())

    def place(self, part: int) -> Path:
        """The results folder of a shard."""
        return self.folder / f"shard-{part}"

    def command(self, part: int) -> list[str]:
        """The call that makes a shard."""
        return [
            *call(self.words),
            "--shard",
            f"{part}/{self.count}",
            "--out",
            str(self.place(part)),
        ]

    def progress(self, part: int) -> Progress:
        """The runs of a shard.

        Raises:
            HarnessError: its plan cannot be read.
        """
        place = self.place(part)
        path = place / "plan.json"
        if not path.exists():
            return Progress(None)
        try:
            lines = json.loads(path.read_text(encoding="utf-8"))["runs"]
            name = f"{part}/{self.count}"
            own = {line["run_id"] for line in lines if line.get("shard") == name}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HarnessError(f"{path} cannot be read ({error!r})") from error
        made, failed = (
            {one.stem for one in (place / kind).rglob("*.json")} & own
            for kind in ("runs", "failed")
        )
        return Progress(len(own), len(made), len(failed - made))


def call(words: Sequence[str]) -> list[str]:
    """`harness bench` by the Python that runs now."""
    return [sys.executable, "-m", "harness", "bench", *words]


def check_same(before: Manifest, words: Sequence[str], shards: int, folder: Path) -> None:
    """A second call goes on with the first.

    Raises:
        UsageError: it is another call.
    """
    alike = [[word for word in one if word != AGAIN] for one in (before.words, words)]
    if (before.shards, alike[0]) != (shards, alike[1]):
        raise UsageError(
            f"--out {folder}: holds {before.shards} shards of `harness bench {' '.join(alike[0])}`; "
            "give the same call and as many shards to go on with them, or another folder"
        )

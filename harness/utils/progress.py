"""Progress of a download: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.utils.streams import unguarded
from harness.utils.text import clean, megabytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 0.5  # seconds between looks
LINE_EVERY = 10.0  # a log wants a line now and then


class Meter:
    """Counts finished bytes, and those of half files by what lies in a folder.

    Looking at the folder works with every version and every transport of the client.
    """

    def __init__(self, *, live: bool | None = None) -> None:
        self.live = sys.stderr.isatty() if live is None else live
        self.done = self.files = 0

    def say(self, text: str) -> None:
        """A line that stays."""
        print(clean(text), file=sys.stderr, flush=True)  # noqa: T201 - the log

    def add(self, size: int) -> None:
        """A file of `size` bytes is complete."""
        self.done += size
        self.files += 1

    @contextmanager
    def watching(self, name: str, staging: Path, files: int, total: int) -> Iterator[None]:
        """Show how `files` files of `total` bytes come in while the block runs."""
        self.done = self.files = 0
        self.say(f"{name}: {files} files, {megabytes(total)}")
        stop = threading.Event()
        show = self._bar if self.live else self._lines
        thread = threading.Thread(target=show, args=(name, staging, files, total, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _lines(
        self, name: str, staging: Path, files: int, total: int, stop: threading.Event
    ) -> None:
        started, before = time.monotonic(), size_of(staging)
        while not stop.wait(LINE_EVERY):
            here = self.done + size_of(staging)
            rate = (here - before) / (time.monotonic() - started) / 1e6
            self.say(
                f"{name}: {self.files} of {files} files, {megabytes(here)} of {megabytes(total)}, "
                f"{rate:.1f} MB/s"
            )

    def _bar(self, name: str, staging: Path, files: int, total: int, stop: threading.Event) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        bar: Progress
        with Progress(*columns, console=Console(file=unguarded(sys.stderr)), transient=True) as bar:
            task: TaskID = bar.add_task(clean(name), total=total, completed=size_of(staging))
            while not stop.wait(EVERY):
                bar.update(
                    task,
                    completed=self.done + size_of(staging),
                    description=clean(f"{name}: {self.files} of {files} files"),
                )


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder, whose files come and go."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total

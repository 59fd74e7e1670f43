"""Signs of life: what a call is at, on a live line of a terminal or now and then in a log.

A thread shows them, so that they come while the caller's own thread imports, waits for a lock or
computes.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from harness.utils import signs
from harness.utils.streams import Guarded, unguarded
from harness.utils.text import clean, cut, duration

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

FIRST, EVERY = 1.0, 10.0  # seconds until the first line of a log, and between two
REFRESHES = 2.0  # of the line of a terminal, a second
COLUMNS = 80  # of a line of a log

_shown: Signs | None = None


@contextlib.contextmanager
def shown(*, live: bool | None = None) -> Iterator[None]:
    """Show signs of life on stderr inside the block, unless they are shown already.

    `live`: one line that changes, and not lines of a log; None: where stderr is a terminal.
    """
    global _shown  # noqa: PLW0603 - a process has one stderr
    if _shown is not None:
        yield
        return
    with Signs(live=on_terminal() if live is None else live) as _shown:
        try:
            yield
        finally:
            _shown = None


def on_terminal() -> bool:
    """True if stderr is a terminal on which a line can be drawn again."""
    stream = sys.stderr
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class Signs:
    """The thread that shows what is under way."""

    def __init__(self, *, live: bool) -> None:
        self.live, self.started = live, time.monotonic()
        self.line: Live | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_lines, name="signs", daemon=True)

    def __enter__(self) -> Self:
        if self.live:
            self._draw()
        else:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.line is not None:
            self.line.stop()
        else:
            self._thread.join()

    def describe(self, width: int) -> str:
        """The time that has passed, and the innermost of what goes on; '' if nobody says."""
        what = signs.under_way()
        passed = duration(time.monotonic() - self.started)
        return cut(clean(f"{passed}: {what}"), width) if what else ""

    def _draw(self) -> None:
        """Begin a line in the terminal's width, below what others write."""
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(file=unguarded(sys.stderr))

        def render() -> Text:
            return Text(self.describe(console.width - 1), no_wrap=True)

        self.line = Live(
            console=console, get_renderable=render, refresh_per_second=REFRESHES, transient=True
        )
        before = sys.stderr
        self.line.start()
        if sys.stderr is not before:  # lines of others, above this one, until it stops
            sys.stderr = Guarded(sys.stderr)

    def _write_lines(self) -> None:
        wait = FIRST
        while not self._stop.wait(wait):
            wait = EVERY
            text = self.describe(COLUMNS)
            if text:
                # A log that nobody reads any more is no reason to end what goes on.
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(f"{text}\n")
                    sys.stderr.flush()

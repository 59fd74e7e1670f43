"""Streams to a terminal or a log on which text is only text.

What is printed may come from anywhere: records, manifests, names of files, classes and plugins.
While a command runs, everything that is written to stdout and stderr goes through `Guarded`.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from harness.utils.text import CI_COMMAND, is_control, no_commands

LONGEST = len("##teamcity")
# What the progress bars of libraries (tqdm) write on a terminal to go to another line.
MOVES = re.compile(r"\n*(?:\x1b\[A)*")


class Guarded:
    """A text stream on which no character but the line feed and the tab does anything.

    Control and formatting characters become `?`, and what a CI service would take for a command
    (`::error`, `##[error]`, `##vso[...]`) gets a space that makes it text.  What an encoding does
    not have is written as an escape.
    """

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - whatever stands for a stream
        self.stream = stream
        self._begun = ""  # the line so far, as much of it as can be the start of a command

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - see above
        return getattr(self.stream, name)

    @property
    def encoding(self) -> str:
        """ASCII is not owned up to: click would go round this stream, down to its bytes."""
        found = getattr(self.stream, "encoding", None) or "utf-8"
        return "utf-8" if found.lower() in {"ascii", "us-ascii", "ansi_x3.4-1968"} else found

    def write(self, text: str) -> int:
        """Write a text; the number of its characters, as other streams do."""
        self._put(text if self._is_progress(text) else self._shown(text))
        return len(text)

    def writelines(self, lines: Any) -> None:  # noqa: ANN401 - see above
        for line in lines:
            self.write(line)

    def _is_progress(self, text: str) -> bool:
        moves = text[:1] in {"\x1b", "\n"} and MOVES.fullmatch(text)
        return bool(moves) and "\x1b" in text and self.stream.isatty()

    def _shown(self, text: str) -> str:
        start = ""
        if text[:1] == "\r" and "\n" not in text and self.stream.isatty():
            start, text = "\r", text[1:]  # a bar is drawn again
        lines = visible(text).split("\n")
        return start + "\n".join(self._line(line, first=not i) for i, line in enumerate(lines))

    def _line(self, line: str, *, first: bool) -> str:
        begun = self._begun if first else ""
        if (begun + line).lstrip().startswith("::"):
            # The first colon may have been written before.
            line = f" {line}" if begun.strip() else line.replace("::", ": :", 1)
        elif CI_COMMAND.search(begun + line):
            line = f" {line}"
        self._begun = (begun + line).lstrip()[-LONGEST:]
        return line

    def _put(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError as error:
            self.stream.write(
                text.encode(error.encoding, "backslashreplace").decode(error.encoding)
            )


def visible(text: str) -> str:
    """A text of several lines in which nothing is a command to a terminal or a CI service."""
    if not text.replace("\n", "").replace("\t", "").isprintable():
        text = "".join("?" if is_control(c) and c not in "\n\t" else c for c in text)
    return no_commands(text)


def unguarded(stream: Any) -> Any:  # noqa: ANN401 - whatever stands for a stream
    """The stream below, for what is known to be clean and has to be written as it is."""
    return stream.stream if isinstance(stream, Guarded) else stream


@contextmanager
def guarded() -> Iterator[None]:
    """Guard stdout and stderr while the block runs."""
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    put = {
        name: stream if stream is None or isinstance(stream, Guarded) else Guarded(stream)
        for name, stream in before.items()
    }
    for name, stream in put.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in before.items():
            # Where click has put something else there, for a reader that has gone, that stays.
            if getattr(sys, name) is put[name]:
                setattr(sys, name, stream)


def print_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Stand for `sys.excepthook`: a traceback quotes what went wrong."""
    traceback.print_exception(kind, error, trace, file=Guarded(sys.stderr))

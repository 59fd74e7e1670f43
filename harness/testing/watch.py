"""Notice what code does besides its work: use global generators, open files and sockets."""

from __future__ import annotations

import contextlib
import linecache
import random
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

FILES = frozenset({"open"})
PROGRAMS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"})
NETWORK = frozenset(
    {
        "socket.__new__",
        "socket.bind",
        "socket.connect",
        "socket.sendto",
        "socket.getaddrinfo",
        "socket.gethostbyname",
    }
)
# An import reads files and urllib3's makes a socket to see what the machine can; a warning that is
# shown reads the line it came from.
EXEMPT = ("<frozen importlib", linecache.__file__)
UNLIKELY = 3_141_592_653  # a seed
# Of the network nothing but these is harmless in an import.
HARMLESS = frozenset({"socket.__new__", "socket.bind"})


@dataclass(eq=False)
class Watch:
    """A watch over one thread, and what was noticed.

    Attributes:
        forbidden: audit events that are made to fail; what is watched but not forbidden goes on.
    """

    events: frozenset[str]
    forbidden: frozenset[str]
    thread: int = field(default_factory=threading.get_ident)
    noticed: list[str] = field(default_factory=list)


_watches: list[Watch] = []
_installed = False


@contextlib.contextmanager
def watching(*, files: bool) -> Iterator[list[str]]:
    """Note what this thread opens inside the block; sockets and programs fail there, files open.

    Args:
        files: watch for files too.
    """
    _install()
    network = NETWORK | PROGRAMS
    watch = Watch(network | FILES if files else network, network)
    _watches.append(watch)
    try:
        yield watch.noticed
    finally:
        _watches.remove(watch)


def _install() -> None:
    # An audit hook stays for the life of the process: one, and it does nothing unless asked.
    global _installed  # noqa: PLW0603 - as global as the hook
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watches:
        return
    for watch in _watches:
        if event in watch.events and watch.thread == threading.get_ident() and not _exempt(event):
            watch.noticed.append(_describe(event, arguments))
            if event in watch.forbidden:
                raise PermissionError(f"{_describe(event, arguments)}, which is not allowed here")


def _exempt(event: str) -> bool:
    if event in NETWORK - HARMLESS:
        return False
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the way to see the callers
    while frame is not None:
        if frame.f_code.co_filename.startswith(EXEMPT):
            return True
        frame = frame.f_back
    return False


def _describe(event: str, arguments: tuple[Any, ...]) -> str:
    if event in FILES:
        return f"it opened the file {arguments[0]!r}"
    if event in PROGRAMS:
        return f"it started the program {arguments[0]!r}"
    if event in {"socket.connect", "socket.bind", "socket.sendto"}:
        return f"it used a socket to {arguments[1]!r}"
    if event == "socket.__new__":
        return "it opened a socket"
    return f"it asked for the address of {arguments[0]!r}"


@contextlib.contextmanager
def unseeded() -> Iterator[Callable[[], list[str]]]:
    """Set the global generators to a state that no code leaves by chance; put them back at the end.

    Code that seeds with a fixed number leaves the same state every time: only from another state
    is that seen.  Gives a function: the names of the generators that were moved since.
    """
    import numpy as np
    import torch

    with kept_generators():
        random.seed(f"harness.testing {UNLIKELY}")
        np.random.seed(UNLIKELY)  # noqa: NPY002 - the global one is what is watched
        torch.manual_seed(UNLIKELY)
        before = generators()
        yield lambda: moved(before, generators())


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Put the global generators back that were there to begin with."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    ours = random.getstate()
    numpys = None if numpy is None else numpy.random.get_state()
    torchs = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(ours)
        if numpy is not None:
            numpy.random.set_state(numpys)
        if torch is not None:
            torch.set_rng_state(torchs)


def generators() -> dict[str, object]:
    """The state of every global random generator; equal values, equal states."""
    import numpy as np
    import torch

    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global one is what is watched
    return {
        "Python's random": random.getstate(),
        "numpy.random": (kind, np.asarray(keys).tobytes(), *rest),
        "torch's default generator": torch.get_rng_state().numpy().tobytes(),
    }


def moved(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Names of the generators that were drawn from or seeded between two looks."""
    return [name for name, state in before.items() if after[name] != state]

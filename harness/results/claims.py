"""Claims: the runs of a results folder that a call has in hand, so that no two calls make one run.

Each call keeps two hidden files in the folder: a lock that it holds as long as it lives, and the ids
of the runs that it has in hand.  What a call that has ended leaves behind counts no more, and the
next one clears it away.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from harness.api.records import RunSpec
from harness.results.store import Store
from harness.utils import files, locks

State = Literal["mine", "theirs", "made"]


class OtherCall(NamedTuple):
    """A call that is alive: who it is, and the ids of the runs that it has in hand."""

    owner: str
    runs: frozenset[str]


class Claims:
    """The runs of one call, told to all calls on the folder.

    Args:
        store: the folder.
        anew: ids of runs that are made again though they are there, finished or failed.
    """

    def __init__(self, store: Store, anew: Iterable[str] = ()) -> None:
        self.store, self.anew = store, frozenset(anew)
        self.runs: list[str] = []
        token = secrets.token_hex(8)
        self._lock = store.folder / f"{locks.CALL}{token}.lock"
        self._list = self._lock.with_suffix(".json")
        self._held: AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        files.make_folder(self.store.folder)
        self._held = locks.locked(self._lock.parent, self._lock.name)
        self._held.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._held is not None:
            self._held.__exit__(None, None, None)
        with contextlib.suppress(OSError):  # cleared away by the next call
            self._list.unlink(missing_ok=True)
            self._lock.unlink(missing_ok=True)

    def take(self, spec: RunSpec) -> State:
        """Claim a run, unless another call has it in hand or has made it (or failed) since this one began."""
        with locks.locked(self.store.folder):
            if spec.run_id in self.runs:
                return "mine"
            if spec.run_id not in self.anew and self._is_made(spec):
                return "made"
            if any(spec.run_id in other.runs for other in self._others()):
                return "theirs"
            self.runs.append(spec.run_id)
            self._write()
            return "mine"

    def release(self, spec: RunSpec) -> None:
        """Give a run back, whatever became of it."""
        if spec.run_id in self.runs:
            with locks.locked(self.store.folder):
                self.runs.remove(spec.run_id)
                self._write()

    def others(self) -> list[OtherCall]:
        """The other calls that are alive on this folder."""
        with locks.locked(self.store.folder):
            return list(self._others())

    def _others(self) -> Iterator[OtherCall]:
        for path in sorted(self.store.folder.glob(f"{locks.CALL}*.json")):
            if path == self._list:
                continue
            lock = path.with_suffix(".lock")
            if locks.is_free(lock):
                path.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
            else:
                yield OtherCall(locks.owner(lock), frozenset(_read(path)))

    def _is_made(self, spec: RunSpec) -> bool:
        return self.store.is_there(spec) or self.store.has_failed(spec.run_id)

    def _write(self) -> None:
        # Read and written under the folder's lock, and of use only while this call lives.
        try:
            self._list.write_text(json.dumps(self.runs))
        except OSError as error:
            raise files.unwritable(self._list, error) from error


def _read(path: Path) -> Sequence[str]:
    """The ids in a list; none where its call was ended while it wrote."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return ()
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else ()

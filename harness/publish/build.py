"""A results folder as a package: the same files without what is private, a new board, a card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.api.leaderboard import Leaderboard
from harness.api.records import Json
from harness.errors import UsageError
from harness.plugins import provenance
from harness.publish import card
from harness.publish.anonymous import Anonymous
from harness.results import package
from harness.results.merge import existing
from harness.results.privacy import folder_key
from harness.results.store import Store, encoded, packed
from harness.utils import files
from harness.utils.text import short

Board = Callable[[Store], Leaderboard]


@dataclass(frozen=True)
class Package:
    """A folder that is ready to leave.

    Attributes:
        bytes: of all its files.
        replaced: the datasets whose sample and group ids were replaced.
        short: dataset -> its ids that are too short to be looked for in texts.
    """

    folder: Path
    files: tuple[str, ...]
    bytes: int
    runs: int
    failed: int
    replaced: tuple[str, ...]
    short: Mapping[str, int]

    @property
    def notes(self) -> list[str]:
        """Lines for whoever sends it: what became of ids, and what to look through."""
        replaced = [f"ids replaced by keyed hashes: {', '.join(self.replaced)}"]
        return (replaced if self.replaced else []) + [
            f"{count} ids of {name} are shorter than 4 characters: replaced in their own fields, and "
            "not looked for in titles, settings and notes; look through these yourself"
            for name, count in self.short.items()
        ]


def build(
    source: Path,
    folder: Path,
    make_board: Board,
    *,
    hide: Sequence[str] = (),
    show: Sequence[str] = (),
    keep_key: bool = True,
) -> Package:
    """Make the package of a results folder in an empty folder.

    Args:
        source: the results folder; nothing in it changes but for its key, which may be new.
        folder: where to write.
        make_board: ranks a folder and writes its board there.
        hide: datasets whose ids are replaced even though they are public by their records.
        show: datasets whose ids stay although they are not.
        keep_key: False where nothing will leave the machine: a new key is not kept.

    Raises:
        UsageError: there are no runs, or none on a dataset of `hide` or `show`, or one is both.
        StoreError: a file of the source is damaged, or one cannot be written.
    """
    store = existing(source)
    clean = Anonymous(store, folder_key(source, keep=keep_key), hide, show)
    for new in clean.splits.values():
        files.write(folder / new.file, new.splits.model_dump_json(indent=1).encode())
    target = Store(folder)
    for outcome in clean.outcomes():
        final = target.place(outcome.result)
        stored, contents = packed(outcome)
        for name, content in contents.items():
            files.write(final.with_name(name), content)
        files.write(final, encoded(stored))
    failed = list(clean.failed())
    for failure in failed:
        files.write(target.place(failure), encoded(failure))
    files.write(folder / "plan.json", encoded(clean.plan()))
    _check_records(folder, clean)
    board = make_board(target)
    for name, text in card.write(board, clean.replaced).items():
        files.write(folder / name, text.encode())
    package.write_manifest(folder, provenance.environment("").harness)
    names = tuple(package.contents(folder))
    size = sum((folder / name).stat().st_size for name in names)
    return Package(
        folder, names, size, len(clean.results), len(failed), tuple(clean.replaced), clean.short
    )


def _check_records(folder: Path, clean: Anonymous) -> None:
    """Look through everything that was written, keys and names among it, for ids that are left.

    Raises:
        UsageError: one is, in a field that cannot be changed; says which.
    """
    for name in package.contents(folder):
        if name.endswith(".json"):
            for place, text in _strings(json.loads(files.read(folder / name)), ""):
                if dataset := clean.scrubber.named(text):
                    raise UsageError(
                        f"{name}: {place or 'a key'} {short(text)!r} holds a sample or group id of "
                        f"dataset {dataset!r}; it cannot be replaced there: call it something else "
                        "and run it again (nothing was published)"
                    )


def _strings(value: Json, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield f"a key of {place}" if place else "", name
            yield from _strings(one, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one, place)

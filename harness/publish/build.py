"""A results folder as a package: the same files without what is private, a new board, a card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.api.leaderboard import Leaderboard
from harness.plugins import provenance
from harness.publish import card
from harness.publish.anonymous import Anonymous
from harness.results import package
from harness.results.merge import existing
from harness.results.privacy import folder_key
from harness.results.store import Store, encoded, packed
from harness.utils import files

Board = Callable[[Store], Leaderboard]


@dataclass(frozen=True)
class Package:
    """A folder that is ready to leave.

    Attributes:
        bytes: of all its files.
        replaced: the datasets whose sample and group ids were replaced.
    """

    folder: Path
    files: tuple[str, ...]
    bytes: int
    runs: int
    failed: int
    replaced: tuple[str, ...]


def build(
    source: Path,
    folder: Path,
    make_board: Board,
    *,
    hide: Sequence[str] = (),
    keep_key: bool = True,
) -> Package:
    """Make the package of a results folder in an empty folder.

    Args:
        source: the results folder; nothing in it changes but for its key, which may be new.
        folder: where to write.
        make_board: ranks a folder and writes its board there.
        hide: datasets whose ids are replaced even though they are public by their records.
        keep_key: False where nothing will leave the machine: a new key is not kept.

    Raises:
        UsageError: there are no runs, or none on a dataset of `hide`.
        StoreError: a file of the source is damaged, or one cannot be written.
    """
    store = existing(source)
    clean = Anonymous(store, folder_key(source, keep=keep_key), hide)
    for new in clean.splits.values():
        files.write(folder / new.file, new.splits.model_dump_json(indent=1).encode())
    target = Store(folder)
    for result, predictions in clean.pairs():
        final = target.place(result)
        stored, content = packed(result, predictions)
        files.write(final.with_suffix(".safetensors"), content)
        files.write(final, encoded(stored))
    failed = list(clean.failed())
    for failure in failed:
        files.write(target.place(failure), encoded(failure))
    files.write(folder / "plan.json", encoded(clean.plan()))
    board = make_board(target)
    for name, text in card.write(board, clean.replaced).items():
        files.write(folder / name, text.encode())
    package.write_manifest(folder, provenance.environment("").harness)
    names = tuple(package.contents(folder))
    size = sum((folder / name).stat().st_size for name in names)
    return Package(folder, names, size, len(clean.results), len(failed), tuple(clean.replaced))

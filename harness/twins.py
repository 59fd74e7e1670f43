"""Near duplicates in a dataset: found once, remembered beside the decoded images.

Candidates are pairs whose perceptual hashes are close (see `harness.likeness`); a correlation of
`CONFIRMED` or more of their grey copies confirms them.  Only confirmed pairs keep images together:
by the hash alone a fourth of all chest X-rays would chain into one group.  The rest are suspects,
for people to look at.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness import files, likeness
from harness.cache import STAGING, libraries
from harness.cluster import Pair, Sample
from harness.decode import Output, Progress, write_arrays
from harness.errors import StoreError
from harness.records import digest
from harness.table import Table

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # raised with every change that moves a pair
CONFIRMED = 0.98
LISTED = 1000  # of many suspects, those that are most alike


@dataclass(frozen=True)
class Twins:
    """What was found; pairs are rows of `likeness.PAIR`, numbers into `contents`.

    Attributes:
        contents: sha256 of every image file, each once, in the order of their first ids.
        confirmed: all of them.
        suspects: the most alike; `suspected`: how many there are.
    """

    contents: tuple[str, ...]
    confirmed: np.ndarray
    suspects: np.ndarray
    suspected: int


def find(
    table: Table, cache: Path, progress: Progress | None = None, also: Output | None = None
) -> Twins:
    """Near duplicates among the images of a dataset, each file compared once.

    Images that cannot be decoded, and blank ones, are nobody's twins.

    Args:
        table: the dataset.
        cache: `Access.cache`, where what was found is kept by the bytes of all images.
        progress: called with (images decoded, images in all) where nothing is known yet.
        also: what else to make of the images, in the order of `Twins.contents`, while they are
            decoded; not made if they need not be, or if one is bad.

    Raises:
        DataError: the files of images cannot be read from their tables.
        StoreError: the cache cannot be written.
    """
    ids = table.first_ids()
    place = _place(ids, cache)
    found = _read(place, tuple(ids))
    if found is None:
        try:
            found = _search(table, ids, cache, progress, also)
            files.write(place, _packed(found))
        except (OSError, StoreError) as error:
            reason = error.__cause__ if isinstance(error, StoreError) else error
            raise StoreError(
                f"near duplicates cannot be kept at {place} ({reason}); free some space, or set "
                "HARNESS_CACHE to a folder that can be written"
            ) from error
    return found


def nothing() -> Twins:
    """What is found where nobody looks."""
    import numpy as np

    return Twins((), np.zeros(0, likeness.PAIR), np.zeros(0, likeness.PAIR), 0)


def known(table: Table, cache: Path) -> Twins | None:
    """What `find` has found before; None: it was not called for these images."""
    ids = table.first_ids()
    return _read(_place(ids, cache), tuple(ids))


def links(twins: Twins, samples: Sequence[Sample]) -> list[Pair]:
    """The confirmed pairs as ids, where they say more than groups do."""
    having: dict[str, list[Sample]] = {}
    for sample in samples:
        having.setdefault(sample.content, []).append(sample)
    return [
        (one.id, other.id)
        for pair in twins.confirmed
        for one in having.get(twins.contents[pair["one"]], ())
        for other in having.get(twins.contents[pair["other"]], ())
        if one.group != other.group
    ]


def _place(ids: dict[str, str], cache: Path) -> Path:
    what = {"contents": list(ids), "libraries": libraries(), "version": VERSION}
    return cache / "twins" / f"{digest(what)[:32]}.npz"


def _search(
    table: Table,
    ids: dict[str, str],
    cache: Path,
    progress: Progress | None,
    also: Output | None,
) -> Twins:
    """Copies are made into a file that is gone afterwards: what is found is all that is needed."""
    import numpy as np

    names = list(ids.values())
    # Where `cache.prune` looks for what a process that died has left.
    (cache / "decoded").mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{STAGING}twins-", dir=cache / "decoded"))
    try:
        fetch = partial(_files, table, names)
        shape = (1, likeness.SIDE, likeness.SIDE)
        grey = Output(staging / "copies.npy", shape, likeness.grey_copy)
        outputs = [grey] if also is None else [grey, also]
        bad = write_arrays(outputs, len(names), fetch, progress)
        if bad and also is not None:
            also.path.unlink()
        copies = np.load(grey.path, mmap_mode="r" if names else None)
        return _judge(tuple(ids), copies[:, 0])
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _files(table: Table, names: Sequence[str], run: range) -> list[bytes | Path]:
    return table.sources(names[run.start : run.stop])


def _judge(contents: tuple[str, ...], copies: np.ndarray) -> Twins:
    import numpy as np

    confirmed = [np.zeros(0, likeness.PAIR)]
    suspects = confirmed[0]
    suspected = 0
    for pairs in likeness.candidates(copies):
        sure = pairs["correlation"] >= CONFIRMED
        confirmed.append(pairs[sure])
        suspected += int(np.count_nonzero(~sure))
        suspects = np.concatenate([suspects, pairs[~sure]])
        suspects = suspects[
            np.lexsort((suspects["other"], suspects["one"], -suspects["correlation"]))
        ]
        suspects = suspects[:LISTED]
    return Twins(contents, np.concatenate(confirmed), suspects, suspected)


def _read(place: Path, contents: tuple[str, ...]) -> Twins | None:
    """What is kept; None: nothing, or it is damaged."""
    import numpy as np

    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return Twins(contents, kept["confirmed"], kept["suspects"], int(kept["suspected"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _packed(twins: Twins) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(
        buffer,
        confirmed=twins.confirmed,
        suspects=twins.suspects,
        suspected=np.array(twins.suspected),
    )
    return buffer.getvalue()

"""Near duplicates in a dataset: found once, remembered beside the decoded images.

Candidates are pairs whose perceptual hashes are close; a correlation of `CONFIRMED` or more of
their grey copies confirms them.  Only confirmed pairs keep images together: by the hash alone a
fourth of all chest X-rays would chain into one group.  The rest are suspects, for people to look
at.

The hash is Zauner's pHash (2010): the signs of the 63 lowest frequencies of a 32-pixel copy, about
their median.  An image is compared in all eight orientations (mirrored and turned by right angles:
copies of that kind are what augmentation leaves in a folder).  Measured on six sets of real images
(7,340): of pairs with a correlation of .98 or more the hash misses none, and no pair of different
images reaches .98 in another orientation (the highest: .966).
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.records import digest
from harness.data.cache.entry import STAGING, libraries
from harness.data.decoding import Output, Progress, write_arrays
from harness.data.division.stratify import Pair, Sample
from harness.data.table import DatasetTable
from harness.errors import StoreError
from harness.utils import files, signs
from harness.utils.parallel import in_order

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # raised with every change that moves a pair
CONFIRMED = 0.98
LISTED = 1000  # of many suspects, those that are most alike
SIDE = 64  # pixels of a grey copy
FREQUENCIES = 8  # along each axis; the hash has the square of it in bits
MOST_BITS = 8  # that the hashes of candidates differ by
ROWS, COLUMNS = 32, 4096  # hashes compared at a time: what a processor keeps in its cache
PAIRS = 128  # copies correlated at a time by a thread: 8 MB
# Bits of an orientation: transposed, then flipped (top to bottom), then mirrored.
MIRRORED, FLIPPED, TRANSPOSED = 1, 2, 4
ORIENTATIONS = (
    "",
    "mirrored",
    "flipped",
    "turned by 180 degrees",
    "transposed",
    "turned clockwise",
    "turned anticlockwise",
    "transposed and turned by 180 degrees",
)
PAIR = [  # one row of what is found: `one` < `other`, which is alike once it is turned
    ("one", "<i4"),
    ("other", "<i4"),
    ("bits", "|u1"),
    ("orientation", "|u1"),
    ("correlation", "<f8"),
]


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of images that look alike: rows of `PAIR`, numbers into `contents`.

    Attributes:
        contents: sha256 of every image file, each once, in the order of their first ids.
        confirmed: all of them.
        suspects: the most alike; `suspected`: how many there are.
    """

    contents: tuple[str, ...]
    confirmed: np.ndarray
    suspects: np.ndarray
    suspected: int

    def pairs(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Sample, np.ndarray]]:
        """Every confirmed pair of samples, copies of a file included, and its row of `PAIR`."""
        having: dict[str, list[Sample]] = {}
        for sample in samples:
            having.setdefault(sample.content, []).append(sample)
        for row in self.confirmed:
            for one in having.get(self.contents[row["one"]], ()):
                for other in having.get(self.contents[row["other"]], ()):
                    yield one, other, row


def find_duplicates(
    table: DatasetTable, cache: Path, progress: Progress | None = None, also: Output | None = None
) -> NearDuplicates:
    """Near duplicates among the images of a dataset, each file compared once.

    Images that cannot be decoded, and blank ones, are like nothing.

    Args:
        table: the dataset.
        cache: `Access.cache`, where what was found is kept by the bytes of all images.
        progress: called with (images decoded, images in all) where nothing is known yet.
        also: what else to make of the images, in the order of `NearDuplicates.contents`, while
            they are decoded; not made if they need not be, or if one is bad.

    Raises:
        DataError: the files of images cannot be read from their tables.
        StoreError: the cache cannot be written.
    """
    ids = table.first_ids()
    place = _place(table, cache)
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


def known_duplicates(table: DatasetTable, cache: Path) -> NearDuplicates | None:
    """The near duplicates that were found before; None: nobody has looked among these images."""
    ids = table.first_ids()
    return _read(_place(table, cache), tuple(ids))


def nothing() -> NearDuplicates:
    """No pairs, for a dataset in which none are looked for."""
    import numpy as np

    return NearDuplicates((), np.zeros(0, PAIR), np.zeros(0, PAIR), 0)


def confirmed_pairs(near: NearDuplicates, samples: Iterable[Sample]) -> list[Pair]:
    """The confirmed pairs as ids, where they say more than groups do."""
    pairs = near.pairs(samples)
    return [(one.id, other.id) for one, other, _ in pairs if one.group != other.group]


def _place(table: DatasetTable, cache: Path) -> Path:
    used = libraries(dicom=table.dicom)
    what = {"contents": list(table.first_ids()), "libraries": used, "version": VERSION}
    return cache / "twins" / f"{digest(what)[:32]}.npz"


def _search(
    table: DatasetTable,
    ids: dict[str, str],
    cache: Path,
    progress: Progress | None,
    also: Output | None,
) -> NearDuplicates:
    """Compare grey copies, which lie in a file that is gone afterwards."""
    import numpy as np

    names = list(ids.values())
    # Where `cache.prune` looks for what a process that died has left.
    (cache / "decoded").mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{STAGING}twins-", dir=cache / "decoded"))
    try:
        shape = (1, SIDE, SIDE)
        grey = Output(staging / "copies.npy", shape, grey_thumbnail)
        outputs = [grey] if also is None else [grey, also]
        bad = write_arrays(outputs, len(names), table.fetch(names), progress)
        if bad and also is not None:
            also.path.unlink()
        copies = np.load(grey.path, mmap_mode="r" if names else None)
        with signs.doing("looking for near duplicates") as judged:
            return _judge(tuple(ids), copies[:, 0], judged)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _judge(contents: tuple[str, ...], copies: np.ndarray, judged: signs.Work) -> NearDuplicates:
    import numpy as np

    confirmed = [np.zeros(0, PAIR)]
    suspects = confirmed[0]
    suspected = 0
    for pairs in candidate_pairs(copies):
        judged(min(judged.done + ROWS, len(copies)), len(copies))
        sure = pairs["correlation"] >= CONFIRMED
        confirmed.append(pairs[sure])
        suspected += int(np.count_nonzero(~sure))
        suspects = np.concatenate([suspects, pairs[~sure]])
        suspects = suspects[
            np.lexsort((suspects["other"], suspects["one"], -suspects["correlation"]))
        ]
        suspects = suspects[:LISTED]
    return NearDuplicates(contents, np.concatenate(confirmed), suspects, suspected)


def _read(place: Path, contents: tuple[str, ...]) -> NearDuplicates | None:
    """The pairs kept in a file; None: there is none, or it is damaged."""
    import numpy as np

    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return NearDuplicates(
                contents, kept["confirmed"], kept["suspects"], int(kept["suspected"])
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _packed(near: NearDuplicates) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(
        buffer,
        confirmed=near.confirmed,
        suspects=near.suspects,
        suspected=np.array(near.suspected),
    )
    return buffer.getvalue()


def grey_thumbnail(image: np.ndarray) -> np.ndarray:
    """uint8 [3, H, W] to uint8 [1, 64, 64], whatever its aspect."""
    import torch
    from torchvision.transforms.v2 import functional as transform

    grey = transform.rgb_to_grayscale(torch.from_numpy(image))
    copy: np.ndarray = transform.resize(grey, [SIDE, SIDE], antialias=True).numpy()
    return copy


def orient(copies: np.ndarray, orientation: int) -> np.ndarray:
    """Copies [N, 64, 64] in one of the eight orientations; a view."""
    if orientation & TRANSPOSED:
        copies = copies.transpose(0, 2, 1)
    if orientation & FLIPPED:
        copies = copies[:, ::-1]
    return copies[:, :, ::-1] if orientation & MIRRORED else copies


def candidate_pairs(copies: np.ndarray) -> Iterator[np.ndarray]:
    """Every pair of copies whose hashes are close in some orientation, with its correlation.

    A pair comes once, in the orientation that correlates best.  Blank copies are like nothing.

    Args:
        copies: uint8 [N, 64, 64], possibly memory-mapped.

    Yields:
        Arrays of `PAIR`, a block of rows each.
    """
    import numpy as np

    spectra, shown = _spectra(copies)
    hashes = [_hashes(_turned(spectra, one)) for one in range(len(ORIENTATIONS))]

    def block(start: int) -> np.ndarray:
        found = np.concatenate([_close(hashes, one, start) for one in range(len(hashes))])
        found = found[shown[found["one"]] & shown[found["other"]]]
        _correlate(found, copies)
        return _best(found)

    return in_order(block, range(0, len(copies), ROWS))


def _spectra(copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest frequencies [N, 8, 8] of each copy, and whether it shows anything."""
    import numpy as np

    spectra = np.empty((len(copies), FREQUENCIES, FREQUENCIES), np.float32)
    shown = np.empty(len(copies), bool)
    for start in range(0, len(copies), PAIRS):
        block = np.asarray(copies[start : start + PAIRS])
        half = block.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean((2, 4))
        # Rounded, so that no bit hangs on the order in which a processor adds.
        spectra[start : start + PAIRS] = np.round(_cosines() @ half @ _cosines().T, 3)
        shown[start : start + PAIRS] = block.min((1, 2)) < block.max((1, 2))
    return spectra, shown


@cache
def _cosines() -> np.ndarray:
    """The first rows of the discrete cosine transform (type II) of 32 values."""
    import numpy as np

    places = (2 * np.arange(SIDE // 2) + 1) * np.pi / SIDE
    cosines: np.ndarray = np.cos(np.arange(FREQUENCIES)[:, None] * places)
    return cosines


def _turned(spectra: np.ndarray, orientation: int) -> np.ndarray:
    """The spectra of turned images: odd frequencies change sign along a mirrored axis."""
    if orientation & TRANSPOSED:
        spectra = spectra.transpose(0, 2, 1)
    spectra = spectra.copy()
    if orientation & FLIPPED:
        spectra[:, 1::2] *= -1
    if orientation & MIRRORED:
        spectra[:, :, 1::2] *= -1
    return spectra


def _hashes(spectra: np.ndarray) -> np.ndarray:
    """uint64 [N]: which frequencies are above the median; the mean grey level says nothing."""
    import numpy as np

    values = spectra.reshape(len(spectra), FREQUENCIES**2)
    above = values > np.median(values[:, 1:], axis=1, keepdims=True)
    above[:, 0] = False
    hashes: np.ndarray = np.packbits(above, axis=1).view(np.uint64).ravel()
    return hashes


def _close(hashes: Sequence[np.ndarray], orientation: int, start: int) -> np.ndarray:
    """Pairs of a row from `start` on and a later one, which is turned; not correlated yet."""
    import numpy as np

    rows, turned = hashes[0][start : start + ROWS, None], hashes[orientation]
    found = [np.zeros(0, PAIR)]
    for first in range(start, len(turned), COLUMNS):
        bits = np.bitwise_count(rows ^ turned[first : first + COLUMNS])
        places = np.flatnonzero(bits <= MOST_BITS)
        one, other = np.divmod(places, bits.shape[1])
        pairs = np.zeros(len(places), PAIR)
        pairs["one"], pairs["other"] = one + start, other + first
        pairs["bits"], pairs["orientation"] = bits.ravel()[places], orientation
        found.append(pairs[pairs["one"] < pairs["other"]])
    return np.concatenate(found)


def _correlate(pairs: np.ndarray, copies: np.ndarray) -> None:
    """Pearson's correlation of the pixels of each pair, filled in.

    Sums of whole numbers are exact in float64: the same pixels give the same value everywhere.
    """
    import numpy as np

    for orientation in range(len(ORIENTATIONS)):
        rows = np.flatnonzero(pairs["orientation"] == orientation)
        for start in range(0, len(rows), PAIRS):
            some = rows[start : start + PAIRS]
            one = copies[pairs["one"][some]]
            other = orient(copies[pairs["other"][some]], orientation)
            pairs["correlation"][some] = _pearson(one, other)


def _pearson(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    import numpy as np

    a, b = (side.reshape(len(side), -1).astype(np.float64) for side in (one, other))
    correlation: np.ndarray = _covariance(a, b) / np.sqrt(_covariance(a, a) * _covariance(b, b))
    return correlation


def _covariance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the rows of two arrays, times the square of their length."""
    import numpy as np

    covariance: np.ndarray = x.shape[1] * np.einsum("ij,ij->i", x, y) - x.sum(1) * y.sum(1)
    return covariance


def _best(pairs: np.ndarray) -> np.ndarray:
    """One row a pair: the orientation that correlates best, the plainest of equals."""
    import numpy as np

    order = np.lexsort((pairs["orientation"], -pairs["correlation"], pairs["other"], pairs["one"]))
    ordered = pairs[order]
    first = np.ones(len(ordered), bool)
    first[1:] = (np.diff(ordered["one"]) != 0) | (np.diff(ordered["other"]) != 0)
    return ordered[first]

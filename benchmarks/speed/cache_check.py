"""Cost of holding the pixels of a cache entry against their checksum (`PixelCheck`).

The file is read from memory, and from the disk after its pages were given up; each turn does both.

    python benchmarks/speed/cache_check.py --count 6000
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from report import Log, save

from harness.data.cache import cache
from harness.data.cache.entry import CacheEntry, entry_for
from harness.data.images import PixelForm


def make_entry(folder: Path, count: int, crop: int) -> CacheEntry:
    """An entry of random pixels, put in order and published as any other."""
    entry = entry_for("speed", [f"{n:064x}" for n in range(count)], PixelForm(crop, crop))
    rng = np.random.default_rng(0)
    with cache.decode_unordered(folder, PixelForm(crop, crop)) as output:
        header = {"descr": "|u1", "fortran_order": False, "shape": entry.shape}
        with output.path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(count):
                file.write(rng.bytes(3 * crop * crop))
        early = cache.UnorderedImages(output.path, range(count))
        cache.decoded(folder, entry, lambda _: (), early=early)
    return entry


def seconds(folder: Path, entry: CacheEntry, *, from_disk: bool) -> float:
    """Of one check."""
    pixels = folder / "decoded" / entry.folder / "images.npy"
    os.utime(pixels)  # a check is due
    if from_disk:
        with pixels.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    found = cache.decoded(folder, entry, lambda _: (), defer_check=True)
    if found.check is None:
        raise SystemExit("no check was due")
    started = time.perf_counter()
    if found.check.damaged():
        raise SystemExit("the entry is damaged")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=6000, help="images of --crop pixels")
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    log = Log()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        entry = make_entry(folder, given.count, given.crop)
        megabytes = given.count * 3 * given.crop**2 / 1e6
        turns = [
            {
                where: seconds(folder, entry, from_disk=where == "disk")
                for where in ("disk", "memory")
            }
            for _ in range(given.turns)
        ]
    rows = [
        {
            "from": where,
            "MB": megabytes,
            "median s": statistics.median(turn[where] for turn in turns),
            "slowest s": max(turn[where] for turn in turns),
            "MB/s": megabytes / statistics.median(turn[where] for turn in turns),
            "n": given.turns,
        }
        for where in ("disk", "memory")
    ]
    log.table(rows)
    save("cache_check", "cpu", log, rows, images=given.count)


if __name__ == "__main__":
    main()

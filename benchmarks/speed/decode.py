"""Speed of building the decoded cache, beside a plain multi-process Pillow loop, in one run.

Both read the same JPEG files and write the same array file (short side, centre crop, uint8); both
use every core; the Pillow workers are started and warm before the clock runs.  Turns alternate and
the medians are compared, so that other work on the machine hits both.

    python benchmarks/speed/decode.py --count 10000
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache as cache_calls
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image
from report import Log, save

from harness.data.cache import cache
from harness.data.cache.entry import entry_for
from harness.data.images import PixelForm
from harness.utils.parallel import cores

FIELDS = ("Private_Clean", "Private_Dirty", "Anonymous")


def make_images(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """JPEGs of smooth colour and some noise: about 40 kB at 600 x 450, as photographs have."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        noisy = smooth + rng.integers(-4, 5, smooth.shape, dtype=np.int16)
        path = folder / f"{number:06}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


@cache_calls
def opened_array(target: Path) -> np.ndarray:
    """The array file of the plain loop, opened once in each worker."""
    return np.lib.format.open_memmap(target, mode="r+")


def pillow_one(job: tuple[int, Path], target: Path, resize: int, crop: int) -> None:
    """One image of the plain loop, into its row of a shared memory map."""
    row, path = job
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = resize / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    left, top = (width - crop) // 2, (height - crop) // 2
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(small.crop((left, top, left + crop, top + crop)))
    opened_array(target)[row] = pixels.transpose(2, 0, 1)


def pillow_loop(
    pool: ProcessPoolExecutor, paths: list[Path], folder: Path, resize: int, crop: int
) -> None:
    """The loop that anybody would write."""
    target = folder / f"pillow-{len(paths)}.npy"
    if not target.exists():
        shape = (len(paths), 3, crop, crop)
        np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    work = partial(pillow_one, target=target, resize=resize, crop=crop)
    for _ in pool.map(work, enumerate(paths), chunksize=32):
        pass


def build_cache(paths: list[Path], folder: Path, resize: int, crop: int) -> None:
    """The harness's way, the write to the disk included."""
    contents = [hashlib.sha256(str(path).encode()).hexdigest() for path in paths]
    entry = entry_for("speed", contents, PixelForm(resize, crop))
    cache.decoded(folder, entry, lambda run: paths[run.start : run.stop])


class Memory:
    """The most private memory this process held while it was watched, in MB by kind."""

    def __enter__(self) -> Self:
        self.peak = dict.fromkeys(FIELDS, 0.0)
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
                kind, _, rest = line.partition(":")
                if kind in self.peak:
                    self.peak[kind] = max(self.peak[kind], int(rest.split()[0]) / 1024)


def timed(work: Callable[[], None]) -> float:
    """Seconds of wall clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print and keep the medians, their ratio and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--width", type=int, default=600)
    parser.add_argument("--height", type=int, default=450)
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="decode-"))
    ours, plain = [], []
    spawn = multiprocessing.get_context("spawn")
    try:
        paths = make_images(folder, options.count, options.width, options.height)
        size = statistics.mean(path.stat().st_size for path in paths) / 1000
        build_cache(paths[:64], folder, options.resize, options.crop)
        with ProcessPoolExecutor(cores(), mp_context=spawn) as pool, Memory() as memory:
            pillow_loop(pool, paths[:256], folder, options.resize, options.crop)
            for _ in range(options.turns):
                place = (folder, options.resize, options.crop)
                cache.prune(folder)
                ours.append(timed(lambda: build_cache(paths, *place)))  # noqa: B023
                plain.append(timed(lambda: pillow_loop(pool, paths, *place)))  # noqa: B023
    finally:
        shutil.rmtree(folder)
    log = Log()
    log(
        f"{options.count} JPEGs of {options.width} x {options.height}, {size:.0f} kB each, "
        f"to {options.crop} px; {cores()} cores; load {os.getloadavg()[0]:.1f}"
    )
    for name, seconds in (("cache build", ours), ("Pillow loop", plain)):
        median = statistics.median(seconds)
        each = ", ".join(f"{second:.2f}" for second in seconds)
        log(f"{name}: median {median:.2f} s, {options.count / median:.0f} images/s ({each})")
    ratio = statistics.median(ours) / statistics.median(plain)
    log(f"ratio {ratio:.2f} (at most 1.3 wanted)")
    peak = ", ".join(f"{kind} {most:.0f} MB" for kind, most in memory.peak.items())
    log(f"this process at most, worker threads included: {peak}")
    rows = [{"cache build": a, "Pillow loop": b} for a, b in zip(ours, plain, strict=True)]
    save("decode", "cpu", log, rows, n=options.count, ratio=ratio, peak_mb=memory.peak)


if __name__ == "__main__":
    main()

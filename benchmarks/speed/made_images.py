"""Image folders made here: JPEGs of a few classes that a network can learn to tell apart."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from harness.utils.parallel import cores

SPLITS = ("train", "validation", "test")


def make_folder(
    folder: Path, counts: tuple[int, int, int], *, classes: int, size: int, seed: int
) -> Path:
    """`folder/<split>/<class>/<n>.jpg`, made by all cores; equal arguments give equal bytes.

    Each class has a coarse pattern of its own, moved, dimmed and covered with noise.
    """
    jobs = [
        (split, number, number % classes)
        for split, count in zip(SPLITS, counts, strict=True)
        for number in range(count)
    ]
    for split in SPLITS:
        for kind in range(classes):
            (folder / split / f"class{kind}").mkdir(parents=True, exist_ok=True)
    work = partial(_one, folder=folder, size=size, seed=seed)
    with ProcessPoolExecutor(cores()) as pool:
        for _ in pool.map(work, jobs, chunksize=32):
            pass
    return folder


def _one(job: tuple[str, int, int], folder: Path, size: int, seed: int) -> None:
    split, number, kind = job
    pattern = np.random.default_rng((seed, kind)).normal(0, 1, (4, 4, 3))
    rng = np.random.default_rng((seed, 1 + SPLITS.index(split), number))
    moved = np.roll(pattern, rng.integers(0, 4, 2), axis=(0, 1)) * rng.uniform(0.3, 1.0)
    coarse = (128 + 40 * (moved + rng.normal(0, 0.7, (4, 4, 3)))).clip(0, 255).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, np.int16) + rng.integers(-24, 25, (size, size, 3), dtype=np.int16)
    path = folder / split / f"class{kind}" / f"{number:06}.jpg"
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)

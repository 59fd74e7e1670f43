"""Own images of two classes, and finished runs of them, for what is done with tested weights."""

from pathlib import Path

import numpy as np
from command import runs
from PIL import Image

from harness.api.records import RunResult

PLUGIN = Path(__file__).with_name("low_rank_plugin.py")


def write_images(folder, seed=0):
    """36 images of two classes and several shapes: jpeg, grey, palette, turned, wide."""
    rng = np.random.default_rng(seed)
    for name in ("bright", "dark"):
        (folder / name).mkdir(parents=True)
    for number in range(36):
        bright = number % 2 == 0
        shape = (10 + number % 5, 12, 3)
        pixels = rng.integers(0, 120, shape, dtype=np.uint8) + np.uint8(120 * bright)
        image = Image.fromarray(pixels)
        kind = number % 4
        name = folder / ("bright" if bright else "dark") / f"{number:02d}"
        if kind == 0:
            image.save(name.with_suffix(".jpg"))
        elif kind == 1:
            image.convert("L").save(name.with_suffix(".png"))
        elif kind == 2:
            image.convert("P").save(name.with_suffix(".png"))
        else:
            image.save(name.with_suffix(".png"))
    return folder


def record_of(folder, strategy, seed):
    """The record of a run: its path and what it holds."""
    for path in runs(folder):
        run = RunResult.model_validate_json(path.read_bytes())
        if run.spec.strategy == strategy and run.spec.seed == seed:
            return path, run
    raise AssertionError(strategy)

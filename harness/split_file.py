"""Reading back `splits/<dataset>.json`: which sample a stored row is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from harness.errors import StoreError


def read_samples(path: Path) -> dict[str, np.ndarray]:
    """`id` and `group` of every row, in order.

    Raises:
        StoreError: the file is missing, or is no split file.
    """
    try:
        samples = json.loads(path.read_text(encoding="utf-8"))["samples"]
        return {key: np.array([sample[key] for sample in samples]) for key in ("id", "group")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read as a split file: {error}") from error

"""Suspicions about a set by names and headers alone: masks among images, ranges that differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from harness.data.pixels.values import Range

MASK = re.compile(
    r"[\s._-]*(?:masks?|seg|segmentation|annotation|ground[\s_-]?truth|gt|roi)[\s_-]?\d*$"
)


def find_masks(ids: Sequence[str]) -> dict[str, str]:
    """Image -> the image that it looks like a mask of, by its name: `7_mask.png` beside `7.png`."""
    stems = {_stem(name): name for name in ids}
    found = {}
    for name in ids:
        stem = _stem(name)
        plain = MASK.sub("", stem)
        if plain not in {stem, ""} and not plain.endswith("/") and plain in stems:
            found[name] = stems[plain]
    return found


def find_problems(ids: Sequence[str], ranges: Iterable[Range]) -> Iterator[str]:
    """Sentences for every board; no name of an image stands in them.

    `ranges`: of the images of more than eight bits.
    """
    if masks := find_masks(ids):
        yield (
            f"{len(masks)} of {len(ids)} images look like masks of others by their names; "
            "harness data audit names them"
        )
    spans = Counter(ranges)
    plain = len(ids) - sum(spans.values())
    if len(spans) + bool(plain) > 1:
        kinds = [f"{count} of {low:g} to {high:g}" for (low, high), count in spans.items()]
        kinds += [f"{plain} of eight bits"] * bool(plain)
        yield f"images of different ranges, each scaled by its own: {', '.join(kinds)}"


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).lower()

"""Which samples must not be torn apart.

A cluster is: samples of one group, of identical content, or confirmed near twins, and whatever
these link together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.dataset import Split

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: `label` numbers into the classes, `content` is the sha256 of its bytes."""

    id: str
    label: int
    group: str
    split: Split
    content: str


def find_clusters(samples: Sequence[Sample], twins: Iterable[Pair]) -> dict[str, str]:
    """Sample id -> the smallest id of its cluster."""
    parent = {sample.id: sample.id for sample in samples}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(one: str, other: str) -> None:
        low, high = sorted((root(one), root(other)))
        parent[high] = low

    first: dict[tuple[str, str], str] = {}
    for sample in samples:
        join(sample.id, first.setdefault(("group", sample.group), sample.id))
        if sample.content:
            join(sample.id, first.setdefault(("content", sample.content), sample.id))
    for one, other in twins:
        if one in parent and other in parent:
            join(one, other)
    return {name: root(name) for name in parent}


def place_kept(
    samples: Sequence[Sample], clusters: Mapping[str, str], kept: tuple[Split, ...]
) -> dict[str, Split]:
    """Id -> the kept split, or train for all that is still to be divided; left out: not there."""
    held: dict[str, Split] = {}
    for split in ("validation", "test"):  # test comes last and holds what both would have
        if split in kept:
            held |= {clusters[s.id]: split for s in samples if s.split == split}
    placed: dict[str, Split] = {}
    for sample in samples:
        own: Split = sample.split if sample.split in kept else "train"
        if held.get(clusters[sample.id], own) == own:
            placed[sample.id] = own
    return placed

"""Leaks: groups, copies of a file and near duplicates that stand in more than one split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.api.dataset import SPLITS, Split
from harness.api.records import Record
from harness.data.division.stratify import Sample
from harness.data.duplicates import ORIENTATIONS, NearDuplicates

if TYPE_CHECKING:
    import numpy as np

LISTED = 10_000  # of each kind, the first by id; all are counted


class Shared(Record):
    """A group, or the copies of one file (`name`: its sha256), and the ids each split has of it."""

    name: str
    ids: dict[Split, tuple[str, ...]]


class NearPair(Record):
    """Two images that look alike; `orientation`: what is done to the other to make it so."""

    one: str
    other: str
    splits: tuple[Split, Split]
    correlation: float
    bits: int
    orientation: str


class Leak(Record):
    """Images of a split that have a relative in train, counted by what makes it one."""

    images: int
    groups: int
    exact: int
    near: int
    any: int


class Crossings(Record):
    """Everything that crosses, counted and listed."""

    groups: int
    exact: int
    near: int
    shared_groups: tuple[Shared, ...]
    copies: tuple[Shared, ...]
    near_pairs: tuple[NearPair, ...]
    leaks: dict[Split, Leak]

    @property
    def any(self) -> bool:
        """True if anything crosses."""
        return bool(self.groups or self.exact or self.near)


def find_crossings(
    samples: Sequence[Sample], placed: Mapping[str, Split], duplicates: NearDuplicates
) -> Crossings:
    """Find what crosses when samples stand as `placed` says; those it does not name are nowhere."""
    there = sorted((s for s in samples if s.id in placed), key=lambda sample: sample.id)
    groups = list(_shared(((s.group, s.id) for s in there), placed))
    copies = list(_shared(((s.content, s.id) for s in there if s.content), placed))
    near = [pair for pair in near_pairs(there, placed, duplicates) if len(set(pair.splits)) > 1]
    related = {
        "groups": set(_beside_train(groups)),
        "exact": set(_beside_train(copies)),
        "near": {name for pair in near for name in _alike_train(pair)},
    }
    return Crossings(
        groups=len(groups),
        exact=len(copies),
        near=len(near),
        shared_groups=tuple(groups[:LISTED]),
        copies=tuple(copies[:LISTED]),
        near_pairs=tuple(near[:LISTED]),
        leaks=_leaks(placed, related),
    )


def near_pairs(
    samples: Iterable[Sample], placed: Mapping[str, Split], duplicates: NearDuplicates
) -> Iterator[NearPair]:
    """Every confirmed pair as ids, copies of its files included."""
    for one, other, row in duplicates.pairs(samples):
        yield as_pair(one.id, other.id, placed, row)


def as_pair(one: str, other: str, placed: Mapping[str, Split], row: np.ndarray) -> NearPair:
    """A row of `duplicates.PAIR`, for these two ids."""
    return NearPair(
        one=one,
        other=other,
        splits=(placed[one], placed[other]),
        correlation=float(row["correlation"]),
        bits=int(row["bits"]),
        orientation=ORIENTATIONS[row["orientation"]],
    )


def _shared(named: Iterable[tuple[str, str]], placed: Mapping[str, Split]) -> Iterator[Shared]:
    """Of pairs (name, id): the names that ids of several splits have."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, sample in named:
        found[name].append(sample)
    for name, ids in found.items():
        by_split = {s: tuple(one for one in ids if placed[one] == s) for s in SPLITS}
        by_split = {split: those for split, those in by_split.items() if those}
        if len(by_split) > 1:
            yield Shared(name=name, ids=by_split)


def _beside_train(shared: Iterable[Shared]) -> Iterator[str]:
    for one in shared:
        if "train" in one.ids:
            yield from (name for split, ids in one.ids.items() if split != "train" for name in ids)


def _alike_train(pair: NearPair) -> list[str]:
    if "train" not in pair.splits:
        return []
    return [pair.other if pair.splits[0] == "train" else pair.one]


def _leaks(placed: Mapping[str, Split], related: Mapping[str, set[str]]) -> dict[Split, Leak]:
    found: dict[Split, Leak] = {}
    for split in SPLITS[1:]:
        ids = {name for name, place in placed.items() if place == split}
        if ids:
            counts = {kind: len(names & ids) for kind, names in related.items()}
            either = set().union(*related.values()) & ids
            found[split] = Leak(images=len(ids), any=len(either), **counts)
    return found

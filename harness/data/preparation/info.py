"""The facts of a dataset that runs and plans depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.api.dataset import Split
from harness.data.division.split import Division, Splits


class ExternalInfo(NamedTuple):
    """The facts of a further test set that plans depend on."""

    images: int
    fingerprint: str


@dataclass(frozen=True)
class DatasetInfo:
    """The facts of a dataset that runs and plans depend on.

    Attributes:
        counts: images of each split that are used.
        fingerprint: identity of the data, limited or not; before decoding, what it will be if no
            bad image and no near duplicate turns up that is not known yet.
        decoded: the images are in the cache; None: nobody looked.
        notes: sentences on what was passed over or joined, and on what cannot be right.
        lacking: split -> classes that it has no sample of.
        others: the dataset divided in other ways.
        external: name -> a further test set.
        tested: class -> images in test of each group that has any; empty: not known.
        seconds: that making it ready takes, as far as can be foretold; 0: it is ready.
    """

    classes: tuple[str, ...]
    counts: Mapping[Split, int]
    fingerprint: str
    decoded: bool | None
    notes: tuple[str, ...] = ()
    lacking: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)
    others: Mapping[Division, DatasetInfo] = field(default_factory=dict)
    external: Mapping[str, ExternalInfo] = field(default_factory=dict)
    tested: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: float = 0.0

    def divided(self, division: Division) -> DatasetInfo:
        """The facts of the dataset divided so."""
        return self.others.get(division, self)


def count_tested(splits: Splits, rows: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Class -> images of `rows`, those of test, in each group that has any."""
    found: dict[str, Counter[str]] = {name: Counter() for name in splits.classes}
    for row in rows:
        sample = splits.samples[row]
        found[sample.label][sample.group] += 1
    return {name: tuple(sorted(groups.values())) for name, groups in found.items()}

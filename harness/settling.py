"""The runs of a call and how they are computed, from what is known of its data and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from harness import preparation, suite
from harness.data import Prepared, Survey
from harness.modes import Wish
from harness.plugins import Loaded
from harness.records import NumericMode, RunSpec
from harness.sizing import Load, Sizing, size
from harness.suite import Chosen, Request
from harness.weights_file import WeightsFile


@dataclass(frozen=True)
class Known:
    """What runs depend on of a dataset.

    Attributes:
        train, images: images of the training split, and of all three.
        classes: how many.
    """

    fingerprint: str
    train: int
    images: int
    classes: int

    @classmethod
    def of(cls, one: Prepared | Survey) -> Self:
        if isinstance(one, Prepared):
            counts = {name: len(labels) for name, labels in one.images.labels.items()}
            classes = one.images.classes
        else:
            counts, classes = dict(one.counts), one.classes
        return cls(one.fingerprint, counts["train"], sum(counts.values()), len(classes))


@dataclass(frozen=True)
class Want:
    """What the user left to the harness, and what not; `jobs`: side by side, None: chosen here."""

    request: Request
    wish: Wish
    jobs: int | None
    threads: int


@dataclass(frozen=True)
class Settled:
    """Every run, those of data that are not known yet under a provisional identity."""

    specs: list[RunSpec]
    numeric: Mapping[tuple[str, str], NumericMode]
    sizing: Sizing


def settle(
    chosen: Chosen,
    loaded: Loaded,
    want: Want,
    files: Mapping[str, WeightsFile | None],
    known: Mapping[str, Known],
) -> Settled:
    """The runs of `chosen`.

    Args:
        chosen: what to run.
        loaded: plugins.
        want: what was asked for.
        files: backbone -> its weights, as far as they are here.
        known: dataset -> what is known of it, as far as it is.
    """
    counts = {name: one.train for name, one in known.items()}
    numeric = preparation.numeric(chosen, loaded, counts, want.wish)
    fingerprints = {name: one.fingerprint for name, one in known.items()}
    facts = preparation.facts(chosen, loaded, fingerprints, files, numeric)
    specs = suite.specs(chosen, loaded, facts, want.request)
    load = Load(
        runs=len(specs),
        images={name: one.images for name, one in known.items()},
        classes={name: one.classes for name, one in known.items()},
        protocol=chosen.suite.protocol,
        numeric=numeric,
    )
    return Settled(specs, numeric, size(load, loaded, want.wish.device, want.jobs, want.threads))

"""The findings of an audit as records, so that the terminal, the page and JSON say the same."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.api.dataset import Split
from harness.api.records import Record
from harness.data.audit.leaks import Crossings, NearPair
from harness.data.audit.shortcuts import Shortcut


class SplitFacts(Record):
    """The images of one split; what is about pixels leaves out those that cannot be read.

    Attributes:
        classes: images of every class of the dataset, also where there are none.
        sizes: (width, height, images) of the most frequent sizes; `different_sizes` in all.
        widths, heights: least and most.
        modes, formats: Pillow's names -> images.
    """

    images: int
    classes: dict[str, int]
    sizes: tuple[tuple[int, int, int], ...]
    different_sizes: int
    widths: tuple[int, int] | None
    heights: tuple[int, int] | None
    modes: dict[str, int]
    formats: dict[str, int]
    bytes: int


class SplitView(Record):
    """A dataset under one division into splits.

    Attributes:
        whose: the source's splits as they are, or those that a run uses.
        rule: how they are made.
        left_out: images that can be read and are in none.
        lacking: split -> classes it has and train lacks.
    """

    whose: Literal["source", "harness"]
    rule: str
    splits: dict[Split, SplitFacts]
    left_out: int
    lacking: dict[Split, tuple[str, ...]]
    crossings: Crossings
    shortcuts: tuple[Shortcut, ...]


class BadFile(Record):
    """An image that cannot be used, in the source's split."""

    id: str
    split: Split
    reason: str


class Copies(Record):
    """Exact and near duplicates, whether they cross or not.

    Attributes:
        exact: images beyond the first of their content.
        near: confirmed pairs of images.
        suspected: pairs that look alike by their hash, but whose correlation does not confirm it.
        suspects: those of them that are most alike.
        disagreeing: pairs of exact copies or confirmed near duplicates whose labels differ.
    """

    exact: int
    near: int
    suspected: int
    suspects: tuple[NearPair, ...]
    disagreeing: tuple[tuple[str, str], ...]


class Pixels(Record):
    """Suspicious things in the decoded images and their files.

    Attributes:
        constant: images of one grey level.
        few: images of so few grey levels that they are masks, or were scaled wrongly.
        unused: images whose files hold more, and what.
        masks: images, and those that they look like masks of by their names.
        problems: what every board says, too.
    """

    constant: tuple[str, ...] = ()
    few: tuple[str, ...] = ()
    unused: tuple[tuple[str, str], ...] = ()
    masks: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()


class Audit(Record):
    """All that was found in a dataset.

    Attributes:
        group: what a group is; empty: it is not declared.
        images, grouped: how many there are, and in how many groups.
        notes: what was passed over or joined when it was read.
        metadata: what a list says of the images besides: name -> text -> how many images.
        made: the splits a run uses; None: none can, and `refused` says why.
    """

    schema_version: Literal[1] = 1
    dataset: str
    modality: str
    title: str
    licence: str
    origin: str
    revision: str | None
    group: str
    images: int
    grouped: int
    procedural: bool
    problems: tuple[str, ...]
    classes: tuple[str, ...]
    bad: tuple[BadFile, ...]
    copies: Copies
    pixels: Pixels = Pixels()
    source: SplitView
    made: SplitView | None
    refused: str
    notes: tuple[str, ...] = ()
    metadata: dict[str, dict[str, int]] = Field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """True if a run uses the source's splits as they are."""
        same = {"whose": "source", "rule": self.source.rule}
        return self.made is not None and self.made.model_copy(update=same) == self.source

    @property
    def crosses(self) -> bool:
        """True if anything crosses in the source's splits, or in those a run uses."""
        return self.source.crossings.any or (self.made is not None and self.made.crossings.any)

"""The declaration of a dataset, and the table it yields."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from harness.api.records import Name
from harness.errors import DataError

if TYPE_CHECKING:
    import datasets

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def default_cache() -> Path:
    """`HARNESS_CACHE`, else `harness` in the user's cache folder."""
    if place := os.environ.get("HARNESS_CACHE"):
        return Path(place).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "harness"


@dataclass(frozen=True)
class Access:
    """The way to data: where downloads are kept, and whether the network may be used.

    `lock` is the file that pins revisions and bytes; it need not be there.
    `allow_missing_classes`: validation and test may lack a class (train never).
    `splits`: dataset -> a file that gives its splits, in place of its own.
    """

    cache: Path = field(default_factory=default_cache)
    offline: bool = False
    skip_bad_images: bool = False
    lock: Path = Path("harness.lock")
    allow_missing_classes: bool = False
    splits: Mapping[str, Path] = field(default_factory=dict)


class Dataset(BaseModel):
    """A single-label image classification dataset.  Subclasses say how to load it, lazily.

    Attributes:
        name: kebab-case id.
        modality: X-ray, MRI, histology, dermoscopy, endoscopy, ... in kebab-case (`xray`, `mri`).
        classes: class names in label order; empty: read from the data.
        title, licence, citation, source: for people and for the board; source is where it is from.
        revision: the pinned revision, 40 hex digits for the Hub; None: not pinned.
        groups: what a group is (patient, lesion, video); empty: none is known.
        splits: how the source's own splits are used: 'official' as they are, 'official-test' keep
            test and make validation out of train, 'grouped' pool everything and split by group.
        problems: what is known to be wrong with it; shown by the audit and on the board.
        procedural: drawn by a program: never a result about patients.
        mirrors: an image may be flipped left to right for training, so left and right mean nothing
            in it; the protocol says whether images are.
        external: name -> a further test set, of other places say: every run predicts all its
            images at its end, whatever split they are in; no part of a run's identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    modality: str
    classes: tuple[str, ...] = ()
    title: str = ""
    licence: str = "unknown"
    citation: str = ""
    source: str = ""
    revision: str | None = None
    groups: str = ""
    splits: Literal["official", "official-test", "grouped"] = "official"
    problems: tuple[str, ...] = ()
    procedural: bool = False
    mirrors: bool = False
    external: dict[Name, Dataset] = {}

    @abstractmethod
    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        """One table a source split (`train`, `validation`, `test`; only `train` if there is none).

        Columns: `image` (`datasets.Image(decode=False)`: bytes or a path), `label` (class name, or
        a `ClassLabel`), `group` (string; the sample's own id where nothing is known), `id`
        (string, unique over all splits, the same at every load).

        Raises:
            DataError: the source is missing, has changed, or contradicts the declaration.
        """

    def external_sets(self, access: Access) -> Mapping[str, Dataset]:
        """Every further test set, also those that only the data themselves name.

        Raises:
            DataError: the source contradicts itself.
        """
        own = type(self).model_fields["external"].annotation
        # A subclass may have called something else so before this was here.
        return self.external if own == Dataset.model_fields["external"].annotation else {}

    def at_hand(self, access: Access) -> bool:
        """True if `load` finds all it needs on this machine."""
        return True

    def pinned(self, access: Access) -> Dataset:
        """This dataset with the revision that `load` would read: what a result records."""
        return self

    def as_published(self) -> Dataset:
        """This dataset with nothing put right that `load` puts right: what an audit looks at."""
        return self


class LocalDataset(Dataset):
    """A dataset that people get themselves: `--data NAME=PATH` says where it lies.

    Attributes:
        path: the folder or file; None: not given yet.
    """

    path: Path | None = None

    def at_hand(self, access: Access) -> bool:
        return self.path is not None

    def place(self) -> Path:
        """The path that was given.

        Raises:
            DataError: none was, or nothing is there.
        """
        if self.path is None:
            raise DataError(
                f"dataset {self.name!r} is not fetched by the harness: get it from {self.source} and "
                f"give its place with --data {self.name}=PATH"
            )
        place = self.path.expanduser().resolve()
        if not place.exists():
            raise DataError(f"dataset {self.name!r}: {self.path} does not exist")
        return place

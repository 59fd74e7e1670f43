"""Images whose paths say what they are, as a dataset: a pattern finds label and group in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from harness.api.dataset import Access, LocalDataset
from harness.data.on_disk.listing import check_kind, check_names
from harness.data.rows import Row, make_table
from harness.errors import DataError

if TYPE_CHECKING:
    import datasets


class PatternDataset(LocalDataset):
    """Images wherever they lie in a folder; what their paths do not say, a subclass finds out.

    Attributes:
        pattern: a regular expression, searched in each path from the folder, with `/` between; files
            it is not found in are passed over.  Its named groups: `group`; `label`, unless a
            subclass says otherwise; `id`, where the path is not one; more for `only`.
        every: a glob, as `SOB_*.png`: a file name that matches it and not the pattern is an error.
        only: named group -> the text it must have.
        labels: text of `label` -> class name; empty: it is the class name.
        example: of a path, for messages.
    """

    pattern: str
    every: str = ""
    only: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    example: str = ""

    @model_validator(mode="after")
    def _named(self) -> Self:
        """Every part that is asked for is in the pattern."""
        try:
            there = re.compile(self.pattern).groupindex
        except re.error as error:
            raise ValueError(
                f"pattern {self.pattern!r} is no regular expression: {error}"
            ) from error
        own = type(self).label is not PatternDataset.label
        wanted = ["group", *self.only, *(["label"] if not own else [])]
        if missing := [name for name in wanted if name not in there]:
            raise ValueError(
                f"pattern {self.pattern!r} names no part {', '.join(missing)}: write "
                f"(?P<{missing[0]}>...) around what it is"
            )
        return self

    def label(self, place: Path, name: str, found: re.Match[str]) -> str | None:
        """The class name of an image; None: it has none, which is an error.

        Args:
            place: the folder.
            name: the image's path from it.
            found: `pattern` in that.
        """
        text = found["label"]
        return self.labels.get(text) if self.labels else text

    def split(self, found: re.Match[str]) -> str:
        """The source's split that an image is in: `train`, `validation` or `test`."""
        return "train"

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        """As `Dataset.load`; images are paths.

        Raises:
            DataError: no image is there, or one has another name or no label.
        """
        tables: dict[str, list[Row]] = {}
        for split, row in self._rows(self.place()):
            tables.setdefault(split, []).append(row)
        if not tables:
            wanted = ", ".join(f"{name} {text}" for name, text in self.only.items())
            raise DataError(
                f"dataset {self.name!r}: no image{wanted and f' of {wanted}'} below {self.path}; "
                f"paths look like {self.example or self.pattern}"
            )
        return {split: make_table(rows) for split, rows in tables.items()}

    def _rows(self, place: Path) -> Iterator[tuple[str, Row]]:
        for path in sorted(place.rglob("*")):
            name = path.relative_to(place).as_posix()
            found = re.search(self.pattern, name)
            if found is None:
                self._check(path)
            elif all(found[part] == text for part, text in self.only.items()):
                label = self.label(place, name, found)
                if label is None:
                    raise DataError(f"dataset {self.name!r}: {name} has no label")
                check_names(place, [name])
                check_kind(path)
                marked = found.groupdict().get("id") or name
                yield self.split(found), Row(path, label, found["group"], marked)

    def _check(self, path: Path) -> None:
        if self.every and path.match(self.every):
            raise DataError(
                f"dataset {self.name!r}: {path} is not named as its images are: {self.example}"
            )

"""Promises of a dataset; its tables are read, and only a few of its images decoded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.dataset import SPLITS, Access, Dataset
from harness.errors import DataError
from harness.testing.promise import (
    Broken,
    Rule,
    Unchecked,
    draws_nothing,
    listed,
    opens_nothing,
)

if TYPE_CHECKING:
    import datasets

COLUMNS = ("image", "label", "group", "id")
SAMPLES = 6  # images of each split that are decoded
ID = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


class DatasetCase:
    """A dataset under test and its tables, loaded once for all promises but three."""

    def __init__(self, dataset: Dataset, access: Access | None = None) -> None:
        self.dataset = dataset
        self.access = access or Access()

    @cached_property
    def _loaded(self) -> object:
        try:
            return self.dataset.load(self.access)
        except Exception as error:  # noqa: BLE001 - one promise is blamed for it
            return error

    @property
    def tables(self) -> Mapping[str, datasets.Dataset]:
        """The tables that `load` gives, by split.

        Raises:
            Unchecked: it fails, or is no mapping of split to table.
        """
        if problem := self.problem:
            raise Unchecked("there are no tables to look at", "tables") from problem
        loaded: Any = self._loaded
        tables: Mapping[str, datasets.Dataset] = loaded
        return tables

    @cached_property
    def problem(self) -> Exception | None:
        """The reason why there are no tables; None where there are."""
        import datasets

        loaded = self._loaded
        if isinstance(loaded, Exception):
            return loaded
        if not isinstance(loaded, Mapping):
            return Broken(f"load() returns {type(loaded).__name__}, no mapping of split to table")
        if unknown := [split for split in loaded if split not in SPLITS]:
            return Broken(f"it has a split {listed(unknown)}; the splits are {', '.join(SPLITS)}")
        for split, table in loaded.items():
            if not isinstance(table, datasets.Dataset):
                return Broken(f"{split} is a {type(table).__name__}, no datasets.Dataset")
        return None if "train" in loaded else Broken("it has no split 'train'")

    def column(self, split: str, name: str) -> list[Any]:
        """A column of one split.

        Raises:
            Unchecked: there is none.
        """
        table = self.tables[split]
        if name not in table.column_names:
            raise Unchecked(f"{split} has no column {name!r}", "columns")
        return list(table.select_columns([name]).with_format(None)[:][name])

    def labels(self, split: str) -> list[Any]:
        """Class names of one split, where the table holds names or a ClassLabel."""
        import datasets

        values = self.column(split, "label")
        kind = self.tables[split].features["label"]
        if isinstance(kind, datasets.ClassLabel):
            return [kind.names[v] if v is not None and v >= 0 else None for v in values]
        classes = self.dataset.classes
        if isinstance(kind, datasets.Value) and "int" in kind.dtype:
            return [classes[v] if v is not None and 0 <= v < len(classes) else v for v in values]
        return values


def declaration(case: DatasetCase) -> None:
    dataset = case.dataset
    if dataset.licence in {"", "unknown"}:
        raise Broken("it declares no licence")
    if not (dataset.source or dataset.citation):
        raise Broken("it declares neither source nor citation")
    if not ID.fullmatch(dataset.modality):
        raise Broken(f"its modality is {dataset.modality!r}, no id such as 'xray'")
    if dataset.classes and len(set(dataset.classes)) < max(2, len(dataset.classes)):
        raise Broken(f"its classes are {list(dataset.classes)}: two or more, each named once")


def offline(case: DatasetCase) -> None:
    # What cannot be had offline says so by a DataError.
    with opens_nothing(" though Access.offline is true"), suppress(DataError):
        try:
            case.dataset.load(replace(case.access, offline=True))
        except Exception as error:
            if not isinstance(error, DataError) and case.problem is not None:
                raise Unchecked("load() fails anyway", "tables") from error
            raise


def tables(case: DatasetCase) -> None:
    if case.problem is not None:
        raise case.problem
    if empty := [split for split, table in case.tables.items() if not len(table)]:
        raise Broken(f"{listed(empty)} is empty")


def columns(case: DatasetCase) -> None:
    import datasets

    for split, table in case.tables.items():
        if missing := [name for name in COLUMNS if name not in table.column_names]:
            raise Broken(f"{split} has no column {listed(missing)}")
        image = table.features["image"]
        if not isinstance(image, datasets.Image) or image.decode:
            raise Broken(f"{split}: column 'image' is {image}, not datasets.Image(decode=False)")
        for name in ("group", "id"):
            bad = [v for v in case.column(split, name) if not (isinstance(v, str) and v)]
            if bad:
                raise Broken(f"{split}: column {name!r} holds {bad[0]!r}, no text")


def labels(case: DatasetCase) -> None:
    labels_of = {split: set(case.labels(split)) for split in case.tables}
    classes = set(case.dataset.classes or labels_of["train"])
    for split, seen in labels_of.items():
        if strange := sorted(map(str, seen - classes)):
            raise Broken(f"{split} has a label {strange[0]!r}, which is not among the classes")
    if absent := sorted(classes - labels_of["train"]):
        raise Broken(f"no sample of class {listed(absent)} in train")


def ids_unique(case: DatasetCase) -> None:
    seen = Counter(name for split in case.tables for name in case.column(split, "id"))
    if twice := [name for name, count in seen.items() if count > 1]:
        raise Broken(f"the id {listed(twice)} names more than one sample")


def same_ids(case: DatasetCase) -> None:
    again = DatasetCase(case.dataset, case.access)
    for split in sorted(set(case.tables) | set(again.tables)):
        first, second = (_facts(each, split) for each in (case, again))
        if first != second:
            changed = sorted(set(first) ^ set(second)) or [
                name for name in first if first[name] != second[name]
            ]
            raise Broken(f"a second load() gives another {split}: {listed(changed)}")


def _facts(case: DatasetCase, split: str) -> dict[str, tuple[Any, Any]]:
    if split not in case.tables:
        return {}
    ids, groups = (case.column(split, name) for name in ("id", "group"))
    return dict(zip(ids, zip(case.labels(split), groups, strict=True), strict=True))


def groups_stay(case: DatasetCase) -> None:
    """Break the promise if splits that are used as they are share a group."""
    if case.dataset.splits == "grouped":
        return
    groups = {split: set(case.column(split, "group")) for split in case.tables}
    for one, two in combinations(groups, 2):
        if case.dataset.splits == "official-test" and "test" not in {one, two}:
            continue
        if shared := sorted(groups[one] & groups[two]):
            raise Broken(f"{one} and {two} share the group {listed(shared)}")


def images_decode(case: DatasetCase) -> None:
    from harness.data.images import read

    for split, name, image in _samples(case):
        source = Path(image["path"]) if image["bytes"] is None else image["bytes"]
        try:
            read(source)
        except DataError as error:
            raise Broken(f"the image of {name!r} in {split}: {error}") from error


def _samples(case: DatasetCase) -> Iterator[tuple[str, str, Any]]:
    """A few samples of each split, from all over it: (split, id, image)."""
    import datasets

    for split, table in case.tables.items():
        if "image" not in table.column_names:
            raise Unchecked(f"{split} has no column 'image'", "columns")
        rows = range(0, len(table), max(1, len(table) // SAMPLES))
        few = table.select(rows).cast_column("image", datasets.Image(decode=False))
        names = case.column(split, "id")
        yield from (
            (split, names[row], image) for row, image in zip(rows, few["image"], strict=True)
        )


def global_randomness(case: DatasetCase) -> None:
    _ = case.tables
    with draws_nothing("load()"):
        case.dataset.load(case.access)


RULES: tuple[Rule[DatasetCase], ...] = (
    Rule(
        "declaration",
        "a dataset declares licence, source or citation, modality and (unless they are read from "
        "the data) classes: they stand on every board",
        declaration,
    ),
    Rule(
        "offline",
        "with Access.offline no socket is opened: what is not in the cache is a DataError",
        offline,
        light=False,
    ),
    Rule(
        "tables",
        "load() gives one datasets.Dataset a split, 'train' among them, none of them empty",
        tables,
        light=False,
    ),
    Rule(
        "columns",
        "a table has image (datasets.Image(decode=False)), label, group and id, the last two text",
        columns,
        light=False,
    ),
    Rule(
        "labels",
        "every label is one of the classes, and train has samples of each",
        labels,
        light=False,
    ),
    Rule("ids-unique", "an id names one sample over all splits", ids_unique, light=False),
    Rule(
        "same-ids",
        "load() gives the same samples every time: splits and results refer to their ids",
        same_ids,
        light=False,
    ),
    Rule(
        "groups-stay",
        "official splits share no group (patient, lesion, video): else declare splits = 'grouped'",
        groups_stay,
        light=False,
    ),
    Rule("images-decode", "images can be read", images_decode, light=False),
    Rule(
        "global-randomness",
        "load() leaves the global random generators alone",
        global_randomness,
        light=False,
    ),
)

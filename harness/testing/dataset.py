"""What every dataset promises.  Its tables are read, and only a few of its images decoded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.testing.promise import Broken, Rule, Unchecked, listed
from harness.testing.tables import DatasetCase
from harness.testing.watch import unseeded, watching

COLUMNS = ("image", "label", "group", "id")
SAMPLES = 6  # images of each split that are decoded
ID = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


def declaration(case: DatasetCase) -> None:
    one = case.dataset
    if one.licence in {"", "unknown"}:
        raise Broken("it declares no licence")
    if not (one.source or one.citation):
        raise Broken("it declares neither source nor citation")
    if not ID.fullmatch(one.modality):
        raise Broken(f"its modality is {one.modality!r}, no id such as 'xray'")
    if one.classes and len(set(one.classes)) < max(2, len(one.classes)):
        raise Broken(f"its classes are {list(one.classes)}: two or more, each named once")


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
    found = {split: set(case.labels(split)) for split in case.tables}
    classes = set(case.dataset.classes or found["train"])
    for split, seen in found.items():
        if strange := sorted(map(str, seen - classes)):
            raise Broken(f"{split} has a label {strange[0]!r}, which is not among the classes")
    if absent := sorted(classes - found["train"]):
        raise Broken(f"no sample of class {listed(absent)} in train")


def ids_unique(case: DatasetCase) -> None:
    seen = Counter(name for split in case.tables for name in case.column(split, "id"))
    if twice := [name for name, count in seen.items() if count > 1]:
        raise Broken(f"the id {listed(twice)} names more than one sample")


def same_ids(case: DatasetCase) -> None:
    again = DatasetCase(case.dataset, case.access)
    for split in sorted(set(case.tables) | set(again.tables)):
        one, two = (_facts(each, split) for each in (case, again))
        if one != two:
            changed = sorted(set(one) ^ set(two)) or [n for n in one if one[n] != two[n]]
            raise Broken(f"a second load() gives another {split}: {listed(changed)}")


def _facts(case: DatasetCase, split: str) -> dict[str, tuple[Any, Any]]:
    if split not in case.tables:
        return {}
    ids, groups = (case.column(split, name) for name in ("id", "group"))
    return dict(zip(ids, zip(case.labels(split), groups, strict=True), strict=True))


def groups_stay(case: DatasetCase) -> None:
    """Splits that are used as they are must not share a group."""
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
            raise Unchecked(f"{split} has no column 'image', see 'columns'")
        rows = range(0, len(table), max(1, len(table) // SAMPLES))
        few = table.select(rows).cast_column("image", datasets.Image(decode=False))
        names = case.column(split, "id")
        yield from (
            (split, names[row], image) for row, image in zip(rows, few["image"], strict=True)
        )


def global_randomness(case: DatasetCase) -> None:
    _ = case.tables
    with unseeded() as moved:
        case.dataset.load(case.access)
        names = moved()
    if names:
        raise Broken(f"load() draws from or seeds {' and '.join(names)}")


def offline(case: DatasetCase) -> None:
    access = replace(case.access, offline=True)
    with watching(files=False) as noticed:
        try:
            case.dataset.load(access)
        except DataError:
            pass  # what cannot be had offline says so
        finally:
            if noticed:
                raise Broken(f"{noticed[0]} though Access.offline is true")


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

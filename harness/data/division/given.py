"""Splits that a file gives, in place of a dataset's own: `--splits FILE`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.data.division.split import Splits
from harness.data.division.stratify import Sample
from harness.errors import DataError, StoreError, UsageError
from harness.utils import files
from harness.utils.names import did_you_mean, first_few
from harness.utils.text import short

COLUMNS = ("id", "split")
FORM = (
    "give a split file (splits/<dataset>.json of a results folder, or what `harness data splits` "
    "writes), or <dataset>.csv with the columns id and split"
)


def split_files(paths: Iterable[Path], datasets: Sequence[str]) -> dict[str, Path]:
    """Dataset -> the file that gives its splits.

    Raises:
        UsageError: a file cannot be read, is for no dataset of the call, or two are for one.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name, _ = _read(path)
        if name not in datasets:
            raise UsageError(
                f"--splits {path}: it is for dataset {name!r}, which does not run"
                f"{did_you_mean(name, datasets)}"
            )
        if name in found:
            raise UsageError(f"--splits: {found[name]} and {path} are both for dataset {name!r}")
        found[name] = path
    return found


def as_given(dataset: Dataset, access: Access) -> Dataset:
    """The dataset, declared as divided where a file gives its splits."""
    if dataset.name not in access.splits:
        return dataset
    return dataset.model_copy(update={"splits": "official"})


def placed(dataset: str, samples: Sequence[Sample], access: Access) -> list[Sample]:
    """Samples in the splits that the call's file gives; those that it leaves out are left out.

    Raises:
        DataError: it names samples that are not there, or passes over some that are.
    """
    if dataset not in access.splits:
        return list(samples)
    path = access.splits[dataset]
    _, places = _read(path)
    known = {sample.id for sample in samples}
    if strange := sorted(places.keys() - known):
        raise DataError(
            f"{path} names {len(strange)} samples that dataset {dataset!r} does not have: "
            f"{first_few(strange)}"
        )
    if missing := sorted(known - places.keys()):
        raise DataError(
            f"{path} does not say in which split {len(missing)} of {len(known)} samples of dataset "
            f"{dataset!r} are: {first_few(missing)}"
        )
    return [
        replace(sample, split=split)
        for sample in samples
        if (split := places[sample.id]) is not None
    ]


def _read(path: Path) -> tuple[str, Mapping[str, Split | None]]:
    """The dataset that a file is for, and id -> split; None: the sample is left out.

    Raises:
        UsageError: it cannot be read as one.
    """
    try:
        content = files.read(path).decode("utf-8-sig")
        return _table(path, content) if path.suffix == ".csv" else _record(content)
    except StoreError as error:
        raise UsageError(f"--splits {path}: {error}") from error
    except (ValueError, RecursionError, ValidationError) as error:
        raise UsageError(f"--splits {path}: {short(str(error))}; {FORM}") from error


def _record(content: str) -> tuple[str, dict[str, Split | None]]:
    splits = Splits.model_validate(json.loads(content))
    places: dict[str, Split | None] = dict.fromkeys(splits.left_out)
    return splits.dataset, places | {one.id: one.split for one in splits.samples}


def _table(path: Path, content: str) -> tuple[str, dict[str, Split | None]]:
    rows = csv.DictReader(io.StringIO(content))
    if set(rows.fieldnames or ()) != set(COLUMNS):
        raise ValueError(f"its columns are {', '.join(rows.fieldnames or ()) or 'none'}")
    places: dict[str, Split | None] = {}
    for number, row in enumerate(rows, start=2):
        name, split = row["id"], row["split"]
        if split not in SPLITS:
            raise ValueError(f"line {number}: {split!r} is no split ({', '.join(SPLITS)})")
        if name in places:
            raise ValueError(f"line {number}: sample {name!r} stands there twice")
        places[name] = split
    return path.stem, places

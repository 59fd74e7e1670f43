"""Splits of a dataset: train, validation and test, pure functions of its samples in any order.

A cluster (see `harness.data.division.stratify`) is never cut.  A split that the source brings and the dataset
keeps stays as it is; a sample elsewhere of one of its clusters is left out, test before validation
before train.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from harness.api.dataset import SPLITS, Split
from harness.api.records import Extended, Protocol, Record, RunSpec, digest
from harness.data.division.stratify import (
    Pair,
    Sample,
    assign_splits,
    find_groups,
    order_by_hash,
    order_groups,
    place_official,
    split_quotas,
)
from harness.errors import DataError, StoreError, UsageError
from harness.utils import files
from harness.utils.text import short

if TYPE_CHECKING:
    import numpy as np

Rule = Literal["official", "official-test", "grouped"]


class SplitSample(Extended):
    """A line of the split file; `label` is the class name, `metadata` what a list says besides."""

    _later: ClassVar[tuple[str, ...]] = ("metadata",)

    id: str
    label: str
    group: str
    split: Split
    metadata: dict[str, str] = Field(default_factory=dict)


class Division(NamedTuple):
    """A way to divide a dataset.

    Attributes:
        split: the `split_seed` of a protocol.
        labels: training images that keep their label, '10%' or '200'; None: all.
    """

    split: int = 0
    labels: str | None = None

    @classmethod
    def of(cls, spec: RunSpec) -> Division:
        """The one that a run was made on."""
        return cls(spec.protocol.split_seed, spec.labels)


class Splits(Record):
    """The samples of a dataset, sorted by id, and the split each is in: `splits/<dataset>.json`.

    Attributes:
        rule: what was done, for people.
        fingerprint: sha256 over classes and id, label, group, split and content of every sample.
        left_out: ids of samples whose cluster a kept split holds.
        sha256: over everything else here.
    """

    schema_version: Literal[1] = 1
    dataset: str
    classes: tuple[str, ...]
    rule: str
    fingerprint: str
    left_out: tuple[str, ...] = ()
    samples: tuple[SplitSample, ...]
    sha256: str = ""

    def rows(self, split: Split) -> list[int]:
        """Numbers, into `samples`, of the samples of a split."""
        return [row for row, sample in enumerate(self.samples) if sample.split == split]


def make_splits(
    dataset: str,
    classes: Sequence[str],
    samples: Iterable[Sample],
    *,
    rule: Rule,
    protocol: Protocol,
    pairs: Iterable[Pair] | None = None,
) -> Splits:
    """Split a dataset.

    'official' keeps every split the source has, and makes those it lacks out of train;
    'official-test' keeps test and makes validation out of the rest; 'grouped' keeps none.  A made
    split takes its share (`protocol.validation_share`, `test_share`) of what it is made from,
    class by class.

    `pairs` are confirmed near-duplicate pairs of ids, None if nobody looked for any; ids that no
    sample has are ignored.

    Raises:
        DataError: a split would be empty, or train would lack a class.
    """
    ordered = sorted(samples, key=lambda sample: sample.id)
    kept = _kept(dataset, rule, {sample.split for sample in ordered})
    near = tuple(pairs or ())
    clusters = find_groups(ordered, near)
    placed = place_official(ordered, clusters, kept)
    staying = [sample for sample in ordered if sample.id in placed]
    made = _missing(kept)
    if made:
        pool = [sample for sample in staying if placed[sample.id] == "train"]
        placed |= _divide(pool, clusters, made, protocol)
    left_out = [sample for sample in ordered if sample.id not in placed]
    text = _rule_text(kept, made, protocol)
    text += _joined_text(staying) + ("" if pairs is None else _near_text(ordered, near))
    text += _left_text(ordered, left_out, placed, near)
    _check(dataset, classes, staying, placed, text)
    text += _absent_text(classes, staying, placed)
    return _record(dataset, classes, text, staying, placed, left_out)


def all_tested(dataset: str, classes: Sequence[str], samples: Iterable[Sample]) -> Splits:
    """The samples of a further test set, all of them under `test`."""
    ordered = sorted(samples, key=lambda sample: sample.id)
    rule = "a further test set: every image"
    return _record(dataset, classes, rule, ordered, {one.id: "test" for one in ordered}, [])


def lacking_classes(splits: Splits) -> dict[Split, tuple[str, ...]]:
    """Split -> the classes that it has no sample of; splits that have all are not there."""
    there: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for sample in splits.samples:
        there[sample.split].add(sample.label)
    found = {
        split: tuple(name for name in splits.classes if name not in there[split])
        for split in SPLITS
    }
    return {split: names for split, names in found.items() if names}


def with_metadata(splits: Splits, metadata: Mapping[str, Mapping[str, str]]) -> Splits:
    """Splits whose samples say what a list says of them; the fingerprint stays as it is."""
    if not metadata:
        return splits
    samples = tuple(
        sample.model_copy(update={"metadata": dict(metadata.get(sample.id, {}))})
        for sample in splits.samples
    )
    return _hashed(splits.model_copy(update={"samples": samples}))


def limited(splits: Splits, limit: int | None, seed: int) -> dict[Split, list[int]]:
    """Rows of each split in rising order; at most `limit` of a split, classes in proportion.

    Every class of a split keeps at least one, even where that makes more than `limit`.
    """
    chosen: dict[Split, list[int]] = {}
    for split in SPLITS:
        rows = splits.rows(split)
        if limit is not None and len(rows) > limit:
            rows = _some(splits, rows, limit, seed)
        chosen[split] = rows
    return chosen


def labelled(splits: Splits, rows: Sequence[int], labels: str | None, seed: int) -> list[int]:
    """Those of the training rows, in rising order, that keep their label.

    Groups stay whole, every class has an image, classes are in proportion as far as that allows,
    and a smaller budget is part of a larger one: all are the beginning of one order of the groups,
    which depends on the split alone.

    Args:
        splits: the samples.
        rows: training rows.
        labels: a share of them ('10%') or a count ('200'); None: all.
        seed: of the order.

    Raises:
        UsageError: there are fewer.
    """
    if labels is None:
        return list(rows)
    count = budget(labels, len(rows), splits.dataset)
    found: list[int] = []
    groups = [splits.samples[row].group for row in rows]
    names = [splits.samples[row].label for row in rows]
    there: set[str] = set()
    for unit in order_groups(groups, names, seed):
        # A group that would overshoot by more than it brings nearer is where the budget ends.
        if len(found) + len(unit) / 2 > count and there.issuperset(names):
            break
        found += [rows[place] for place in unit]
        there.update(names[place] for place in unit)
    return sorted(found)


def budget(labels: str, images: int, dataset: str) -> int:
    """Images that keep their label.

    Raises:
        UsageError: there are fewer than the count that is asked for.
    """
    if labels.endswith("%"):
        return max(1, round(float(labels[:-1]) / 100 * images))
    if int(labels) > images:
        raise UsageError(
            f"--labels {labels}: dataset {dataset!r} has {images} training images; ask for at most "
            "that many, or for a share (--labels 50%)"
        )
    return int(labels)


def read_samples(path: Path) -> dict[str, np.ndarray]:
    """`id` and `group` of every row of a `splits/<dataset>.json`, in order.

    Raises:
        StoreError: the file is missing, or is no split file.
    """
    import numpy as np

    try:
        samples = json.loads(files.read(path))["samples"]
        found = {key: [sample[key] for sample in samples] for key in ("id", "group")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = short(str(error))
        raise StoreError(f"{path} cannot be read as a split file: {why}") from error
    for key, values in found.items():
        if not all(isinstance(value, str) for value in values):
            raise StoreError(f"{path} cannot be read as a split file: some {key} is no text")
    return {key: np.array(values, dtype=str) for key, values in found.items()}


def take(values: np.ndarray, rows: np.ndarray, path: Path) -> np.ndarray:
    """The values of a column of `read_samples(path)` in some rows.

    Raises:
        StoreError: it has no such row.
    """
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(values):
        raise StoreError(
            f"{path} has {len(values)} rows, and predictions refer to rows {rows.min()} to "
            f"{rows.max()}: they are of another split file"
        )
    taken: np.ndarray = values[rows]
    return taken


def _some(splits: Splits, rows: list[int], limit: int, seed: int) -> list[int]:
    by_class: dict[str, list[int]] = {}
    for row in order_by_hash(rows, lambda row: splits.samples[row].id, f"limit:{seed}"):
        by_class.setdefault(splits.samples[row].label, []).append(row)
    take = split_quotas({name: len(found) for name, found in by_class.items()}, limit)
    return sorted(row for name, found in by_class.items() for row in found[: take[name]])


def _kept(dataset: str, rule: Rule, found: set[Split]) -> tuple[Split, ...]:
    """Splits of the source that stay as they are."""
    if rule == "grouped":
        return ()
    needed: Split = "test" if rule == "official-test" else "train"
    if needed not in found:
        there = ", ".join(split for split in SPLITS if split in found) or "no sample at all"
        raise DataError(
            f"dataset {dataset!r} has no {needed} split (it has {there}), and its rule is {rule!r}"
        )
    if rule == "official-test":
        return ("test",)
    return tuple(split for split in SPLITS if split in found)


def _missing(kept: tuple[Split, ...]) -> tuple[Split, ...]:
    return tuple(split for split in ("validation", "test") if split not in kept)


def _divide(
    pool: Sequence[Sample],
    clusters: Mapping[str, str],
    made: tuple[Split, ...],
    protocol: Protocol,
) -> dict[str, Split]:
    """Id -> split for samples that no kept split holds."""
    shares: dict[Split, float] = {}
    if "validation" in made:
        shares["validation"] = protocol.validation_share
    if "test" in made:
        shares["test"] = protocol.test_share
    if sum(shares.values()) >= 1:
        raise UsageError("validation_share and test_share of the protocol leave nothing for train")
    units: dict[str, Counter[int]] = {}
    for sample in pool:
        units.setdefault(clusters[sample.id], Counter())[sample.label] += 1
    found = assign_splits(units, shares, protocol.split_seed)
    return {sample.id: found[clusters[sample.id]] for sample in pool}


def _check(
    dataset: str,
    classes: Sequence[str],
    samples: Sequence[Sample],
    placed: Mapping[str, Split],
    rule: str,
) -> None:
    counts: dict[Split, Counter[int]] = {split: Counter() for split in SPLITS}
    for sample in samples:
        counts[placed[sample.id]][sample.label] += 1
    for split in SPLITS:
        if not counts[split]:
            raise DataError(
                f"dataset {dataset!r}: no sample for {split} ({len(samples)} samples; {rule}); "
                "it takes at least three groups of images to fill the splits that are made"
            )
    lacking = [name for label, name in enumerate(classes) if not counts["train"][label]]
    if lacking:
        raise DataError(
            f"dataset {dataset!r}: train has no sample of {_names(lacking)} ({rule}); move some into "
            "train, or take the class out of the other splits too"
        )


def _record(
    dataset: str,
    classes: Sequence[str],
    rule: str,
    samples: Sequence[Sample],
    placed: Mapping[str, Split],
    left_out: Sequence[Sample],
) -> Splits:
    table = [
        [sample.id, classes[sample.label], sample.group, placed[sample.id], sample.content]
        for sample in samples
    ]
    splits = Splits(
        dataset=dataset,
        classes=tuple(classes),
        rule=rule,
        fingerprint=digest({"classes": list(classes), "samples": table}),
        left_out=tuple(sample.id for sample in left_out),
        samples=tuple(
            SplitSample(id=name, label=label, group=group, split=placed[name])
            for name, label, group, _, _ in table
        ),
    )
    return _hashed(splits)


def _hashed(splits: Splits) -> Splits:
    content = splits.model_dump(mode="json", exclude={"sha256"})
    return splits.model_copy(update={"sha256": digest(content)})


def _rule_text(kept: tuple[Split, ...], made: tuple[Split, ...], protocol: Protocol) -> str:
    if not made:
        return f"official {_listed(kept)}"
    share = {"validation": protocol.validation_share, "test": protocol.test_share}
    text = _listed([f"{split} ({share[split]:.0%})" for split in made])
    held = [split for split in kept if split != "train"]
    origin = "train" if "train" in kept else "all other samples" if held else "all samples"
    text += f" made from {origin}, classes in proportion, groups whole, seed {protocol.split_seed}"
    return f"official {_listed(held)}; {text}" if held else text


def _joined_text(samples: Sequence[Sample]) -> str:
    contents = [sample.content for sample in samples if sample.content]
    again = len(contents) - len(set(contents))
    return f"; {again} exact duplicates stay with their originals" if again else ""


def _near_text(samples: Sequence[Sample], pairs: Sequence[Pair]) -> str:
    ids = {sample.id for sample in samples}
    count = sum(one in ids and other in ids for one, other in pairs)
    found = f"{count} pair{'s' * (count > 1)}" if count else "none"
    return f"; near duplicates stay together ({found} across groups)"


def _left_text(
    samples: Sequence[Sample],
    left_out: Sequence[Sample],
    placed: Mapping[str, Split],
    pairs: Iterable[Pair],
) -> str:
    if not left_out:
        return ""
    held = {s.id: s.content for s in samples if placed.get(s.id) in {"validation", "test"}}
    contents = set(held.values()) - {""}
    near = {one for pair in pairs for one, other in (pair, pair[::-1]) if other in held}
    count = sum(sample.content in contents or sample.id in near for sample in left_out)
    return (
        f"; {len(left_out)} samples left out: {count} twins of validation or test samples, "
        f"{len(left_out) - count} more of their groups"
    )


def _absent_text(
    classes: Sequence[str], samples: Sequence[Sample], placed: Mapping[str, Split]
) -> str:
    text = ""
    for split in ("validation", "test"):
        there = {sample.label for sample in samples if placed[sample.id] == split}
        absent = [name for label, name in enumerate(classes) if label not in there]
        text += f"; {split} has no {_names(absent)}" if absent else ""
    return text


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _names(names: Sequence[str]) -> str:
    return _listed([repr(name) for name in names])

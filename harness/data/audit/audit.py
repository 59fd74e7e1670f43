"""The audit of a dataset: all that must be known before its numbers mean anything.

The source's own splits are judged as they are, and beside them the splits that a run uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.api.dataset import SPLITS, Access, Dataset, Split
from harness.api.records import Protocol
from harness.data.audit.leaks import NearPair, as_pair, find_crossings, near_pairs
from harness.data.audit.report import Audit, BadFile, Copies, Pixels, SplitFacts, SplitView
from harness.data.audit.shortcuts import try_shortcuts
from harness.data.audit.survey import ImageFacts, survey_images
from harness.data.decoding import Progress
from harness.data.division.split import make_splits
from harness.data.division.stratify import Sample
from harness.data.duplicates import NearDuplicates, confirmed_pairs, find_duplicates, nothing
from harness.data.pixels.suspects import find_masks, find_problems
from harness.data.table import DatasetTable, read_table
from harness.errors import DataError

# Shares and seed of made splits, as every built-in suite has them.
PROTOCOL = Protocol(name="audit")
SUSPECTS = 100  # that are named
FEW = 16  # grey levels: what is left of 12 bits in 16
SIZES = 3  # that are named


@dataclass(frozen=True)
class Audited:
    """The report, and the table of the source that its ids are of."""

    report: Audit
    table: DatasetTable


@dataclass(frozen=True)
class _Known:
    """Facts of image files, by content."""

    looks: Mapping[str, ImageFacts]
    bad: Mapping[str, str]
    duplicates: NearDuplicates


def audit(dataset: Dataset, access: Access, progress: Progress | None = None) -> Audited:
    """Look at everything a dataset holds.

    Args:
        dataset: what to look at.
        access: where the cache is; near duplicates that were found before are taken from there.
        progress: called with (images read, images in all), twice where nothing is known yet.

    Raises:
        DataError: the dataset cannot be loaded, or contradicts itself.
        StoreError: the cache cannot be written.
    """
    dataset = dataset.pinned(access)
    published = dataset.as_published()
    table = read_table(published, access)
    near = nothing() if dataset.procedural else find_duplicates(table, access.cache, progress)
    known = _Known(*survey_images(table, progress), near)
    used = table if published == dataset else read_table(dataset, access)
    source = _source_view(table, known)
    made, refused = _made_view(dataset, used, known, source)
    report = Audit(
        dataset=dataset.name,
        modality=dataset.modality,
        title=dataset.title,
        licence=dataset.licence,
        origin=dataset.source,
        revision=dataset.revision,
        group=dataset.groups,
        images=len(table.samples),
        grouped=len({sample.group for sample in table.samples}),
        procedural=dataset.procedural,
        problems=dataset.problems,
        notes=table.notes,
        metadata=_metadata(table),
        classes=table.classes,
        bad=tuple(_bad_files(table, known)),
        copies=_copies(table, known.duplicates),
        pixels=_pixels(table, known),
        source=source,
        made=made,
        refused=refused,
    )
    return Audited(report, table)


# -- the two views --------------------------------------------------------------------------------


def _source_view(table: DatasetTable, known: _Known) -> SplitView:
    placed = {sample.id: sample.split for sample in table.samples}
    own = len(set(placed.values())) > 1
    rule = "as the source has them" if own else "the source has no splits of its own"
    return _view("source", rule, table, placed, known)


def _made_view(
    dataset: Dataset, table: DatasetTable, known: _Known, source: SplitView
) -> tuple[SplitView | None, str]:
    """The splits a run would use, or why there are none."""
    usable = [s for s in table.samples if s.content in known.looks]
    pairs = None if dataset.procedural else confirmed_pairs(known.duplicates, usable)
    try:
        splits = make_splits(
            dataset.name,
            table.classes,
            usable,
            rule=dataset.splits,
            protocol=PROTOCOL,
            pairs=pairs,
        )
    except DataError as error:
        return None, str(error)
    placed = {sample.id: sample.split for sample in splits.samples}
    if placed == {sample.id: sample.split for sample in table.samples}:
        return source.model_copy(update={"whose": "harness", "rule": splits.rule}), ""
    return _view("harness", splits.rule, table, placed, known), ""


def _view(
    whose: str, rule: str, table: DatasetTable, placed: Mapping[str, Split], known: _Known
) -> SplitView:
    by_split = {s: [one for one in table.samples if placed.get(one.id) == s] for s in SPLITS}
    there = {split: samples for split, samples in by_split.items() if samples}
    return SplitView(
        whose=whose,
        rule=rule,
        splits={split: _facts(table.classes, some, known) for split, some in there.items()},
        left_out=sum(s.content in known.looks and s.id not in placed for s in table.samples),
        lacking=_lacking(table.classes, there),
        crossings=find_crossings(table.samples, placed, known.duplicates),
        shortcuts=try_shortcuts(table.samples, placed, known.looks),
    )


def _lacking(
    classes: Sequence[str], there: Mapping[Split, Sequence[Sample]]
) -> dict[Split, tuple[str, ...]]:
    labels = {split: {sample.label for sample in some} for split, some in there.items()}
    learned = labels.get("train", set())
    found = {
        split: tuple(classes[label] for label in sorted(some - learned))
        for split, some in labels.items()
    }
    return {split: names for split, names in found.items() if names}


def _facts(classes: Sequence[str], samples: Sequence[Sample], known: _Known) -> SplitFacts:
    counts = Counter(sample.label for sample in samples)
    looks = [known.looks[s.content] for s in samples if s.content in known.looks]
    sizes = Counter((look.width, look.height) for look in looks)
    common = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:SIZES]
    return SplitFacts(
        images=len(samples),
        classes={name: counts[label] for label, name in enumerate(classes)},
        sizes=tuple((width, height, count) for (width, height), count in common),
        different_sizes=len(sizes),
        widths=_range([width for width, _ in sizes]),
        heights=_range([height for _, height in sizes]),
        modes=dict(Counter(look.mode for look in looks).most_common()),
        formats=dict(Counter(look.format for look in looks).most_common()),
        bytes=sum(look.bytes for look in looks),
    )


def _range(values: Sequence[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None


def _metadata(table: DatasetTable) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for values in table.metadata.values():
        for name, text in values.items():
            counts.setdefault(name, Counter())[text] += 1
    return {name: dict(found.most_common()) for name, found in sorted(counts.items())}


# -- what no split has a part in ------------------------------------------------------------------


def _bad_files(table: DatasetTable, known: _Known) -> list[BadFile]:
    reasons = {
        sample: table.unreadable.get(sample.id) or known.bad.get(sample.content)
        for sample in table.samples
    }
    return [
        BadFile(id=sample.id, split=sample.split, reason=reason)
        for sample, reason in reasons.items()
        if reason
    ]


def _pixels(table: DatasetTable, known: _Known) -> Pixels:
    looks = {s.id: known.looks[s.content] for s in table.samples if s.content in known.looks}
    return Pixels(
        constant=tuple(name for name, look in looks.items() if look.levels == 1),
        few=tuple(name for name, look in looks.items() if 1 < look.levels <= FEW),
        unused=tuple((name, look.unused) for name, look in looks.items() if look.unused),
        masks=tuple(find_masks([sample.id for sample in table.samples]).items()),
        problems=tuple(find_problems([one.id for one in table.samples], table.spans.values())),
    )


def _copies(table: DatasetTable, found: NearDuplicates) -> Copies:
    placed = {sample.id: sample.split for sample in table.samples}
    contents = [sample.content for sample in table.samples if sample.content]
    ids = table.first_ids()
    suspects = (
        as_pair(ids[found.contents[row["one"]]], ids[found.contents[row["other"]]], placed, row)
        for row in found.suspects[:SUSPECTS]
    )
    near = list(near_pairs(table.samples, placed, found))
    return Copies(
        exact=len(contents) - len(set(contents)),
        near=len(near),
        suspected=found.suspected,
        suspects=tuple(suspects),
        disagreeing=tuple(_disagreeing(table, near)),
    )


def _disagreeing(table: DatasetTable, near: Sequence[NearPair]) -> list[tuple[str, str]]:
    labels = {sample.id: sample.label for sample in table.samples}
    first = table.first_ids()
    copies = [(first[s.content], s.id) for s in table.samples if s.content]
    pairs = sorted({*copies, *((pair.one, pair.other) for pair in near)})
    return [(one, other) for one, other in pairs if labels[one] != labels[other]]

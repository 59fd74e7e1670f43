"""Findings as sentences: the terminal and the page share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.data.audit.leaks import NearPair, Shared
from harness.data.audit.report import Audit, Pixels, SplitFacts, SplitView
from harness.data.audit.shortcuts import Shortcut
from harness.utils.text import clean, megabytes

NAMED = 5  # of many
KEPT = "they are the source's, sample by sample"


@dataclass(frozen=True)
class Finding:
    """A sentence, the first of what it speaks of, and how many more there are.

    `alarming`: what makes a figure on test worth less.
    """

    text: str
    items: tuple[str, ...] = ()
    more: int = 0
    alarming: bool = False


def whose(view: SplitView) -> str:
    """The heading of a view: the source's splits or a run's."""
    return "the source's splits" if view.whose == "source" else "the splits a run uses"


def rule(view: SplitView) -> str:
    """The rule that made the splits."""
    return clean(view.rule)


def verdict(report: Audit) -> str:
    """One sentence on each of the two divisions."""
    if report.source.crossings.any:
        found = f"LEAK in the source's splits: {_crossing(report.source)}"
    elif len(report.source.splits) == 1:
        found = "the source has no splits of its own"
    else:
        found = "found nothing that crosses the source's splits"
    if report.made is None:
        return f"{found}; no run can use it: {clean(report.refused)}"
    if report.made.crossings.any:
        return f"{found}; LEAK in the splits a run uses: {_crossing(report.made)}"
    return f"{found}; nothing crosses those a run uses"


def general(report: Audit) -> Iterator[Finding]:
    """Findings that no split has a part in."""
    for problem in report.problems:
        yield Finding(f"known problem: {clean(problem)}", alarming=True)
    if report.bad:
        bad = [f"{clean(one.id)} ({one.split}): {clean(one.reason)}" for one in report.bad]
        yield _finding(_count(len(bad), "bad file"), bad, alarming=True)
    yield from _pixels(report.pixels)
    yield Finding(_groups(report))
    for note in report.notes:
        yield Finding(clean(note))
    for name, counts in report.metadata.items():
        yield Finding(f"metadata {clean(name)}: {_values(counts)}")
    copies = report.copies
    exact = f"{_count(copies.exact, 'exact duplicate')}"
    if report.procedural:
        yield Finding(f"{exact}; near duplicates were not looked for: drawn by a program")
    else:
        near = f"{_count(copies.near, 'pair')} of near duplicates"
        yield Finding(f"{exact} and {near}, crossing or not")
        suspects = [pair_text(one) for one in copies.suspects]
        text = f"{_count(copies.suspected, 'pair')} that look alike but are not confirmed"
        yield _finding(text, suspects, copies.suspected)
    if copies.disagreeing:
        pairs = [f"{clean(one)} ~ {clean(other)}" for one, other in copies.disagreeing]
        text = f"{_count(len(pairs), 'pair')} of duplicates with different labels"
        yield _finding(text, pairs, alarming=True)


def crossings(view: SplitView) -> Iterator[Finding]:
    """Everything that crosses, kind by kind, and how much of each split it concerns."""
    found = view.crossings
    groups = [f"{clean(one.name)}: {_by_split(one)}" for one in found.shared_groups]
    copies = [_by_split(one) for one in found.copies]
    near = [pair_text(one) for one in found.near_pairs]
    kinds = (
        (found.groups, "group", groups),
        (found.exact, "exact duplicate", copies),
        (found.near, "near-duplicate pair", near),
    )
    for count, what, listed in kinds:
        text = f"{_count(count, what)} {'crosses' if count == 1 else 'cross'} splits"
        yield _finding(text, listed, count, alarming=count > 0)
    for split, leak in found.leaks.items():
        if leak.any:
            yield Finding(
                f"{leak.any:,} of {leak.images:,} {split} images ({leak.any / leak.images:.1%}) are "
                f"related to train: {leak.groups:,} by group, {leak.exact:,} as exact duplicates, "
                f"{leak.near:,} as near duplicates",
                alarming=True,
            )


def rest(view: SplitView) -> Iterator[Finding]:
    """Classes that train lacks, images left out, shortcuts."""
    for split, names in view.lacking.items():
        text = f"{split} has {', '.join(map(clean, names))}, which train lacks"
        yield Finding(text, alarming=True)
    if view.left_out:
        yield Finding(f"{_count(view.left_out, 'image')} left out")
    for one in view.shortcuts:
        yield Finding(_shortcut(one), alarming=one.telling)


def facts(view: SplitView) -> list[tuple[str, ...]]:
    """Rows of a table: what it is about, then one cell a split."""
    splits = list(view.splits.values())
    return [
        ("images", *(f"{one.images:,}" for one in splits)),
        *((clean(name), *(_share(one, name) for one in splits)) for name in splits[0].classes),
        ("sizes", *map(_sizes, splits)),
        ("width", *(_range(one.widths) for one in splits)),
        ("height", *(_range(one.heights) for one in splits)),
        ("modes", *(_tally(one.modes) for one in splits)),
        ("formats", *(_tally(one.formats) for one in splits)),
        ("files", *(megabytes(one.bytes) for one in splits)),
    ]


def pair_text(pair: NearPair) -> str:
    """Two ids, and how alike they are."""
    turned = f", {pair.orientation}" if pair.orientation else ""
    return (
        f"{clean(pair.one)} ({pair.splits[0]}) ~ {clean(pair.other)} ({pair.splits[1]}), "
        f"correlation {pair.correlation:.4f}{turned}"
    )


def _pixels(found: Pixels) -> Iterator[Finding]:
    for problem in found.problems:
        yield Finding(clean(problem), alarming=True)
    masks = [f"{clean(name)} of {clean(other)}" for name, other in found.masks]
    unused = [f"{clean(name)} ({what})" for name, what in found.unused]
    kinds = (
        (masks, "image", "the names of masks of others", True),
        (list(map(clean, found.constant)), "image", "a single grey level", True),
        (list(map(clean, found.few)), "image", "16 grey levels or fewer", True),
        (unused, "file", "content that was not used", False),
    )
    for names, noun, what, alarming in kinds:
        if names:
            yield _finding(f"{_count(len(names), noun)} with {what}", names, alarming=alarming)


def _finding(
    text: str, items: Sequence[str], count: int | None = None, *, alarming: bool = False
) -> Finding:
    named = tuple(items[:NAMED])
    return Finding(text, named, (len(items) if count is None else count) - len(named), alarming)


def _groups(report: Audit) -> str:
    if report.grouped == report.images:
        return "no image shares a group with another: patients, lesions or videos are not known"
    what = f" ({clean(report.group)})" if report.group else ""
    return f"{report.images:,} images in {_count(report.grouped, 'group')}{what}"


def _values(counts: dict[str, int]) -> str:
    """The most frequent values, and how many more there are."""
    named = [f"{clean(text)} ({count:,})" for text, count in list(counts.items())[:NAMED]]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {_count(more, 'more value')}" if more > 0 else "")


def _crossing(view: SplitView) -> str:
    found = view.crossings
    counts = {
        "group": found.groups,
        "exact duplicate": found.exact,
        "near-duplicate pair": found.near,
    }
    return ", ".join(_count(count, what) for what, count in counts.items() if count)


def _by_split(one: Shared, most: int = 3) -> str:
    texts = []
    for split, names in one.ids.items():
        more = f" and {len(names) - most:,} more" if len(names) > most else ""
        texts.append(f"{', '.join(map(clean, names[:most]))}{more} ({split})")
    return " = ".join(texts)


def _shortcut(one: Shortcut) -> str:
    if one.score is None or one.chance is None or one.luck is None:
        return f"shortcut {one.name}: not tried, {one.reason}"
    text = (
        f"shortcut {one.name}: balanced accuracy {one.score:.3f} on test; chance {one.chance:.3f}, "
        f"by luck up to {one.luck:.3f}"
    )
    return f"{text}; {one.reason}" if one.reason else text


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}" if count else f"no {what}s"


def _share(one: SplitFacts, name: str) -> str:
    return f"{one.classes[name]:,} ({one.classes[name] / one.images:.0%})"


def _sizes(one: SplitFacts) -> str:
    common = ", ".join(f"{width} x {height} ({count:,})" for width, height, count in one.sizes)
    more = one.different_sizes - len(one.sizes)
    return common + (f" and {more:,} more" if more else "")


def _range(ends: tuple[int, int] | None) -> str:
    if ends is None:
        return ""
    return f"{ends[0]}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())

"""Label budgets: the part of a training split that keeps its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.data.split import Splits
from harness.data.stratify import order_by_hash
from harness.errors import UsageError


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
    for unit in _labelling_order(splits, rows, seed):
        # A group that would overshoot by more than it brings nearer is where the budget ends.
        if len(found) + len(unit) / 2 > count and _has_all(splits, found, rows):
            break
        found += unit
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


def _has_all(splits: Splits, found: Sequence[int], rows: Sequence[int]) -> bool:
    there = {splits.samples[row].label for row in found}
    return len(there) == len({splits.samples[row].label for row in rows})


def _labelling_order(splits: Splits, rows: Sequence[int], seed: int) -> list[list[int]]:
    """Rows of each group, ordered so that every beginning has the classes nearest to proportion."""
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(splits.samples[row].group, []).append(row)
    total = Counter(splits.samples[row].label for row in rows)
    waiting: dict[str, list[str]] = {}
    for name in order_by_hash(groups, str, f"labels:{seed}"):
        own = Counter(splits.samples[row].label for row in groups[name])
        # A group counts for the rarest class that it holds, so that none is used up by others.
        waiting.setdefault(min(own, key=lambda label: (total[label], label)), []).append(name)
    order: list[list[int]] = []
    taken: Counter[str] = Counter()
    place = dict.fromkeys(waiting, 0)
    missing = sorted(total, key=lambda label: (total[label], label))
    while waiting:
        absent = [label for label in missing if not taken[label] and label in waiting]
        label = (absent or [min(waiting, key=lambda one: (taken[one] / total[one], one))])[0]
        unit = groups[waiting[label][place[label]]]
        place[label] += 1
        if place[label] == len(waiting[label]):
            del waiting[label]
        taken.update(splits.samples[row].label for row in unit)
        order.append(unit)
    return order

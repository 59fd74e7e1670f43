"""Clusters of samples that must stay in one split, divided so that every class has its shares.

A cluster is: samples of one group, of identical content, or confirmed near duplicates, and whatever
these link together.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.api.dataset import Split

T = TypeVar("T")
Pair = tuple[str, str]  # ids of samples
Units = Mapping[str, Counter[int]]  # a cluster -> samples of each class in it
Demand = tuple[int, Split]

ORDERS = 16  # random orders that are tried; the one nearest to the shares is taken
WORK = 50_000  # units that are placed at most in trying several orders
STEPS = 20_000  # of the search for a division that gives every class to every part


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: `label` numbers into the classes, `content` is the sha256 of its bytes."""

    id: str
    label: int
    group: str
    split: Split
    content: str


def find_groups(samples: Sequence[Sample], pairs: Iterable[Pair]) -> dict[str, str]:
    """Sample id -> the smallest id of its cluster."""
    parent = {sample.id: sample.id for sample in samples}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(one: str, other: str) -> None:
        low, high = sorted((root(one), root(other)))
        parent[high] = low

    first: dict[tuple[str, str], str] = {}
    for sample in samples:
        join(sample.id, first.setdefault(("group", sample.group), sample.id))
        if sample.content:
            join(sample.id, first.setdefault(("content", sample.content), sample.id))
    for one, other in pairs:
        if one in parent and other in parent:
            join(one, other)
    return {name: root(name) for name in parent}


def place_official(
    samples: Sequence[Sample], clusters: Mapping[str, str], kept: tuple[Split, ...]
) -> dict[str, Split]:
    """Id -> the kept split, or train for all that is still to be divided; left out: not there."""
    held: dict[str, Split] = {}
    for split in ("validation", "test"):  # test comes last and holds what both would have
        if split in kept:
            held |= {clusters[s.id]: split for s in samples if s.split == split}
    placed: dict[str, Split] = {}
    for sample in samples:
        own: Split = sample.split if sample.split in kept else "train"
        if held.get(clusters[sample.id], own) == own:
            placed[sample.id] = own
    return placed


def order_by_hash(items: Iterable[T], name: Callable[[T], str], purpose: str) -> list[T]:
    """A random order that depends on names and purpose alone, and is the same for ever."""

    def rank(item: T) -> bytes:
        return hashlib.sha256(f"{purpose}/{name(item)}".encode()).digest()

    return sorted(items, key=rank)


def split_quotas(counts: Mapping[str, int], limit: int) -> dict[str, int]:
    """At least one of each class, `limit` in all where that allows it, nearest to proportion."""
    total = sum(counts.values())
    ideal = {name: limit * count / total for name, count in counts.items()}
    take = {name: max(1, int(share)) for name, share in ideal.items()}
    while sum(take.values()) < limit:
        take[max(sorted(take), key=lambda name: ideal[name] - take[name])] += 1
    while sum(take.values()) > max(limit, len(take)):
        reducible = sorted(name for name in take if take[name] > 1)
        take[max(reducible, key=lambda name: take[name] - ideal[name])] -= 1
    return take


def order_groups(groups: Sequence[str], labels: Sequence[str], seed: int) -> list[list[int]]:
    """Places of each group's samples, ordered so that every beginning has the classes in proportion.

    As nearly as whole groups allow (of single samples: Webster's method, which rounds to the nearest
    and favours no class), and with every class as early as that can be.
    """
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    total, taken = Counter(labels), Counter[str]()
    own = {name: Counter(labels[place] for place in found) for name, found in places.items()}
    rarest_first = sorted(total, key=lambda label: (total[label], label))
    waiting: dict[str, list[str]] = {}
    for name in reversed(order_by_hash(places, str, f"labels:{seed}")):
        # A group counts for the rarest class in it, so that others do not use it up.
        waiting.setdefault(min(own[name], key=rarest_first.index), []).append(name)

    def level(label: str) -> tuple[float, str]:
        """The share of a class that is taken, its next group counted by half."""
        return (taken[label] + own[waiting[label][-1]][label] / 2) / total[label], label

    order: list[list[int]] = []
    while waiting:
        absent = [one for one in rarest_first if not taken[one]]
        label, place = _first_of(absent, waiting, own) or (min(waiting, key=level), -1)
        name = waiting[label].pop(place)
        if not waiting[label]:
            del waiting[label]
        taken.update(own[name])
        order.append(places[name])
    return order


def _first_of(
    absent: Sequence[str], waiting: Mapping[str, Sequence[str]], own: Mapping[str, Counter[str]]
) -> tuple[str, int] | None:
    """Class and place in its queue of a waiting group that holds a class of which nothing is taken.

    Classes with a queue come first; groups of the others all count for rarer classes.
    """
    if found := next((one for one in absent if one in waiting), None):
        return found, -1
    return next(
        (
            (label, place)
            for one in absent
            for label, names in waiting.items()
            for place in reversed(range(len(names)))
            if own[names[place]][one]
        ),
        None,
    )


def assign_splits(units: Units, shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Unit -> part: each part of `shares` near its share of every class, train the rest.

    First every class is given to every part, as far as that can be done without cutting a unit:
    to train before test before validation.  Then the other units go, in a random order, where
    most is lacking.

    Args:
        units: name of a cluster that must not be cut -> samples of each class in it.
        shares: part -> share of the samples, 0 to 1; they add up to less than 1.
        seed: of the random order.
    """
    parts: dict[Split, float] = {"train": 1 - sum(shares.values()), **shares}
    total = sum(units.values(), Counter[int]())
    targets = {
        (label, part): share * count
        for label, count in total.items()
        for part, share in parts.items()
    }
    fixed = _cover(units, targets, order_by_hash(units, str, f"split:{seed}"))
    free = [name for name in units if name not in fixed]
    tries = max(1, min(ORDERS, WORK // (len(free) + 1)))
    best: dict[str, Split] = {}
    best_cost = float("inf")
    for attempt in range(tries):
        order = order_by_hash(free, str, f"split:{seed}:{attempt}")
        found, cost = _fill(units, targets, total, fixed, order)
        if cost < best_cost:
            best, best_cost = found, cost
    return best


def _fill(
    units: Units,
    targets: Mapping[Demand, float],
    total: Counter[int],
    fixed: Mapping[str, Split],
    order: Sequence[str],
) -> tuple[dict[str, Split], float]:
    """Place units in this order where most is lacking; and how far from the shares that ends."""
    excess = {demand: -target for demand, target in targets.items()}
    parts = list(dict.fromkeys(part for _, part in targets))
    found: dict[str, Split] = {}

    def place(name: str, part: Split) -> None:
        found[name] = part
        for label, count in units[name].items():
            excess[label, part] += count

    def pull(name: str, part: Split) -> float:
        unit = units[name].items()
        return sum(count * excess[label, part] / total[label] ** 2 for label, count in unit)

    for name, part in fixed.items():
        place(name, part)
    for name in order:
        place(name, min(parts, key=lambda part: pull(name, part)))
    cost = sum((over / total[label]) ** 2 for (label, _), over in excess.items())
    return found, cost


def _cover(units: Units, targets: Mapping[Demand, float], order: Sequence[str]) -> dict[str, Split]:
    """The fewest units, roughly, that give every class to every part; as much as can be."""
    holders: dict[int, list[str]] = {}
    for name in order:
        for label in units[name]:
            holders.setdefault(label, []).append(name)
    parts: tuple[Split, ...] = ("train", "test", "validation")
    there = [part for part in parts if any(part == other for _, other in targets)]
    wanted = [
        (label, part)
        for place, part in enumerate(there)
        for label, names in holders.items()
        if place < len(names)  # a class of two units cannot be in three parts
    ]
    cover = _search(units, targets, holders, wanted)
    if cover is not None:
        return cover
    cover = {}
    met: list[Demand] = []
    for demand in wanted:  # classes share units: take the demands one by one
        further = _search(units, targets, holders, [*met, demand])
        if further is not None:
            cover, met = further, [*met, demand]
    return cover


def _search(
    units: Units,
    targets: Mapping[Demand, float],
    holders: Mapping[int, Sequence[str]],
    wanted: Sequence[Demand],
) -> dict[str, Split] | None:
    """Units that meet all demands, by backtracking; None: there are none, or none was found."""
    # Rare classes first; of one class, train last: it has room for the largest unit.
    rank = {"test": 0, "validation": 1, "train": 2}
    demands = sorted(wanted, key=lambda d: (len(holders[d[0]]), d[0], rank[d[1]]))
    preferred = {
        (label, part): sorted(
            holders[label], key=lambda name: max(0.0, units[name][label] - targets[label, part])
        )
        for label, part in demands
    }
    chosen: dict[str, Split] = {}

    def options(place: int) -> Iterator[str]:
        """Units for the demand at this place; one empty name: it is met already."""
        label, part = demands[place]
        if any(chosen[name] == part and label in units[name] for name in chosen):
            return iter([""])
        return iter([name for name in preferred[label, part] if name not in chosen])

    return chosen if _backtrack(demands, options, chosen) else None


def _backtrack(
    demands: Sequence[Demand], options: Callable[[int], Iterator[str]], chosen: dict[str, Split]
) -> bool:
    """Fill `chosen` so that every demand is met; False after `STEPS` or when nothing is left."""
    trail: list[str] = []
    open_options = [options(0)] if demands else []
    for _ in range(STEPS):
        if len(trail) == len(demands):
            return True
        name = next(open_options[-1], None)
        if name is None:
            open_options.pop()
            if not trail:
                return False
            chosen.pop(trail.pop(), None)
            continue
        if name:
            chosen[name] = demands[len(trail)][1]
        trail.append(name)
        if len(trail) < len(demands):
            open_options.append(options(len(trail)))
    return False

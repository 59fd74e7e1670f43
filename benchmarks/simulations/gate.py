"""Rates at which the regression gate raises a false alarm, and at which it sees a loss.

Each table of docs/statistics.md that the gate has is one call:

    python benchmarks/simulations/gate.py false --repetitions 1000
    python benchmarks/simulations/gate.py power --repetitions 1000
    python benchmarks/simulations/gate.py mri --repetitions 1000
    python benchmarks/simulations/gate.py cells --repetitions 500
    python benchmarks/simulations/gate.py small --repetitions 1000
    python benchmarks/simulations/gate.py images --repetitions 300
    python benchmarks/simulations/gate.py one-seed --repetitions 300
    python benchmarks/simulations/gate.py lent --repetitions 500

An error of Monte Carlo (a standard error) stands behind every share.  See worlds.py for what is
drawn; `--lines` takes some lines of a table, by number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy
from worlds import MADE, REAL, World, losses, pairs

from harness.results.gate.families import SHARE
from harness.results.gate.records import POINTS, TOLERANCE
from harness.stats import FAMILIES, Measured, compare_families, compare_pairs, measure

SEED = 20240
MARGIN = TOLERANCE / POINTS
SPREADS: tuple[tuple[str, float | tuple[float, ...], float], ...] = (
    ("0", 0.0, 0.0),
    ("1", 0.01, 0.0),
    ("2", 0.02, 0.0),
    ("2, half shared", 0.02, 0.5),
    ("4", 0.04, 0.0),
    ("4, half shared", 0.04, 0.5),
    ("0 0 1 2 4 by dataset", (0.0, 0.0, 0.01, 0.02, 0.04), 0.0),
)


@dataclass(frozen=True)
class Alarms:
    """The losses that a call names.

    Attributes:
        cells: worse [cells].
        beyond: worse beyond these images, too [cells].
        suspect: worse, if seeds spread as they do in the other cells [cells].
        measured: what the call compares.
    """

    cells: np.ndarray
    beyond: np.ndarray
    suspect: np.ndarray
    measured: list[Measured]

    @cached_property
    def families(self) -> dict[str, bool]:
        """Worse, by name; a third of a call, which tables of single cells do not spend."""
        return {
            f"{one.kind} {one.name}".strip(): one.p_worse <= FAMILIES
            and one.value < -SHARE * MARGIN
            for one in compare_families(self.measured)
        }

    @property
    def any(self) -> bool:
        return bool(self.cells.any()) or any(self.families.values())


def judge(rng: np.random.Generator, world: World, spread: float | None = None) -> Alarms:
    """Draw one call and judge it by the gate's rules."""
    cells = [measure(pair) for pair in pairs(rng, world)]
    changes = compare_pairs(cells, spread)
    lost = np.array([one.value < -MARGIN for one in changes])
    known = np.array([one.basis in {"runs", "stated"} for one in changes])
    low = lost & np.array([one.p_worse <= one.level for one in changes])
    return Alarms(
        cells=low & known,
        beyond=lost & known & np.array([one.worse_beyond <= one.level for one in changes]),
        suspect=low & np.array([one.basis == "lent" for one in changes]),
        measured=cells,
    )


Count = Callable[[Alarms], Sequence[bool]]


def shares(world: World, count: Count, repetitions: int, spread: float | None = None) -> list[str]:
    """Percentages of calls, with their standard errors."""
    rng = np.random.default_rng(SEED)
    found = np.mean([count(judge(rng, world, spread)) for _ in range(repetitions)], axis=0)
    errors = np.sqrt(found * (1 - found) / repetitions)
    return [
        f"{100 * one:.1f} ± {100 * error:.1f}" for one, error in zip(found, errors, strict=True)
    ]


def parts(alarms: Alarms) -> tuple[bool, bool, bool]:
    return alarms.any, bool(alarms.cells.any()), any(alarms.families.values())


Line = tuple[str, Callable[[int], list[str]]]


def false() -> Iterator[Line]:
    yield "seeds | spread | any false alarm | a cell | a family", lambda _: []
    for seeds in (2, 3, 5):
        for name, spread, shared in SPREADS:
            world = World(seeds=seeds, spread=spread, shared=shared)
            yield f"{seeds} | {name}", lambda n, world=world: shares(world, parts, n)
        world = World(seeds=seeds, fifth=0.04)
        yield f"{seeds} | 4 in a fifth of the cells", lambda n, world=world: shares(world, parts, n)


def power() -> Iterator[Line]:
    yield (
        (
            "seeds | spread | -4 in a strategy's 15 cells: its family | -2 | -1 in all cells: 'all' | "
            "-10 in one MRI cell of 120"
        ),
        lambda _: [],
    )
    for seeds in (3, 2, 5):
        for name, spread, shared in SPREADS:
            world = World(seeds=seeds, spread=spread, shared=shared)
            yield f"{seeds} | {name}", lambda n, world=world: seen(world, n)


def seen(world: World, repetitions: int) -> list[str]:
    """Power; the losses but the first with a quarter of the repetitions."""
    few = max(1, repetitions // 4)
    strategy = lambda alarms: (alarms.families["strategy s0"],)  # noqa: E731
    found = []
    for points, of, count, n in (
        (4, (None, None, 0), strategy, repetitions),
        (2, (None, None, 0), strategy, few),
        (1, (None, None, None), lambda alarms: (alarms.families["all"],), few),
        (10, (0, 0, 0), lambda alarms: (bool(alarms.cells[0]),), few),
    ):
        found += shares(replace(world, losses=losses(world, points, of=of)), count, n)
    return found


def mri() -> Iterator[Line]:
    yield (
        "spread | any false alarm | -10 in one of 24 cells: that cell | beyond these images",
        (lambda _: []),
    )
    for spread in (0.0, 0.01, 0.02, 0.03, 0.04):
        world = World(("real-mri",), spread=spread)
        hit = replace(world, losses=losses(world, 10, of=(0, 0, 0)))
        yield (
            f"{POINTS * spread:g}",
            lambda n, world=world, hit=hit: [
                shares(world, parts, n)[0],
                *shares(hit, lambda a: (bool(a.cells[0]), bool(a.beyond[0])), n),
            ],
        )


def cells() -> Iterator[Line]:
    """24 cells of a kind: false alarms of cells alone."""
    yield "test set | seeds | spread 0 | 1 | 2 | 4 | 4 in a fifth of the cells", lambda _: []
    kinds = [{"spread": spread} for spread in (0.0, 0.01, 0.02, 0.04)] + [{"fifth": 0.04}]
    for name in (*MADE, *REAL):
        for seeds in (2, 3, 5):
            worlds = [World((name,), seeds=seeds, **kind) for kind in kinds]
            yield (
                f"{name} | {seeds}",
                lambda n, worlds=worlds: [
                    shares(world, lambda a: (bool(a.cells.any()),), n)[0] for world in worlds
                ],
            )


def small() -> Iterator[Line]:
    """Calls of one to three cells, judged at 5 %, and of four, with families."""
    yield "cells | test set | seeds | spread 0 | 2 | 4", lambda _: []
    for count in (1, 3, 4):
        for name in ("real-mri", "3 of a class", "20 images", "500 images"):
            for seeds in (2, 3, 5):
                worlds = [
                    World((name,), count, 1, seeds=seeds, spread=spread)
                    for spread in (0.0, 0.02, 0.04)
                ]
                yield (
                    f"{count} | {name} | {seeds}",
                    lambda n, worlds=worlds: [shares(one, parts, n)[0] for one in worlds],
                )


def images() -> Iterator[Line]:
    """Code that gets other images right, as many of them in the population."""
    yield (
        (
            "own | spread | any false alarm | the same with --beyond-images | "
            "-4 in a strategy's 15 cells: its family"
        ),
        lambda _: [],
    )
    for own in (0.0, 0.1):
        for spread in (0.0, 0.01, 0.02, 0.04):
            world = World(spread=spread, own=own)
            hit = replace(world, losses=losses(world, 4, of=(None, None, 0)))
            yield (
                f"{own:g} | {POINTS * spread:g}",
                lambda n, world=world, hit=hit: [
                    *shares(world, lambda a: (a.any, beyond(a)), n),
                    *shares(hit, lambda a: (a.families["strategy s0"],), n),
                ],
            )


def beyond(alarms: Alarms) -> bool:
    return bool(alarms.beyond.any()) or any(alarms.families.values())


def one_seed() -> Iterator[Line]:
    yield (
        (
            "spread | false alarm of a family | -4 in a strategy's 15 cells: its family | "
            "false alarm of a cell, the spread stated | half of it stated"
        ),
        lambda _: [],
    )
    for name, spread, shared in SPREADS:
        world = World(seeds=1, spread=spread, shared=shared)
        hit = replace(world, losses=losses(world, 4, of=(None, None, 0)))
        stated = float(np.max(spread))
        yield (
            name,
            lambda n, world=world, hit=hit, stated=stated: [
                shares(world, parts, n)[2],
                *shares(hit, lambda a: (a.families["strategy s0"],), n),
                *(shares(world, parts, n, part * stated)[1] for part in (1, 0.5)),
            ],
        )


def lent() -> Iterator[Line]:
    """24 cells of one seed a side, nothing stated: how often an honest cell is called suspect."""
    yield "test set | spread 0 | 2 | 4 | 4 in a fifth of the cells", lambda _: []
    kinds = [{"spread": spread} for spread in (0.0, 0.02, 0.04)] + [{"fifth": 0.04}]
    for name in ("14 groups", "500 images", "3 of a class", "20 images", "real-mri"):
        worlds = [World((name,), seeds=1, **kind) for kind in kinds]
        yield (
            name,
            lambda n, worlds=worlds: [
                shares(world, lambda a: (bool(a.suspect.any()),), n)[0] for world in worlds
            ],
        )


TABLES = {
    "false": false,
    "power": power,
    "mri": mri,
    "cells": cells,
    "small": small,
    "images": images,
    "one-seed": one_seed,
    "lent": lent,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--lines", type=int, nargs="+", help="by number, from 1; all, if not given")
    given = parser.parse_args()
    (head, _), *lines = TABLES[given.table]()
    print(f"n = {given.repetitions}; numpy {np.__version__}, scipy {scipy.__version__}\n")
    print(f"| {head} |\n|{' --- |' * (head.count('|') + 1)}")
    for number, (name, draw) in enumerate(lines, 1):
        if not given.lines or number in given.lines:
            print(f"| {name} | {' | '.join(draw(given.repetitions))} |", flush=True)


if __name__ == "__main__":
    main()

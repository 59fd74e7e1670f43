"""How often the regression gate raises a false alarm, and how often it sees a loss of three points.

Cells of 500 samples, 3 seeds against 3; see truth.py.  An alarm is a gate that fails.

    python benchmarks/simulations/gate.py --repetitions 1000 --cells 1 4 24 120
    python benchmarks/simulations/gate.py --repetitions 1000 --cells 1 24 120 --seeds 1 --samples 96
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from truth import ACCURACY, runs, upper_bound

from harness.results.gate.check import check
from harness.results.gate.records import GateCell, GateRun, Rules

LOSS = 0.03
SEEDS = 3
SPREADS = (0.0, 0.005, 0.01, 0.02)
SIZES = (100, 300, 600, 1000, 2000)
RULES = Rules(metric="accuracy")


def cell(right: np.ndarray) -> GateCell:
    """A cell whose targets are all 1."""
    samples = np.arange(right.shape[1])
    made = tuple(GateRun(seed, predicted=row) for seed, row in enumerate(right.astype(int)))
    return GateCell({}, "cpu", samples, np.ones(len(samples), dtype=int), made)


@dataclass(frozen=True)
class Call:
    """What a call of the gate compares.

    Attributes:
        sizes, spreads: of each cell.
        shared: correlation of luck and noise between the runs of one seed on both sides.
        seeds: on each side.
    """

    sizes: tuple[int, ...]
    spreads: tuple[float, ...]
    shared: float = 0.0
    seeds: int = SEEDS


Draw = Callable[[np.random.Generator], Call]


def alarms(rng: np.random.Generator, call: Call, loss: float = 0.0) -> tuple[bool, bool]:
    """Whether the gate fails, and whether it calls the first cell, which loses, worse."""
    before, after = {}, {}
    for index, (size, spread) in enumerate(zip(call.sizes, call.spreads, strict=True)):
        ease, name = rng.normal(size=size), f"{index:03d}"
        old, fresh = rng.normal(size=(2, call.seeds, 1 + size))
        new = call.shared**0.5 * old + (1 - call.shared) ** 0.5 * fresh
        lost = loss if index == 0 else 0.0
        before[name] = cell(runs(old, ease, spread=spread))
        after[name] = cell(runs(new, ease, spread=spread, accuracy=ACCURACY - lost))
    report = check(before, after, RULES)
    return bool(report.failures), report.cells[0].verdict == "worse"


def line(name: str, repetitions: int, draw: Draw) -> None:
    rng = np.random.default_rng(0)
    false = sum(alarms(rng, draw(rng))[0] for _ in range(repetitions))
    true = sum(alarms(rng, draw(rng), loss=LOSS)[1] for _ in range(repetitions))
    bound = upper_bound(false, repetitions)
    shares = (false / repetitions, bound, true / repetitions)
    print(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |", flush=True)


def calls(given: argparse.Namespace, cells: int) -> Iterator[tuple[str, Draw]]:
    """What is simulated for so many cells: its name, and what draws one call of it."""
    size = (given.samples,) * cells

    def same(spread: float, shared: float = 0.0) -> Draw:
        return lambda _: Call(size, (spread,) * cells, shared, given.seeds)

    def uneven(rng: np.random.Generator) -> Call:
        spreads = np.where(rng.random(cells) < 0.2, 0.03, 0.0)
        return Call(size, tuple(spreads), seeds=given.seeds)

    def sizes(rng: np.random.Generator) -> Call:
        return Call(tuple(rng.choice(SIZES, cells)), (0.01,) * cells, seeds=given.seeds)

    yield from ((f"{100 * spread:g}", same(spread)) for spread in SPREADS)
    yield "1, of which .9 shared", same(0.01, shared=0.9)
    yield "3 in a fifth of the cells, else 0", uneven
    yield "1, test sets of 100 to 2000", sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 4, 24])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="on each side")
    parser.add_argument("--samples", type=int, default=500, help="of each test set")
    given = parser.parse_args()
    print(
        f"n = {given.repetitions} calls a line, {given.seeds} seeds a side, {given.samples} samples; "
        f"numpy {np.__version__}, scipy {scipy.__version__}\n"
    )
    print("| cells | spread of seeds, points | false alarms, % | upper 95 % bound | power, % |")
    print("|---|---|---|---|---|")
    for cells in given.cells:
        for name, draw in calls(given, cells):
            line(f"{cells} | {name}", given.repetitions, draw)


if __name__ == "__main__":
    main()

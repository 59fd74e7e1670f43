"""Rates of wrong and right answers to each claim, on results whose truth is known.

Fifteen cells of five datasets, eight strategies; a run's luck is in its validation and its test
score alike, its image noise in each alone, and a test set's images err for all seeds together.

    python benchmarks/simulations/answers.py lp-ft-improves --repetitions 1000
    python benchmarks/simulations/answers.py auto-rgn-gain --repetitions 400
    python benchmarks/simulations/answers.py densenet-gains-most --repetitions 400
    python benchmarks/simulations/answers.py no-universal-winner --repetitions 200

An error of Monte Carlo (a standard error) stands behind every share.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from boards import METRIC, NETWORKS, STRATEGIES, percent

from harness.leaderboard.cells import CellBlock
from harness.leaderboard.claims import CLAIMS, answer

DATASETS, GROUPS = 5, 60
IMAGES = 0.008  # error of a gain for the images of a test set
RUN = 0.012  # noise of a run's score for single images, in test and in validation


@dataclass(frozen=True)
class World:
    """The world that is drawn, in points.

    Attributes:
        gains: of each strategy on the first, in each cell, [datasets, networks, strategies].
        spread: standard deviation of a run's luck, of each network.
        related: correlation of the images' error between cells of a dataset.
    """

    gains: np.ndarray
    spread: tuple[float, float, float] = (1.0, 1.0, 1.0)
    seeds: int = 5
    related: float = 0.3


def draw(rng: np.random.Generator, world: World) -> list[CellBlock]:
    """The blocks of one board; groups of two classes."""
    strata, blocks = np.arange(GROUPS) % 2, []
    for dataset in range(DATASETS):
        common = rng.standard_normal((len(STRATEGIES), GROUPS))
        for place, network in enumerate(NETWORKS):
            own = rng.standard_normal((len(STRATEGIES), GROUPS))
            images = world.related**0.5 * common + (1 - world.related) ** 0.5 * own
            truth = 0.8 + world.gains[dataset, place] / 100
            luck = world.spread[place] / 100 * rng.standard_normal((world.seeds, len(truth)))
            noise = RUN * rng.standard_normal((world.seeds, len(truth), GROUPS)) * GROUPS**0.5
            score = truth + luck
            per_group = IMAGES / 2**0.5 * images * GROUPS**0.5 + noise
            blocks.append(
                CellBlock(
                    dataset=f"d{dataset}",
                    backbone=network,
                    strategies=STRATEGIES,
                    seeds=tuple(range(world.seeds)),
                    validation=score + RUN * rng.standard_normal(score.shape),
                    added={METRIC: (score[..., None] + per_group) / GROUPS},
                    strata=strata,
                    test_set=dataset,
                )
            )
    return blocks


def none() -> np.ndarray:
    return np.zeros((DATASETS, len(NETWORKS), len(STRATEGIES)))


def cells_of(strategy: str, points: list[float]) -> np.ndarray:
    """A strategy's gains in the fifteen cells, dataset by dataset."""
    gains = none()
    gains[..., STRATEGIES.index(strategy)] = np.reshape(points, gains.shape[:2])
    return gains


Line = tuple[str, World]


def lp_ft_improves() -> Iterator[Line]:
    cases: dict[str, list[float]] = {
        "7 of +10, 8 of +1 (false, least favourable)": [10] * 7 + [1] * 8,
        "all +1 (false)": [1] * 15,
        "all 0 (false)": [0] * 15,
        "8 of +10, 7 of -4 (true)": [10] * 8 + [-4] * 7,
        "9 of +8, 6 of -4 (true)": [8] * 9 + [-4] * 6,
        "12 of +6, 3 of 0 (true)": [6] * 12 + [0] * 3,
        "all +3 (true)": [3] * 15,
        "all +5 (true)": [5] * 15,
    }
    for name, points in cases.items():
        for related in (0.0, 0.3):
            yield f"{name} | {related:g}", World(cells_of("lp-ft", points), related=related)


def auto_rgn_gain() -> Iterator[Line]:
    cases: dict[str, list[float]] = {
        "all 0 (false)": [0] * 15,
        "all +1 (false, least favourable)": [1] * 15,
        "one +5": [5] + [0] * 14,
        "one +10": [10] + [0] * 14,
    }
    for name, points in cases.items():
        for spread in (1.0, 2.0, 4.0):
            yield f"{name} | {spread:g}", World(cells_of("auto-rgn", points), (spread,) * 3)


def densenet_gains_most() -> Iterator[Line]:
    for spread in ((0.0, 0.0, 0.0), (4.0, 0.5, 0.5), (0.5, 4.0, 4.0), (2.0, 2.0, 2.0)):
        yield f"lead 0 (neither) | {spread[0]:g}, others {spread[1]:g}", World(none(), spread)
    for lead, spread in ((4.0, 1.0), (4.0, 2.0), (-4.0, 1.0)):
        gains = none()
        gains[:, 0 if lead > 0 else 1, 1] = abs(lead)
        yield f"lead {lead:+g} | {spread:g}, others {spread:g}", World(gains, (spread,) * 3)


def no_universal_winner() -> Iterator[Line]:
    ahead = none() - 10
    ahead[..., 0] = 0
    tied = none() - 10
    tied[..., :2] = 0
    each = none().reshape(15, -1)
    for points in (5, 8):
        each = np.zeros_like(each)
        each[np.arange(15), np.arange(15) % len(STRATEGIES)] = points
        yield (
            f"each best in one or two cells by {points} (true) | 1",
            World(each.reshape(ahead.shape)),
        )
    yield "all alike (neither) | 1", World(none())
    yield "two tie everywhere, six are 10 behind (neither) | 1", World(tied)
    yield "one 10 ahead everywhere (false) | 1", World(ahead)


TABLES = {
    "lp-ft-improves": (lp_ft_improves, "true gains | correlation in a dataset"),
    "auto-rgn-gain": (auto_rgn_gain, "true gains | spread"),
    "densenet-gains-most": (densenet_gains_most, "truth | spread of densenet121"),
    "no-universal-winner": (no_universal_winner, "truth | spread"),
}


def answers(rng: np.random.Generator, claim: str, world: World) -> tuple[bool, bool, float]:
    """Supported, contradicted, the effect shown."""
    blocks = draw(rng, world)
    (found,) = answer([claim], blocks, [(one.dataset, one.backbone) for one in blocks])
    effect = np.nan if found.effect is None else found.effect
    return found.verdict == "supported", found.verdict == "contradicted", effect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("claim", choices=CLAIMS)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--lines", type=int, nargs="+", help="of the table, from 1")
    given = parser.parse_args()
    lines, head = TABLES[given.claim]
    print(f"n = {given.repetitions}; numpy {np.__version__}, scipy {scipy.__version__}\n")
    print(f"| {head} | supported | contradicted | effect, mean |\n|---|---|---|---|---|")
    for number, (name, world) in enumerate(lines(), start=1):
        if given.lines and number not in given.lines:
            continue
        rng = np.random.default_rng(16)
        found = np.array([answers(rng, given.claim, world) for _ in range(given.repetitions)])
        shares = f"{percent(found[:, 0])} | {percent(found[:, 1])} | {found[:, 2].mean():.2f}"
        print(f"| {name} | {shares} |", flush=True)


if __name__ == "__main__":
    main()

"""Calls of the gate whose truth is known: test sets with groups and classes, runs of a probit model.

A run gets an image right where mean + ease of the image + luck of the run + noise > 0 (truth.py).
Half of an image's ease is its group's.  `test_sets.json` holds the groups of five real test sets:
[how many groups, their images of class 0, of class 1, ...].
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from scipy.special import ndtri
from truth import ACCURACY, ease_scale, slope

from harness.stats import Pair, contributions, strata

REAL = ("real-mri", "real-histology", "real-dermoscopy", "real-xray", "real-endoscopy")
MADE = {  # [how many groups, images of each class]
    "6 groups": [[3, 40, 0], [3, 0, 40]],
    "14 groups": [[7, 20, 0], [7, 0, 20]],
    "8 videos": [[8, 25, 25]],
    "10 of a class": [[190, 1, 0], [10, 0, 1]],
    "3 of a class": [[150, 1, 0, 0], [47, 0, 1, 0], [3, 0, 0, 1]],
    "20 images": [[10, 1, 0], [10, 0, 1]],
    "500 images": [[250, 1, 0], [250, 0, 1]],
}
GROUPED = 0.5  # share of an image's ease that is its group's


@dataclass(frozen=True)
class TestSet:
    """Targets [N], groups [N], what a right image adds to balanced accuracy [N, G], strata [G]."""

    __test__ = False  # no test, whatever its name

    targets: np.ndarray
    groups: np.ndarray
    weights: np.ndarray
    strata: np.ndarray


@cache
def test_set(name: str) -> TestSet:
    """One of REAL or MADE."""
    rows = (
        MADE.get(name) or json.loads(Path(__file__).with_name("test_sets.json").read_text())[name]
    )
    held = [counts for many, *counts in rows for _ in range(many)]
    targets = np.concatenate([np.repeat(np.arange(len(one)), one) for one in held])
    groups = np.repeat(np.arange(len(held)), [sum(one) for one in held])
    right = np.eye(len(targets), dtype=bool)
    weights = contributions(right, targets, groups, balanced=True).astype(np.float32)
    return TestSet(targets, groups, weights, strata(targets, groups))


test_set.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class World:
    """The comparison that a call makes: strategies x backbones x test sets.

    Attributes:
        seeds: on each side.
        spread: standard deviation of a run's accuracy for its luck, of all or of each test set.
        shared: share of that luck's variance that strategies of a seed and block have in common.
        fifth: spread of every fifth cell (drawn), where the others have none.
        own: share of an image's ease that the new code has for itself: other images get right.
    """

    sets: tuple[str, ...] = REAL
    strategies: int = 8
    backbones: int = 3
    seeds: int = 3
    spread: float | tuple[float, ...] = 0.0
    shared: float = 0.0
    fifth: float = 0.0
    own: float = 0.0
    losses: np.ndarray | float = field(default=0.0)  # [sets, backbones, strategies] or one for all

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.sets), self.backbones, self.strategies


def ease(rng: np.random.Generator, found: TestSet, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal, [..., N]."""
    by_group = rng.standard_normal((*shape, len(found.strata)), dtype=np.float32)
    by_image = rng.standard_normal((*shape, len(found.targets)), dtype=np.float32)
    mixed: np.ndarray = GROUPED**0.5 * by_group[..., found.groups] + (1 - GROUPED) ** 0.5 * by_image
    return mixed


def right(rng: np.random.Generator, world: World, index: int) -> np.ndarray:
    """The images that the runs of one test set get right, [backbones, strategies, 2 S, N].

    Backbones have hard images of their own, which their strategies share.
    """
    found = test_set(world.sets[index])
    cells, runs = (world.backbones, world.strategies), 2 * world.seeds
    easy = ease(rng, found, (world.backbones, 1, 1))
    if world.own:
        new = ease(rng, found, (*cells, 1))
        after = (1 - world.own) ** 0.5 * easy + world.own**0.5 * new
        easy = np.concatenate(
            [np.broadcast_to(one, (*cells, world.seeds, easy.shape[-1])) for one in (easy, after)],
            axis=2,
        )
    spread = world.spread if np.isscalar(world.spread) else world.spread[index]  # type: ignore[index]
    sd = np.full((*cells, 1, 1), spread, dtype=np.float32)
    if world.fifth:
        sd = np.where(rng.random(sd.shape) < 0.2, world.fifth, 0.0).astype(np.float32)
    common = rng.standard_normal((world.backbones, 1, runs, 1), dtype=np.float32)
    alone = rng.standard_normal((*cells, runs, 1), dtype=np.float32)
    luck = sd / slope() * (world.shared**0.5 * common + (1 - world.shared) ** 0.5 * alone)
    accuracy = np.full((*cells, runs, 1), ACCURACY)
    accuracy[:, :, world.seeds :, 0] -= np.broadcast_to(world.losses, world.shape)[index][..., None]
    mean = ndtri(accuracy) * (1 + ease_scale() ** 2 + (sd / slope()) ** 2) ** 0.5
    noise = rng.standard_normal((*cells, runs, len(found.targets)), dtype=np.float32)
    noise += ease_scale() * easy + (mean + luck).astype(np.float32)
    made: np.ndarray = noise > 0
    return made


def pairs(rng: np.random.Generator, world: World) -> list[Pair]:
    """One call, as the gate's statistics take it; cell 0 is the first strategy's on the first set."""
    found = []
    for index, name in enumerate(world.sets):
        known = test_set(name)
        added = right(rng, world, index).astype(np.float32) @ known.weights
        sides = added.astype(float).reshape(-1, 2, world.seeds, added.shape[-1])
        for cell, (before, after) in enumerate(sides):
            backbone, strategy = divmod(cell, world.strategies)
            place = (name, f"b{backbone}", f"s{strategy}")
            found.append(Pair(before, after, known.strata, place, test_set=index))
    return found


def losses(world: World, points: float, *, of: Sequence[int | None]) -> np.ndarray:
    """A loss in the cells of a test set, backbone and strategy; None: in all of them."""
    lost = np.zeros(world.shape)
    lost[tuple(slice(None) if one is None else slice(one, one + 1) for one in of)] = points / 100
    return lost

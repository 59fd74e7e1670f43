"""The smallest difference that a plan can decide, before any of its runs is made.

The error of an average gain is put together as `harness.stats.gains` will find it: from the groups
and classes of the test sets, the networks and the seeds.  What only runs can tell is assumed, as in
the simulations of docs/statistics.md, whose boards this reproduces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.stats import SEEDS, Estimate, least_found

# Assumed, for strategies that are right in 85 % of the images:
DISAGREE = 0.12  # of the images, two runs of one strategy that differ in their seed alone
APART = 0.05  # variance of an image's gain over strategies that no seed explains
ALIKE = 0.4  # correlation of that part between images of a group
SPREAD = 0.01  # standard deviation of a run's score by its seed, beyond single images
ASSUMED = (
    f"two runs of one strategy that disagree on {100 * DISAGREE:.0f} % of the images, and scores that "
    f"move by {100 * SPREAD:g} point with the seed"
)


@dataclass(frozen=True)
class Design:
    """Repetitions of a plan.

    Attributes:
        tests: of each dataset, class -> images in test of each group.
        networks, strategies: the control is one of the strategies.
        seeds: of each split; splits: of each dataset.
        test_share: of the images that a split tests, where there are several.
        tracks: comparisons that share the board's error rate.
    """

    tests: Sequence[Mapping[str, Sequence[int]]]
    networks: int
    strategies: int
    seeds: int
    splits: int = 1
    test_share: float = 0.0
    tracks: int = 1

    @property
    def repeats(self) -> int:
        """Units that count towards a verdict: splits where there are several, else seeds."""
        return self.splits if self.splits > 1 else self.seeds


def reach(design: Design) -> float | None:
    """The average gain, or loss, over these datasets that is found with 80 %.

    None: nothing can be decided, for want of repeats, of another strategy or of test images.
    """
    if design.repeats < SEEDS or design.strategies < 2 or not design.tests:  # noqa: PLR2004 - a pair
        return None
    parts = [_image_part(test) for test in design.tests]
    if any(part is None for part in parts):
        return None
    images, noise, df = zip(*(part for part in parts if part is not None), strict=True)
    sets, runs = len(parts), design.seeds * design.splits
    luck = 2 * SPREAD**2 / design.seeds
    if design.splits > 1:  # training parts overlap
        share = design.test_share
        shared = design.seeds / (design.seeds + 1) * share / (1 - share)
        luck *= 1 / design.splits + shared
    own = [one / design.networks / sets**2 for one in images]
    by_chance = [(one / runs + luck) / design.networks / sets**2 for one in noise]
    by_chance_df = sets * design.networks * (design.repeats - 1)
    variance = sum(own) + sum(by_chance)
    spread = sum(one**2 / freedom for one, freedom in zip(own, df, strict=True))
    spread += sum(by_chance) ** 2 / by_chance_df
    error = Estimate(0.0, math.sqrt(variance), variance**2 / spread, design.repeats)
    return least_found(error, design.strategies - 1, design.tracks)


def _image_part(test: Mapping[str, Sequence[int]]) -> tuple[float, float, float] | None:
    """Variance of balanced accuracy by what groups and single images add, and the former's df.

    None: a class has a single group, so that other images say nothing.
    """
    classes = [groups for groups in test.values() if groups]
    df = sum(map(len, classes)) - len(classes)
    if not classes or any(len(groups) < 2 for groups in classes):  # noqa: PLR2004 - a spread
        return None
    weights = [1 / (len(classes) * sum(groups)) ** 2 for groups in classes]
    apart = sum(
        weight * sum(size * (1 + (size - 1) * ALIKE) for size in groups)
        for weight, groups in zip(weights, classes, strict=True)
    )
    single = sum(weight * sum(groups) for weight, groups in zip(weights, classes, strict=True))
    return APART * apart, DISAGREE * single, float(df)

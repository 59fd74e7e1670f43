"""The runs of a block as numbers: what each group of its test set adds to each score."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.stats import SCORED, Gain


@dataclass(frozen=True)
class RunScores:
    """A finished run: its validation score, and what each test group adds, [G] by metric."""

    validation: float
    added: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class CellBlock:
    """A (dataset, backbone) pair with every strategy that has all its seeds there.

    Attributes:
        strategies: sorted; the columns of `validation` [S, K] and of `added` [S, K, G] by metric.
        strata: the class that most images of each group have [G].
        test_set: blocks that agree in it have the same groups in the same order.
    """

    dataset: str
    backbone: str
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    validation: np.ndarray
    added: Mapping[str, np.ndarray]
    strata: np.ndarray
    test_set: Hashable

    def column(self, strategy: str) -> int:
        return self.strategies.index(strategy)

    def points(self, strategy: str, metric: str) -> np.ndarray:
        """Test scores of a strategy, higher is better, [S]."""
        found: np.ndarray = self.added[metric][:, self.column(strategy)].sum(axis=1)
        return found

    def gain(self, of: str, over: str, metric: str) -> Gain:
        """Of one strategy over another, seed by seed."""
        own, other = self.column(of), self.column(over)
        added = self.added[metric]
        return self.measured(added[:, own] - added[:, other], of, metric)

    def measured(self, added: np.ndarray, name: str, metric: str) -> Gain:
        """Any difference of scores [S, G] that was made in this block."""
        place = (self.dataset, self.backbone, name)
        return Gain(added, self.strata, place, self.test_set, SCORED[metric].widest)


def make_block(
    cell: tuple[str, str],
    runs: Mapping[str, Mapping[int, RunScores]],
    seeds: Sequence[int],
    strata: np.ndarray,
    test_set: Hashable,
) -> CellBlock | None:
    """A block from its runs; None where no strategy has all the seeds.

    Args:
        cell: dataset and backbone.
        runs: strategy -> seed -> run.
        seeds: those that were asked for; a strategy that lacks one is left out.
        strata: the class of each group.
        test_set: as `CellBlock` has it.
    """
    wanted = sorted(seeds)
    complete = sorted(name for name, found in runs.items() if not set(wanted) - set(found))
    if not complete or not wanted:
        return None
    chosen = [[runs[name][seed] for name in complete] for seed in wanted]
    shared = set.intersection(*(set(run.added) for same in chosen for run in same))
    return CellBlock(
        dataset=cell[0],
        backbone=cell[1],
        strategies=tuple(complete),
        seeds=tuple(wanted),
        validation=np.array([[run.validation for run in same] for same in chosen]),
        added={
            name: np.stack([np.stack([run.added[name] for run in same]) for same in chosen])
            for name in sorted(shared)
        },
        strata=strata,
        test_set=test_set,
    )

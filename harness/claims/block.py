"""What claims are answered from: the strategies of one (dataset, backbone) pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.statistics import Estimate, Resampled, Scoring, resample


@dataclass(frozen=True)
class Run:
    """A finished run: its validation score, and its outputs on the test samples [N, ...]."""

    validation: float
    outputs: np.ndarray


@dataclass(frozen=True)
class Block:
    """A (dataset, backbone) pair with every strategy that has all its seeds there.

    Attributes:
        strategies: sorted; the columns of `validation` [S, K] and of `test`.
    """

    dataset: str
    backbone: str
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    validation: np.ndarray
    test: Resampled

    def column(self, strategy: str) -> int:
        return self.strategies.index(strategy)

    def difference(self, of: str, over: str) -> Estimate:
        """On test, mean over seeds."""
        return self._differences[self.column(of)][self.column(over)]

    @cached_property
    def _differences(self) -> list[list[Estimate]]:
        """Of every pair, all at once: one by one they take ten times as long."""
        count = len(self.strategies)
        own = np.eye(count)
        found = self.test.contrasts((own[:, None] - own[None]).reshape(-1, count))
        return [found[row * count : (row + 1) * count] for row in range(count)]

    def best_validated(self, but: str) -> str:
        """The strategy other than `but` with the best mean validation score."""
        scores = self.validation.mean(axis=0)
        others = [name for name in self.strategies if name != but]
        return max(others, key=lambda name: scores[self.column(name)])


def make_block(
    cell: tuple[str, str],
    runs: Mapping[str, Mapping[int, Run]],
    seeds: Sequence[int],
    targets: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    metric: Scoring = "balanced-accuracy",
) -> Block | None:
    """A block from its runs; None where no strategy has all the seeds.

    Args:
        cell: dataset and backbone.
        runs: strategy -> seed -> run.
        seeds: those that were asked for; a strategy that lacks one is left out.
        targets: as `harness.statistics.resample` takes them.
        groups: likewise.
        metric: likewise.
    """
    wanted = sorted(seeds)
    complete = sorted(name for name, found in runs.items() if not set(wanted) - set(found))
    if not complete or not wanted:
        return None
    outputs = np.stack(
        [np.stack([runs[name][seed].outputs for name in complete]) for seed in wanted]
    )
    return Block(
        dataset=cell[0],
        backbone=cell[1],
        strategies=tuple(complete),
        seeds=tuple(wanted),
        validation=np.array(
            [[runs[name][seed].validation for name in complete] for seed in wanted]
        ),
        test=resample(outputs, targets, groups, metric=metric),
    )

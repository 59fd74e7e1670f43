"""The runs of a block as numbers: what each group of its test set adds to each score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.stats import SCORED, Gain, Splits, strata
from harness.stats.estimate import Basis

Run = int | tuple[int, int]


@dataclass(frozen=True)
class RunScores:
    """A finished run: its validation score, and what each test group adds, [G] by metric."""

    validation: float
    added: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class CellBlock:
    """A (dataset, backbone) pair with every strategy that has all its runs there.

    Attributes:
        strategies: sorted; the columns of `validation` [R, K] and of `added` [R, K, G] by metric.
        seeds: the seed of each run; over several splits (split, seed).
        strata: the class that most images of each group have [G].
        test_set: blocks that agree in it have the same groups in the same order, and over several
            splits the same runs.
        splits: None: all runs are on one split.
        start: name of the starting point, where they are an axis; else empty.
    """

    dataset: str
    backbone: str
    strategies: tuple[str, ...]
    seeds: tuple[Run, ...]
    validation: np.ndarray
    added: Mapping[str, np.ndarray]
    strata: np.ndarray
    test_set: Hashable
    splits: Splits | None = None
    start: str = ""

    @property
    def repeats(self) -> int:
        """The units that its scores spread over: seeds, or splits where there are several."""
        return len(self.seeds) if self.splits is None else len(self.splits.tested)

    @property
    def basis(self) -> Basis:
        """The sources of variation that intervals of its scores hold."""
        if self.splits is not None:
            return "images, seeds and splits"
        return "images and seeds" if len(self.seeds) > 1 else "test images only"

    def others(self, run: int) -> list[int]:
        """Numbers of the runs that are made with other seeds; over several splits, on others."""
        unit = np.arange(len(self.seeds)) if self.splits is None else self.splits.number
        found: list[int] = np.flatnonzero(unit != unit[run]).tolist()
        return found

    def column(self, strategy: str) -> int:
        return self.strategies.index(strategy)

    def points(self, strategy: str, metric: str) -> np.ndarray:
        """Test scores of a strategy, higher is better, [R]."""
        found: np.ndarray = self.added[metric][:, self.column(strategy)].sum(axis=1)
        return found

    def gain(self, of: str, over: str, metric: str) -> Gain:
        """Of one strategy over another, run by run."""
        own, other = self.column(of), self.column(over)
        added = self.added[metric]
        return self.measured(added[:, own] - added[:, other], of, metric)

    def measured(self, added: np.ndarray, name: str, metric: str) -> Gain:
        """Any difference of scores [R, G] that was made in this block."""
        place = (self.dataset, self.backbone, name)
        return Gain(added, self.strata, place, self.test_set, SCORED[metric].widest, self.splits)


def make_block(
    cell: tuple[str, str],
    runs: Mapping[str, Mapping[Run, RunScores]],
    seeds: Sequence[Run],
    strata: np.ndarray,
    test_set: Hashable,
) -> CellBlock | None:
    """A block from its runs on one split; None where no strategy has all of them.

    Args:
        cell: dataset and backbone.
        runs: strategy -> seed, or (split, seed) -> run.
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


@dataclass(frozen=True)
class SplitRuns:
    """The runs of a block on one split of its dataset.

    Attributes:
        runs: strategy -> (split, seed) -> run.
        groups: a label for each test image [N].
        targets: class numbers [N].
        images: ids of the test images.
        share: of the split's images that are in test.
        test_set: runs that agree in it have the same test images in the same order.
        common: groups of further images that every split tests, beside those of its own.
    """

    runs: Mapping[str, Mapping[tuple[int, int], RunScores]]
    groups: np.ndarray
    targets: np.ndarray
    images: frozenset[str]
    share: float
    test_set: tuple[Hashable, ...]
    common: np.ndarray | None = None


def join_splits(
    cell: tuple[str, str], parts: Sequence[SplitRuns], pairs: Sequence[tuple[int, int]]
) -> CellBlock | None:
    """A block from runs on one split or several; None where no strategy has all of them.

    A group that several splits test is one; to a run whose split does not test it, it adds nothing.

    Args:
        cell: dataset and backbone.
        parts: of each split in `pairs`, in rising order.
        pairs: (split, seed) of the runs that were asked for.
    """
    groups = np.concatenate([part.groups for part in parts])
    names = np.unique(groups)
    tested = np.stack([np.isin(names, part.groups) for part in parts])
    runs: dict[str, dict[Run, RunScores]] = defaultdict(dict)
    for part, there in zip(parts, tested, strict=True):
        for strategy, found in part.runs.items():
            for pair, run in found.items():
                runs[strategy][pair] = _over(run, there)
    block = make_block(
        cell,
        runs,
        pairs,
        strata(np.concatenate([part.targets for part in parts]), groups),
        (*(part.test_set for part in parts), *sorted(pairs)),
    )
    if block is None:
        return None
    if len(parts) == 1:
        return replace(block, test_set=parts[0].test_set)
    _, number = np.unique([split for split, _ in sorted(pairs)], return_inverse=True)
    same = len({part.images for part in parts}) == 1
    share = None if same else max(part.share for part in parts)
    further = parts[0].common
    common = None if further is None else np.isin(names, further)
    return replace(block, splits=Splits(number, tested, share, common))


def _over(run: RunScores, there: np.ndarray) -> RunScores:
    """A run whose groups are some of those of all splits."""
    whole = {}
    for name, own in run.added.items():
        whole[name] = np.zeros(len(there), dtype=own.dtype)
        whole[name][there] = own
    return RunScores(run.validation, whole)

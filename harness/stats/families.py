"""Families of cells: did the mean of all cells, of a strategy, a backbone or a dataset get worse?

A loss that every cell of a strategy shares is too small to be seen in one of them, and not in all
together.  Two conditions must both hold, and a p-value is the larger of theirs.

- The runs: the spread of the sum of a block (dataset and backbone), so that luck which strategies
  share through a seed is inside.  With one seed a side the signs of the blocks' changes are flipped.
- The images: the changes of the groups, summed over the cells of a test set, against their own
  spread within class, and what seeds add.  Code that gets other images right, as many of them, is
  no loss.

`docs/statistics.md` holds how often it errs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.stats.cells import FEW, POWER, Sight
from harness.stats.estimate import holm
from harness.stats.paired import Measured, centred

FAMILIES = 0.02  # the share of the families; the cells have the rest of the 5 %
BLOCKS = 10  # fewest whose signs say anything
EXACT = 30  # most blocks of which all signs are tried
DRAWS = 4000

Kind = Literal["all", "strategy", "backbone", "dataset"]
KINDS: tuple[tuple[Kind, int], ...] = (("strategy", 2), ("backbone", 1), ("dataset", 0))


@dataclass(frozen=True)
class Family:
    """The mean change of several cells.

    Attributes:
        name: of the strategy, backbone or dataset; empty for all cells.
        members: which cells, by number.
        p_worse, p_better: one-sided, adjusted over all families of the call that are tested.
        same: no group of its cells scores other than before.
        untested: why not; empty: it is.
        sight: None where it is not tested, or where nothing differs and no spread is known.
    """

    kind: Kind
    name: str
    members: tuple[int, ...]
    value: float
    p_worse: float
    p_better: float
    same: bool
    untested: str
    sight: Sight | None


@dataclass(frozen=True)
class _Test:
    worse: float
    better: float
    errors: tuple[tuple[float, float], ...]  # standard error of the mean change and its df
    untested: str = ""


def compare_families(cells: Sequence[Measured]) -> list[Family]:
    """Test the families of a call of four cells or more; each set of cells once."""
    if len(cells) < FEW:
        return []
    found = _families([cell.place for cell in cells])
    tests = [_test([cells[i] for i in members]) for _, _, members in found]
    count = sum(not one.untested for one in tests)
    adjusted = [_adjust(tests, side) for side in ("worse", "better")]
    return [
        Family(
            kind=kind,
            name=name,
            members=members,
            value=float(np.mean([cells[i].value for i in members])),
            p_worse=adjusted[0][index],
            p_better=adjusted[1][index],
            same=all(cells[i].same for i in members),
            untested=tests[index].untested,
            sight=_sight(tests[index], FAMILIES / max(1, count)),
        )
        for index, (kind, name, members) in enumerate(found)
    ]


def _families(
    places: Sequence[tuple[str, str, str] | None],
) -> list[tuple[Kind, str, tuple[int, ...]]]:
    """Sets of two cells or more; one that several names describe has the first of them."""
    found: dict[tuple[int, ...], tuple[Kind, str]] = {tuple(range(len(places))): ("all", "")}
    for kind, part in KINDS:
        for name in sorted({place[part] for place in places if place is not None}):
            members = tuple(
                index
                for index, place in enumerate(places)
                if place is not None and place[part] == name
            )
            if len(members) > 1:
                found.setdefault(members, (kind, name))
    return [(kind, name, members) for members, (kind, name) in found.items()]


def _adjust(tests: Sequence[_Test], side: str) -> list[float]:
    p = iter(holm([getattr(one, side) for one in tests if not one.untested]))
    return [1.0 if one.untested else next(p) for one in tests]


def _sight(test: _Test, share: float) -> Sight | None:
    from scipy.special import stdtrit

    if not test.errors:
        return None
    critical = [-float(stdtrit(df, share)) * error for error, df in test.errors]
    reach = [float(stdtrit(df, POWER)) * error for error, df in test.errors]
    return Sight(max(critical), max(reach))


def _test(cells: Sequence[Measured]) -> _Test:
    moving = [cell for cell in cells if not cell.same]  # the others can add no error either
    blocks = _blocks(moving or cells)
    if any(cell.df == 0 for cell in moving or cells):
        return _flipped(cells, blocks)
    runs, runs_df = _spread(blocks)
    if not moving:
        return _Test(1.0, 1.0, ((runs**0.5 / len(cells), runs_df),))
    total = sum(cell.value for cell in cells)
    noise = sum(cell.noise * cell.factor for cell in moving)
    images, images_df = _images(cells, max(0.0, runs - noise), runs_df)
    both = ((runs, runs_df), (images, images_df))
    return _Test(
        worse=max(_tail(total, *one) for one in both),
        better=max(_tail(-total, *one) for one in both),
        errors=tuple((variance**0.5 / len(cells), df) for variance, df in both),
    )


def _tail(total: float, variance: float, df: float) -> float:
    """One-sided p of a total as low; without any variance there is no doubt."""
    from scipy.special import stdtr

    if not variance:
        return 0.0 if total < 0 else 1.0
    return float(stdtr(df, total / variance**0.5))


def _blocks(cells: Sequence[Measured]) -> list[list[Measured]]:
    """The cells of each dataset and backbone; their runs of one seed share luck."""
    found: dict[object, list[Measured]] = {}
    for index, cell in enumerate(cells):
        place = cell.place
        found.setdefault(index if place is None else place[:2], []).append(cell)
    return list(found.values())


def _spread(blocks: Sequence[Sequence[Measured]]) -> tuple[float, float]:
    """Variance of the total change by the spread of runs, and its df."""
    parts = [_block_spread(block) for block in blocks]
    variance = sum(part for part, _ in parts)
    squares = sum(part**2 / (df + 2) for part, df in parts)
    least = float(min(df for _, df in parts))
    return variance, max(variance**2 / squares - 2, least) if squares else np.inf


def _block_spread(block: Sequence[Measured]) -> tuple[float, int]:
    """Variance of the block's sum, and its df.

    Cells of the same seeds are added run by run.  Where a block holds several sets of seeds, some
    luck is shared between them and nobody knows how much: their errors add up as if it all were.
    """
    sets: dict[object, list[Measured]] = {}
    for cell in block:
        sets.setdefault((cell.seeds, cell.same), []).append(cell)
    error, dfs = 0.0, []
    for cells in sets.values():
        first = cells[0]
        # The same runs twice say no more than once.
        count = 1 if first.same else len(first.scores)
        sides = [np.sum([cell.scores[side] for cell in cells], axis=0) for side in range(count)]
        squares = sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
        error += (squares / first.df * first.factor) ** 0.5
        dfs.append(first.df)
    return error**2, min(dfs)


def _images(cells: Sequence[Measured], seeds: float, seeds_df: float) -> tuple[float, float]:
    """Variance of the total change beyond these images, and its df.

    Args:
        cells: of the family; those that share a test set are added group by group.
        seeds: variance that seeds add to the noise of single images.
        seeds_df: of the spread of runs.
    """
    sets: dict[object, list[Measured]] = {}
    for index, cell in enumerate(cells):
        key = index if cell.test_set is None else ("set", cell.test_set)
        sets.setdefault(key, []).append(cell)
    parts = [
        centred(np.sum([cell.moved for cell in group], axis=0), group[0].strata)
        for group in sets.values()
    ]
    variance = sum(part for part, _ in parts) + seeds
    spread = sum(part**2 / df for part, df in parts) + seeds**2 / seeds_df
    return variance, variance**2 / spread if spread else np.inf


def _flipped(cells: Sequence[Measured], blocks: Sequence[Sequence[Measured]]) -> _Test:
    """One seed a side: were the code the same, each block would be as likely to change either way."""
    changes = np.array([sum(cell.value for cell in block) for block in blocks])
    if len(changes) < BLOCKS or not changes.any():
        why = f"one seed a side, and fewer than {BLOCKS} pairs of dataset and backbone that differ"
        return _Test(1.0, 1.0, (), why)
    total = float(changes.sum())
    images, images_df = _images(cells, 0.0, np.inf)
    error = float((changes**2).sum()) ** 0.5 / len(cells)
    return _Test(
        worse=max(flip(changes), _tail(total, images, images_df)),
        better=max(flip(-changes), _tail(-total, images, images_df)),
        errors=((error, len(blocks) - 1.0), (images**0.5 / len(cells), images_df)),
    )


def flip(changes: np.ndarray) -> float:
    """Share of all ways to sign the changes that give a sum as low as theirs.

    All of them up to 30 changes, else 4,000 that are drawn (the same in every call).
    """
    moved = changes[changes != 0]
    if not len(moved):
        return 1.0
    limit = float(moved.sum()) + 1e-9 * float(np.abs(moved).sum())  # ties, whatever the order
    if len(moved) > EXACT:
        signs = np.random.default_rng(0).integers(0, 2, (DRAWS, len(moved))) * 2 - 1
        return float((signs @ moved <= limit).sum() + 1) / (DRAWS + 1)
    # All sums of a half each; for one of the first, count those of the second that stay below.
    first, second = (_signed(part) for part in np.array_split(moved, 2))
    counts = np.searchsorted(np.sort(second), limit - first, side="right")
    return float(counts.sum()) / 2.0 ** len(moved)


def _signed(changes: np.ndarray) -> np.ndarray:
    """The sums of all ways to sign the changes."""
    sums = np.zeros(1)
    for change in changes:
        sums = np.concatenate([sums - change, sums + change])
    return sums

"""Claims of the study this project extends, each answered from the blocks of a board.

A claim compares a figure and its 95 % interval with a threshold: supported above it, contradicted
below it, undecided where the interval holds it, where blocks are missing or seeds are too few.
Scores are test scores, means over paired seeds.  Definitions stand in `docs/statistics.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from harness.api.leaderboard import ClaimAnswer
from harness.leaderboard.ranking import CONTROL, POINTS
from harness.stats import LEVEL, POINT, Estimate, Resampled, Scoring, mean_of, resample, win_rate
from harness.utils.names import unknown

MINIATURE = "-mini"
SEEDS = 5  # paired seeds a claim needs
TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Run:
    """A finished run: its validation score, and its outputs on the test samples [N, ...]."""

    validation: float
    outputs: np.ndarray


@dataclass(frozen=True)
class ClaimBlock:
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
) -> ClaimBlock | None:
    """A block from its runs; None where no strategy has all the seeds.

    Args:
        cell: dataset and backbone.
        runs: strategy -> seed -> run.
        seeds: those that were asked for; a strategy that lacks one is left out.
        targets: as `harness.stats.resample` takes them.
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
    return ClaimBlock(
        dataset=cell[0],
        backbone=cell[1],
        strategies=tuple(complete),
        seeds=tuple(wanted),
        validation=np.array(
            [[runs[name][seed].validation for name in complete] for seed in wanted]
        ),
        test=resample(outputs, targets, groups, metric=metric),
    )


# -- the figure behind each claim ---------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """A figure with its 95 % interval over `cells` blocks, and what the claim says it exceeds."""

    effect: float
    low: float
    high: float
    threshold: float
    cells: int
    detail: str


def _holding(blocks: Sequence[ClaimBlock], *strategies: str) -> list[ClaimBlock]:
    return [block for block in blocks if set(strategies) <= set(block.strategies)]


def _full(blocks: Sequence[ClaimBlock]) -> list[ClaimBlock]:
    """The blocks that hold every strategy that any block holds."""
    return _holding(blocks, *{name for block in blocks for name in block.strategies})


def _at(block: ClaimBlock) -> str:
    return f"{block.dataset} / {block.backbone}"


def lp_ft_improves(blocks: Sequence[ClaimBlock]) -> Finding | None:
    """The share of cells in which lp-ft wins, with its exact interval: 12 of 15 are enough."""
    held = _holding(blocks, "lp-ft", CONTROL)
    if not held:
        return None
    rate = win_rate([block.difference("lp-ft", CONTROL).value for block in held])
    return Finding(
        effect=rate.share,
        low=rate.low,
        high=rate.high,
        threshold=0.5,
        cells=rate.cells,
        detail=f"{rate.wins} won, {rate.losses} lost by more than a point",
    )


def auto_rgn_gain(blocks: Sequence[ClaimBlock]) -> Finding | None:
    """The largest gain; its lower bound is simultaneous over the cells (Bonferroni)."""
    held = _holding(blocks, "auto-rgn", CONTROL)
    if not held:
        return None
    gains = [block.difference("auto-rgn", CONTROL) for block in held]
    best = max(range(len(held)), key=lambda index: gains[index].value)
    return Finding(
        effect=gains[best].value * POINTS,
        low=max(gain.bound(TAIL / len(gains)) for gain in gains) * POINTS,
        high=max(gain.bound(1 - TAIL) for gain in gains) * POINTS,
        threshold=POINT * POINTS,
        cells=len(held),
        detail=_at(held[best]),
    )


def densenet_gains_most(blocks: Sequence[ClaimBlock]) -> Finding | None:
    """DenseNet's gain less that of the backbone that comes nearest, mean over datasets.

    The gain is that of the alternative with the best validation score, on test.
    """
    names = {block.backbone for block in blocks}
    own = min((name for name in names if name.startswith("densenet121")), key=len, default=None)
    if own is None:
        return None
    size = own.endswith(MINIATURE)
    rivals = sorted(name for name in names - {own} if name.endswith(MINIATURE) == size)
    places = {(block.dataset, block.backbone): block for block in _full(blocks)}
    sets = sorted(
        {data for data, _ in places if all((data, name) in places for name in [own, *rivals])}
    )
    if not sets or not rivals or any(CONTROL not in block.strategies for block in blocks):
        return None
    leads = {
        rival: mean_of([_lead(places[data, own], places[data, rival]) for data in sets])
        for rival in rivals
    }
    nearest = min(leads, key=lambda rival: leads[rival].value)
    return Finding(
        effect=leads[nearest].value * POINTS,
        low=min(lead.bound(TAIL) for lead in leads.values()) * POINTS,
        high=min(lead.bound(1 - TAIL / len(leads)) for lead in leads.values()) * POINTS,
        threshold=0.0,
        cells=len(sets) * (1 + len(rivals)),
        detail=f"nearest: {nearest}",
    )


def _lead(block: ClaimBlock, rival: ClaimBlock) -> Estimate:
    """By how much more `block` gains from alternatives than `rival`, on their shared test set."""
    weights = np.concatenate([_gain(block), -_gain(rival)])
    return block.test.beside(rival.test).contrast(weights)


def _gain(block: ClaimBlock) -> np.ndarray:
    """Weights of the columns: the best validated alternative less the control."""
    weights = np.zeros(len(block.strategies))
    weights[block.column(block.best_validated(but=CONTROL))] = 1
    weights[block.column(CONTROL)] = -1
    return weights


def no_universal_winner(blocks: Sequence[ClaimBlock]) -> Finding | None:
    """The worst defeat of the strategy that comes nearest to winning everywhere.

    The cell and the rival that beat a strategy are chosen on validation, so that one test each on
    test scores is fair.
    """
    held = _full(blocks)
    names = held[0].strategies if held else ()
    if len(names) <= 1:
        return None
    defeats = {name: _defeat(held, name) for name in names}
    nearest = min(defeats, key=lambda name: defeats[name][1].value)
    where, worst = defeats[nearest]
    return Finding(
        effect=worst.value * POINTS,
        low=min(defeat.bound(TAIL) for _, defeat in defeats.values()) * POINTS,
        high=min(_most(held, name, 1 - TAIL / len(names)) for name in names) * POINTS,
        threshold=0.0,
        cells=len(held),
        detail=f"nearest: {nearest}, beaten by {where}",
    )


def _defeat(blocks: Sequence[ClaimBlock], name: str) -> tuple[str, Estimate]:
    """The worst defeat of a strategy to judge by validation: where, and by how much."""

    def margin(block: ClaimBlock) -> float:
        scores = block.validation.mean(axis=0)
        best = block.best_validated(but=name)
        return float(scores[block.column(best)] - scores[block.column(name)])

    block = max(blocks, key=margin)
    rival = block.best_validated(but=name)
    return f"{rival} on {_at(block)}", block.difference(rival, name)


def _most(blocks: Sequence[ClaimBlock], name: str, level: float) -> float:
    """The largest upper bound by which any strategy could beat `name` anywhere."""
    return max(
        block.difference(rival, name).bound(level)
        for block in blocks
        for rival in block.strategies
        if rival != name
    )


# -- answers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A sentence that results can support or contradict.

    Attributes:
        unit: of effect and interval.
        find: the figure, or None where no block can speak.
    """

    name: str
    text: str
    unit: Literal["share of cells", "points"]
    find: Callable[[Sequence[ClaimBlock]], Finding | None]


def answer(
    names: Sequence[str], blocks: Sequence[ClaimBlock], of: int, track: str = ""
) -> tuple[ClaimAnswer, ...]:
    """Answer claims from the blocks that are there, of the `of` blocks that were asked for.

    Blocks with fewer seeds than the others count as missing.

    Args:
        names: of claims.
        blocks: of one track.
        of: how many blocks the track has.
        track: its title, where there are several.

    Raises:
        UsageError: a claim that is not known.
    """
    seeds = max((block.seeds for block in blocks), key=len, default=())
    complete = [block for block in blocks if block.seeds == seeds]
    return tuple(_answer(_claim(name), complete, of, len(seeds), track) for name in names)


def _claim(name: str) -> Claim:
    if name not in CLAIMS:
        raise unknown(name, CLAIMS, "claim")
    return CLAIMS[name]


def _answer(
    claim: Claim, blocks: Sequence[ClaimBlock], of: int, seeds: int, track: str
) -> ClaimAnswer:
    found = claim.find(blocks)
    cells = found.cells if found else 0
    reason = ""
    if cells < of:
        reason = f"{cells} of {of} cells"
    elif seeds < SEEDS:
        reason = f"{seeds} of {SEEDS} seeds"
    return ClaimAnswer(
        claim=claim.name,
        text=claim.text,
        verdict="undecided" if found is None or reason else _verdict(found),
        reason=reason,
        unit=claim.unit,
        effect=found.effect if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        cells=cells,
        of=of,
        seeds=seeds,
        detail=found.detail if found else "",
        track=track,
    )


def _verdict(found: Finding) -> Literal["supported", "contradicted", "undecided"]:
    if found.low > found.threshold:
        return "supported"
    return "contradicted" if found.high < found.threshold else "undecided"


CLAIMS: Mapping[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim(
            "lp-ft-improves",
            "lp-ft improves on full-ft by more than a point in more than half of the cells",
            "share of cells",
            lp_ft_improves,
        ),
        Claim(
            "auto-rgn-gain",
            "auto-rgn's best gain over full-ft is more than a point (the study: up to 11 %)",
            "points",
            auto_rgn_gain,
        ),
        Claim(
            "densenet-gains-most",
            "densenet121 gains more than every other backbone from alternatives to full-ft",
            "points",
            densenet_gains_most,
        ),
        Claim(
            "no-universal-winner",
            "no strategy wins everywhere",
            "points",
            no_universal_winner,
        ),
    )
}

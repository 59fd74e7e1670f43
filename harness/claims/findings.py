"""The figure behind each claim.  Scores are test scores, means over paired seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.claims.block import Block
from harness.statistics import LEVEL, POINT, Estimate, mean_of, win_rate

CONTROL = "full-ft"
MINIATURE = "-mini"
POINTS = 100.0
TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Finding:
    """A figure with its 95 % interval over `cells` blocks, and what the claim says it exceeds."""

    effect: float
    low: float
    high: float
    threshold: float
    cells: int
    detail: str


def _holding(blocks: Sequence[Block], *strategies: str) -> list[Block]:
    return [block for block in blocks if set(strategies) <= set(block.strategies)]


def _full(blocks: Sequence[Block]) -> list[Block]:
    """The blocks that hold every strategy that any block holds."""
    return _holding(blocks, *{name for block in blocks for name in block.strategies})


def _at(block: Block) -> str:
    return f"{block.dataset} / {block.backbone}"


def lp_ft_improves(blocks: Sequence[Block]) -> Finding | None:
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


def auto_rgn_gain(blocks: Sequence[Block]) -> Finding | None:
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


def densenet_gains_most(blocks: Sequence[Block]) -> Finding | None:
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


def _lead(block: Block, rival: Block) -> Estimate:
    """By how much more `block` gains from alternatives than `rival`, on their shared test set."""
    weights = np.concatenate([_gain(block), -_gain(rival)])
    return block.test.beside(rival.test).contrast(weights)


def _gain(block: Block) -> np.ndarray:
    """Weights of the columns: the best validated alternative less the control."""
    weights = np.zeros(len(block.strategies))
    weights[block.column(block.best_validated(but=CONTROL))] = 1
    weights[block.column(CONTROL)] = -1
    return weights


def no_universal_winner(blocks: Sequence[Block]) -> Finding | None:
    """How far the strategy nearest to winning everywhere is beaten where it is beaten most.

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


def _defeat(blocks: Sequence[Block], name: str) -> tuple[str, Estimate]:
    """Where, and by how much, a strategy is beaten most to judge by validation."""

    def margin(block: Block) -> float:
        scores = block.validation.mean(axis=0)
        best = block.best_validated(but=name)
        return float(scores[block.column(best)] - scores[block.column(name)])

    block = max(blocks, key=margin)
    rival = block.best_validated(but=name)
    return f"{rival} on {_at(block)}", block.difference(rival, name)


def _most(blocks: Sequence[Block], name: str, level: float) -> float:
    """The largest upper bound by which any strategy could beat `name` anywhere."""
    return max(
        block.difference(rival, name).bound(level)
        for block in blocks
        for rival in block.strategies
        if rival != name
    )

"""Claims of the study this project extends, each answered from the blocks of a board.

A claim compares a figure with a threshold: supported where its lower bound lies above, contradicted
where its upper bound lies below, each with an error rate of 2.5 %; undecided otherwise, where blocks
are missing or seeds are too few.  Nothing is chosen on the runs that measure it.  Scores are test
scores of paired seeds.  Definitions, and how often each errs, stand in `docs/statistics.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np

from harness.api.leaderboard import ClaimAnswer
from harness.leaderboard.cells import CellBlock
from harness.leaderboard.ranking import CONTROL, POINTS
from harness.stats import LEVEL, POINT, Estimate, Gain, average_gain, estimate_gains, share
from harness.utils.names import unknown

METRIC = "balanced-accuracy"
SEEDS = 5  # paired seeds a claim needs
TAIL = (1 - LEVEL) / 2
DENSENET = "densenet121"
# Two seeds that choose for each other go up and down together: found by simulation, see the docs.
CROSSED = 1.5
NETWORKS = (DENSENET, "resnet50", "vgg19")  # that the study compares


@dataclass(frozen=True)
class Evidence:
    """The blocks that speak, and gains in all of them, which lend each other what they know."""

    blocks: Sequence[CellBlock]
    metric: str = METRIC

    @cached_property
    def gains(self) -> dict[tuple[int, str], Estimate]:
        """(number of the block, strategy) -> its gain over the control."""
        places = [
            (number, name)
            for number, block in enumerate(self.blocks)
            if CONTROL in block.strategies
            for name in block.strategies
            if name != CONTROL
        ]
        given = (self.blocks[n].gain(name, CONTROL, self.metric) for n, name in places)
        return dict(zip(places, estimate_gains(given), strict=True))

    def of(self, strategy: str) -> dict[int, Estimate]:
        """Number of the block -> gain of the strategy over the control."""
        return {number: one for (number, name), one in self.gains.items() if name == strategy}

    def average(self, strategy: str) -> Estimate:
        """Of the strategy over the control, in all blocks that hold both."""
        return average_gain(
            self.blocks[number].gain(strategy, CONTROL, self.metric) for number in self.of(strategy)
        )


STARTS = ("", "imagenet", "default")  # blocks that are of the study's kind: its networks began so


@dataclass(frozen=True)
class Finding:
    """A figure with its bounds over `cells` blocks, and what the claim says it exceeds.

    Attributes:
        effect: chosen and measured on different seeds; None: a single seed cannot do that.
        average: the average gain that stands beside it, `of` what.
    """

    effect: float | None
    low: float
    high: float
    threshold: float
    cells: int
    detail: str
    average: Estimate
    of: str


def _at(block: CellBlock) -> str:
    return f"{block.dataset} / {block.backbone}"


# -- the figure behind each claim ---------------------------------------------------------------


def lp_ft_improves(evidence: Evidence) -> Finding | None:
    """The share of cells in which lp-ft truly gains more than a point: a partial conjunction."""
    gains = evidence.of("lp-ft")
    if not gains:
        return None
    count = len(gains)
    sizes = list(Counter(evidence.blocks[number].dataset for number in gains).values())
    beyond = [one.exceeds(POINT) for one in gains.values()]
    short = [one.mirrored().exceeds(-POINT) for one in gains.values()]
    found = share(beyond, short, sizes, TAIL)
    seen = sum(one.value > POINT for one in gains.values())
    lost = sum(one.value < -POINT for one in gains.values())
    return Finding(
        effect=seen / count,
        low=found.low / count,
        high=found.high / count,
        threshold=(count // 2 + 0.5) / count,  # half of them is not more than half
        cells=count,
        detail=f"as measured, {seen} gain and {lost} lose more than a point",
        average=evidence.average("lp-ft"),
        of=f"lp-ft over {CONTROL}",
    )


def auto_rgn_gain(evidence: Evidence) -> Finding | None:
    """The largest gain, as far as it is sure: the best of the bounds, simultaneous over the cells."""
    gains = evidence.of("auto-rgn")
    if not gains:
        return None
    bounds = {number: one.bound(TAIL / len(gains)) for number, one in gains.items()}
    best = max(bounds, key=lambda number: bounds[number])
    added = [evidence.blocks[number].gain("auto-rgn", CONTROL, evidence.metric) for number in gains]
    other = _on_other_seeds(np.stack([gain.added.sum(axis=1) for gain in added]))
    return Finding(
        effect=None if other is None else other * POINTS,
        low=bounds[best] * POINTS,
        high=max(one.bound(1 - TAIL / len(gains)) for one in gains.values()) * POINTS,
        threshold=POINT * POINTS,
        cells=len(gains),
        detail=f"surest in {_at(evidence.blocks[best])}",
        average=evidence.average("auto-rgn"),
        of=f"auto-rgn over {CONTROL}",
    )


def _on_other_seeds(gains: np.ndarray) -> float | None:
    """The largest of gains [cells, S], chosen on half of the seeds and measured on the others.

    Both ways, weighted by the seeds that measure; None for a single seed.
    """
    seeds = gains.shape[1]
    if seeds == 1:
        return None
    first = np.arange(seeds) < seeds // 2
    total: float = 0.0
    for chosen in (first, ~first):
        best = int(gains[:, chosen].mean(axis=1).argmax())
        total += float(gains[best, ~chosen].sum())
    return total / float(seeds)


def densenet_gains_most(evidence: Evidence) -> Finding | None:
    """DenseNet's gain less that of the network that comes nearest, mean over datasets.

    The gain is that of the alternative that validation chooses on the other seeds, on test.
    """
    places = {(block.dataset, block.backbone): block for block in evidence.blocks}
    names = {name for block in evidence.blocks for name in block.strategies}
    sets = sorted({data for data, _ in places})
    whole = [
        data
        for data in sets
        if all(_holds(places.get((data, network)), names) for network in NETWORKS)
        and len({places[data, network].test_set for network in NETWORKS}) == 1
    ]
    if not whole or len(names) == 1:
        return None
    chosen = {
        (data, network): _chosen(places[data, network], evidence.metric)
        for data in whole
        for network in NETWORKS
    }
    leads = {
        rival: _crossed(
            places[data, DENSENET].measured(
                chosen[data, DENSENET] - chosen[data, rival], rival, evidence.metric
            )
            for data in whole
        )
        for rival in NETWORKS[1:]
    }
    nearest = min(leads, key=lambda rival: leads[rival].value)
    return Finding(
        effect=leads[nearest].value * POINTS,
        low=min(lead.bound(TAIL) for lead in leads.values()) * POINTS,
        high=min(lead.bound(1 - TAIL / len(leads)) for lead in leads.values()) * POINTS,
        threshold=0.0,
        cells=len(whole) * len(NETWORKS),
        detail=f"nearest: {nearest}",
        average=_crossed(
            places[data, DENSENET].measured(chosen[data, DENSENET], "chosen", evidence.metric)
            for data in whole
        ),
        of=f"{DENSENET}'s chosen alternative over {CONTROL}",
    )


def _crossed(gains: Iterable[Gain]) -> Estimate:
    return average_gain(gains, CROSSED)


def _holds(block: CellBlock | None, names: set[str]) -> bool:
    return block is not None and CONTROL in block.strategies and names <= set(block.strategies)


def _chosen(block: CellBlock, metric: str) -> np.ndarray:
    """Gains over the control of the alternative that the other seeds' validation chooses, [R, G].

    Over several splits the runs on the others choose.  With a single seed there are no others: it
    chooses for itself.
    """
    others = [number for number, name in enumerate(block.strategies) if name != CONTROL]
    control, seeds = block.column(CONTROL), len(block.seeds)
    gains = []
    for seed in range(seeds):
        kept = block.others(seed) or [seed]
        best = others[int(block.validation[kept][:, others].mean(axis=0).argmax())]
        added = block.added[metric][seed]
        gains.append(added[best] - added[control])
    return np.stack(gains)


def no_universal_winner(evidence: Evidence) -> Finding | None:
    """The worst defeat of the strategy that comes nearest to winning everywhere.

    For each strategy the surest defeat by any rival in any cell, simultaneous over all of them.
    """
    names = sorted({name for block in evidence.blocks for name in block.strategies})
    held = [block for block in evidence.blocks if set(names) <= set(block.strategies)]
    if len(names) < 2 or not held:  # noqa: PLR2004 - a strategy and a rival
        return None
    defeats = _defeats(held, names, evidence.metric)
    tail = TAIL / (len(held) * (len(names) - 1))
    sure = {name: max(one.bound(tail) for _, _, one in given) for name, given in defeats.items()}
    nearest = min(sure, key=lambda name: sure[name])
    block, rival, _ = max(defeats[nearest], key=lambda defeat: defeat[2].bound(tail))
    largest = {
        name: max(one.bound(1 - TAIL / len(names)) for _, _, one in given)
        for name, given in defeats.items()
    }
    measured = [_on_other_seeds(_rivals(held, name, evidence.metric)) for name in names]
    known = [one for one in measured if one is not None]
    return Finding(
        effect=min(known) * POINTS if known else None,
        low=sure[nearest] * POINTS,
        high=min(largest.values()) * POINTS,
        threshold=0.0,
        cells=len(held),
        detail=f"nearest: {nearest}, beaten by {rival} on {_at(block)}",
        average=average_gain(_lead(block, nearest, evidence.metric) for block in held),
        of=f"{nearest} over the mean of the others",
    )


def _defeats(
    blocks: Sequence[CellBlock], names: Sequence[str], metric: str
) -> dict[str, list[tuple[CellBlock, str, Estimate]]]:
    """Strategy -> block, rival, and by how much the rival beats it there."""
    places = [(block, *pair) for block in blocks for pair in combinations(names, 2)]
    gains = estimate_gains(_pair(block, of, over, metric) for block, of, over in places)
    found: dict[str, list[tuple[CellBlock, str, Estimate]]] = {name: [] for name in names}
    for (block, of, over), one in zip(places, gains, strict=True):
        found[over].append((block, of, one))
        found[of].append((block, over, one.mirrored()))
    return found


def _pair(block: CellBlock, of: str, over: str, metric: str) -> Gain:
    gain = block.gain(of, over, metric)
    return block.measured(gain.added, f"{of} over {over}", metric)


def _rivals(blocks: Sequence[CellBlock], name: str, metric: str) -> np.ndarray:
    """By how much every rival beats a strategy, [cells x rivals, S]."""
    return np.stack(
        [
            block.points(rival, metric) - block.points(name, metric)
            for block in blocks
            for rival in block.strategies
            if rival != name
        ]
    )


def _lead(block: CellBlock, name: str, metric: str) -> Gain:
    """Of a strategy over the mean of the others."""
    added, own = block.added[metric], block.column(name)
    others = np.delete(added, own, axis=1).mean(axis=1)
    return block.measured(added[:, own] - others, name, metric)


# -- answers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A sentence that results can support or contradict.

    Attributes:
        text: the effect that is tested.
        unit: of effect and interval.
        find: the figure, or None where no block can speak.
        networks: those that it names; no other answers it.  Empty: whatever there is.
    """

    name: str
    text: str
    unit: Literal["share of cells", "points"]
    find: Callable[[Evidence], Finding | None]
    networks: tuple[str, ...] = ()


def answer(
    names: Sequence[str],
    blocks: Sequence[CellBlock],
    places: Sequence[tuple[str, str]],
    track: str = "",
    metric: str = METRIC,
) -> tuple[ClaimAnswer, ...]:
    """Answer claims from the blocks that are there, of those that were asked for.

    Blocks with fewer seeds than the others count as missing.

    Args:
        names: of claims.
        blocks: of one track.
        places: dataset and backbone of every block of the track.
        track: its title, where there are several.
        metric: of the scores.

    Raises:
        UsageError: a claim that is not known.
    """
    asked = [_claim(name) for name in names]
    seeds = max((block.seeds for block in blocks), key=len, default=())
    complete = [block for block in blocks if block.seeds == seeds]
    whole, repeats = Evidence(complete, metric), min((one.repeats for one in complete), default=0)
    return tuple(_answer(claim, whole, places, repeats, track) for claim in asked)


def _claim(name: str) -> Claim:
    if name not in CLAIMS:
        raise unknown(name, CLAIMS, "claim")
    return CLAIMS[name]


def _answer(
    claim: Claim, whole: Evidence, places: Sequence[tuple[str, str]], seeds: int, track: str
) -> ClaimAnswer:
    evidence, of = whole, len(places)
    if claim.networks:
        named = [block for block in whole.blocks if block.backbone in claim.networks]
        evidence = Evidence(named, whole.metric)
        of = sum(backbone in claim.networks for _, backbone in places)
    found = claim.find(evidence)
    cells = found.cells if found else 0
    reason = _reason(claim, cells, of, seeds)
    average = found.average if found else None
    low, high = average.interval() if average else (None, None)
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
        average=average and average.value * POINTS,
        average_low=None if low is None else low * POINTS,
        average_high=None if high is None else high * POINTS,
        average_of=found.of if found else "",
        basis=average.basis if average else "",
    )


def _reason(claim: Claim, cells: int, of: int, seeds: int) -> str:
    if claim.networks and not of:
        return f"answered by {', '.join(claim.networks)} only"
    if cells < of:
        return f"{cells} of {of} cells"
    return f"{seeds} of {SEEDS} seeds" if seeds < SEEDS else ""


def _verdict(found: Finding) -> Literal["supported", "contradicted", "undecided"]:
    if found.low > found.threshold:
        return "supported"
    return "contradicted" if found.high < found.threshold else "undecided"


CLAIMS: Mapping[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim(
            "lp-ft-improves",
            "lp-ft gains more than a point on full-ft in more than half of the cells",
            "share of cells",
            lp_ft_improves,
        ),
        Claim(
            "auto-rgn-gain",
            "auto-rgn gains more than a point on full-ft in some cell (the study: up to 11 %)",
            "points",
            auto_rgn_gain,
        ),
        Claim(
            "densenet-gains-most",
            "densenet121 gains more than resnet50 and vgg19 from the alternative to full-ft that "
            "validation chooses, on average over the datasets",
            "points",
            densenet_gains_most,
            NETWORKS,
        ),
        Claim(
            "no-universal-winner",
            "every strategy is beaten by another in some cell: none wins everywhere",
            "points",
            no_universal_winner,
        ),
    )
}

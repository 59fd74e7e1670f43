"""Claims of the study this project extends, each answered from the results.

A claim compares a figure and its 95 % interval with a threshold: supported above it, contradicted
below it, undecided where the interval holds it, where cells are missing or seeds are too few.
Definitions stand in `docs/statistics.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.claims import findings
from harness.claims.block import Block, Run, make_block
from harness.claims.findings import Finding
from harness.suggest import unknown

__all__ = ["CLAIMS", "SEEDS", "Answer", "Block", "Claim", "Run", "answer", "make_block"]

SEEDS = 5  # paired seeds a claim needs


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
    find: Callable[[Sequence[Block]], Finding | None]


@dataclass(frozen=True)
class Answer:
    """What the results say of a claim.

    Attributes:
        reason: why it is undecided, in short; empty: it is not, or the interval is too wide.
        cells, of: n of N blocks that speak.
        seeds: paired seeds a block.
    """

    claim: str
    text: str
    verdict: Literal["supported", "contradicted", "undecided"]
    reason: str
    unit: str
    effect: float | None
    low: float | None
    high: float | None
    cells: int
    of: int
    seeds: int
    detail: str

    @property
    def shown(self) -> str:
        """The verdict, with the reason in brackets."""
        return f"{self.verdict} ({self.reason})" if self.reason else self.verdict


def answer(names: Sequence[str], blocks: Sequence[Block], of: int) -> tuple[Answer, ...]:
    """Answer claims from the blocks that are there, of the `of` blocks that were asked for.

    Blocks with fewer seeds than the others count as missing.

    Raises:
        UsageError: a claim that is not known.
    """
    seeds = max((block.seeds for block in blocks), key=len, default=())
    sound = [block for block in blocks if block.seeds == seeds]
    return tuple(_answer(_claim(name), sound, of, len(seeds)) for name in names)


def _claim(name: str) -> Claim:
    if name not in CLAIMS:
        raise unknown(name, CLAIMS, "claim")
    return CLAIMS[name]


def _answer(claim: Claim, blocks: Sequence[Block], of: int, seeds: int) -> Answer:
    found = claim.find(blocks)
    cells = found.cells if found else 0
    reason = ""
    if cells < of:
        reason = f"{cells} of {of} cells"
    elif seeds < SEEDS:
        reason = f"{seeds} of {SEEDS} seeds"
    return Answer(
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
            findings.lp_ft_improves,
        ),
        Claim(
            "auto-rgn-gain",
            "auto-rgn's best gain over full-ft is more than a point (the study: up to 11 %)",
            "points",
            findings.auto_rgn_gain,
        ),
        Claim(
            "densenet-gains-most",
            "densenet121 gains more than every other backbone from alternatives to full-ft",
            "points",
            findings.densenet_gains_most,
        ),
        Claim(
            "no-universal-winner",
            "no strategy wins everywhere",
            "points",
            findings.no_universal_winner,
        ),
    )
}

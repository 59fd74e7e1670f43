"""How often the intervals of a cell hold the truth, and what a board of identical strategies says.

Strategies of the same skill on a shared test set, samples in groups of 1 to 4; see truth.py.

    python benchmarks/simulations/cells.py coverage --repetitions 1000
    python benchmarks/simulations/cells.py boards --repetitions 300
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import scipy
from truth import runs, upper_bound

from harness.leaderboard.claims import CLAIMS, ClaimBlock, answer
from harness.stats import Resampled, compare, compare_blocks, resample

GROUPS, CLASSES, SEEDS = 150, 2, 5
SPREADS = (0.0, 0.01, 0.02, 0.04)
OWN = (0.0, 0.3)
STRATEGIES = (
    "full-ft",
    "auto-rgn",
    "l1-sp",
    "l2-sp",
    "linear-probe",
    "lp-ft",
    "other-1",
    "other-2",
)
DATASETS, BACKBONES = 5, ("densenet121", "resnet50", "vgg19")


def test_set(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Targets and groups; a group is of one class."""
    groups = np.repeat(np.arange(GROUPS), rng.integers(1, 5, GROUPS))
    return groups % CLASSES, groups


def outputs(
    rng: np.random.Generator,
    test: tuple[np.ndarray, np.ndarray],
    *,
    columns: int,
    seeds: int = SEEDS,
    spread: float = 0.0,
    own: float = 0.0,
) -> np.ndarray:
    """Predictions [S, K, N]: half of a sample's ease is its group's, a share of it is the column's.

    Without a share of its own every column finds the same samples easy.
    """
    targets, groups = test

    def ease() -> np.ndarray:
        sample: np.ndarray = rng.normal(size=len(groups)) + rng.normal(size=GROUPS)[groups]
        return sample / 2**0.5

    common = ease()
    right = [
        runs(
            rng.normal(size=(seeds, 1 + len(groups))),
            (1 - own) ** 0.5 * common + own**0.5 * ease(),
            spread=spread,
        )
        for _ in range(columns)
    ]
    return np.where(np.stack(right, axis=1), targets, 1 - targets)


def plain(found: Resampled, *, seeds: bool) -> tuple[float, float]:
    """The percentile interval of groups alone, or of groups and seeds drawn together."""
    difference = found.draws[:, :, 0] - found.draws[:, :, 1]
    draws = (found.seeds * difference).sum(axis=1) if seeds else difference.mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def coverage(repetitions: int) -> None:
    print("| seeds | spread, points | own samples | ours | half width | groups, seeds | groups |")
    print("|---|---|---|---|---|---|---|")
    for seeds in (2, 3, 5):
        for spread in SPREADS:
            for own in OWN:
                rng = np.random.default_rng(0)
                held, widths = np.zeros(3), []
                for _ in range(repetitions):
                    test = test_set(rng)
                    options = {"columns": 2, "seeds": seeds, "spread": spread, "own": own}
                    found = resample(outputs(rng, test, **options), *test)
                    ours = found.difference(0, 1).interval()
                    others = plain(found, seeds=True), plain(found, seeds=False)
                    held += [low <= 0 <= high for low, high in (ours, *others)]
                    widths.append(ours[1] - ours[0])
                shares = [f"{100 * share:.1f}" for share in held / repetitions]
                shares.insert(1, f"{100 * float(np.median(widths)) / 2:.1f}")
                print(
                    f"| {seeds} | {100 * spread:g} | {own:g} | {' | '.join(shares)} |", flush=True
                )


def board(rng: np.random.Generator, spread: float) -> list[ClaimBlock]:
    """Eight identical strategies in 15 blocks; validation scores are noise of a point."""
    blocks = []
    for dataset in range(DATASETS):
        data = test_set(rng)
        for backbone in BACKBONES:
            made = outputs(rng, data, columns=len(STRATEGIES), spread=spread)
            validation = 0.85 + 0.01 * rng.normal(size=(SEEDS, len(STRATEGIES)))
            test = resample(made, *data)
            seeds = tuple(range(SEEDS))
            blocks.append(ClaimBlock(str(dataset), backbone, STRATEGIES, seeds, validation, test))
    return blocks


def errors(blocks: list[ClaimBlock]) -> Counter[str]:
    """What a board finds, though there is nothing to find."""
    found: Counter[str] = Counter()
    for block in blocks:
        family = {name: block.difference(name, "full-ft") for name in STRATEGIES[1:]}
        found["a difference in a cell (p < .05)"] += sum(one.p < 0.05 for one in family.values())
        verdicts = [one.verdict for one in compare(family).values()]
        found["any verdict in a cell (Holm over seven)"] += any(v != "undecided" for v in verdicts)
    columns = np.stack([block.test.points.mean(axis=0) for block in blocks]).T.tolist()
    across = compare_blocks(dict(zip(STRATEGIES, columns, strict=True)), "full-ft")
    found["Friedman"] += across.friedman.p < 0.05
    found["any Nemenyi pair"] += np.min(across.nemenyi.p) < 0.05
    signed = across.wilcoxon or {}
    found["any Wilcoxon (Holm)"] += any(one.verdict != "undecided" for one in signed.values())
    for one in answer(list(CLAIMS), blocks, of=len(blocks)):
        found[f"{one.claim} {one.verdict}"] += 1
    return found


def boards(repetitions: int) -> None:
    print("| spread, points | error | n | share, % | upper 95 % bound |")
    print("|---|---|---|---|---|")
    for spread in SPREADS[:3]:
        rng = np.random.default_rng(0)
        found: Counter[str] = Counter()
        for _ in range(repetitions):
            found += errors(board(rng, spread))
        cells = repetitions * DATASETS * len(BACKBONES)
        sizes = {"a difference in a cell (p < .05)": 7 * cells}
        sizes["any verdict in a cell (Holm over seven)"] = cells
        for name, hits in sorted(found.items()):
            n = sizes.get(name, repetitions)
            share, bound = 100 * hits / n, 100 * upper_bound(int(hits), n)
            print(f"| {100 * spread:g} | {name} | {n} | {share:.1f} | {bound:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["coverage", "boards"])
    parser.add_argument("--repetitions", type=int, default=1000)
    given = parser.parse_args()
    print(f"n = {given.repetitions}; numpy {np.__version__}, scipy {scipy.__version__}\n")
    {"coverage": coverage, "boards": boards}[given.what](given.repetitions)


if __name__ == "__main__":
    main()

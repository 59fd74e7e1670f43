"""Rates at which the collapse rule speaks of honest cells, and at which it sees a collapse.

    python benchmarks/simulations/collapse.py honest --repetitions 500
    python benchmarks/simulations/collapse.py caught --repetitions 500

Networks are weak on purpose: logits are the skill at the right class, a bias of the run for each
class, and noise of which half is the image's.  An error of Monte Carlo stands behind every share.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from worlds import test_set

from harness.stats import collapsed

KINDS = (
    "6 groups", "real-mri", "real-histology", "real-dermoscopy", "10 of a class", "3 of a class",
    "20 images",
)  # fmt: skip
# Skill, and bias of a run for a class: the spread of runs grows with the second.
HONEST = (
    (0.1, 0.3), (0.3, 0.3), (0.3, 1.0), (0.6, 0.5), (0.6, 1.5), (1.0, 0.5), (1.0, 2.5), (1.5, 1.0),
)  # fmt: skip
SHARED = 0.5
Predicted: TypeAlias = np.ndarray


def predict(
    rng: np.random.Generator, targets: np.ndarray, runs: int, skill: float, bias: float
) -> Predicted:
    """Class numbers [runs, N]."""
    classes, samples = targets.max() + 1, len(targets)
    logits = SHARED**0.5 * rng.standard_normal((1, samples, classes))
    logits = logits + (1 - SHARED) ** 0.5 * rng.standard_normal((runs, samples, classes))
    logits += bias * rng.standard_normal((runs, 1, classes))
    logits[:, np.arange(samples), targets] += skill
    found: Predicted = logits.argmax(axis=-1)
    return found


def share(hits: int, repetitions: int) -> str:
    p = hits / repetitions
    return f"{100 * p:.1f} ± {100 * (p * (1 - p) / repetitions) ** 0.5:.1f}"


def scores(predicted: Predicted, targets: np.ndarray) -> np.ndarray:
    """Balanced accuracy of each run."""
    recalls = [(predicted[:, targets == one] == one).mean(axis=1) for one in np.unique(targets)]
    found: np.ndarray = np.mean(recalls, axis=0)
    return found


def honest(repetitions: int) -> None:
    """Both sides are the same weak network; the cells of each line are of one kind."""
    print("| test set | skill, bias | above chance (points) | sd of a run | 1 seed | 2 | 3 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in KINDS:
        targets = test_set(name).targets
        for skill, bias in HONEST:
            rng = np.random.default_rng(20240)
            told, made = [], []
            for seeds in (1, 2, 3):
                hits = 0
                for _ in range(repetitions):
                    runs = predict(rng, targets, 2 * seeds, skill, bias)
                    hits += bool(collapsed(runs[:seeds], runs[seeds:], targets)[0])
                    made.append(scores(runs, targets))
                told.append(share(hits, repetitions))
            every = np.concatenate(made)
            above = 100 * (every.mean() - 1 / (targets.max() + 1))
            cells = (
                name,
                f"{skill:g}, {bias:g}",
                f"{above:.0f}",
                f"{100 * every.std():.1f}",
                *told,
            )
            print(f"| {' | '.join(cells)} |", flush=True)


Broken = Callable[[Predicted, np.ndarray], Predicted]


def constant(runs: Predicted, _: np.ndarray) -> Predicted:
    return np.zeros_like(runs)


def one_constant(runs: Predicted, _: np.ndarray) -> Predicted:
    return np.concatenate([np.zeros_like(runs[:1]), runs[1:]])


def wrong(runs: Predicted, targets: np.ndarray) -> Predicted:
    return np.broadcast_to((targets + 1) % (targets.max() + 1), runs.shape)


def caught(repetitions: int) -> None:
    ways: Sequence[Broken] = (constant, one_constant, wrong)
    print("| test set | seeds | baseline | all runs constant | one run constant | all wrong |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in KINDS:
        targets = test_set(name).targets
        for seeds in (1, 3):
            for skill in (0.6, 1.0, 1.8):
                rng = np.random.default_rng(20240)
                hits, level = np.zeros(len(ways), dtype=int), 0.0
                for _ in range(repetitions):
                    runs = predict(rng, targets, 2 * seeds, skill, 0.3)
                    before, after = runs[:seeds], runs[seeds:]
                    level += float(scores(before, targets).mean()) / repetitions
                    hits += [
                        bool(collapsed(before, way(after, targets), targets)[0]) for way in ways
                    ]
                told = (share(int(one), repetitions) for one in hits)
                print(f"| {name} | {seeds} | .{100 * level:.0f} | {' | '.join(told)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["honest", "caught"])
    parser.add_argument("--repetitions", type=int, default=500)
    given = parser.parse_args()
    print(f"n = {given.repetitions}; numpy {np.__version__}\n")
    {"honest": honest, "caught": caught}[given.what](given.repetitions)


if __name__ == "__main__":
    main()

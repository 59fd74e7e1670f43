"""The spread of runs by their seeds, lent between cells.

A few runs say little about their spread.  Two things are lent: the part that seeds add to the noise
of single images, additive and common to the cells of a call (or of a dataset, backbone or
strategy), and how far the spread of a cell lies from what that makes one expect (Smyth 2004: a prior
from all cells, here by moments).  No cell is taken to vary less than its own runs do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

KIN = 5  # cells of one dataset, backbone or strategy that may speak for each other
Place = tuple[str, str, str]


def lend(excess: np.ndarray, places: Sequence[Place | None]) -> np.ndarray:
    """Variance by seeds that each cell is taken to have, [cells].

    The largest of 0, the mean over all cells, and the means over the cells of its dataset, of its
    backbone and of its strategy, where there are five of them.

    Args:
        excess: variance of runs less image noise, [cells].
        places: dataset, backbone and strategy of each; None: only the mean over all holds for it.
    """
    lent = np.full(len(excess), max(0.0, float(excess.mean())))
    for part in range(3):
        labels = np.array(["" if place is None else place[part] for place in places])
        for label in np.unique(labels):
            kin = labels == label
            if label and kin.sum() >= KIN:
                lent[kin] = np.maximum(lent[kin], excess[kin].mean())
    return lent


def moderate(ratio: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of variance of each cell with what the others know of it, and its df, [cells] each.

    Args:
        ratio: variance of runs over the expected one, [cells].
        df: of each ratio, above 0, [cells].
    """
    mean, prior_df = prior(ratio, float(df.mean()))
    total = df + prior_df
    own = np.divide(df, total, out=np.zeros_like(df), where=np.isfinite(total))
    lent = mean + own * (ratio - mean)
    least = 1e-12  # runs that happen to score alike
    return np.maximum(np.maximum(ratio, lent), least), np.minimum(total, df.sum())


def prior(ratio: np.ndarray, df: float) -> tuple[float, float]:
    """Location and degrees of freedom of a scaled F distribution with these moments.

    Infinitely many: the cells spread no more than chance has it.  None: a single cell.
    """
    mean = float(ratio.mean())
    if len(ratio) == 1:
        return mean, 0.0
    spread = float(ratio.var(ddof=1)) / mean**2 if mean else 0.0
    if spread * df <= 2:  # noqa: PLR2004 - the square of a chi-square's coefficient of variation
        return mean, np.inf
    prior_df = (2 * df - 4 + 4 * spread * df) / (spread * df - 2)
    return mean * (prior_df - 2) / prior_df, prior_df

"""Test results whose truth is known: a probit model of which samples a trained network gets right.

A run gets a sample right where mean + ease of the sample + luck of the run + noise > 0, all
normal.  Ease and mean are set so that a run is right in 85 % of the samples and two runs of the
same cell disagree on 12 % of them, as long as runs have no luck of their own; luck is given as the
standard deviation it causes in a run's accuracy.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import beta, multivariate_normal, norm

ACCURACY, DISAGREEMENT = 0.85, 0.12


@cache
def ease_scale() -> float:
    """Standard deviation of the samples' ease; that of the noise is 1."""
    quantile = ndtri(ACCURACY)

    def excess(scale: float) -> float:
        shared = scale**2 / (1 + scale**2)
        both = multivariate_normal([0, 0], [[1, shared], [shared, 1]]).cdf([quantile, quantile])
        return 2 * (ACCURACY - both) - DISAGREEMENT

    return float(brentq(excess, 0.1, 20))


@cache
def slope() -> float:
    """Accuracy a unit of luck."""
    return float(norm.pdf(ndtri(ACCURACY)) / (1 + ease_scale() ** 2) ** 0.5)


def runs(
    normals: np.ndarray, ease: np.ndarray, *, spread: float = 0.0, accuracy: float = ACCURACY
) -> np.ndarray:
    """True where a run gets a sample right, [S, N].

    Args:
        normals: luck and noise of each run, standard normal, [S, 1 + N].
        ease: standard normal, [N].
        spread: standard deviation of a run's accuracy for its luck.
        accuracy: expected over samples, luck and noise.
    """
    scale = ease_scale()
    luck = spread / slope()
    mean = ndtri(accuracy) * (1 + scale**2 + luck**2) ** 0.5
    right: np.ndarray = mean + scale * ease + luck * normals[:, :1] + normals[:, 1:] > 0
    return right


def upper_bound(hits: int, repetitions: int) -> float:
    """One-sided 95 % bound of a share (Clopper-Pearson)."""
    return float(beta.ppf(0.95, hits + 1, repetitions - hits)) if hits < repetitions else 1.0

"""The collapse of a cell: so far beyond what any seed does that it needs no test.

A network that predicts one class only, or is no better than chance where it was clearly better
before, is broken, however few groups the test set has.  The rule says so by name, and where the
baseline is too weak to tell it says that.  `docs/statistics.md` holds how often it speaks of honest
cells.
"""

from __future__ import annotations

import numpy as np

SPREAD = 0.04  # least standard deviation by seeds that an honest run is taken to have
SHARE = 0.9  # a baseline run with more of its predictions in one class is nearly constant itself
CLEAR = 2.5  # how far the baseline lies above chance, in standard deviations of a run
FALL = 4.0  # how far the candidate falls, in standard deviations of the difference
NOTHING = 1e-9  # sums of weights differ in the last places
GAIN = 0.05  # least that a baseline is above chance to lose it
WEAK = "predicts one class only; the baseline is too weak to tell whether that is a collapse"


def collapsed(
    before: np.ndarray,
    after: np.ndarray,
    targets: np.ndarray,
    *,
    balanced: bool = True,
    spread: float = 0.0,
) -> tuple[str, str]:
    """Say how the second set of runs collapsed, and what else is to be known.

    Args:
        before: class numbers, [S, N].
        after: class numbers, [S', N].
        targets: class numbers [N].
        balanced: the metric is the mean recall over classes, instead of the share of samples.
        spread: standard deviation of a run's score by its seed, where one is stated.

    Returns:
        What happened, empty where nothing did; and a note, where the baseline is too weak to tell.
    """
    _, label, sizes = np.unique(targets, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        return "", ""  # to predict one class only is right
    largest = sizes.max() / len(label)
    weights = 1 / (len(sizes) * sizes[label]) if balanced else np.full(len(label), 1 / len(label))
    chance = 1 / len(sizes) if balanced else largest
    old, new = (((side == targets) * weights).sum(axis=1) - chance for side in (before, after))
    if len(old) >= 3:  # noqa: PLR2004 - two runs say too little of their spread
        spread = max(spread, float(old.std(ddof=1)))
    error = (max(SPREAD, spread) ** 2 + 0.25 * float((weights**2).sum())) ** 0.5
    constant = (after == after[:, :1]).all(axis=1)
    found = ""
    if constant.any() and max(map(_top, before)) <= max(SHARE, 1 - (1 - largest) / 2):
        found = _constant(old, constant, error)
    found = found or _fallen(old, new, error)
    return found, WEAK if constant.any() and not found else ""


def _top(run: np.ndarray) -> float:
    """Share of the predictions that are of the commonest class."""
    return float(np.unique(run, return_counts=True)[1].max() / len(run))


def _constant(old: np.ndarray, constant: np.ndarray, error: float) -> str:
    """Of runs that predict one class only, where no run of the baseline does nearly so."""
    if old.min() >= CLEAR * error:
        return f"{constant.sum()} of {len(constant)} runs predict one class only"
    if len(constant) > 1 and constant.all() and old.min() > NOTHING:
        return "every run predicts one class only"
    return ""


def _fallen(old: np.ndarray, new: np.ndarray, error: float) -> str:
    """From clearly above chance to no better than it: on average, or the worst run."""
    pooled = FALL * error * (1 / len(old) + 1 / len(new)) ** 0.5
    if new.mean() <= NOTHING and old.mean() >= max(GAIN, new.mean() + pooled):
        return "no better than chance"
    if new.min() <= NOTHING and old.min() >= max(GAIN, new.min() + FALL * error * 2**0.5):
        return "its worst run is no better than chance"
    return ""

"""Scores and what they become when their test set is resampled: any difference with its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from harness.errors import UsageError
from harness.statistics.estimate import DIGITS, Estimate

ROUNDING = 1e-13


@dataclass(frozen=True)
class Resampled:
    """Scores of K columns on one test set, and what they become when its groups are resampled.

    Attributes:
        points: [S, K], a seed a row.
        draws: [B, S, K].
        seeds: [B, S], weights of the seeds in each draw; they add up to 1.
        groups: number of groups.
        df: degrees of freedom of the groups: their number less that of the classes.
        widest: largest difference of two scores that there can be; None: no limit is known.
    """

    points: np.ndarray
    draws: np.ndarray
    seeds: np.ndarray
    groups: int
    df: int
    widest: float | None = None

    def difference(self, of: int, over: int) -> Estimate:
        """Column `of` minus column `over`, mean over the seeds."""
        weights = np.zeros(self.points.shape[1])
        weights[of] += 1
        weights[over] -= 1
        return self.contrast(weights)

    def contrast(self, weights: Sequence[float] | np.ndarray) -> Estimate:
        """The columns' weighted sum, mean over the seeds; `weights` [K] add up to 0."""
        (found,) = self.contrasts(np.asarray(weights, dtype=float)[None])
        return found

    def contrasts(self, weights: np.ndarray) -> list[Estimate]:
        """As `contrast`, of many weighted sums [P, K] at once."""
        points = self.points @ weights.T
        images, within, mixed, drawn = self._variances(weights)
        count = len(points)
        values = np.round(points.mean(axis=0), DIGITS)
        # No group spreads less than this under the hypothesis of no difference (Cauchy-Schwarz).
        least = values**2 / self.groups
        if count == 1:
            variance, df = np.maximum(images, least), np.full(len(values), float(self.df))
        else:
            between = points.var(axis=0, ddof=1)
            stretch = _stretch(count, between, within)
            variance = np.maximum(images + 2 * stretch * mixed + stretch**2 * drawn, least)
            spread = (between / count) ** 2 / (count - 1) + images**2 / self.df
            df = ratio(variance**2, spread, np.inf)
            df = np.clip(df, min(count - 1, self.df), count - 1 + self.df)
        columns = (values.tolist(), np.sqrt(variance).tolist(), df.tolist(), self._limits(weights))
        return [
            Estimate(value, se, freedom, count, widest)
            for value, se, freedom, widest in zip(*columns, strict=True)
        ]

    def _limits(self, weights: np.ndarray) -> list[float | None]:
        """How far from zero each weighted sum can be."""
        sizes: list[float] = (np.abs(weights).sum(axis=1) / 2).tolist()
        return [None if self.widest is None else self.widest * size for size in sizes]

    def beside(self, other: Resampled) -> Resampled:
        """The columns of both, `other`'s after these: same test set, same seeds, same draws.

        Raises:
            UsageError: they were not drawn alike.
        """
        if (self.groups, self.df) != (other.groups, other.df) or not np.array_equal(
            self.seeds, other.seeds
        ):
            raise UsageError("columns of different test sets or seeds cannot stand side by side")
        return replace(
            self,
            points=np.concatenate([self.points, other.points], axis=1),
            draws=np.concatenate([self.draws, other.draws], axis=2),
        )

    def _variances(self, weights: np.ndarray) -> list[np.ndarray]:
        """The part of every weighted sum [P] in each matrix of `_moments`."""
        sizes = np.abs(weights)
        found = []
        for matrix in self._moments:
            part = np.einsum("pk,kl,pl->p", weights, matrix, weights)
            size = np.einsum("pk,kl,pl->p", sizes, np.abs(matrix), sizes)
            # What columns share cancels out up to rounding: equal columns do not vary at all.
            found.append(np.where(np.abs(part) <= ROUNDING * size, 0.0, part))
        return found

    @cached_property
    def _moments(self) -> tuple[np.ndarray, ...]:
        """Covariances of columns [K, K], from which any weighted sum's variance follows.

        Over draws, of the means over seeds; over seeds, mean over draws; over draws, of the means
        with what the draw of seeds adds; over draws, of what it adds.
        """
        resamples, count, columns = self.draws.shape
        means = self.draws.mean(axis=1)
        around = (self.draws - means[:, None]).reshape(-1, columns)
        within = around.T @ around / (resamples * max(1, count - 1))
        added = np.einsum("bs,bsk->bk", self.seeds - 1 / count, self.draws)
        means, added = means - means.mean(axis=0), added - added.mean(axis=0)
        mixed = means.T @ added / resamples
        return (
            means.T @ means / resamples,
            within,
            (mixed + mixed.T) / 2,
            added.T @ added / resamples,
        )


def _stretch(count: int, between: np.ndarray, within: np.ndarray) -> np.ndarray:
    """The factor on the seeds' weights that leaves them what they spread beyond image noise.

    `between` is the variance over the seeds; the same in a draw, `within`, is that plus image noise.
    """
    beyond = np.maximum(0.0, 2 * between - within)
    return np.sqrt(count / (count - 1) * ratio(beyond, within, 0.0))


def ratio(of: np.ndarray, to: np.ndarray, otherwise: float) -> np.ndarray:
    ratio: np.ndarray = np.divide(of, to, out=np.full_like(of, otherwise), where=to > 0)
    return ratio

"""Paired bootstrap over groups and seeds: differences between strategies on one test set.

What is resampled is the group (patient, lesion, video), within its class, and the seed; every
column sees the same draw.  Three corrections keep the 95 % interval honest with few seeds:

- n - 1 of the n groups of a class are drawn, which makes the variance unbiased (Rao and Wu 1988);
- image noise differs from seed to seed, so drawing groups and seeds holds it twice and more: the
  seeds' part is shrunk to what they spread beyond image noise;
- the error is used with Student's t, degrees of freedom after Satterthwaite.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Literal, TypeAlias

import numpy as np

from harness.errors import UsageError
from harness.stats.estimate import DIGITS, EXACT, Estimate, refuse_nan

ROUNDING = 1e-13


@dataclass(frozen=True)
class Resampled:
    """Scores of K columns on one test set, and in draws of its groups and seeds.

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
        """The largest distance from zero that each weighted sum can have."""
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


Score: TypeAlias = Callable[[np.ndarray, np.ndarray], float]
Scoring: TypeAlias = Literal["accuracy", "balanced-accuracy"] | Score

RESAMPLES = 1000  # only standard errors are read off: theirs is then good to 2 %
CHUNK = 8_000_000  # weights held at a time


def resample(
    outputs: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    metric: Scoring = "balanced-accuracy",
    resamples: int = RESAMPLES,
) -> Resampled:
    """Score K columns (strategies) over S paired seeds and B resamples of a shared test set.

    The draws depend on the classes of the groups and on S alone: a further column changes none.

    Args:
        outputs: [S, K, N, ...]; class numbers for a named metric, otherwise what `metric` takes.
        targets: class numbers [N].
        groups: a label for each sample [N]; None: every sample stands for itself.
        metric: a name, or a function of (outputs [n, ...], targets [n]), which is B x S x K times
            slower.
        resamples: B.

    Raises:
        UsageError: shapes that do not fit together, or a score that is not finite.
    """
    groups = np.arange(len(targets)) if groups is None else groups
    _check_shapes(outputs, targets, groups)
    classes, label = np.unique(targets, return_inverse=True)
    names, member = np.unique(groups, return_inverse=True)
    totals = np.zeros((len(names), len(classes)), dtype=np.int64)
    np.add.at(totals, (member, label), 1)
    strata = totals.argmax(axis=1)
    if callable(metric):
        score = partial(_score_samples, outputs, targets, member, metric)
    else:
        hits = [_hits(outputs, targets, member, klass) for klass in classes]
        score = partial(_score_counts, hits, totals, metric == "accuracy")
    count, columns = outputs.shape[:2]
    points = score(np.ones((len(names), 1), dtype=_exact(totals))).reshape(count, columns)
    refuse_nan(points, "scores (seed, column)")
    seeds, weights = _draw(totals, count, resamples)
    draws = np.concatenate([score(chunk) for chunk in weights])
    refuse_nan(draws, "scores of resamples (resample, column)")
    return Resampled(
        points=points,
        draws=draws.reshape(resamples, count, columns),
        seeds=seeds,
        groups=len(names),
        df=max(1, len(names) - len(np.unique(strata))),
        widest=None if callable(metric) else 1.0,
    )


def _check_shapes(outputs: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> None:
    samples = outputs.shape[2:3]
    if outputs.size == 0 or samples != targets.shape or samples != groups.shape:
        raise UsageError(
            f"outputs {outputs.shape} must be [seeds, columns, samples, ...], with targets "
            f"{targets.shape} and groups {groups.shape} of the same samples, and none of them empty"
        )


def _exact(totals: np.ndarray) -> type[np.floating]:
    """The shorter float, where sums over any draw stay whole in it."""
    return np.float32 if len(totals) * totals.max() < EXACT else np.float64


def _draw(
    totals: np.ndarray, count: int, resamples: int
) -> tuple[np.ndarray, Iterable[np.ndarray]]:
    """Weights of the seeds [B, S] and, in chunks of B, of the groups [G, b].

    The same test set and number of seeds give the same draws; the last ones are kept, for blocks
    of one dataset follow each other.
    """
    content = np.ascontiguousarray(totals).tobytes()
    if len(totals) * resamples <= CHUNK:
        seeds, weights = _draw_once(content, totals.shape, count, resamples)
        return seeds, [weights]
    rng = _generator(content, totals.shape, count)
    seeds = _draw_seeds(rng, count, resamples)
    size = max(1, CHUNK // len(totals))
    sizes = [min(size, resamples - start) for start in range(0, resamples, size)]
    return seeds, (_draw_groups(rng, totals, one) for one in sizes)


@lru_cache(maxsize=1)
def _draw_once(
    content: bytes, shape: tuple[int, int], count: int, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = _generator(content, shape, count)
    totals = np.frombuffer(content, dtype=np.int64).reshape(shape)
    seeds, weights = _draw_seeds(rng, count, resamples), _draw_groups(rng, totals, resamples)
    seeds.flags.writeable = weights.flags.writeable = False
    return seeds, weights


def _generator(content: bytes, shape: tuple[int, int], count: int) -> np.random.Generator:
    named = content + f"{shape} {count}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(named).digest()))


def _draw_seeds(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return rng.multinomial(count, np.full(count, 1 / count), size=size) / count


def _draw_groups(rng: np.random.Generator, totals: np.ndarray, size: int) -> np.ndarray:
    """Count each group in each of `size` draws, [G, size]."""
    strata = totals.argmax(axis=1)
    weights = np.empty((len(strata), size), dtype=_exact(totals))
    for stratum in np.unique(strata):
        (members,) = np.nonzero(strata == stratum)
        n = len(members)
        picks = rng.integers(n, size=(size, max(1, n - 1)))
        picks += n * np.arange(size)[:, None]
        weights[members] = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).T
    return weights


def _hits(
    outputs: np.ndarray, targets: np.ndarray, member: np.ndarray, klass: int
) -> tuple[np.ndarray, np.ndarray]:
    """Groups that hold the class, and how many of its samples they get right, [groups, S * K]."""
    (chosen,) = np.nonzero(targets == klass)
    chosen = chosen[np.argsort(member[chosen], kind="stable")]
    rows, starts = np.unique(member[chosen], return_index=True)
    right = outputs[:, :, chosen].reshape(-1, len(chosen)) == klass
    return rows, np.add.reduceat(right, starts, axis=1, dtype=np.int64).T


def _score_counts(
    hits: Sequence[tuple[np.ndarray, np.ndarray]],
    totals: np.ndarray,
    pooled: bool,  # noqa: FBT001 - bound by name of the metric
    weights: np.ndarray,
) -> np.ndarray:
    """Accuracy or the mean recall of the classes that a draw holds, [draws, S * K].

    Sums of whole numbers are exact, so neither order nor threads can move a bit.
    """
    kind = weights.dtype
    there = (totals.T.astype(kind) @ weights).astype(float)  # [classes, draws]
    right = (counts.T.astype(kind) @ weights[rows] for rows, counts in hits)
    if pooled:
        share: np.ndarray = sum(one.astype(float) for one in right) / there.sum(axis=0)
        return share.T
    recalls = np.zeros((hits[0][1].shape[1], weights.shape[1]))
    for one, total in zip(right, there, strict=True):
        recalls += one / np.maximum(total, 1)  # a class that is not drawn has no hits either
    mean: np.ndarray = recalls / (there > 0).sum(axis=0)
    return mean.T


def _score_samples(
    outputs: np.ndarray,
    targets: np.ndarray,
    member: np.ndarray,
    metric: Score,
    weights: np.ndarray,
) -> np.ndarray:
    """Any metric, sample by sample, [draws, S * K]."""
    flat = outputs.reshape(-1, *outputs.shape[2:])
    found = np.empty((weights.shape[1], len(flat)))
    for draw, weight in enumerate(weights.T):
        rows = np.repeat(np.arange(len(targets)), weight[member].astype(int))
        found[draw] = [metric(column[rows], targets[rows]) for column in flat]
    return found

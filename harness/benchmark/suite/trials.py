"""Trials of a tuned suite: the settings that every strategy is tried with, and seeds with splits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.api.records import Json, Suite, Tuning
from harness.api.strategy import (
    Phase,
    Search,
    Strategy,
    settings_of,
    shares_rate,
)
from harness.benchmark.forecast.outline import Outline, directives
from harness.errors import HarnessError, UsageError
from harness.utils.names import did_you_mean

SEED = 0  # of the Sobol sequence


@dataclass(frozen=True)
class Trial:
    """One way to run a strategy.

    Attributes:
        settings: as a record holds them.
        number: 0 for the untuned one; None: the suite is not tuned.
        tuned: settings that the strategy's trials differ in.
    """

    settings: Mapping[str, Json]
    number: int | None = None
    tuned: tuple[str, ...] = ()


def trials_of(strategy: Strategy, tuning: Tuning | None) -> tuple[Trial, ...]:
    """Every trial of a strategy, the untuned one first; as many as the grid has rates.

    A strategy without a shared rate and without a knob has one trial.

    Raises:
        UsageError: the knob is no setting that can be searched, or the rate is set already.
    """
    untuned = settings_of(strategy)
    if tuning is None:
        return (Trial(untuned),)
    rated, knob = holds_rate(strategy), tuning.knobs.get(strategy.name)
    if rated and strategy.rate != 1.0:
        raise UsageError(
            f"{strategy.name}.rate = {strategy.rate:g} is set, and the suite tunes it: the grid is of "
            "multiples of the protocol's rate, so set protocol.lr instead"
        )
    if rated and knob == "rate":
        raise UsageError(
            f"tuning.knobs: {strategy.name}.rate is tried by the grid already; name another setting"
        )
    search = None if knob is None else _search(strategy, knob)
    tuned = ("rate",) * rated + ((knob,) if knob is not None else ())
    if not tuned:
        return (Trial(untuned, 0),)
    points = [
        ({"rate": rate} if rated else {}) | ({} if knob is None else {knob: value})
        for rate, value in _points(tuning, search)
    ]
    kind, given = type(strategy), strategy.model_dump()
    others = [settings_of(kind.model_validate(given | point)) for point in points]
    settings = [untuned, *(one for one in others if one != untuned)]
    return tuple(Trial(one, number, tuned) for number, one in enumerate(settings))


def seed_pairs(suite: Suite) -> tuple[tuple[int, int], ...]:
    """Every (seed, `split_seed`) that a suite's strategies run with."""
    if suite.splits == "paired":
        return tuple((seed, seed) for seed in suite.seeds)
    first = suite.protocol.split_seed
    return tuple((seed, first + k) for k in range(suite.splits) for seed in suite.seeds)


def label_budgets(suite: Suite) -> tuple[str | None, ...]:
    """The label budgets of a suite, each once; None: all labels."""
    found = dict.fromkeys(None if one == "100%" else one for one in suite.labels)
    return tuple(found) or (None,)


def _points(tuning: Tuning, search: Search | None) -> Iterator[tuple[float, Any]]:
    """(rate, knob) of the trials beside the untuned one, in order."""
    grid = tuning.grid
    if search is None and tuning.sampler == "grid":
        # From the protocol's rate outwards: what fewer trials would have tried comes first.
        for rate in sorted(grid, key=lambda rate: (round(abs(math.log10(rate)), 9), rate)):
            if rate != 1.0:
                yield rate, None
        return
    first, second = _sobol(len(grid))
    for number, (rank, share) in enumerate(zip(first, second, strict=True)):
        if tuning.sampler == "sobol":
            if number == 0:
                continue  # the untuned trial takes its place
            rate = _between(grid[0], grid[-1], rank, log=True)
        else:  # each rate once
            rate = grid[sorted(first).index(rank)]
            if rate == 1.0:
                continue
        yield (
            rate,
            None if search is None else _between(search.low, search.high, share, log=search.log),
        )


def _sobol(count: int) -> tuple[list[float], list[float]]:
    """The first points of a scrambled Sobol sequence, by coordinate, 0 to 1."""
    from torch.quasirandom import SobolEngine

    engine = SobolEngine(2, scramble=True, seed=SEED)  # type: ignore[no-untyped-call]
    points = engine.draw(count).double()
    return points[:, 0].tolist(), points[:, 1].tolist()


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    """Three digits: what a person would write."""
    value = low * (high / low) ** share if log else low + (high - low) * share
    return float(f"{value:.3g}")


def _search(strategy: Strategy, knob: str) -> Search:
    fields = type(strategy).model_fields
    if knob not in fields:
        raise UsageError(
            f"tuning.knobs: {strategy.name} has no setting {knob!r}{did_you_mean(knob, fields)}"
        )
    for found in fields[knob].metadata:
        if isinstance(found, Search):
            return found
    raise UsageError(f"tuning.knobs: {strategy.name}.{knob} declares no range to search (`Search`)")


# -- strategies without a rate ------------------------------------------------------------------


def holds_rate(strategy: Strategy) -> bool:
    """True if any directive of the strategy has a rate that the shared multiplier reaches.

    Its phases are asked for, for an outline of a network; one that looks at gradients has a rate.
    """
    if not shares_rate(type(strategy)):
        return False
    try:
        found = directives(strategy, Outline(), 1.0)
        return any(isinstance(directive, Phase) for directive, _ in found)
    except HarnessError:  # it wants more of a network than an outline: a run will tell
        return True

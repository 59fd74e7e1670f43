"""Trials of a row in figures: what was tried and chosen, what it cost, what fewer would have found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from harness.api.leaderboard import TunedRow
from harness.api.records import RunResult
from harness.leaderboard.tracks import Selection, TrialRun, has_diverged

TESTED = re.compile(r"best on validation: phase .*, epoch ([0-9.e+-]+)")
POINTS = 100.0


def describe_tuning(
    units: Iterable[Sequence[TrialRun]], knob: str, selection: Selection
) -> TunedRow | None:
    """Figures on what was tried and chosen for a row; None: nothing was."""
    from harness.stats.aggregate import expected_best  # with numpy, which plain ranking needs not

    units = [list(trials) for trials in units if trials]
    chosen = [selection.choose(trials) for trials in units]
    known = [trial for trial in chosen if trial.run.status == "ok"]
    if not known:
        return None
    runs = [trial.run for trials in units for trial in trials]
    rates = sorted({trial.rate for trials in units for trial in trials})
    count = Counter(trial.rate for trial in known)
    ends = {rates[0], rates[-1]} if len(rates) > 1 else set()
    curves = [
        [expected_best(scores, n) for n in range(1, len(scores) + 1)]
        for trials in units
        if len(scores := _scores(trials, selection)) == len(trials)
    ]
    longest = max(map(len, curves), default=0)
    whole = [curve for curve in curves if len(curve) == longest]
    packed = any(run.cost.packed for run in runs)
    sign = POINTS if selection.higher_is_better else -POINTS
    return TunedRow(
        trials=max(map(len, units)),
        metric=selection.metric,
        chosen={f"{one:g}": count[one] for one in rates if count[one]},
        knob=knob,
        edge=sum(count[one] for one in ends) / len(known),
        last_epoch=sum(_learned_to_the_end(trial.run) for trial in known) / len(known),
        diverged=sum(map(has_diverged, runs)),
        seconds=None if packed else sum(run.cost.alone.total for run in runs),
        best_so_far=tuple(
            sign * sum(curve[n] for curve in whole) / len(whole) for n in range(longest)
        ),
    )


def _scores(trials: Sequence[TrialRun], selection: Selection) -> list[float]:
    """Of all trials; a diverged one has the lowest score of the others."""
    scores = [selection.score(trial.run) for trial in trials]
    known = [score for score in scores if score is not None]
    return [min(known) if score is None else score for score in scores] if known else []


def _learned_to_the_end(run: RunResult) -> bool:
    """True if the checkpoint that was tested is that of the last epoch."""
    found = TESTED.fullmatch(run.tested)
    if found is None:
        return run.tested.startswith("last epoch")
    return bool(run.history) and abs(float(found[1]) - run.history[-1].epoch) < 1e-6 * max(
        1.0, run.history[-1].epoch
    )

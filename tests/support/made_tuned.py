"""Made-up boards of a tuned suite on several splits, and of one with label budgets."""

from __future__ import annotations

import itertools

from made import BACKBONES, made_failure, made_plan, made_planned, sha
from made_page import PROTOCOL, made_run

from harness.api.records import MetricValue
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.tracks import Selection

DATASETS = ("demo-mri", "demo-xray")
RATES = (1.0, 0.3, 3.0)  # of trials 0, 1, 2
KNOB = {"l2-sp": ("rate", "alpha")}


def changes_of(dataset, split, settings, labels=None):
    """A run's spec and data on one of several splits of the same samples."""
    spec = {
        "protocol": PROTOCOL.model_copy(update={"split_seed": split}),
        "settings": settings, "labels": labels, "data": sha("data", dataset, split),
    }  # fmt: skip
    return spec, {"samples": sha("samples", dataset)}


def tuned_runs(draws=((0, 0), (1, 1), (2, 2))):
    """[(trial, run)] of three strategies on two datasets, for each (split, seed).

    Trial 2 of l2-sp has diverged everywhere on demo-mri; validation prefers, by turns, each trial.
    """
    found = []
    cells = itertools.product(DATASETS, ("full-ft", "lp-ft", "l2-sp"), draws, range(len(RATES)))
    for dataset, strategy, (split, seed), trial in cells:
        rate = {} if trial == 0 else {"rate": RATES[trial]}
        knob = {"alpha": 0.01 * 10**trial} if strategy in KNOB else {}
        spec, data = changes_of(dataset, split, rate | knob)
        if (strategy, trial, dataset) == ("l2-sp", 2, "demo-mri"):
            run = made_failure(dataset, BACKBONES[0], strategy, seed, spec=spec, data=data)
        else:
            run = made_run(dataset, BACKBONES[0], strategy, seed, spec=spec)
            # `made_run` names its classes itself.
            run = run.model_copy(update={"data": run.data.model_copy(update=data)})
            score = 0.6 + int(sha("validation", run.run_id)[:6], 16) / 2**24 * 0.3
            run = run.model_copy(
                update={"validation": {"balanced-accuracy": MetricValue(value=score)}}
            )
        found.append((trial, run))
    return found


def plan_of(trials):
    """The plan that asked for these trials."""
    lines = tuple(
        made_planned(run.spec).model_copy(
            update={
                "split": run.spec.protocol.split_seed, "trial": trial,
                "tuned": KNOB.get(run.spec.strategy, ("rate",)),
            }
        )
        for trial, run in trials
    )  # fmt: skip
    return made_plan([]).model_copy(update={"runs": lines})


def tuned_study(most=None, **given):
    """(board, results, trials): a tuned track and that of its untuned runs."""
    trials = tuned_runs(**given)
    results = [run for _, run in trials]
    selection = Selection("balanced-accuracy", most=most)
    return build_leaderboard(results, plan_of(trials), selection=selection), results, trials


def labelled_study():
    """(board, results) of two strategies on two datasets with 5 %, 25 % and all labels."""
    results = []
    cells = itertools.product(DATASETS, ("full-ft", "lp-ft"), (0, 1), ("100%", "25%", "5%"))
    for dataset, strategy, seed, budget in cells:
        labels = None if budget == "100%" else budget
        spec, _ = changes_of(dataset, 0, {}, labels)
        results.append(made_run(dataset, BACKBONES[0], strategy, seed, spec=spec))
    lines = tuple(
        made_planned(run.spec).model_copy(update={"labels": run.spec.labels}) for run in results
    )
    plan = made_plan([]).model_copy(update={"runs": lines})
    return build_leaderboard(results, plan), results

"""Further test sets of finished runs: which lack one, how it is predicted, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.api.execution import Outcome, Predictions
from harness.api.metric import softmax
from harness.api.records import RunResult, RunSpec
from harness.data.preparation.info import DatasetInfo, ExternalInfo
from harness.errors import StoreError, UsageError
from harness.results.store import Store, weights_file
from harness.utils import files
from harness.utils.names import first_few
from harness.utils.text import plural

OPTION = "--retrain-for-external"
# Assumed: mean distance of the test probabilities of a run from those of its weights, which another
# machine's kernels round differently.
ROUNDING = 0.01


@dataclass(frozen=True)
class ExternalPlan:
    """The finished runs of a call that lack a further test set.

    Attributes:
        sets: (dataset, name) -> what is known of it.
        weights: run id -> file of its tested weights, by which it is predicted.
        lost: runs that kept none: they would have to be trained again.
        lacking: all of them.
    """

    sets: Mapping[tuple[str, str], ExternalInfo] = field(default_factory=dict)
    weights: Mapping[str, Path] = field(default_factory=dict)
    lost: tuple[RunSpec, ...] = ()
    lacking: tuple[RunSpec, ...] = ()

    def again(self, *, retrain: bool) -> frozenset[str]:
        """Ids of the runs that are carried out once more."""
        return frozenset({*self.weights, *(spec.run_id for spec in self.lost if retrain)})

    def left(self, after: ExternalPlan, tried: Mapping[str, str]) -> list[tuple[RunSpec, str]]:
        """The runs that lack one after the call, and why.

        Args:
            after: the same plan, made again when all runs were carried out.
            tried: run id -> why none could be added to it.
        """
        before = {spec.run_id: "its weights were not kept" for spec in self.lost}
        other = "whatever carries runs out here predicts no further test set"
        reasons = {**before, **tried}
        return [(spec, reasons.get(spec.run_id, other)) for spec in after.lacking]

    def describe(self, *, retrain: bool) -> list[str]:
        """Lines for people; none where there are no further test sets."""
        lines = [
            f"external {name} of {dataset}: {plural(info.images, 'image')}, predicted by every run"
            for (dataset, name), info in self.sets.items()
        ]
        if self.weights:
            lines.append(
                f"{plural(len(self.weights), 'finished run')} without: predicted from saved weights"
            )
        if self.lost:
            what = "are trained again" if retrain else f"would be trained again: {OPTION} does so"
            lines.append(
                f"{plural(len(self.lost), 'finished run')} without, and without saved weights: {what}"
            )
            lines += [f"  {spec.cell}, seed {spec.seed}" for spec in self.lost]
        return lines


def plan_external(
    specs: Sequence[RunSpec], store: Store, datasets: Mapping[str, DatasetInfo]
) -> ExternalPlan:
    """Look for finished runs that lack a further test set of their dataset.

    Raises:
        UsageError: a run has other images under a name.
        StoreError: a result cannot be read.
    """
    sets = {
        (dataset, name): one
        for dataset, info in datasets.items()
        for name, one in info.external.items()
    }
    weights: dict[str, Path] = {}
    lacking: list[RunSpec] = []
    changed: list[str] = []
    for spec in specs if sets else ():
        info = datasets.get(spec.dataset)
        run = store.find(spec) if info is not None and info.external else None
        if run is None or info is None:
            continue
        known = {
            name: run.external[name].fingerprint == one.fingerprint
            for name, one in info.external.items()
            if name in run.external
        }
        changed += [f"{name} in run {spec.run_id}" for name, same in known.items() if not same]
        if info.external.keys() - known.keys():
            file = weights_file(store.folder / "weights", spec.run_id)
            if files.exists(file):
                weights[spec.run_id] = file
            lacking.append(spec)
    if changed:
        raise UsageError(
            f"external {first_few(changed)}: there it was other images; give these another name, or "
            "the results another folder with --out"
        )
    lost = tuple(spec for spec in lacking if spec.run_id not in weights)
    return ExternalPlan(sets, weights, lost, tuple(lacking))


@dataclass
class ExternalKeeper:
    """Adds further test sets to finished runs.

    Attributes:
        again: ids of the finished runs that are carried out once more for them.
        without: run id -> why none could be added to it.
        added: how many got some.
    """

    store: Store
    say: Callable[[str], None]
    again: frozenset[str] = frozenset()
    without: dict[str, str] = field(default_factory=dict)
    added: int = 0

    def keep(self, outcome: Outcome) -> RunResult:
        """Add what an outcome has; returns the record as it stands on disk, or of the failure.

        Raises:
            StoreError: a file cannot be read or written.
        """
        result = outcome.result
        if result.status != "ok" or outcome.predictions is None:
            why = result.error.headline if result.error else result.status
            self.without[result.run_id] = why
            return result
        there = self.store.find(result.spec)
        if there is None:
            raise StoreError(f"run {result.run_id} is gone from {self.store.folder}: run it again")
        stored = self.store.predictions(there)
        if _from_weights(result):
            far = distance(stored, outcome.predictions)
            if not far <= ROUNDING:  # also where it is no number
                why = (
                    f"its saved weights predict the test split otherwise (probabilities differ by "
                    f"{far:.2g} in the mean): they are not those that it tested"
                )
                self.say(f"{result.spec.cell} (seed {result.spec.seed}): {why}")
                self.without[result.run_id] = why
                return there
        self.added += 1
        if not _from_weights(result) and not _equal(stored, outcome.predictions):
            self.say(
                f"{result.spec.cell} (seed {result.spec.seed}) came out differently when it was "
                "trained again: the new run stands in its place"
            )
            return self.store.replace(outcome)
        return self.store.add_external(there, outcome)


def _from_weights(result: RunResult) -> bool:
    return any(record.from_weights for record in result.external.values())


def distance(stored: Predictions, found: Predictions) -> float:
    """Mean absolute difference of the probabilities on the test split; infinite for other rows."""
    if not np.array_equal(stored.rows["test"], found.rows["test"]):
        return float("inf")
    gap = np.abs(softmax(stored.logits["test"]) - softmax(found.logits["test"]))
    return float(gap.mean())


def _equal(one: Predictions, other: Predictions) -> bool:
    return all(np.array_equal(logits, other.logits[split]) for split, logits in one.logits.items())

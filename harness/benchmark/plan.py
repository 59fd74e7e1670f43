"""The plan of a call: every run, how it is computed, how many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.api.records import NumericMode, Plan, PlannedRun, RunSpec
from harness.benchmark.identity import run_specs
from harness.benchmark.numerics import numeric_mode
from harness.benchmark.request import BenchOptions
from harness.benchmark.sizing import side_by_side
from harness.benchmark.suite import ResolvedSuite
from harness.benchmark.trials import Trial
from harness.data.preparation import DatasetInfo
from harness.plugins.registry import PluginRegistry
from harness.weights import WeightsFile


@dataclass(frozen=True)
class BenchPlan:
    """Every run that was asked for, and how it is computed.

    Attributes:
        trials: run id -> the trial that it is.
        datasets: what is known of the datasets that are here.
        weights: backbone, with its start, -> the file that is here; None: random weights.
        numeric: (dataset, backbone) -> how numbers are computed.
        jobs: runs side by side.
        memory: what is planned of a card's memory, in words.
    """

    resolved: ResolvedSuite
    specs: tuple[RunSpec, ...]
    trials: Mapping[str, Trial]
    datasets: Mapping[str, DatasetInfo]
    weights: Mapping[str, WeightsFile | None]
    numeric: Mapping[tuple[str, str], NumericMode]
    device: str
    jobs: int
    memory: str

    def record(self) -> Plan:
        """The plan as it is stored: a form that adds up over calls."""
        suite, datasets = self.resolved.suite, self.resolved.datasets
        runs = []
        for spec in self.specs:
            trial = self.trials[spec.run_id]
            modality = datasets[spec.dataset].modality
            runs.append(PlannedRun.of(spec, modality, trial.number, trial.tuned))
        return Plan(suites={suite.name: suite}, runs=tuple(runs))


def make_plan(
    resolved: ResolvedSuite,
    options: BenchOptions,
    loaded: PluginRegistry,
    datasets: Mapping[str, DatasetInfo],
    weights: Mapping[str, WeightsFile | None],
) -> BenchPlan:
    """Plan every run of a suite.

    `datasets` and `weights` (of backbones with their starts): as far as they are here; without them the identity of a
    run is provisional, as in a dry run.
    """
    suite, numeric = resolved.suite, {}
    for dataset in suite.datasets:
        images = datasets[dataset].counts["train"] if dataset in datasets else None
        for backbone in suite.backbones:
            numeric[dataset, backbone] = numeric_mode(
                options,
                resolved.precision,
                loaded.backbones[backbone],
                suite.protocol,
                images,
            )
    runs = run_specs(resolved, loaded, numeric, datasets, weights)
    jobs, memory = side_by_side(runs.specs, datasets, loaded, options)
    return BenchPlan(
        resolved, runs.specs, runs.trials, datasets, weights, numeric, options.device, jobs, memory
    )

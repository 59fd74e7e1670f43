"""The plan of a call: every run, how it is computed, how many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from harness.api.launcher import Launcher
from harness.api.records import NumericMode, Plan, PlannedRun, RunSpec
from harness.benchmark.identity import run_specs
from harness.benchmark.listeners.events import Group
from harness.benchmark.numerics import numeric_mode
from harness.benchmark.request import BenchOptions
from harness.benchmark.sizing import side_by_side
from harness.benchmark.suite.resolve import ResolvedSuite
from harness.benchmark.suite.trials import Trial
from harness.data.preparation.info import DatasetInfo
from harness.plugins.registry import PluginRegistry
from harness.weights import WeightsFile


@dataclass(frozen=True)
class BenchPlan:
    """Every run that was asked for, and how it is computed.

    Attributes:
        specs: the runs of this call.
        asked: those of the whole suite, of which the call may be a shard.
        shards: run id -> the shard that it is in, as I/N; empty: the call is no shard.
        trials: run id -> the trial that it is.
        datasets: what is known of the datasets that are here.
        weights: backbone, with its start, -> the file that is here; None: random weights.
        numeric: (dataset, backbone) -> how numbers are computed.
        jobs: runs side by side.
        memory: what is planned of a card's memory, in words.
        here: runs are made on this machine, whose device can be tried.
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
    here: bool = True
    asked: tuple[RunSpec, ...] = ()
    shards: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> Plan:
        """The plan as it is stored: a form that adds up over calls."""
        suite, datasets = self.resolved.suite, self.resolved.datasets
        runs = []
        for spec in self.asked:
            trial = self.trials[spec.run_id]
            modality = datasets[spec.dataset].modality
            line = PlannedRun.of(spec, modality, trial.number, trial.tuned)
            runs.append(line.model_copy(update={"shard": self.shards.get(spec.run_id, "")}))
        return Plan(suites={suite.name: suite}, runs=tuple(runs))


def make_plan(
    resolved: ResolvedSuite,
    options: BenchOptions,
    loaded: PluginRegistry,
    datasets: Mapping[str, DatasetInfo],
    weights: Mapping[str, WeightsFile | None],
    launcher: Launcher,
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
    jobs, memory = side_by_side(runs.specs, datasets, loaded, options, launcher)
    return BenchPlan(
        resolved=resolved,
        specs=runs.specs,
        trials=runs.trials,
        datasets=datasets,
        weights=weights,
        numeric=numeric,
        device=options.device,
        jobs=jobs,
        memory=memory,
        here=launcher.here,
        asked=runs.specs,
    )


def take_shard(plan: BenchPlan, part_of: Mapping[str, int], shard: tuple[int, int]) -> BenchPlan:
    """Part I of N of a plan; `part_of`: run id -> number of its part."""
    part, parts = shard
    specs = tuple(spec for spec in plan.asked if part_of[spec.run_id] == part)
    shards = {spec.run_id: f"{part_of[spec.run_id]}/{parts}" for spec in plan.asked}
    return replace(plan, specs=specs, shards=shards)


def named_shards(plan: BenchPlan, named: Mapping[str, str], parts: int) -> dict[str, int]:
    """Run id -> number of its part, as lines `I/N` name it; empty: not of all runs, or of another N."""
    found = {}
    for spec in plan.asked:
        part, _, whole = named.get(spec.run_id, "").partition("/")
        if whole != str(parts):
            return {}
        found[spec.run_id] = int(part)
    return found


def divide(specs: Sequence[RunSpec], work: Mapping[str, float], parts: int) -> dict[str, int]:
    """Run id -> number of its part, from 1 on: parts of about equal work, and few of any group.

    Runs are put in the order of their groups and cut where the work says, so that N parts open at
    most N - 1 groups more than there are.  Whoever cuts the same plan cuts it alike.

    Args:
        specs: the runs of a plan.
        work: run id -> operations; a run that cannot be counted is taken for one of the others.
        parts: how many; some are empty where there are more of them than runs.
    """
    groups: dict[Group, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(Group.of(spec), []).append(spec)
    ordered = [spec for group in groups.values() for spec in group]
    typical = (fmean(work.values()) if work else 0.0) or 1.0
    sizes = [work.get(spec.run_id, typical) or typical for spec in ordered]
    whole, done, found = sum(sizes), 0.0, {}
    for spec, size in zip(ordered, sizes, strict=True):
        found[spec.run_id] = min(parts, 1 + int((done + size / 2) / whole * parts))
        done += size
    return found

"""The identity of every run of a suite: the only place where a `RunSpec` is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from harness.api.execution import ENGINE_VERSION
from harness.api.records import Augmentation, NumericMode, RunSpec, Suite, started
from harness.benchmark.suite.resolve import ResolvedSuite
from harness.benchmark.suite.settings import strategy_of
from harness.benchmark.suite.trials import Trial, label_budgets, seed_pairs, trials_of
from harness.data.division.split import Division
from harness.data.preparation.info import DatasetInfo
from harness.plugins.registry import PluginRegistry
from harness.weights import WeightsFile

ABSENT = "not fetched"
MIRROR: Augmentation = "flip-where-allowed"
# Role in `RunSpec.sources` -> the registry's collection.
ROLES = {"backbone": "backbones", "strategy": "strategies", "metric": "metrics"}


@dataclass(frozen=True)
class PlannedSpecs:
    """Every run of a suite, and the trial that each is, by run id."""

    specs: tuple[RunSpec, ...]
    trials: Mapping[str, Trial]


def run_specs(
    resolved: ResolvedSuite,
    loaded: PluginRegistry,
    numeric: Mapping[tuple[str, str], NumericMode],
    datasets: Mapping[str, DatasetInfo],
    weights: Mapping[str, WeightsFile | None],
) -> PlannedSpecs:
    """Every run of the product, one (dataset, backbone, start, division) after another, with its trial.

    Where data or weights are not here, as in a dry run, the identity is
    provisional.
    """
    suite, request = resolved.suite, resolved.request
    trials = {
        name: trials_of(strategy_of(loaded, name, suite.settings.get(name, {})), suite.tuning)
        for name in suite.strategies
    }
    own = {
        name: suite.protocol.resolve(loaded.backbones[name].preprocessing)
        for name in suite.backbones
    }
    hashes = {name: file.sha256 if file else "none" for name, file in weights.items()}
    sources = {
        (kind, name): loaded.source(kind, name)
        for kind, names in (
            ("backbones", suite.backbones),
            ("strategies", suite.strategies),
            ("metrics", (suite.protocol.metric,)),
        )
        for name in names
    }
    starts: list[str | None] = [start.name for start in resolved.starts] or [None]
    found: list[RunSpec] = []
    planned: dict[str, Trial] = {}
    for division, seeds in divisions(suite).items():
        protocol = suite.protocol.model_copy(update={"split_seed": division.split})
        for dataset, backbone, start, seed, strategy in product(
            suite.datasets, suite.backbones, starts, seeds, suite.strategies
        ):
            known = datasets[dataset].divided(division) if dataset in datasets else None
            for trial in trials[strategy][: request.trials]:
                spec = RunSpec(
                    dataset=dataset,
                    backbone=backbone,
                    strategy=strategy,
                    settings=dict(trial.settings),
                    protocol=protocol,
                    seed=seed,
                    limit=request.limit,
                    data=known.fingerprint if known else ABSENT,
                    weights=hashes.get(started(backbone, start), ABSENT),
                    sources={
                        "backbone": sources["backbones", backbone],
                        "strategy": sources["strategies", strategy],
                        "metric": sources["metrics", suite.protocol.metric],
                    },
                    engine=ENGINE_VERSION,
                    numeric=numeric[dataset, backbone],
                    present_only=known is not None and bool(known.lacking),
                    labels=division.labels,
                    mirrored=MIRROR in protocol.augment and resolved.datasets[dataset].mirrors,
                    preprocessing=own[backbone],
                    start=start,
                )
                found.append(spec)
                planned[spec.run_id] = trial
    return PlannedSpecs(tuple(found), planned)


def divisions(suite: Suite) -> dict[Division, list[int]]:
    """Every division of the datasets that a suite trains on, with the seeds that run on it."""
    found: dict[Division, list[int]] = {}
    for labels in label_budgets(suite):
        for seed, split in seed_pairs(suite):
            found.setdefault(Division(split, labels), []).append(seed)
    return found


def code_names(spec: RunSpec) -> dict[str, str]:
    """Role -> name of what its code makes the result."""
    return {"backbone": spec.backbone, "strategy": spec.strategy, "metric": spec.protocol.metric}

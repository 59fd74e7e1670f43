"""The identity of every run of a suite: the only place where a `RunSpec` is made."""

from __future__ import annotations

from collections.abc import Mapping

from harness.api.execution import ENGINE_VERSION
from harness.api.records import NumericMode, RunSpec
from harness.benchmark.request import BenchRequest
from harness.benchmark.suite import ResolvedSuite, strategy_of
from harness.data.preparation import DatasetInfo
from harness.plugins import provenance
from harness.plugins.registry import PluginRegistry
from harness.weights import WeightsFile

ABSENT = "not fetched"


def run_specs(
    resolved: ResolvedSuite,
    request: BenchRequest,
    loaded: PluginRegistry,
    numeric: Mapping[tuple[str, str], NumericMode],
    datasets: Mapping[str, DatasetInfo],
    weights: Mapping[str, WeightsFile | None],
) -> tuple[RunSpec, ...]:
    """Every run of the product, one (dataset, backbone) after another; `--shard` keeps its share.

    Where data or weights are not here, as in a dry run, the identity is provisional.
    """
    suite = resolved.suite
    settings = {
        name: strategy_of(loaded, name, suite.settings.get(name, {})).model_dump(mode="json")
        for name in suite.strategies
    }
    data = {name: one.fingerprint for name, one in datasets.items()}
    hashes = {name: file.sha256 if file else "none" for name, file in weights.items()}
    found = [
        RunSpec(
            dataset=dataset,
            backbone=backbone,
            strategy=strategy,
            settings=settings[strategy],
            protocol=suite.protocol,
            seed=seed,
            limit=request.limit,
            data=data.get(dataset, ABSENT),
            weights=hashes.get(backbone, ABSENT),
            sources={
                "backbone": _source(loaded, "backbones", backbone),
                "strategy": _source(loaded, "strategies", strategy),
                "metric": _source(loaded, "metrics", suite.protocol.metric),
            },
            engine=ENGINE_VERSION,
            numeric=numeric[dataset, backbone],
        )
        for dataset in suite.datasets
        for backbone in suite.backbones
        for seed in suite.seeds
        for strategy in suite.strategies
    ]
    if request.shard is not None:
        part, parts = request.shard
        found = [spec for spec in found if int(spec.run_id, 16) % parts == part - 1]
    return tuple(found)


def _source(loaded: PluginRegistry, kind: str, name: str) -> str:
    """sha256 of the code of the plugin that offers it."""
    return provenance.source_hash(loaded.owner(kind, name).module)

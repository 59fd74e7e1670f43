"""The identity of every run of a suite: the only place where a `RunSpec` is made."""

from __future__ import annotations

from collections.abc import Mapping

from harness.api.execution import ENGINE_VERSION
from harness.api.records import NumericMode, RunSpec
from harness.benchmark.suite import ResolvedSuite, strategy_of
from harness.data.preparation import DatasetInfo
from harness.plugins import provenance
from harness.plugins.registry import PluginRegistry
from harness.weights import WeightsFile

ABSENT = "not fetched"
# Role in `RunSpec.sources` -> the registry's collection.
ROLES = {"backbone": "backbones", "strategy": "strategies", "metric": "metrics"}


def run_specs(
    resolved: ResolvedSuite,
    loaded: PluginRegistry,
    numeric: Mapping[tuple[str, str], NumericMode],
    datasets: Mapping[str, DatasetInfo],
    weights: Mapping[str, WeightsFile | None],
) -> tuple[RunSpec, ...]:
    """Every run of the product, one (dataset, backbone) after another; `--shard` keeps its share.

    Where data or weights are not here, as in a dry run, the identity is provisional.
    """
    suite, request = resolved.suite, resolved.request
    settings = {
        name: strategy_of(loaded, name, suite.settings.get(name, {})).model_dump(mode="json")
        for name in suite.strategies
    }
    data = {name: one.fingerprint for name, one in datasets.items()}
    hashes = {name: file.sha256 if file else "none" for name, file in weights.items()}
    sources = {
        (kind, name): provenance.source_hash(loaded.owner(kind, name).module)
        for kind, names in (
            ("backbones", suite.backbones),
            ("strategies", suite.strategies),
            ("metrics", (suite.protocol.metric,)),
        )
        for name in names
    }
    specs = [
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
                "backbone": sources["backbones", backbone],
                "strategy": sources["strategies", strategy],
                "metric": sources["metrics", suite.protocol.metric],
            },
            engine=ENGINE_VERSION,
            numeric=numeric[dataset, backbone],
            present_only=dataset in datasets and bool(datasets[dataset].lacking),
        )
        for dataset in suite.datasets
        for backbone in suite.backbones
        for seed in suite.seeds
        for strategy in suite.strategies
    ]
    if request.shard is not None:
        part, parts = request.shard
        specs = [spec for spec in specs if int(spec.run_id, 16) % parts == part - 1]
    return tuple(specs)


def code_names(spec: RunSpec) -> dict[str, str]:
    """Role -> name of what its code makes the result."""
    return {"backbone": spec.backbone, "strategy": spec.strategy, "metric": spec.protocol.metric}

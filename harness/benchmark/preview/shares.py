"""The shards of a plan as calls of their own: the runs of each, the seconds and the memory they take."""

from __future__ import annotations

from dataclasses import dataclass

from harness.api.records import RunSpec
from harness.benchmark.forecast.seconds import estimate
from harness.benchmark.plan import divide
from harness.benchmark.preview.outlook import DryRun
from harness.benchmark.sizing import host_memory
from harness.plugins.registry import PluginRegistry


@dataclass(frozen=True)
class PlannedShard:
    """Part I of N of a plan, as `--shard I/N` makes it.

    Attributes:
        runs: those that are in it; none where there are more shards than runs.
        seconds: that it takes on this machine if patience ends no run early, with its start; None:
            not known of all its runs.
        memory: bytes of main memory, about (assumed); None: not known of all its runs.
    """

    runs: tuple[RunSpec, ...]
    seconds: float | None
    memory: int | None


def plan_shards(dry: DryRun, parts: int, loaded: PluginRegistry) -> tuple[PlannedShard, ...]:
    """The shards of a plan in the order of their numbers, cut as calls with `--shard` cut it."""
    plan, outlook = dry.plan, dry.outlook
    work = {run: one.total for run, one in outlook.works.items()}
    part_of = divide(plan.asked, work, parts)
    memory = host_memory(plan.asked, plan.datasets, loaded, plan.jobs)
    found = []
    for part in range(1, parts + 1):
        runs = tuple(spec for spec in plan.asked if part_of[spec.run_id] == part)
        time = estimate(runs, outlook.works, outlook.paces, plan.jobs)
        needs = [memory.get((spec.dataset, spec.backbone)) for spec in runs]
        known = [need for need in needs if need is not None]
        found.append(
            PlannedShard(
                runs,
                time.most + outlook.ready if time.counted == len(runs) else None,
                max(known, default=0) if len(known) == len(needs) else None,
            )
        )
    return tuple(found)

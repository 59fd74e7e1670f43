"""Shards of a suite: groups that they open, and the largest of them, cut by work and by run id.

python benchmarks/speed/shards.py
python benchmarks/speed/shards.py --suite paper-2024 --parts 2,8,32
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.api.records import RunSpec
from harness.benchmark.forecast.probe import On
from harness.benchmark.forecast.survey import Question, ask
from harness.benchmark.forecast.work import Networks
from harness.benchmark.listeners.events import Group
from harness.benchmark.plan import divide
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.run import dry_run
from harness.plugins.registry import load_plugins


def told(specs: Sequence[RunSpec], work: Mapping[str, float], found: Mapping[str, int]) -> str:
    """Groups opened by all parts together, and the largest part in mean ones."""
    opened = len({(Group.of(spec), found[spec.run_id]) for spec in specs})
    sizes = Counter[int]()
    for spec in specs:
        sizes[found[spec.run_id]] += work[spec.run_id]  # type: ignore[assignment]
    parts = max(found.values())
    return f"{opened} groups, {max(sizes.values()) / (sum(sizes.values()) / parts):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--suite", default="demo")
    parser.add_argument("--parts", default="2,4,8,15", help="numbers of shards")
    parser.add_argument("--out", type=Path, default=Path("results/shards"), help="a results folder")
    args = parser.parse_args()
    loaded = load_plugins()
    options = BenchOptions(out=args.out, device="cpu")
    plan = dry_run(BenchRequest(suite=args.suite), options, loaded, lambda _: None).plan
    specs = [spec for spec in plan.asked if spec.dataset in plan.datasets]
    answer = ask(Question(specs, plan.datasets, Networks(()), On("cpu", 1, "fast")), loaded)
    work = {run: one.total for run, one in answer.works.items()}
    specs = [spec for spec in specs if spec.run_id in work]
    print(f"{len(specs)} runs, {len({Group.of(spec) for spec in specs})} groups")
    for parts in map(int, args.parts.split(",")):
        by_id = {spec.run_id: 1 + int(spec.run_id, 16) % parts for spec in specs}
        now, before = (told(specs, work, each) for each in (divide(specs, work, parts), by_id))
        print(f"{parts} shards: {now} (by run id: {before})")


if __name__ == "__main__":
    main()

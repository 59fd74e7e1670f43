"""The main job in one straight line: ask, plan, carry out, store, rank, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.api.execution import Outcome
from harness.api.leaderboard import Leaderboard
from harness.api.records import RunResult
from harness.benchmark import plan as plans
from harness.benchmark import suite as suites
from harness.benchmark import workers
from harness.benchmark.dry_run import DryRun
from harness.benchmark.executor import WorkerSetup
from harness.benchmark.plan import BenchPlan
from harness.benchmark.profile import DecodingCost, Profile
from harness.benchmark.progress import DecodingProgress, ProgressReporter
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.sizing import choose_device
from harness.benchmark.suite import ResolvedSuite
from harness.data import preparation, requirements
from harness.data.preparation import PreparedDataset
from harness.leaderboard import boards
from harness.plugins.registry import PluginRegistry
from harness.results.store import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchResult:
    """What a call came to.

    Attributes:
        failed: runs it asked for that have failed, now or before.
        asked: ids of all the runs it asked for.
        profile: where its time went.
    """

    board: Leaderboard
    folder: Path
    ran: int
    already_done: int
    failed: list[RunResult]
    asked: frozenset[str]
    profile: Profile


def run_benchmark(
    request: BenchRequest, options: BenchOptions, loaded: PluginRegistry, say: Say
) -> BenchResult:
    """The line: every command that makes results goes through here.

    Raises:
        HarnessError: with what, where and what to do.
    """
    profile = Profile()
    with profile.measure("prepare"):
        options = replace(options, device=choose_device(options.device))
        resolved = suites.resolve_suite(request, loaded)
        store = Store(options.out or Path("results") / resolved.suite.name)
        store.check_writable()
        plans.require(resolved, loaded, request, options.access)
        where = plans.weights_from(resolved, request)
        weights = plans.find_weights(resolved.suite.backbones, loaded, where, options.access)
        datasets = _prepare(resolved, request, options, say)
        known = {name: one.info for name, one in datasets.items()}
        plan = plans.make_plan(resolved, request, options, loaded, known, weights)
        if plan.memory:
            say(plan.memory)
        store.extend_plan(plan.record())
        setup = _setup(plan, datasets, store, options, loaded)
        ids = [spec.run_id for spec in plan.specs]
        missing = set(store.missing(ids, retry_failed=options.retry_failed))
        todo = [spec for spec in plan.specs if spec.run_id in missing]
    with profile.measure("runs"):
        decoding = DecodingCost({name: one.seconds for name, one in datasets.items()})

        def keep(outcome: Outcome) -> RunResult:
            return store.add(replace(outcome, result=decoding.charge(outcome.result)))

        if todo:
            with ProgressReporter(
                loaded, len(todo), keep, live=options.live, profile=profile
            ) as reporter:
                workers.execute_runs(todo, setup, loaded, reporter, plan.jobs)
    with profile.measure("board"):
        board = boards.refresh_board(store, loaded)
    asked = frozenset(ids)
    failed = [run for run in store.failures() if run.run_id in asked]
    done = len(ids) - len(todo)
    return BenchResult(board, store.folder, len(todo), done, failed, asked, profile)


def _prepare(
    resolved: ResolvedSuite, request: BenchRequest, options: BenchOptions, say: Say
) -> dict[str, PreparedDataset]:
    """Every dataset: read, split and decoded."""
    found = {}
    for name, dataset in resolved.datasets.items():
        started = time.perf_counter()
        made = preparation.prepare_dataset(
            dataset,
            resolved.suite.protocol,
            options.access,
            limit=request.limit,
            progress=DecodingProgress(name, say),
        )
        found[name] = replace(made, seconds=time.perf_counter() - started)
        skipped = made.images.record.skipped
        if skipped:
            say(f"{name}: {len(skipped)} bad images left out: {', '.join(skipped[:5])}")
    return found


def _setup(
    plan: BenchPlan,
    datasets: Mapping[str, PreparedDataset],
    store: Store,
    options: BenchOptions,
    loaded: PluginRegistry,
) -> WorkerSetup:
    """What every run shares; the splits are written."""
    images = {}
    for name, one in datasets.items():
        file = store.write_split(name, one.splits.model_dump_json(indent=1))
        record = one.images.record.model_copy(update={"split_file": f"splits/{file}"})
        images[name] = replace(one.images, record=record)
    return WorkerSetup(
        suite=plan.resolved.suite.name,
        images=images,
        weights=plan.weights,
        device=plan.device,
        shortened=plan.resolved.shortened,
        weights_folder=store.folder / "weights" if options.save_weights else None,
        plugins=loaded.args,
        threads=options.threads,
        engine=options.engine,
    )


def dry_run(request: BenchRequest, options: BenchOptions, loaded: PluginRegistry) -> DryRun:
    """What `run_benchmark` would do.  Nothing is fetched, decoded or written; sizes may be asked for.

    Raises:
        HarnessError: something is wrong that can be known without what is missing.
    """
    options = replace(options, device=choose_device(options.device))
    resolved = suites.resolve_suite(request, loaded)
    access, protocol = options.access, resolved.suite.protocol
    data_needs = requirements.data_needs(resolved.datasets, access, ask=True)
    weights_needs = plans.weights_needs(resolved, loaded, request)
    absent = {need.name for need in data_needs.values() if not need.ready}
    known = {
        name: preparation.survey_dataset(dataset, protocol, access, limit=request.limit)
        for name, dataset in resolved.datasets.items()
        if name not in absent
    }
    ready = [
        n for n in resolved.suite.backbones if n not in weights_needs or weights_needs[n].ready
    ]
    where = plans.weights_from(resolved, request)
    files = plans.find_weights(ready, loaded, where, access)
    plan = plans.make_plan(resolved, request, options, loaded, known, files)
    store = Store(options.out or Path("results") / resolved.suite.name)
    return DryRun(plan, store, (*data_needs.values(), *weights_needs.values()), request.limit)

"""The line of `harness bench`: resolve, require, prepare, plan, execute, rank.

Every command that makes results goes through `run_benchmark`; `dry_run` takes the same rooms as far
as that is possible without fetching, decoding or writing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.api.execution import Outcome
from harness.api.leaderboard import Leaderboard
from harness.api.records import RunResult
from harness.benchmark.executor import WorkerSetup
from harness.benchmark.plan import BenchPlan, DryRun, make_plan
from harness.benchmark.profile import DecodingCost, Profile
from harness.benchmark.progress import DecodingProgress, ProgressReporter
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.sizing import choose_device
from harness.benchmark.suite import ResolvedSuite, resolve_suite
from harness.benchmark.workers import execute_runs
from harness.data.preparation import PreparedDataset, prepare_dataset, survey_dataset
from harness.data.requirements import find_weights, list_requirements, require
from harness.leaderboard.boards import refresh_board
from harness.plugins.registry import PluginRegistry
from harness.results.store import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchResult:
    """The outcome of a call.

    Attributes:
        failed: runs it asked for that have failed, now or before.
        asked: ids of all the runs it asked for.
        profile: seconds by part of the call.
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
    """Measure what is asked for as far as it is not done yet, and rank it.

    `say` is told, a line at a time, what a user should know before the runs.

    Raises:
        HarnessError: with what, where and what to do.
    """
    profile = Profile()
    with profile.measure("prepare"):
        options = replace(options, device=choose_device(options.device))
        resolved = resolve_suite(request, loaded)
        suite, access = resolved.suite, options.access
        store = _store(resolved, options)
        store.check_writable()
        backbones = [loaded.backbones[name] for name in suite.backbones]
        needs = list_requirements(resolved.datasets, backbones, resolved.weights, access)
        require(suite.name, needs, access, resolved.fetched_as)
        weights = find_weights(backbones, resolved.weights, access)
        for name, file in weights.items():
            if file is not None and file.note:
                say(f"weights {name}: {file.path.name}: {file.note}")
        datasets = _prepare(resolved, options, say)
        infos = {name: dataset.info for name, dataset in datasets.items()}
        plan = make_plan(resolved, options, loaded, infos, weights)
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
            return store.add(decoding.charge(outcome))

        if todo:
            with ProgressReporter(
                loaded, len(todo), keep, live=options.live, profile=profile
            ) as reporter:
                execute_runs(todo, setup, loaded, reporter, plan.jobs)
    with profile.measure("board"):
        board = refresh_board(store, loaded)
    asked = frozenset(ids)
    failed = [run for run in store.failures() if run.run_id in asked]
    done = len(ids) - len(todo)
    return BenchResult(board, store.folder, len(todo), done, failed, asked, profile)


def dry_run(request: BenchRequest, options: BenchOptions, loaded: PluginRegistry) -> DryRun:
    """Plan what `run_benchmark` would do.  Sizes of what is missing may be asked from the Hub.

    Raises:
        HarnessError: something is wrong that can be known without what is missing.
    """
    options = replace(options, device=choose_device(options.device))
    resolved = resolve_suite(request, loaded)
    suite, access = resolved.suite, options.access
    backbones = [loaded.backbones[name] for name in suite.backbones]
    needs = list_requirements(resolved.datasets, backbones, resolved.weights, access, ask=True)
    absent = {(need.kind, need.name) for need in needs if not need.ready}
    infos = {
        name: survey_dataset(dataset, suite.protocol, access, limit=request.limit)
        for name, dataset in resolved.datasets.items()
        if ("data", name) not in absent
    }
    ready = [backbone for backbone in backbones if ("weights", backbone.name) not in absent]
    weights = find_weights(ready, resolved.weights, access)
    plan = make_plan(resolved, options, loaded, infos, weights)
    return DryRun(plan, _store(resolved, options), needs)


def _store(resolved: ResolvedSuite, options: BenchOptions) -> Store:
    return Store(options.out or Path("results") / resolved.suite.name)


def _prepare(
    resolved: ResolvedSuite, options: BenchOptions, say: Say
) -> dict[str, PreparedDataset]:
    """Read, split and decode every dataset."""
    datasets = {}
    for name, dataset in resolved.datasets.items():
        started = time.perf_counter()
        prepared = prepare_dataset(
            dataset,
            resolved.suite.protocol,
            options.access,
            limit=resolved.request.limit,
            progress=DecodingProgress(name, say),
        )
        skipped = prepared.images.record.skipped
        if skipped:
            say(f"{name}: {len(skipped)} bad images left out: {', '.join(skipped[:5])}")
        datasets[name] = replace(prepared, seconds=time.perf_counter() - started)
    return datasets


def _setup(
    plan: BenchPlan,
    datasets: Mapping[str, PreparedDataset],
    store: Store,
    options: BenchOptions,
    loaded: PluginRegistry,
) -> WorkerSetup:
    """Write the splits, and gather what every run shares."""
    images = {}
    for name, dataset in datasets.items():
        file = store.write_split(name, dataset.splits.model_dump_json(indent=1))
        record = dataset.images.record.model_copy(update={"split_file": f"splits/{file}"})
        images[name] = replace(dataset.images, record=record)
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

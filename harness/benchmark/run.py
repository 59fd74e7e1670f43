"""The line of `harness bench`: resolve, require, prepare, plan, execute, rank.

Every command that makes results goes through `run_benchmark`; `dry_run` takes the same rooms as far
as that is possible without fetching, decoding or writing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.api.dataset import Dataset
from harness.api.leaderboard import Leaderboard
from harness.api.records import RunResult, RunSpec
from harness.benchmark.executor import WorkerSetup
from harness.benchmark.keeping import OutcomeKeeper, complete_runs, without_weights
from harness.benchmark.plan import BenchPlan, DryRun, make_plan
from harness.benchmark.profile import DecodingCost, Profile
from harness.benchmark.progress import DecodingProgress, ProgressReporter
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.sizing import choose_device, several
from harness.benchmark.suite import ResolvedSuite, resolve_suite
from harness.benchmark.workers import begin_imports, execute_runs
from harness.data.preparation import PreparedDataset, prepare_unchecked, survey_dataset
from harness.data.requirements import find_weights, list_requirements, require
from harness.leaderboard.boards import refresh_board
from harness.plugins.registry import PluginRegistry
from harness.results.store import Store
from harness.utils import files

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchResult:
    """The outcome of a call.

    Attributes:
        failed: runs it asked for that have failed, now or before.
        asked: ids of all the runs it asked for.
        profile: seconds by part of the call.
        without_weights: finished runs it asked for whose weights should be kept and are not there.
    """

    board: Leaderboard
    folder: Path
    ran: int
    already_done: int
    failed: list[RunResult]
    asked: frozenset[str]
    profile: Profile
    without_weights: list[RunResult] = field(default_factory=list)


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
        if several(options) and not store.plan().runs:
            begin_imports(options.device, options.threads)
        weights_folder = _weights_folder(store, options)
        if weights_folder is not None:
            files.prepare(weights_folder)
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
        complete_runs(store, [one for one in plan.specs if one.run_id not in missing], loaded, say)
    with profile.measure("runs"):
        decoding = DecodingCost({name: one.seconds for name, one in datasets.items()})
        keeper = OutcomeKeeper(store, decoding, say, weights_folder)

        def execute(specs: Sequence[RunSpec]) -> None:
            with ProgressReporter(
                loaded, len(specs), keeper.keep, live=options.live, profile=profile
            ) as reporter:
                execute_runs(specs, setup, loaded, reporter, plan.jobs)

        def decode_again(name: str) -> None:
            nonlocal setup
            datasets[name] = _prepare_one(resolved, options, say, resolved.datasets[name])
            decoding.add(name, datasets[name].seconds)
            setup = _setup(plan, datasets, store, options, loaded)

        keeper.carry_out(todo, datasets, execute, decode_again)
    with profile.measure("board"):
        board = refresh_board(store, loaded)
    asked = frozenset(ids)
    failed = [run for run in store.failures() if run.run_id in asked]
    done = len(ids) - len(todo)
    lost = without_weights(store, asked, weights_folder)
    return BenchResult(board, store.folder, len(todo), done, failed, asked, profile, lost)


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


def _weights_folder(store: Store, options: BenchOptions) -> Path | None:
    """The folder of tested weights; None: they are not kept."""
    return store.folder / "weights" if options.save_weights else None


def _prepare(
    resolved: ResolvedSuite, options: BenchOptions, say: Say
) -> dict[str, PreparedDataset]:
    """Read, split and decode every dataset."""
    return {
        name: _prepare_one(resolved, options, say, dataset)
        for name, dataset in resolved.datasets.items()
    }


def _prepare_one(
    resolved: ResolvedSuite, options: BenchOptions, say: Say, dataset: Dataset
) -> PreparedDataset:
    started = time.perf_counter()
    prepared = prepare_unchecked(
        dataset,
        resolved.suite.protocol,
        options.access,
        limit=resolved.request.limit,
        progress=DecodingProgress(dataset.name, say),
    )
    skipped = prepared.images.record.skipped
    if skipped:
        say(f"{dataset.name}: {len(skipped)} bad images left out: {', '.join(skipped[:5])}")
    for note in prepared.notes:
        say(f"{dataset.name}: {note}")
    return replace(prepared, seconds=time.perf_counter() - started)


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
        weights_folder=_weights_folder(store, options),
        plugins=loaded.args,
        threads=options.threads,
        packed=plan.device.startswith("cuda") and plan.jobs > 1,
        engine=options.engine,
    )

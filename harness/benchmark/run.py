"""The line of `harness bench`: resolve, require, prepare, plan, execute, rank.

Every command that makes results goes through `run_benchmark`; `dry_run` takes the same rooms as far
as that is possible without fetching, decoding or writing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from harness.api.dataset import Access
from harness.api.launcher import Launcher
from harness.api.records import RunSpec
from harness.benchmark.datasets import place_images, prepare, recorded, survey
from harness.benchmark.external import ExternalKeeper, ExternalPlan, plan_external
from harness.benchmark.forecast.work import RunWork
from harness.benchmark.keeping import OutcomeKeeper, complete_runs, without_weights
from harness.benchmark.launch.dispatch import GIB, Means, Share, execute_runs
from harness.benchmark.launch.executor import WorkerSetup
from harness.benchmark.launch.means import find_launcher
from harness.benchmark.listeners.events import Group
from harness.benchmark.listeners.progress import ProgressReporter
from harness.benchmark.listeners.remaining import RemainingTime
from harness.benchmark.numerics import check_compiling, settle_precision
from harness.benchmark.plan import BenchPlan, make_plan
from harness.benchmark.preview.outlook import (
    Call,
    DryRun,
    Outlook,
    look_ahead,
    take_part,
    tell_outlook,
)
from harness.benchmark.profile import DecodingCost, Profile
from harness.benchmark.request import BenchOptions, BenchRequest, BenchResult
from harness.benchmark.suite.resolve import ResolvedSuite, resolve_suite
from harness.benchmark.unfinished import describe as describe_unfinished
from harness.benchmark.unfinished import made_by
from harness.data.preparation.info import DatasetInfo
from harness.data.preparation.prepare import PreparedDataset
from harness.data.requirements import find_weights, list_requirements, require
from harness.data.table import reading_once
from harness.leaderboard.boards import refresh_board
from harness.leaderboard.questions import describe_change
from harness.plugins.registry import PluginRegistry
from harness.plugins.tracking import Tracking, check_trackers
from harness.results.claims import Claims
from harness.results.store import Store, extended
from harness.utils import files, locks, pulse, signs
from harness.weights import WeightsFile

Say = Callable[[str], None]


def run_benchmark(
    request: BenchRequest, options: BenchOptions, loaded: PluginRegistry, say: Say
) -> BenchResult:
    """Measure what is asked for as far as it is not done yet, and rank it.

    `say` is told, a line at a time, what a user should know before the runs.

    Raises:
        HarnessError: with what, where and what to do.
        KeyboardInterrupt: with a note on what is kept.
    """
    with pulse.shown(live=options.live), signs.doing("planning"):
        try:
            return _carry_out(Call(request, options, loaded, say, dry=False))
        except KeyboardInterrupt as error:
            if not hasattr(error, "__notes__"):
                error.add_note("no run had begun; the same call starts anew")
            raise


def _carry_out(call: Call) -> BenchResult:
    request, options, loaded, say = call.request, call.options, call.loaded, call.say
    profile = Profile()
    with profile.measure("prepare"):
        launcher = find_launcher(options, loaded)
        resolved, options = _resolved(request, options, loaded, launcher)
        store = _store(resolved, options)
    with profile.measure("prepare"), files.unmade_on_error(store.folder / "weights", locks.LOCK):
        tracking = Tracking(options.track, loaded, store.folder, offline=options.access.offline)
        _take_lock(store, options, say)
        _begin_imports(store, options, launcher)
        weights_folder = _weights_folder(store, options)
        weights = _required(resolved, options.access, loaded, say)
        results = store.results()
        datasets = _prepare(Resolved(resolved, options, loaded, launcher), weights, store, say)
        infos = {name: dataset.info for name, dataset in datasets.items()}
        resolved = _settled(resolved, store, options, say)
        plan = take_part(
            make_plan(resolved, options, loaded, infos, weights, launcher),
            results,
            store.plan(),
            call,
        )
        lacking = _lacking(plan, store, options, say)
        _record(plan, store, say)
        ids = [spec.run_id for spec in plan.specs]
        missing = set(store.missing(ids, retry_failed=options.retry_failed))
        todo = [spec for spec in plan.specs if spec.run_id in missing]
        again = lacking.again(retrain=options.retrain_for_external)
        claims = Claims(store, {*again, *filter(store.has_failed, missing)})
        _complete(store, plan, missing, claims, call)
        gather = partial(
            _setup, Shared(plan, store, options, loaded, launcher), datasets, lacking.weights
        )
        setup = gather()
        outlook = tell_outlook(plan, todo, results, call, _unfinished(plan, todo, store, options))
    with profile.measure("runs"), _kept_if_interrupted(store, ids), claims:
        decoding = DecodingCost({name: one.seconds for name, one in datasets.items()})
        further = ExternalKeeper(store, say, again)
        keeper = OutcomeKeeper(store, decoding, say, weights_folder, external=further)

        def execute(specs: Sequence[RunSpec]) -> None:
            remaining = _remaining(specs, plan.jobs, outlook, lacking)
            with ProgressReporter(
                loaded, specs, keeper.keep, remaining, profile=profile, tracking=tracking
            ) as reporter:
                means = _means(launcher, plan, options, outlook)
                share = Share(claims, reporter, wait=options.others == "wait")
                execute_runs(specs, setup, loaded, reporter, means, share)

        def decode_again(name: str) -> None:
            nonlocal setup
            datasets[name] = prepare(resolved.datasets[name], resolved, options.access, say)
            decoding.add(name, datasets[name].seconds)
            setup = gather()

        carried = [*todo, *(spec for spec in plan.specs if spec.run_id in again)]
        keeper.carry_out(carried, datasets, execute, decode_again)
    with profile.measure("board"), _kept_if_interrupted(store, ids):
        board = refresh_board(store, loaded)
    asked, made = frozenset(ids), keeper.kept & missing
    left = set(store.missing(ids)) if made < missing else set()
    return BenchResult(
        board,
        store.folder,
        len(made),
        len(asked) - len(made) - len(left),
        [run for run in store.failures() if run.run_id in asked],
        asked,
        profile,
        without_weights(store, asked, weights_folder),
        lacking.left(plan_external(plan.specs, store, infos), further.without),
        further.added,
        len(left),
    )


def _complete(
    store: Store, plan: BenchPlan, missing: Collection[str], claims: Claims, call: Call
) -> None:
    """Compute figures of finished runs that lack them, unless another call has them in hand."""
    in_hand = {run for other in claims.others() for run in other.runs}
    done = [one for one in plan.specs if one.run_id not in missing and one.run_id not in in_hand]
    complete_runs(store, done, call.loaded, call.say)


def _means(
    launcher: Launcher, plan: BenchPlan, options: BenchOptions, outlook: Outlook
) -> Means | None:
    """The workers that carry runs out; None: this process does."""
    if options.in_process and not outlook.spoiled:
        return None
    work = {run: one.total for run, one in outlook.works.items()}
    return Means(launcher, plan.jobs, options.timeout, work)


def _remaining(
    specs: Sequence[RunSpec], jobs: int, outlook: Outlook, lacking: ExternalPlan
) -> RemainingTime:
    """The time that runs will take, as it was foretold."""
    tests = [one.test for one in outlook.works.values()] or [1.0]
    only_tested = dict.fromkeys(lacking.weights, RunWork((), 1, fmean(tests)))
    found = outlook.estimate
    works = {**outlook.works, **only_tested}
    if found is None or found.pace is None:
        return RemainingTime(specs, works, jobs)
    return RemainingTime(specs, works, jobs, found.pace, found.expected / found.most)


@contextmanager
def _kept_if_interrupted(store: Store, ids: Sequence[str]) -> Iterator[None]:
    """An interrupt says what is kept, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        left = len(store.missing(ids))
        error.add_note(
            f"{len(ids) - left} of {len(ids)} runs are kept in {store.folder}; "
            + (
                f"the same call makes the other {left}"
                if left
                else "the same call writes the board"
            )
        )
        raise


def dry_run(
    request: BenchRequest, options: BenchOptions, loaded: PluginRegistry, say: Say = print
) -> DryRun:
    """Plan what `run_benchmark` would do.  Sizes of what is missing may be asked from the Hub.

    Nothing is written.  `say` is told that a network is tried, which takes some seconds.

    Raises:
        HarnessError: something is wrong that can be known without what is missing.
    """
    with pulse.shown(live=options.live), signs.doing("planning"):
        return _plan(Call(request, options, loaded, say, dry=True))


def _plan(call: Call) -> DryRun:
    request, options, loaded = call.request, call.options, call.loaded
    launcher = find_launcher(options, loaded, live=False)
    check_trackers(options.track, loaded)
    resolved, options = _resolved(request, options, loaded, launcher)
    suite, access = resolved.suite, options.access
    backbones = [loaded.backbones[name] for name in suite.backbones]
    needs = list_requirements(
        resolved.datasets, backbones, resolved.weights, access, ask=True, starts=resolved.starts
    )
    absent = {(need.kind, need.name) for need in needs if not need.ready}
    store = _store(resolved, options)
    results = store.results()
    infos = {
        name: recorded(dataset, resolved, loaded, results) or survey(dataset, resolved, access)
        for name, dataset in resolved.datasets.items()
        if ("data", name) not in absent
    }
    left_out = {name for kind, name in absent if kind == "weights"}
    weights = find_weights(backbones, resolved.weights, access, resolved.starts, left_out)
    if request.precision == "auto":
        resolved = replace(resolved, precision=settle_precision(options.device, store.plan()))
    plan = make_plan(resolved, options, loaded, infos, weights, launcher)
    plan = take_part(plan, results, store.plan(), call)
    external = plan_external(plan.specs, store, infos)
    missing = set(store.missing((one.run_id for one in plan.specs), retry_failed=True))
    todo = [one for one in plan.specs if one.run_id in missing]
    outlook = look_ahead(plan, todo, results, call)
    unfinished = _unfinished(plan, todo, store, options)
    retrain = options.retrain_for_external
    return DryRun(plan, store, needs, outlook, external, retrain=retrain, unfinished=unfinished)


def _unfinished(
    plan: BenchPlan, todo: Sequence[RunSpec], store: Store, options: BenchOptions
) -> list[str]:
    """Lines on runs that an earlier call left with a checkpoint."""
    made = made_by(plan.device, options.engine, options.threads)
    used = options.checkpoint_every is not None
    return describe_unfinished(store.folder, todo, made, used=used)


def _resolved(
    request: BenchRequest, options: BenchOptions, loaded: PluginRegistry, launcher: Launcher
) -> tuple[ResolvedSuite, BenchOptions]:
    """The suite that was asked for, and the options with its device and the splits of files."""
    options = replace(options, device=launcher.device)
    check_compiling(options)
    resolved = resolve_suite(request, loaded)
    return resolved, replace(options, access=replace(options.access, splits=resolved.split_files))


def _store(resolved: ResolvedSuite, options: BenchOptions) -> Store:
    return Store(options.out or Path("results") / resolved.folder_name)


def _take_lock(store: Store, options: BenchOptions, say: Say) -> None:
    """Make sure that the folder can be written, by nobody else if that is asked for."""
    if options.break_lock:
        for line in locks.break_locks(store.folder):
            say(line)
    store.check_writable()


def _record(plan: BenchPlan, store: Store, say: Say) -> None:
    """Write the plan, and say what becomes of a board that answers another question."""
    asked, before = plan.record(), store.plan()
    if change := describe_change(before, extended(before, asked)):
        say(f"{store.folder} {change}")
    store.extend_plan(asked)


def _begin_imports(store: Store, options: BenchOptions, launcher: Launcher) -> None:
    """Let workers begin to import while data are prepared, unless most may be done already."""
    if not options.in_process and not store.plan().runs:
        launcher.prepare()


def _settled(
    resolved: ResolvedSuite, store: Store, options: BenchOptions, say: Say
) -> ResolvedSuite:
    """The suite with the precision that `--precision auto` means in this folder."""
    if resolved.request.precision != "auto":
        return resolved
    settled = store.settle_precision(partial(settle_precision, options.device))
    say(f"--precision auto: {settled}, as plan.json says from now on")
    return replace(resolved, precision=settled)


def _required(
    resolved: ResolvedSuite, access: Access, loaded: PluginRegistry, say: Say
) -> dict[str, WeightsFile | None]:
    """The weights files of backbones, once all that the suite needs is here.

    There is a word on the files that call for one.
    """
    backbones = [loaded.backbones[name] for name in resolved.suite.backbones]
    needs = list_requirements(
        resolved.datasets, backbones, resolved.weights, access, starts=resolved.starts
    )
    require(resolved.suite.name, needs, access, resolved.fetched_as)
    found = find_weights(backbones, resolved.weights, access, resolved.starts)
    for name, file in found.items():
        if file is not None and file.note:
            say(f"weights {name}: {file.path.name}: {file.note}")
    return found


def _lacking(plan: BenchPlan, store: Store, options: BenchOptions, say: Say) -> ExternalPlan:
    """The finished runs that lack a further test set, told to whoever called."""
    lacking = plan_external(plan.specs, store, plan.datasets)
    for line in lacking.describe(retrain=options.retrain_for_external):
        say(line)
    return lacking


def _weights_folder(store: Store, options: BenchOptions) -> Path | None:
    """The folder of tested weights, which can be written; None: they are not kept."""
    folder = store.folder / "weights" if options.save_weights else None
    if folder is not None:
        files.prepare(folder)
    return folder


class Resolved(NamedTuple):
    """A call whose suite and launcher are found."""

    resolved: ResolvedSuite
    options: BenchOptions
    loaded: PluginRegistry
    launcher: Launcher


def _survey_undecoded(
    call: Resolved, weights: Mapping[str, WeightsFile | None], store: Store
) -> dict[str, DatasetInfo]:
    """The datasets as they are known before an image is decoded, held against the plan.

    A call that is refused here has written nothing.  What only the images tell (bad files, near
    duplicates) may still end it later.
    """
    resolved, options, loaded, launcher = call
    infos = {
        name: survey(dataset, resolved, options.access, timed=False)
        for name, dataset in resolved.datasets.items()
    }
    if resolved.request.precision == "auto":
        resolved = replace(resolved, precision=settle_precision(options.device, store.plan()))
    plan = make_plan(resolved, options, loaded, infos, weights, launcher)
    plan_external(plan.specs, store, infos)
    return infos


def _prepare(
    call: Resolved, weights: Mapping[str, WeightsFile | None], store: Store, say: Say
) -> dict[str, PreparedDataset]:
    """Read and split every dataset; then, unless the call is refused, decode them."""
    with reading_once():
        known = _survey_undecoded(call, weights, store)
        prepared = {
            name: prepare(dataset, call.resolved, call.options.access, say)
            for name, dataset in call.resolved.datasets.items()
        }
    # That they were read for the plan is part of what making them ready took.
    return {
        name: replace(one, seconds=one.seconds + known[name].seconds)
        for name, one in prepared.items()
    }


class Shared(NamedTuple):
    """All that a call has made ready for its runs, but for their data."""

    plan: BenchPlan
    store: Store
    options: BenchOptions
    loaded: PluginRegistry
    launcher: Launcher


def _setup(
    shared: Shared, datasets: Mapping[str, PreparedDataset], from_weights: Mapping[str, Path]
) -> WorkerSetup:
    """Write the splits, and gather what every run shares."""
    plan, store, options, loaded, launcher = shared
    images = {
        key: place_images(datasets[key[0]], *key[1:], plan.resolved, options.access, store)
        for key in dict.fromkeys(Group.of(spec).images for spec in plan.specs)
    }
    limit = options.memory_limit
    return WorkerSetup(
        suite=plan.resolved.suite.name,
        images=images,
        weights=plan.weights,
        device=plan.device,
        shortened=plan.resolved.shortened,
        weights_folder=store.folder / "weights" if options.save_weights else None,
        checkpoints=None
        if options.checkpoint_every is None
        else (store.folder.resolve(), options.checkpoint_every),
        from_weights=from_weights,
        plugins=loaded.args,
        threads=options.threads,
        packed=launcher.packed(plan.jobs),
        jobs=plan.jobs,
        engine=options.engine,
        native=plan.resolved.request.precision == "auto",
        memory=None if limit is None else int(limit * GIB),
    )

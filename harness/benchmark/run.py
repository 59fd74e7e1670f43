"""The line of `harness bench`: resolve, require, prepare, plan, execute, rank.

Every command that makes results goes through `run_benchmark`; `dry_run` takes the same rooms as far
as that is possible without fetching, decoding or writing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from harness.api.dataset import SPLITS, Access, Dataset
from harness.api.execution import ExternalImages
from harness.api.launcher import Launcher
from harness.api.records import DataRecord, RunResult, RunSpec, Suite
from harness.benchmark.external import ExternalKeeper, ExternalPlan, plan_external
from harness.benchmark.forecast.seconds import MEASURED
from harness.benchmark.forecast.work import RunWork
from harness.benchmark.identity import divisions
from harness.benchmark.keeping import OutcomeKeeper, complete_runs, without_weights
from harness.benchmark.launch.dispatch import GIB, Means, Share, execute_runs
from harness.benchmark.launch.executor import WorkerSetup
from harness.benchmark.launch.means import find_launcher
from harness.benchmark.launch.places import Declaration, ImagesPlace
from harness.benchmark.listeners.events import Group
from harness.benchmark.listeners.progress import ProgressReporter
from harness.benchmark.listeners.remaining import RemainingTime
from harness.benchmark.numerics import check_compiling, settle_precision
from harness.benchmark.plan import BenchPlan, make_plan
from harness.benchmark.preview.outlook import Call, DryRun, Outlook, look_ahead, take_part
from harness.benchmark.profile import DecodingCost, Profile
from harness.benchmark.request import BenchOptions, BenchRequest, BenchResult
from harness.benchmark.suite.resolve import ResolvedSuite, resolve_suite
from harness.benchmark.unfinished import describe as describe_unfinished
from harness.benchmark.unfinished import made_by
from harness.data.division.split import Division
from harness.data.images import PixelForm
from harness.data.preparation.external import PreparedExternal
from harness.data.preparation.info import DatasetInfo
from harness.data.preparation.prepare import PreparedDataset, prepare_unchecked
from harness.data.preparation.survey import survey_dataset
from harness.data.requirements import find_weights, list_requirements, require
from harness.data.table import reading_once
from harness.errors import DataError
from harness.leaderboard.boards import refresh_board
from harness.leaderboard.questions import describe_change
from harness.plugins import provenance
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
        setup = _setup(Shared(plan, store, options, loaded, launcher), datasets, lacking.weights)
        outlook = _tell_outlook(plan, todo, results, call, _unfinished(plan, todo, store, options))
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
            datasets[name] = _prepare_one(resolved, options, say, resolved.datasets[name])
            decoding.add(name, datasets[name].seconds)
            setup = _setup(
                Shared(plan, store, options, loaded, launcher), datasets, lacking.weights
            )

        carried = [*todo, *(spec for spec in plan.specs if spec.run_id in again)]
        keeper.carry_out(carried, datasets, execute, decode_again)
    with profile.measure("board"), _kept_if_interrupted(store, ids):
        board = refresh_board(store, loaded)
    asked, made = frozenset(ids), keeper.kept & missing
    left = set(store.missing(ids)) if made < missing else set()
    failed = [run for run in store.failures() if run.run_id in asked]
    without = lacking.left(plan_external(plan.specs, store, infos), further.without)
    return BenchResult(
        board,
        store.folder,
        len(made),
        len(asked) - len(made) - len(left),
        failed,
        asked,
        profile,
        without_weights(store, asked, weights_folder),
        without,
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
    if found is None or not found.pace:
        return RemainingTime(specs, {**outlook.works, **only_tested}, jobs)
    share, measured = found.expected / found.most, found.bases.keys() <= MEASURED
    works = {**outlook.works, **only_tested}
    return RemainingTime(specs, works, jobs, found.pace, share, measured=measured)


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


def _tell_outlook(
    plan: BenchPlan,
    todo: Sequence[RunSpec],
    results: Sequence[RunResult],
    call: Call,
    unfinished: Sequence[str],
) -> Outlook:
    """The outlook, told before the runs: memory they take, how long, and what they can decide.

    `unfinished`: lines on runs that were interrupted before.
    """
    for line in (*([plan.memory] if plan.memory else []), *unfinished):
        call.say(line)
    with signs.doing("estimating the time of the runs"):
        outlook = look_ahead(plan, todo, results, call)
    for line in outlook.lines():
        call.say(line)
    if outlook.spoiled:
        call.say(
            f"planning, the plugins changed what runs share, which cannot be put back "
            f"({', '.join(dict.fromkeys(outlook.spoiled))}): the runs after it go on in a new process"
        )
    return outlook


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
        name: _recorded(dataset, resolved, loaded, results) or _survey(dataset, resolved, access)
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


def other_divisions(suite: Suite) -> list[Division]:
    """The divisions of a suite's datasets beside the protocol's own."""
    return [one for one in divisions(suite) if one != Division(suite.protocol.split_seed)]


def _survey(
    dataset: Dataset, resolved: ResolvedSuite, access: Access, *, timed: bool = True
) -> DatasetInfo:
    """The facts of a dataset; it is decoded where its images are, in every form."""
    first, *others = (
        survey_dataset(
            dataset, protocol, access,
            limit=resolved.request.limit, divisions=other_divisions(resolved.suite),
            timed=timed,
        )
        for protocol in resolved.protocols.values()
    )  # fmt: skip
    seconds = sum(one.seconds for one in (first, *others))
    decoded = first.decoded and all(one.decoded for one in others)
    return replace(first, decoded=decoded, seconds=seconds)


def _recorded(
    dataset: Dataset, resolved: ResolvedSuite, loaded: PluginRegistry, results: Sequence[RunResult]
) -> DatasetInfo | None:
    """A drawn dataset as finished runs record it; None: it has to be looked at.

    The same code draws the same images.  Files may have changed since, so they are always read.
    """
    if (
        not dataset.procedural
        or dataset.name in resolved.split_files
        or dataset.external_sets(Access())
    ):
        return None
    code = provenance.source_hash(loaded.owner("datasets", dataset.name).module)
    protocol, limit = resolved.suite.protocol, resolved.request.limit
    asked = protocol.validation_share, protocol.test_share, limit
    known: dict[Division, DatasetInfo] = {}
    for run in results:
        data, plugin, made = run.data, run.plugins.get("dataset"), run.spec
        if (
            made.dataset == dataset.name
            and data is not None
            and plugin is not None
            and plugin.source == code
            and (made.protocol.validation_share, made.protocol.test_share, made.limit) == asked
        ):
            known.setdefault(Division.of(made), _info(data, run.cost.alone.decode))
    own, others = Division(protocol.split_seed), other_divisions(resolved.suite)
    if not known.keys() >= {own, *others}:
        return None
    return replace(known[own], others={division: known[division] for division in others})


def _info(data: DataRecord, seconds: float) -> DatasetInfo:
    lacking = {s: tuple(c for c, n in data.counts[s].items() if not n) for s in SPLITS}
    return DatasetInfo(
        data.classes,
        {split: sum(data.counts[split].values()) for split in SPLITS},
        data.fingerprint,
        decoded=None,
        lacking={split: names for split, names in lacking.items() if names},
        # Its groups are not recorded: as if every image were one.
        tested={name: (1,) * count for name, count in data.counts["test"].items()},
        seconds=seconds,
    )


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
        name: _survey(dataset, resolved, options.access, timed=False)
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
            name: _prepare_one(call.resolved, call.options, say, dataset)
            for name, dataset in call.resolved.datasets.items()
        }
    # That they were read for the plan is part of what making them ready took.
    return {
        name: replace(one, seconds=one.seconds + known[name].seconds)
        for name, one in prepared.items()
    }


def _prepare_one(
    resolved: ResolvedSuite, options: BenchOptions, say: Say, dataset: Dataset
) -> PreparedDataset:
    started = time.perf_counter()
    formed: dict[PixelForm, PreparedDataset] = {}
    for form, protocol in resolved.protocols.items():
        with signs.doing(f"decoding {dataset.name}") as decoded:
            formed[form] = prepare_unchecked(
                dataset,
                protocol,
                options.access,
                limit=resolved.request.limit,
                progress=decoded,
                divisions=other_divisions(resolved.suite),
            )
    prepared, *others = formed.values()
    if any(other.fingerprint != prepared.fingerprint for other in others):
        raise DataError(f"dataset {dataset.name!r} was changed while it was read: run again")
    skipped = prepared.images.record.skipped
    if skipped:
        say(f"{dataset.name}: {len(skipped)} bad images left out: {', '.join(skipped[:5])}")
    for note in prepared.notes:
        say(f"{dataset.name}: {note}")
    aside = sum(one.aside for one in formed.values())
    spent = time.perf_counter() - started - aside
    return replace(prepared, seconds=spent, aside=aside, forms=formed)


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
        key: _place(shared, datasets[key[0]], *key[1:])
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


def _place(
    shared: Shared, dataset: PreparedDataset, division: Division, form: PixelForm
) -> ImagesPlace:
    """The images of a dataset divided so, whose split files are written, by where they lie."""
    plan, store = shared.plan, shared.store
    resolved = plan.resolved
    divided = dataset.formed(form).divided(division)
    name = divided.splits.dataset
    own = division.split == resolved.suite.protocol.split_seed
    stem = name if own else f"{name}.{division.split}"
    file = store.write_split(stem, divided.splits.model_dump_json(indent=1))
    record = divided.images.record.model_copy(update={"split_file": f"splits/{file}"})
    external = {each: _kept_split(one, store) for each, one in divided.external.items()}
    declared = Declaration(
        dataset=resolved.datasets[name],
        protocol=resolved.protocols[form],
        access=shared.options.access,
        limit=resolved.request.limit,
        division=division,
        fingerprint=divided.fingerprint,
        record=record,
        external={each: one.record for each, one in external.items()},
    )
    return ImagesPlace(replace(divided.images, record=record, external=external), declared)


def _kept_split(further: PreparedExternal, store: Store) -> ExternalImages:
    """The images of a further test set, whose split file is written."""
    splits = further.splits
    file = store.write_split(splits.dataset, splits.model_dump_json(indent=1))
    record = further.images.record.model_copy(update={"split_file": f"splits/{file}"})
    return replace(further.images, record=record)

"""The main job in one straight line: ask, plan, carry out, store, rank, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import data, inventory, pool, preparation, standings
from harness import suite as suites
from harness.dataset import Access
from harness.device import choose_device
from harness.execution import Engine, Outcome
from harness.executor import Setup, StoredImages
from harness.leaderboard import Leaderboard
from harness.merge import MergedStore
from harness.modes import Compile, Wish
from harness.parallel import cores
from harness.planning import Outline
from harness.plugins import Loaded
from harness.preparation import Say
from harness.profile import Decoding, Profile
from harness.progress import Reporter
from harness.records import RunResult, RunSpec, Suite
from harness.sizing import Load, size
from harness.store import Store, uncollected
from harness.suite import Chosen, Request
from harness.weights_file import WeightsFile


@dataclass(frozen=True)
class Options:
    """How to carry a request out; none of it changes a result.

    Attributes:
        out: the results folder; None: results/<suite>.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        jobs: processes side by side; None: chosen here.
        threads: torch threads of each on a CPU.  Sums over threads round differently, so the
            default is one whatever `jobs` is: the same spec gives the same bits.
        engine: 'reference' carries every step out plainly, for comparison with the fast path.
        compile: on a CUDA device: compile steps where it pays ('auto'), never or always.
        live: a live bar or plain lines; None: a bar where stderr is a terminal.
    """

    out: Path | None = None
    device: str = "auto"
    jobs: int | None = None
    threads: int = 1
    engine: Engine = "fast"
    compile: Compile = "auto"
    retry_failed: bool = False
    save_weights: bool = False
    live: bool | None = None
    access: Access = field(default_factory=Access)


@dataclass(frozen=True)
class Job:
    """Everything that is settled before anything is written."""

    chosen: Chosen
    specs: list[RunSpec]
    store: Store
    prepared: Mapping[str, data.Prepared]
    weights: Mapping[str, WeightsFile | None]
    device: str
    jobs: int
    options: Options


@dataclass(frozen=True)
class Finished:
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
    profile: Profile = field(default_factory=Profile)


def bench(request: Request, options: Options, loaded: Loaded, say: Say) -> Finished:
    """The line: every command that makes results goes through here."""
    profile = Profile()
    with profile.measure("prepare"):
        job = prepare(request, options, loaded, say)
        setup = record(job, loaded)
        todo = missing(job)
    with profile.measure("runs"):
        carry_out(job, setup, todo, loaded, profile)
    with profile.measure("board"):
        finished = finish(job, ran=len(todo), loaded=loaded)
    return replace(finished, profile=profile)


def prepare(request: Request, options: Options, loaded: Loaded, say: Say) -> Job:
    """Settle what runs, on what data, from which weights.  Everything that can be wrong is found here.

    Raises:
        HarnessError: with what, where and what to do.
    """
    chosen = suites.resolve(request, loaded)
    store = Store(options.out or Path("results") / chosen.suite.name)
    store.check_writable()
    device = choose_device(options.device)
    where = preparation.weights_from(chosen, request)
    preparation.require(chosen, loaded, request, options.access)
    files = preparation.find_weights(chosen.suite.backbones, loaded, where, options.access)
    _start_workers(chosen.suite, store, device, options)
    prepared = preparation.prepare_data(chosen, options.access, request.limit, say)
    fingerprints = {name: one.fingerprint for name, one in prepared.items()}
    counts = {name: len(one.images.labels["train"]) for name, one in prepared.items()}
    numeric = preparation.numeric(chosen, loaded, counts, _wish(request, options, device))
    facts = preparation.facts(chosen, loaded, fingerprints, files, numeric)
    specs = suites.specs(chosen, loaded, facts, request)
    images = {name: one.images for name, one in prepared.items()}
    load = Load(
        runs=len(specs),
        images={n: sum(len(labels) for labels in one.labels.values()) for n, one in images.items()},
        classes={name: len(one.classes) for name, one in images.items()},
        protocol=chosen.suite.protocol,
        numeric=numeric,
    )
    sizing = size(load, loaded, device, options.jobs, options.threads)
    if sizing.memory:
        say(sizing.memory)
    return Job(chosen, specs, store, prepared, files, device, sizing.jobs, options)


def outline(request: Request, options: Options, loaded: Loaded) -> Outline:
    """What `bench` would do.  Nothing is fetched, decoded or written; sizes may be asked for.

    Raises:
        HarnessError: something is wrong that can be known without what is missing.
    """
    chosen = suites.resolve(request, loaded)
    device, access = choose_device(options.device), options.access
    data_needs = inventory.data_needs(chosen.datasets, access, ask=True)
    weights_needs = preparation.weights_needs(chosen, loaded, request)
    absent = {need.name for need in data_needs.values() if not need.ready}
    surveys = {
        name: data.survey(dataset, chosen.suite.protocol, access, limit=request.limit)
        for name, dataset in chosen.datasets.items()
        if name not in absent
    }
    ready = [n for n in chosen.suite.backbones if n not in weights_needs or weights_needs[n].ready]
    where = preparation.weights_from(chosen, request)
    files = preparation.find_weights(ready, loaded, where, access)
    fingerprints = {name: one.fingerprint for name, one in surveys.items()}
    counts = {name: one.counts["train"] for name, one in surveys.items()}
    numeric = preparation.numeric(chosen, loaded, counts, _wish(request, options, device))
    facts = preparation.facts(chosen, loaded, fingerprints, files, numeric)
    specs = suites.specs(chosen, loaded, facts, request)
    load = Load(
        runs=len(specs),
        images={name: sum(one.counts.values()) for name, one in surveys.items()},
        classes={name: len(one.classes) for name, one in surveys.items()},
        protocol=chosen.suite.protocol,
        numeric=numeric,
    )
    sizing = size(load, loaded, device, options.jobs, options.threads)
    return Outline(
        suite=chosen.suite,
        datasets=chosen.datasets,
        specs=specs,
        store=Store(options.out or Path("results") / chosen.suite.name),
        surveys=surveys,
        weights=files,
        needs=(*data_needs.values(), *weights_needs.values()),
        limit=request.limit,
        device=device,
        jobs=sizing.jobs,
        numeric=numeric,
        memory=sizing.memory,
    )


def _start_workers(suite: Suite, store: Store, device: str, options: Options) -> None:
    """Their imports go on beside the decoding, where a new folder says that there is work to do."""
    cells = len(suite.datasets) * len(suite.backbones) * len(suite.strategies) * len(suite.seeds)
    jobs = min(options.jobs or cores() // options.threads, cells)
    if device == "cpu" and jobs > 1 and not store.plan().runs:
        pool.start_server(options.threads)


def _wish(request: Request, options: Options, device: str) -> Wish:
    return Wish(device, options.engine, request.precision, options.compile)


def record(job: Job, loaded: Loaded) -> Setup:
    """Write the splits and add to the plan; what every run shares."""
    openers = {}
    for name, one in job.prepared.items():
        file = job.store.write_split(name, one.splits.model_dump_json(indent=1))
        openers[name] = StoredImages.of(one.images, f"splits/{file}")
    job.store.extend_plan(preparation.plan_of(job.chosen, job.specs))
    return Setup(
        suite=job.chosen.suite.name,
        images=openers,
        weights=job.weights,
        device=job.device,
        shortened=job.chosen.shortened,
        weights_folder=job.store.folder / "weights" if job.options.save_weights else None,
        plugins=loaded.args,
        threads=job.options.threads,
        engine=job.options.engine,
    )


def missing(job: Job) -> list[RunSpec]:
    """The runs that are not on disk yet."""
    ids = [spec.run_id for spec in job.specs]
    left = set(job.store.missing(ids, retry_failed=job.options.retry_failed))
    return [spec for spec in job.specs if spec.run_id in left]


def carry_out(
    job: Job,
    setup: Setup,
    todo: Sequence[RunSpec],
    loaded: Loaded,
    profile: Profile | None = None,
) -> None:
    """Run what is missing; each outcome is on disk before the next is taken."""
    if not todo:
        return
    decoding = Decoding({name: one.seconds for name, one in job.prepared.items()})

    def keep(outcome: Outcome) -> RunResult:
        return job.store.add(replace(outcome, result=decoding.charge(outcome.result)))

    with Reporter(loaded, len(todo), keep, live=job.options.live, profile=profile) as reporter:
        pool.execute(todo, setup, loaded, reporter, job.jobs)


def finish(job: Job, *, ran: int, loaded: Loaded) -> Finished:
    """Rank everything in the folder and write the board."""
    with uncollected():
        store = MergedStore([job.store])
        ranked = standings.rank(store, loaded)
        made = standings.write(ranked, store, job.store.folder, loaded)
        asked = frozenset(spec.run_id for spec in job.specs)
        failed = [result for result in store.failures() if result.run_id in asked]
    return Finished(made, job.store.folder, ran, len(job.specs) - ran, failed, asked)

"""The main job in one straight line: ask, plan, carry out, store, rank, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.api.execution import Outcome
from harness.api.leaderboard import Leaderboard
from harness.api.records import RunResult, RunSpec
from harness.benchmark import plan, workers
from harness.benchmark.executor import Setup, StoredImages
from harness.benchmark.plan import Call, Known, Options, Say, begin, settle
from harness.benchmark.prefetch import Ahead, Coming, Peeking, Uploads
from harness.benchmark.progress import Reporter, Voice
from harness.benchmark.sizing import Sizing
from harness.benchmark.suite import Request
from harness.data import preparation as data
from harness.leaderboard import boards
from harness.plugins.registry import Loaded
from harness.results.merge import MergedStore
from harness.results.profile import Decoding, Profile
from harness.results.store import uncollected


@dataclass(frozen=True)
class Job:
    """The runs of datasets that are ready.

    Attributes:
        later: runs of datasets that are not, as far as they are known.
    """

    specs: list[RunSpec]
    later: list[RunSpec]
    prepared: Mapping[str, data.Prepared]
    sizing: Sizing


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
    """The line: every command that makes results goes through here.

    On a card the runs of a dataset go on while the next ones are made ready.

    Raises:
        HarnessError: with what, where and what to do.
    """
    profile, voice = Profile(), Voice(say)
    with profile.measure("prepare"):
        call = begin(request, options, loaded)
    asked: list[RunSpec] = []
    ran = 0
    with _ready(call, voice) as ahead, Uploads(call.device) as uploads:
        jobs = Peeking(_jobs(call, ahead, loaded, voice), ahead.ready)
        following = workers.Following(uploads, lambda: _coming(call, jobs.peek()))
        while True:
            with profile.measure("prepare"):
                job = next(jobs, None)
            if job is None:
                break
            with profile.measure("runs"):
                uploads.room = job.sizing.room
                told = Told(profile, voice, ahead.check, ran)
                ran += carry_out(call, job, loaded, told, following)
            asked += job.specs
    with profile.measure("board"):
        finished = finish(call, asked, ran=ran, loaded=loaded)
    return replace(finished, profile=profile)


def _ready(call: Call, say: Say) -> Ahead[tuple[str, ...], dict[str, data.Prepared]]:
    """The datasets of a call, some at a time, decoded."""
    request = call.want.request

    def work(names: tuple[str, ...]) -> dict[str, data.Prepared]:
        part = call.chosen.only(names)
        return plan.prepare_data(part, call.options.access, request.limit, say, found.halt)

    found = Ahead(work, plan.stages(call.chosen, request, call.device, call.options.jobs))
    return found


def _jobs(
    call: Call,
    ahead: Ahead[tuple[str, ...], dict[str, data.Prepared]],
    loaded: Loaded,
    say: Say,
) -> Iterator[Job]:
    """The runs of each part of the datasets, when it is ready; splits and plan are written."""
    for number, prepared in enumerate(ahead):
        later = [name for part in ahead.parts[number + 1 :] for name in part]
        known = {name: Known.of(one) for name, one in prepared.items()}
        chosen = call.chosen.only([*prepared, *later])
        found = settle(chosen, loaded, call.want, call.weights, known)
        if found.sizing.memory:
            say(found.sizing.memory)
        specs, rest = ([s for s in found.specs if (s.dataset in known) is k] for k in (True, False))
        call.store.extend_plan(
            plan.plan_of(call.chosen, specs), plan.plan_of(call.chosen, rest).runs
        )
        yield Job(specs, rest, prepared, found.sizing)


@dataclass(frozen=True)
class Told:
    """What a part of a call shares with the others.

    Attributes:
        check: called after each run; what it raises ends the call.
        ran: runs that were made before.
    """

    profile: Profile
    voice: Voice
    check: Callable[[], None]
    ran: int


def carry_out(
    call: Call, job: Job, loaded: Loaded, told: Told, following: workers.Following
) -> int:
    """Run what is missing, and say how many that was; each is on disk before the next is taken."""
    setup, todo = _setup(call, job, loaded), _missing(call, job)
    if not todo:
        return 0
    decoding = Decoding({name: one.seconds for name, one in job.prepared.items()})

    def keep(outcome: Outcome) -> RunResult:
        kept = call.store.add(replace(outcome, result=decoding.charge(outcome.result)))
        told.check()
        return kept

    total = told.ran + len(todo) + len(job.later)
    live, profile = call.options.live, told.profile
    with (
        Reporter(loaded, total, keep, live=live, profile=profile, done=told.ran) as reporter,
        told.voice.through(reporter.say),
    ):
        workers.execute(todo, setup, loaded, reporter, job.sizing.jobs, following)
    return len(todo)


def _coming(call: Call, job: Job | None) -> Coming | None:
    """The first run of a job, if it has any to make."""
    todo = _missing(call, job) if job else []
    if job is None or not todo:
        return None
    return Coming(todo[0], StoredImages.of(job.prepared[todo[0].dataset].images, ""))


def _setup(call: Call, job: Job, loaded: Loaded) -> Setup:
    """What every run of a job shares; the splits are written."""
    openers = {}
    for name, one in job.prepared.items():
        file = call.store.write_split(name, one.splits.model_dump_json(indent=1))
        openers[name] = StoredImages.of(one.images, f"splits/{file}")
    return Setup(
        suite=call.chosen.suite.name,
        images=openers,
        weights=call.weights,
        device=call.device,
        shortened=call.chosen.shortened,
        weights_folder=call.store.folder / "weights" if call.options.save_weights else None,
        plugins=loaded.args,
        threads=call.options.threads,
        engine=call.options.engine,
    )


def _missing(call: Call, job: Job) -> list[RunSpec]:
    """The runs that are not on disk yet."""
    ids = [spec.run_id for spec in job.specs]
    left = set(call.store.missing(ids, retry_failed=call.options.retry_failed))
    return [spec for spec in job.specs if spec.run_id in left]


def finish(call: Call, asked: Sequence[RunSpec], *, ran: int, loaded: Loaded) -> Finished:
    """Rank everything in the folder and write the board."""
    folder, ids = call.store.folder, frozenset(spec.run_id for spec in asked)
    with uncollected():
        store = MergedStore([call.store])
        made = boards.write(boards.rank(store, loaded), store, folder, loaded)
        failed = [result for result in store.failures() if result.run_id in ids]
    return Finished(made, folder, ran, len(asked) - ran, failed, ids)

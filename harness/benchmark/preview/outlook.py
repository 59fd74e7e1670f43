"""The outlook of a plan: how long it will take, what it can decide, what would decide more."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from harness.api.records import Plan, RunResult, RunSpec, Suite
from harness.benchmark.external import ExternalPlan
from harness.benchmark.forecast.probe import On
from harness.benchmark.forecast.reach import ASSUMED, Design, reach
from harness.benchmark.forecast.seconds import Estimate, Paces, Seen, estimate
from harness.benchmark.forecast.survey import (
    Answer,
    Question,
    ask,
    ask_apart,
    ask_in_worker,
    distinct,
)
from harness.benchmark.forecast.work import Networks, RunWork
from harness.benchmark.launch.workers import carry_out_aside
from harness.benchmark.plan import BenchPlan, divide, named_shards, take_shard
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.suite.trials import label_budgets
from harness.data.requirements import Requirement
from harness.errors import HarnessError
from harness.leaderboard.ranking import CONTROL
from harness.plugins.registry import PluginRegistry
from harness.results.store import Store
from harness.stats import SEEDS
from harness.utils import signs
from harness.utils.text import duration, plural

PROBING = 20.0  # seconds, for all networks together
ASKING = (
    120.0  # seconds in which strategies have to say what they do: a loop may have no end (assumed)
)
# A plan of fewer seconds than this is not worth a probe before its runs; nothing being known, the
# pace of a slow core is assumed.
WORTH = 60.0
SLOW = 2e9  # operations a second
START = 4.0  # seconds to import torch, the plugins and the rest (assumed: of a core here)
ALL = 1.0  # no two scores differ by as much
SCORED = ("balanced-accuracy", "accuracy")  # the metrics whose reach can be foretold

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outlook:
    """Forecast of the runs that are to be made.

    Attributes:
        works: run id -> work, as far as it is known.
        estimate: their seconds; None: no run is to be made, or nothing is known.
        ready: seconds until the first of them begins: imports and data.
        faults: networks that could not be tried, and why.
        decides: the smallest average difference that the plan decides; None: it decides nothing.
        more: the same call with the fewest seeds that decide; None: it has them.
        spoiled: what plugins, asked for it, changed in this process for good: runs need another.
        here: runs are made on this machine, which can be tried.
        paces: what `estimate` comes from.
    """

    works: Mapping[str, RunWork]
    estimate: Estimate | None
    ready: float
    faults: tuple[str, ...]
    decides: float | None
    more: More | None
    spoiled: tuple[str, ...] = ()
    here: bool = True
    paces: Paces = field(default_factory=lambda: Paces([]))

    def lines(self) -> list[str]:
        """Lines that a person reads of it; nothing where no run is to be made."""
        return [*_time(self), *_decides(self)] if self.estimate is not None else []


@dataclass(frozen=True)
class More:
    """A call that would decide something.

    Attributes:
        command: for a shell.
        decides: as in `Outlook`.
        seconds: of the runs of both calls that are to be made; 0: not known.
        now, seeds: of this call, and of that one.
    """

    command: str
    decides: float
    seconds: float
    now: int
    seeds: int


@dataclass(frozen=True)
class DryRun:
    """A plan, where its results would go, what has to come from elsewhere first, and what is there.

    Attributes:
        outlook: how long the rest will take, and what the plan decides.
        external: finished runs that lack a further test set; `retrain`: those without weights are
            trained again for it.
        unfinished: lines on runs that were interrupted and have a checkpoint.
    """

    plan: BenchPlan
    store: Store
    needs: Sequence[Requirement]
    outlook: Outlook
    external: ExternalPlan = field(default_factory=ExternalPlan)
    retrain: bool = False
    unfinished: Sequence[str] = ()

    @property
    def suite(self) -> Suite:
        return self.plan.resolved.suite


@dataclass(frozen=True)
class Call:
    """The call that a plan belongs to, as far as the outlook depends on it.

    Attributes:
        dry: nothing will follow, so a probe takes what it needs; else a plan of a minute has none.
    """

    request: BenchRequest
    options: BenchOptions
    loaded: PluginRegistry
    say: Say
    dry: bool


def look_ahead(
    plan: BenchPlan, todo: Sequence[RunSpec], results: Sequence[RunResult], call: Call
) -> Outlook:
    """Foretell the time of runs and what the plan decides.  Nothing is written.

    Networks that this machine has not run, as far as `results` say, are tried for a few seconds.
    """
    on = On(plan.device, call.options.threads, call.options.engine)
    known = [spec for spec in todo if spec.dataset in plan.datasets]
    question = Question(known, plan.datasets, Networks(results), on)
    began, fresh = time.perf_counter(), "torch" not in sys.modules
    answer = _ask(question, plan, call) if known else Answer()
    # Hardly anything of it but the import of torch, where it was not imported yet.
    imports = time.perf_counter() - began if fresh and "torch" in sys.modules else 0.0
    works, faults, spoiled = answer.works, answer.faults, answer.spoiled
    paces = Paces(Seen.of(result, on) for result in results)
    counted = [one for one in known if one.run_id in works]
    new = [one for one in distinct(counted) if not paces.knows(one)]
    if new and plan.here and (call.dry or _long(works, plan.jobs)):
        names = ", ".join(dict.fromkeys(spec.backbone for spec in new))
        call.say(
            f"trying how fast this machine trains {names}: batches of 4, at most {PROBING:.0f} s in all"
        )
        tried = _ask(replace(question, tried=new, limit=PROBING), plan, call)
        faults, spoiled = faults + tried.faults, spoiled + tried.spoiled
        paces = Paces([*paces.seen, *map(Seen.by, tried.probes)])
    elif new:
        paces = Paces([*paces.seen, *(Seen.assumed(spec, SLOW) for spec in new)])
    found = estimate(todo, works, paces, plan.jobs) if todo else None
    data = sum(one.seconds for one in plan.datasets.values())
    design = _design(plan)
    return Outlook(
        works=works,
        estimate=found,
        ready=max(START, imports) * call.dry + data,
        faults=tuple(dict.fromkeys(faults)),
        decides=reach(design) if design else None,
        more=_more(plan, design, found, call) if design else None,
        spoiled=spoiled,
        here=plan.here,
        paces=paces,
    )


def tell_outlook(
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


def take_part(plan: BenchPlan, results: Sequence[RunResult], before: Plan, call: Call) -> BenchPlan:
    """The plan of `--shard`, by the work of all runs; without the option the plan as it is.

    Where the folder's plan, `before`, names the shard of every run, that stands: a call that is made again
    goes on with its own runs, whatever finished ones have taught about their work.
    """
    shard = call.request.shard
    if shard is None:
        return plan
    named = {line.run_id: line.shard for line in before.runs if line.shard}
    if cut := named_shards(plan, named, shard[1]):
        return take_shard(plan, cut, shard)
    on = On(plan.device, call.options.threads, call.options.engine)
    known = [spec for spec in plan.asked if spec.dataset in plan.datasets]
    question = Question(known, plan.datasets, Networks(results), on)
    works = _ask(question, plan, call).works if known else {}
    total = {run: work.total for run, work in works.items()}
    return take_shard(plan, divide(plan.asked, total, shard[1]), shard)


def _ask(question: Question, plan: BenchPlan, call: Call) -> Answer:
    """Ask the plugins where their code can do no harm to the runs that follow."""
    if call.dry:
        return ask(question, call.loaded)
    if call.options.in_process or plan.device.startswith("cuda"):
        return ask_apart(question, call.loaded)
    given = (question, call.loaded.args)
    try:
        limit = ASKING + question.limit
        return carry_out_aside(ask_in_worker, given, plan.device, call.options.threads, limit)
    except HarnessError as error:  # it was ended, by code of a plugin or for want of memory
        call.say(f"not estimated: {error}")
        return Answer()


def _long(works: Mapping[str, RunWork], jobs: int) -> bool:
    return sum(work.total for work in works.values()) / SLOW / jobs > WORTH


# -- what is decided ----------------------------------------------------------------------------


def _design(plan: BenchPlan) -> Design | None:
    """Repetitions of the plan; None: there is nothing to compare, or that cannot be foretold."""
    suite = plan.resolved.suite
    infos = [plan.datasets.get(name) for name in suite.datasets]
    if suite.primary not in SCORED or CONTROL not in suite.strategies:
        return None
    tests = [one.tested for one in infos if one is not None and one.tested]
    if len(tests) < len(infos) or len(suite.strategies) < 2:  # noqa: PLR2004 - a pair
        return None
    splits = len(suite.seeds) if suite.splits == "paired" else suite.splits
    return Design(
        tests=tests,
        networks=len(suite.backbones) * (len(suite.starts) or 1),
        strategies=len(suite.strategies),
        seeds=1 if suite.splits == "paired" else len(suite.seeds),
        splits=splits,
        test_share=suite.protocol.test_share,
        tracks=len(label_budgets(suite)) * (2 if suite.tuning else 1),
    )


def _more(plan: BenchPlan, design: Design, found: Estimate | None, call: Call) -> More | None:
    """The same call with as many seeds as verdicts take, if it has fewer."""
    suite = plan.resolved.suite
    if design.repeats >= SEEDS:
        return None
    seeds = list(suite.seeds)
    added = [number for number in range(SEEDS + len(seeds)) if number not in seeds]
    seeds += added[: SEEDS - len(seeds)]
    paired = suite.splits == "paired"
    enough = replace(design, splits=SEEDS) if paired else replace(design, seeds=SEEDS)
    if suite.splits not in ("paired", 1):  # two splits: the unit is the split
        return None
    decides = reach(enough)
    if decides is None:
        return None
    more = SEEDS - len(suite.seeds)
    whole = 0.0
    if found is not None and found.counted:
        a_run = found.expected / found.counted
        whole = found.expected + a_run * len(plan.specs) / len(suite.seeds) * more
    return More(_command(call, seeds), decides, whole, len(suite.seeds), SEEDS)


def _command(call: Call, seeds: Sequence[int]) -> str:
    """The command of a call, with other seeds."""
    words = ["harness", "bench", *(word for one in call.loaded.args for word in ("-p", one))]
    request = replace(call.request, seeds=tuple(seeds))
    if request.suite:
        words.append(request.suite)
    for given in (request, call.options):
        for one in fields(given):
            value = getattr(given, one.name)
            if one.name not in ("suite", "access", "live", "break_lock") and value != one.default:
                words += _option(one.name, value)
    access = call.options.access
    words += ["--skip-bad-images"] * access.skip_bad_images
    words += ["--allow-missing-classes"] * access.allow_missing_classes
    return shlex.join(words)


REPEATED = ("data", "columns", "window", "external", "splits", "sets")


def _option(name: str, value: object) -> list[str]:
    option = "--" + {"sets": "set"}.get(name, name).replace("_", "-")
    if value is True:
        return [option]
    if name == "shard" and isinstance(value, tuple):
        return [option, "/".join(map(str, value))]
    if isinstance(value, tuple):
        each = map(str, value)
        return [word for one in each for word in (option, one)] if name in REPEATED else [
            option, ",".join(each),
        ]  # fmt: skip
    return [option, f"{value:g}" if isinstance(value, float) else str(value)]


# -- text ---------------------------------------------------------------------------------------


def _time(outlook: Outlook) -> Iterator[str]:
    found = outlook.estimate
    if found is None:
        return
    yield from (f"not estimated: {fault}" for fault in outlook.faults)
    if not found.counted:
        yield (
            "estimated time: unknown, for no run can be counted: its data or network is not here, or "
            "its strategy cannot be asked for its phases"
        )
        return
    beside = "" if found.counted == found.asked else f" for {found.counted} of {found.asked} runs"
    text = f"estimated time{beside}: {duration(found.expected + outlook.ready)}"
    if found.most > found.expected:
        text += f", at most {duration(found.most + outlook.ready)} if patience ends no run early"
    elif found.patient:
        text += " if patience ends no run early"
    yield text
    why = "so little is not worth a trial" if outlook.here else "runs are made elsewhere"
    told = {
        "runs": f"{plural(found.runs, 'run')} that such a machine made, in this folder",
        "probe": "a few batches tried here",
        "other networks": "the pace of other networks (assumed to be the same)",
        "assumed": f"an assumed pace, since {why}",
    }
    bases = [f"{told[basis]} ({', '.join(names)})" for basis, names in found.bases.items()]
    if outlook.ready >= 1:
        bases.append(f"{duration(outlook.ready)} of it to start and to read the data")
    yield f"  from {'; '.join(bases)}"


def _decides(outlook: Outlook) -> Iterator[str]:
    if outlook.decides is not None:
        least = "none: it takes more test images"
        if outlook.decides < ALL:
            least = f"about {100 * outlook.decides:.1f} points (found in 80 %)"
        yield (
            f"smallest difference to {CONTROL} that it can decide, on average over its datasets: {least}"
        )
        yield f"  assumed: {ASSUMED}"
    if outlook.more is None:
        return
    more = outlook.more
    few = "one seed decides nothing" if more.now == 1 else f"{more.now} seeds decide nothing"
    if more.decides < ALL:
        yield (
            f"{few}: with {more.seeds}, differences to {CONTROL} from about {100 * more.decides:.1f} points "
            f"on are found in 80 %{f', after about {duration(more.seconds)}' if more.seconds else ''}, by"
        )
        yield f"  {more.command}"
    else:
        yield f"{few}, and {more.seeds} would not: it takes more test images"
    yield f"  assumed: {ASSUMED}"

"""What a call settles before anything runs: data, weights, identities; all that can be wrong is found.

The runs of a call and how they are computed, from what is known of its data and weights.

A call before data are looked at: what was asked for, made sure of; or only told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from harness import weights
from harness import weights as weights_file
from harness.api.dataset import Access
from harness.api.execution import Engine
from harness.api.records import NumericMode, Plan, PlannedRun, RunSpec, Suite
from harness.benchmark import numerics, sizing, suite, workers
from harness.benchmark import suite as suites
from harness.benchmark.dry_run import Outline
from harness.benchmark.numerics import Compile, Wish
from harness.benchmark.progress import Decoding
from harness.benchmark.sizing import Load, Sizing, choose_device, size
from harness.benchmark.suite import Chosen, Facts, Request
from harness.data import fetch, lock, preparation, requirements
from harness.data import preparation as data
from harness.data.preparation import Prepared, Survey
from harness.errors import DataError, WeightsError
from harness.plugins import provenance
from harness.plugins.registry import Loaded
from harness.results.store import Store
from harness.utils.parallel import cores
from harness.weights import WeightsFile

Say = Callable[[str], None]


def stages(
    chosen: Chosen, request: Request, device: str, jobs: int | None
) -> list[tuple[str, ...]]:
    """Datasets that are made ready together, the first before anything runs.

    Beside a card the cores are idle: there the runs of the first dataset need not wait for the
    others.  On a CPU decoding and training would share the cores; runs side by side (`jobs`, None:
    chosen later) go on from one dataset to the next, where all must be there; and a shard is told by
    run ids, which are known when all data are.
    """
    alone = (jobs or sizing.worth(chosen.suite.protocol)) == 1
    if not device.startswith("cuda") or not alone or request.shard is not None:
        return [tuple(chosen.datasets)]
    drawn = [name for name, one in chosen.datasets.items() if one.procedural]
    others = [name for name in chosen.datasets if name not in drawn]
    return [(*drawn, *others[:1]), *((name,) for name in others[1:])]


def prepare_data(
    chosen: Chosen,
    access: Access,
    limit: int | None,
    say: Say,
    halt: Callable[[], None] | None = None,
) -> dict[str, preparation.Prepared]:
    """Every dataset, decoded.

    Raises:
        DataError: one is broken.
    """
    found = {}
    for name, dataset in chosen.datasets.items():
        started = time.perf_counter()
        progress = Decoding(name, say, halt)
        made = preparation.prepare(
            dataset, chosen.suite.protocol, access, limit=limit, progress=progress
        )
        found[name] = replace(made, seconds=time.perf_counter() - started)
        skipped = found[name].images.record.skipped
        if skipped:
            say(f"{name}: {len(skipped)} bad images left out: {', '.join(skipped[:5])}")
    return found


def require(chosen: Chosen, loaded: Loaded, request: Request, access: Access) -> None:
    """Make sure that all published data and weights are here: nothing is fetched unasked.

    Raises:
        DataError: what is missing, and the one command that fetches it.
    """
    needs = [
        *requirements.data_needs(chosen.datasets, access).values(),
        *weights_needs(chosen, loaded, request).values(),
    ]
    problem = requirements.refusal(
        chosen.suite.name, needs, _command(chosen, request, access, needs)
    )
    if problem:
        raise DataError(problem)


def _command(
    chosen: Chosen, request: Request, access: Access, needs: Sequence[requirements.Need]
) -> list[str]:
    """What fetches all that is missing: by the suite's name where all of it was asked for."""
    command = ["harness", "data", "fetch"]
    if request.datasets or request.backbones or weights_from(chosen, request) is not None:
        missing = [need for need in needs if need.fetchable and not need.ready]
        command += [need.name for need in missing if need.kind == "data"]
        backbones = ",".join(need.name for need in missing if need.kind == "weights")
        command += ["--backbones", backbones] * bool(backbones)
    else:
        command += ["--suite", request.suite or chosen.suite.name]
    return command + ["--lock", str(access.lock)] * (access.lock != Access().lock)


def find_weights(
    backbones: Sequence[str], loaded: Loaded, where: str | None, access: Access
) -> dict[str, WeightsFile | None]:
    """Each backbone's weights file; all that is wrong is told in one message.

    Raises:
        WeightsError: weights that cannot be had, or are of another architecture; what to do.
    """
    found, problems = {}, []
    locked = lock.read(access.lock)
    for name in backbones:
        try:
            file = weights_file.find(loaded.backbones[name], where, offline=access.offline)
            if file is not None and where in {None, "default"}:
                fetch.check_weights(locked, name, file.path, file.sha256)
            elif file is not None:  # of one's own: whether it fits does not depend on the classes
                weights.load(loaded.backbones[name], 2, file)
            found[name] = file
        except WeightsError as error:
            problems.append(str(error))
    if problems:
        raise WeightsError("\n".join(problems))
    return found


def weights_from(chosen: Chosen, request: Request) -> str | None:
    """Where weights come from: `none`, a folder, or None for what the backbones declare."""
    return "none" if chosen.suite.weights == "none" else request.weights


def weights_needs(chosen: Chosen, loaded: Loaded, request: Request) -> dict[str, requirements.Need]:
    """What the call's backbones need from elsewhere."""
    backbones = [loaded.backbones[name] for name in chosen.suite.backbones]
    return requirements.weights_needs(backbones, weights_from(chosen, request))


def facts(
    chosen: Chosen,
    loaded: Loaded,
    fingerprints: Mapping[str, str],
    files: Mapping[str, WeightsFile | None],
    numeric: Mapping[tuple[str, str], NumericMode],
) -> Facts:
    """What is not here has no identity yet."""
    hashes = {name: file.sha256 if file else "none" for name, file in files.items()}
    return Facts(
        data=dict.fromkeys(chosen.datasets, "not fetched") | dict(fingerprints),
        weights=dict.fromkeys(chosen.suite.backbones, "not fetched") | hashes,
        sources=_sources(chosen, loaded),
        numeric=numeric,
    )


def numeric(
    chosen: Chosen, loaded: Loaded, images: Mapping[str, int], wish: numerics.Wish
) -> dict[tuple[str, str], NumericMode]:
    """How each (dataset, backbone) is computed; `images`: of the training split, where known."""
    suite = chosen.suite
    return {
        (dataset, backbone): numerics.numeric(
            wish, loaded.backbones[backbone], suite.protocol, images.get(dataset)
        )
        for dataset in suite.datasets
        for backbone in suite.backbones
    }


def _sources(chosen: Chosen, loaded: Loaded) -> dict[tuple[str, str], str]:
    """sha256 of the code of every plugin that moves a number of this suite."""
    wanted = [
        *(("backbones", name) for name in chosen.suite.backbones),
        *(("strategies", name) for name in chosen.suite.strategies),
        ("metrics", chosen.suite.protocol.metric),
    ]
    return {key: provenance.source_hash(loaded.owner(*key).module) for key in wanted}


def plan_of(chosen: Chosen, specs: Sequence[RunSpec]) -> Plan:
    """What is asked for, in the form that adds up over calls."""
    runs = [
        PlannedRun(
            run_id=spec.run_id,
            dataset=spec.dataset,
            modality=chosen.datasets[spec.dataset].modality,
            backbone=spec.backbone,
            strategy=spec.strategy,
            settings=spec.settings,
            protocol=spec.protocol.name,
            seed=spec.seed,
            limit=spec.limit,
            epochs=spec.protocol.epochs,
            weights="none" if spec.weights == "none" else "loaded",
            precision=spec.numeric.precision,
        )
        for spec in specs
    ]
    return Plan(suites={chosen.suite.name: chosen.suite}, runs=tuple(runs))


@dataclass(frozen=True)
class Known:
    """What runs depend on of a dataset.

    Attributes:
        train, images: images of the training split, and of all three.
        classes: how many.
    """

    fingerprint: str
    train: int
    images: int
    classes: int

    @classmethod
    def of(cls, one: Prepared | Survey) -> Self:
        if isinstance(one, Prepared):
            counts = {name: len(labels) for name, labels in one.images.labels.items()}
            classes = one.images.classes
        else:
            counts, classes = dict(one.counts), one.classes
        return cls(one.fingerprint, counts["train"], sum(counts.values()), len(classes))


@dataclass(frozen=True)
class Want:
    """What the user left to the harness, and what not; `jobs`: side by side, None: chosen here."""

    request: Request
    wish: Wish
    jobs: int | None
    threads: int


@dataclass(frozen=True)
class Settled:
    """Every run, those of data that are not known yet under a provisional identity."""

    specs: list[RunSpec]
    numeric: Mapping[tuple[str, str], NumericMode]
    sizing: Sizing


def settle(
    chosen: Chosen,
    loaded: Loaded,
    want: Want,
    files: Mapping[str, WeightsFile | None],
    known: Mapping[str, Known],
) -> Settled:
    """The runs of `chosen`.

    Args:
        chosen: what to run.
        loaded: plugins.
        want: what was asked for.
        files: backbone -> its weights, as far as they are here.
        known: dataset -> what is known of it, as far as it is.
    """
    counts = {name: one.train for name, one in known.items()}
    modes = numeric(chosen, loaded, counts, want.wish)
    fingerprints = {name: one.fingerprint for name, one in known.items()}
    identity = facts(chosen, loaded, fingerprints, files, modes)
    specs = suite.specs(chosen, loaded, identity, want.request)
    load = Load(
        runs=len(specs),
        images={name: one.images for name, one in known.items()},
        classes={name: one.classes for name, one in known.items()},
        protocol=chosen.suite.protocol,
        numeric=modes,
    )
    return Settled(specs, modes, size(load, loaded, want.wish.device, want.jobs, want.threads))


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
class Call:
    """Everything that is settled before data are looked at.

    Attributes:
        weights: backbone -> its file; None: random weights.
    """

    chosen: Chosen
    want: Want
    store: Store
    weights: Mapping[str, WeightsFile | None]
    device: str
    options: Options


def begin(request: Request, options: Options, loaded: Loaded) -> Call:
    """Settle all that does not depend on what is in the data; all that can be wrong is found here.

    Raises:
        HarnessError: with what, where and what to do.
    """
    chosen = suites.resolve(request, loaded)
    store = Store(options.out or Path("results") / chosen.suite.name)
    store.check_writable()
    device = choose_device(options.device)
    where = weights_from(chosen, request)
    require(chosen, loaded, request, options.access)
    files = find_weights(chosen.suite.backbones, loaded, where, options.access)
    _start_workers(chosen.suite, store, device, options)
    return Call(chosen, _want(request, options, device), store, files, device, options)


def _want(request: Request, options: Options, device: str) -> Want:
    wish = Wish(device, options.engine, request.precision, options.compile)
    return Want(request, wish, options.jobs, options.threads)


def _start_workers(suite: Suite, store: Store, device: str, options: Options) -> None:
    """Their imports go on beside the decoding, where a new folder says that there is work to do."""
    cells = len(suite.datasets) * len(suite.backbones) * len(suite.strategies) * len(suite.seeds)
    jobs = min(options.jobs or cores() // options.threads, cells)
    if device == "cpu" and jobs > 1 and not store.plan().runs:
        workers.start_server(options.threads)


def outline(request: Request, options: Options, loaded: Loaded) -> Outline:
    """What `bench` would do.  Nothing is fetched, decoded or written; sizes may be asked for.

    Raises:
        HarnessError: something is wrong that can be known without what is missing.
    """
    chosen = suites.resolve(request, loaded)
    device, access = choose_device(options.device), options.access
    data_needs = requirements.data_needs(chosen.datasets, access, ask=True)
    missing_weights = weights_needs(chosen, loaded, request)
    absent = {need.name for need in data_needs.values() if not need.ready}
    surveys = {
        name: data.survey(dataset, chosen.suite.protocol, access, limit=request.limit)
        for name, dataset in chosen.datasets.items()
        if name not in absent
    }
    ready = [
        n for n in chosen.suite.backbones if n not in missing_weights or missing_weights[n].ready
    ]
    files = find_weights(ready, loaded, weights_from(chosen, request), access)
    known = {name: Known.of(one) for name, one in surveys.items()}
    found = settle(chosen, loaded, _want(request, options, device), files, known)
    return Outline(
        suite=chosen.suite,
        datasets=chosen.datasets,
        specs=found.specs,
        store=Store(options.out or Path("results") / chosen.suite.name),
        surveys=surveys,
        weights=files,
        needs=(*data_needs.values(), *missing_weights.values()),
        limit=request.limit,
        device=device,
        jobs=found.sizing.jobs,
        numeric=found.numeric,
        memory=found.sizing.memory,
    )

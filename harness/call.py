"""A call before data are looked at: what was asked for, made sure of; or only told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import data, inventory, pool, preparation
from harness import suite as suites
from harness.dataset import Access
from harness.device import choose_device
from harness.execution import Engine
from harness.modes import Compile, Wish
from harness.parallel import cores
from harness.planning import Outline
from harness.plugins import Loaded
from harness.records import Suite
from harness.settling import Known, Want, settle
from harness.store import Store
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
    where = preparation.weights_from(chosen, request)
    preparation.require(chosen, loaded, request, options.access)
    files = preparation.find_weights(chosen.suite.backbones, loaded, where, options.access)
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
        pool.start_server(options.threads)


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
    files = preparation.find_weights(
        ready, loaded, preparation.weights_from(chosen, request), access
    )
    known = {name: Known.of(one) for name, one in surveys.items()}
    found = settle(chosen, loaded, _want(request, options, device), files, known)
    return Outline(
        suite=chosen.suite,
        datasets=chosen.datasets,
        specs=found.specs,
        store=Store(options.out or Path("results") / chosen.suite.name),
        surveys=surveys,
        weights=files,
        needs=(*data_needs.values(), *weights_needs.values()),
        limit=request.limit,
        device=device,
        jobs=found.sizing.jobs,
        numeric=found.numeric,
        memory=found.sizing.memory,
    )

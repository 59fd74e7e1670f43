"""A call of `harness bench`: the request says what is measured, the options how; and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.api.dataset import Access
from harness.api.execution import Engine
from harness.api.leaderboard import Leaderboard
from harness.api.records import RunResult, RunSpec
from harness.benchmark.profile import Profile

Compile = Literal["auto", "graph", "compile"]
Others = Literal["wait", "leave"]  # for a run that another call has in hand


@dataclass(frozen=True)
class BenchRequest:
    """Everything that says what is measured, as the command line gives it."""

    suite: str | None = None
    datasets: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    data: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    join_labels: bool = False
    sets: tuple[str, ...] = ()
    weights: str | None = None
    starts: tuple[str, ...] = ()
    limit: int | None = None
    splits: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    trials: int | None = None
    epochs: float | None = None
    shard: tuple[int, int] | None = None
    precision: str | None = None
    window: tuple[str, ...] = ()
    external: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchOptions:
    """Means of carrying a request out; no result depends on them but by its numeric mode.

    Attributes:
        out: the results folder; None: results/<suite>, or results/<names> of images of one's own.
        device: 'auto', 'cpu', 'cuda' (all cards that are visible) or 'cuda:N'.
        jobs: workers side by side; None: chosen here.
        launcher: the name of what starts the workers.
        ray_address: where a cluster of the launcher `ray` runs; None: one is started here.
        in_process: runs are made in this process, one after another, and nothing can end one.
        timeout: seconds that a run may take; None: any.
        memory_limit: GiB that a worker may hold for itself; None: as much as there is.
        checkpoint_every: minutes after which a run under way is kept, so that the same call goes on
            from there if it is interrupted; None: an interrupted run begins anew.
        threads: torch threads of each on a CPU.  Sums over threads round differently, so the
            default is one whatever `jobs` is: the same spec gives the same bits.
        engine: 'reference' carries every step out plainly, for comparison with the fast path.
        compile: on a CUDA device: compile steps where it pays ('auto'), never or always.
        deterministic: on a CUDA device: the same bits in every process, with slower kernels.
        retrain_for_external: train finished runs again whose further test sets are not predicted and
            that kept no weights.
        track: names of the trackers that are told of the runs made.
        live: a live bar or plain lines; None: a bar where stderr is a terminal.
    """

    out: Path | None = None
    device: str = "auto"
    jobs: int | None = None
    threads: int = 1
    launcher: str = "local"
    ray_address: str | None = None
    in_process: bool = False
    timeout: float | None = None
    memory_limit: float | None = None
    checkpoint_every: float | None = None
    engine: Engine = "fast"
    compile: Compile = "auto"
    deterministic: bool = False
    retry_failed: bool = False
    break_lock: bool = False
    others: Others = "wait"
    save_weights: bool = False
    retrain_for_external: bool = False
    track: tuple[str, ...] = ()
    live: bool | None = None
    access: Access = field(default_factory=Access)


@dataclass(frozen=True)
class BenchResult:
    """The outcome of a call.

    Attributes:
        failed: runs it asked for that have failed, now or before.
        asked: ids of all the runs it asked for.
        profile: seconds by part of the call.
        without_weights: finished runs it asked for whose weights should be kept and are not there.
        without_external: those that lack a further test set, and why.
        extended: runs that were there and got one.
        left: runs left to another call that has them in hand.
    """

    board: Leaderboard
    folder: Path
    ran: int
    already_done: int
    failed: list[RunResult]
    asked: frozenset[str]
    profile: Profile
    without_weights: list[RunResult] = field(default_factory=list)
    without_external: list[tuple[RunSpec, str]] = field(default_factory=list)
    extended: int = 0
    left: int = 0

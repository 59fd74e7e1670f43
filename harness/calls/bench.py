"""`harness.bench` and `harness.dry_run`: a suite run and ranked, or planned."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from harness.api.dataset import Access
from harness.api.execution import Engine
from harness.api.records import RunResult, RunSpec
from harness.benchmark.preview.dry_run import describe_plan
from harness.benchmark.preview.outlook import DryRun
from harness.benchmark.preview.shares import PlannedShard, plan_shards
from harness.benchmark.request import BenchOptions, BenchRequest, BenchResult, Compile, Others
from harness.benchmark.run import dry_run as plan_benchmark
from harness.benchmark.run import run_benchmark
from harness.calls import arguments
from harness.calls.arguments import (
    Names,
    Pairs,
    PathLike,
    Plugins,
    Whole,
    explaining,
    say,
    with_parameters,
)
from harness.calls.results import Results
from harness.plugins.discovery import DISTRIBUTION
from harness.plugins.registry import PluginRegistry
from harness.utils.text import plural

Precision = Literal["auto", "float32", "bf16", "fp16", "float64"]


def bench(  # noqa: PLR0913 - the options of the command
    suite: PathLike | None = None,
    *,
    datasets: Names = None,
    backbones: Names = None,
    strategies: Names = None,
    seeds: Whole = None,
    data: Pairs = (),
    columns: Pairs = (),
    join_labels: bool = False,
    window: Pairs = (),
    weights: PathLike | None = None,
    starts: Names = None,
    out: PathLike | None = None,
    device: str = "auto",
    jobs: int | None = None,
    threads: int = 1,
    launcher: str = "local",
    ray_address: str | None = None,
    in_process: bool = False,
    timeout: float | None = None,
    memory_limit: float | None = None,
    checkpoint_every: float | None = None,
    engine: Engine = "fast",
    splits: PathLike | int | Iterable[PathLike | int] = (),
    labels: str | int | Iterable[str | int] | None = None,
    trials: int | None = None,
    limit: int | None = None,
    epochs: float | None = None,
    set: str | Iterable[str] | Mapping[str, Any] = (),  # noqa: A002 - as the option is called
    shard: str | tuple[int, int] | None = None,
    precision: Precision | None = None,
    compile: Compile = "auto",  # noqa: A002 - as the option is called
    deterministic: bool = False,
    lock: PathLike = "harness.lock",
    skip_bad_images: bool = False,
    allow_missing_classes: bool = False,
    external: Pairs = (),
    retrain_for_external: bool = False,
    retry_failed: bool = False,
    others: Others = "wait",
    break_lock: bool = False,
    track: Names = None,
    save_weights: bool = False,
    plugins: Plugins = (),
    strict_plugins: bool = False,
    offline: bool | None = None,
) -> Results:
    """Run a suite and write its leaderboard, as `harness bench` does.

    What is done already is not run again.  Progress and what a user should know are lines on
    stderr.  A run that fails ends nothing: see `Results.failed`.

    Args:
        suite: a name or a .toml file; None: `demo`, or `folders` with `data`.
        datasets: names or globs: a list, or a text with commas.
        backbones: likewise.
        strategies: likewise.
        seeds: whole numbers, instead of the suite's.
        data: images of your own: {'xray:ward': 'path/to/folder'}, or texts [MODALITY:]NAME=FOLDER.
        columns: of the list of a `data` folder: {'ward:group': 'patient_id'}, or texts
            [NAME:]ROLE=COLUMN.
        join_labels: labels of a `data` folder that read the same (1 and 1.0) are one class.
        window: of DICOM files: 'lung', or {'ward': 'lung'}.
        weights: a folder with NAME.safetensors or NAME.pth, or 'none' for random weights.
        starts: starting points to compare: 'none', 'imagenet', a folder in `weights`, or NAME=SOURCE
            with a file, a folder or hf://ORG/NAME@REVISION/FILE.
        out: the results folder; what it holds counts.  None: results/SUITE, or results/NAME of
            `data`.
        device: 'auto', 'cpu', 'cuda' (all cards) or 'cuda:N'.
        jobs: workers side by side; None: chosen by the machine.
        checkpoint_every: minutes after which every run under way is kept: interrupted, the same call
            goes on from there.
        threads: CPU threads of each process; another number rounds differently.
        launcher: what starts the workers: 'local', or the name of a plugin's.
        ray_address: of a cluster that runs already, for the launcher 'ray'.
        in_process: make runs in this process, one after another.
        timeout: seconds that a run may take.
        memory_limit: GiB that a worker may hold for itself.
        engine: 'fast', or 'reference': every step carried out plainly, to compare with.
        splits: a number of random splits, 'paired', or files of `harness data splits`.
        labels: training images that keep their label: '10%' or a number, one or several.
        trials: of a suite that tunes: only the first so many trials of each strategy.
        limit: images of each split; marks every row.
        epochs: at most so many; marks every row.
        set: settings: {'l2-sp.alpha': 0.01, 'protocol.lr': 1e-4}, or texts TARGET.FIELD=VALUE.
        shard: (I, N): only part I of N, of about equal work, groups of runs kept together.
        precision: 'auto', 'float32', 'bf16', 'fp16' or 'float64'; None: bf16 on a CUDA device, else
            float32.
        compile: 'auto', 'graph' or 'compile': steps on a CUDA device.
        deterministic: on a CUDA device: the same bits in every process, slower.
        lock: the file with revisions and bytes of data and weights.
        skip_bad_images: leave unreadable images out and say so.
        allow_missing_classes: go on where validation or test lacks a class.
        external: further test sets: {'ward:other-place': 'path'}, or texts [DATASET:]NAME=FOLDER.
        retrain_for_external: train finished runs that kept no weights again, to predict those.
        retry_failed: run again what failed before.
        others: 'wait' or 'leave': what becomes of runs that another call on the folder has in hand.
        break_lock: take the results folder's lock from a call that was lost with its machine.
        track: names of the trackers that are told of every run made.
        save_weights: keep the tested weights of every run.
        plugins: modules, files or names of installed plugins, or no:NAME, which blocks one.
        strict_plugins: a broken plugin is an error.
        offline: never use the network; None: as HF_HUB_OFFLINE says.

    Raises:
        HarnessError: with what, where and what to do; the message of the command.
    """
    asked = _read(locals())
    with explaining(asked.plugins):
        done = run_benchmark(asked.request, asked.options, asked.plugins, say)
    for note in _notes(done):
        say(note)
    return Results(done.board, (done.folder,), asked.plugins, done, done.folder)


@dataclass(frozen=True)
class Planned:
    """A call that was planned and not carried out; as text it is what `--dry-run` prints."""

    _dry: DryRun
    _plugins: PluginRegistry

    @property
    def folder(self) -> Path:
        """The results folder that it would write to."""
        return self._dry.store.folder

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """Every run that it asks for."""
        return tuple(self._dry.plan.specs)

    @property
    def todo(self) -> tuple[RunSpec, ...]:
        """Those that are not there yet; failed ones are."""
        ids = self._dry.store.missing([spec.run_id for spec in self.runs])
        return tuple(spec for spec in self.runs if spec.run_id in set(ids))

    def shards(self, parts: int) -> tuple[PlannedShard, ...]:
        """The parts that `shard=(1, parts)` and so on make, each with its time and memory.

        For a call without `shard` that has not begun: what is there already is not counted.

        Raises:
            UsageError: the number is not 1 or more.
        """
        return plan_shards(self._dry, arguments.whole("parts", parts, 1), self._plugins)

    def __str__(self) -> str:
        return describe_plan(self._dry)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@with_parameters(bench)
def dry_run(**given: object) -> Planned:
    """Plan what `harness.bench` would do with the same arguments; train and write nothing.

    As `harness bench --dry-run` does; print what it returns.

    Raises:
        HarnessError: something is wrong that can be known without what is missing.
    """
    asked = _read(given)
    with explaining(asked.plugins):
        dry = plan_benchmark(asked.request, asked.options, asked.plugins, say)
    return Planned(dry, asked.plugins)


class Asked(NamedTuple):
    """A call, read: what is measured, how, and with which plugins."""

    request: BenchRequest
    options: BenchOptions
    plugins: PluginRegistry


def _read(given: Mapping[str, Any]) -> Asked:
    """The arguments of `bench`, checked.

    Raises:
        UsageError: a value of another kind, or out of its range.
    """
    plugins = arguments.loaded(given["plugins"], strict=given["strict_plugins"])
    return Asked(_request(given), _options(given), plugins)


def _request(given: Mapping[str, Any]) -> BenchRequest:
    suite, weights = (
        arguments.form("SUITE", given["suite"]),
        arguments.form("--weights", given["weights"]),
    )
    precision = given["precision"]
    return BenchRequest(
        suite=suite,
        **{
            name: arguments.names(f"--{name}", given[name])
            for name in ("datasets", "backbones", "strategies")
        },
        seeds=arguments.whole_numbers("--seeds", given["seeds"]),
        data=arguments.pairs("--data", given["data"]),
        columns=arguments.pairs("--columns", given["columns"]),
        join_labels=arguments.flag("--join-labels", given["join_labels"]),
        sets=arguments.settings("--set", given["set"]),
        weights=weights,
        starts=arguments.names("--starts", given["starts"]),
        limit=arguments.some_whole("--limit", given["limit"], 1),
        splits=arguments.forms("--splits", given["splits"]),
        labels=arguments.names("--labels", arguments.forms("--labels", given["labels"])),
        trials=arguments.some_whole("--trials", given["trials"], 1),
        epochs=arguments.number("--epochs", given["epochs"], above=0),
        shard=arguments.part_of("--shard", given["shard"]),
        precision=precision and arguments.choice("--precision", precision, get_args(Precision)),
        window=arguments.pairs("--window", given["window"], ":"),
        external=arguments.pairs("--external", given["external"]),
    )


def _options(given: Mapping[str, Any]) -> BenchOptions:
    flags = {
        name: arguments.flag(f"--{name.replace('_', '-')}", given[name])
        for name in ("deterministic", "retry_failed", "break_lock", "save_weights",
                     "retrain_for_external", "skip_bad_images", "allow_missing_classes", "in_process")
    }  # fmt: skip
    access = Access(
        offline=arguments.is_offline(given["offline"]),
        skip_bad_images=flags.pop("skip_bad_images"),
        allow_missing_classes=flags.pop("allow_missing_classes"),
        lock=arguments.place(given["lock"], "--lock"),
    )
    return BenchOptions(
        out=arguments.folder("--out", given["out"]),
        device=arguments.needed("--device", given["device"], "'auto', 'cpu', 'cuda' or 'cuda:N'"),
        jobs=arguments.some_whole("--jobs", given["jobs"], 1),
        threads=arguments.whole("--threads", given["threads"], 1),
        launcher=arguments.needed("--launcher", given["launcher"]),
        ray_address=arguments.form("--ray-address", given["ray_address"]),
        timeout=arguments.number("--timeout", given["timeout"], above=0),
        memory_limit=arguments.number("--memory-limit", given["memory_limit"], above=0),
        checkpoint_every=arguments.number("--checkpoint-every", given["checkpoint_every"], above=0),
        engine=arguments.choice("--engine", given["engine"], get_args(Engine)),
        compile=arguments.choice("--compile", given["compile"], get_args(Compile)),
        others=arguments.choice("--others", given["others"], get_args(Others)),
        track=arguments.names("--track", given["track"]),
        access=access,
        **flags,
    )


# -- what a call leaves undone ----------------------------------------------------------------------


def _notes(done: BenchResult) -> list[str]:
    """Texts on runs that failed, weights that were not kept and predictions that are not there."""
    told = []
    if done.without_weights:
        told.append(_without_weights(done))
    if done.without_external:
        told.append(_without_external(done))
    if done.failed:
        told.append(_failures(done.failed))
    return told


def _without_weights(result: BenchResult) -> str:
    lost = result.without_weights
    head = (
        f"{len(lost)} runs have no weights in {result.folder / 'weights'}; a run that is there is "
        "not made again, so give another folder with --out to make them with their weights:"
    )
    return "\n".join([head, *(f"  {run.spec.cell}, seed {run.spec.seed}" for run in lost)])


def _without_external(result: BenchResult) -> str:
    without = result.without_external
    head = (
        f"{plural(len(without), 'finished run')} without a further test set (those that kept no weights are trained "
        "again with --retrain-for-external):"
    )
    return "\n".join([head, *(f"  {spec.cell}, seed {spec.seed}: {why}" for spec, why in without)])


def _failures(failed: list[RunResult]) -> str:
    again = f"--retry-failed runs {'it' if len(failed) == 1 else 'them'} again"
    lines = [f"{plural(len(failed), 'run')} failed ({again}; details in failed/):"]
    alike: dict[str, list[RunResult]] = {}
    for result in sorted(failed, key=lambda one: (one.spec.cell, one.spec.seed)):
        message = result.error.headline if result.error else result.status
        alike.setdefault(message, []).append(result)
    for message, results in alike.items():
        first, more = results[0].spec, len(results) - 1
        others = f" and {more} more" if more else ""
        lines.append(f"  {first.cell}, seed {first.seed}{others}: {message}")
    if own := sorted({name for result in failed for name in _own(result)}):
        lines.append(
            f"`harness plugins check {' '.join(own)}`, with the -p of this call, tries them on a toy"
        )
    return "\n".join(lines)


def _own(result: RunResult) -> list[str]:
    """Parts of a run that do not come with the harness."""
    names = {"strategy": result.spec.strategy, "backbone": result.spec.backbone}
    return [
        name
        for role, name in names.items()
        if role in result.plugins and result.plugins[role].distribution != DISTRIBUTION
    ]

"""One run in this process: gather what it needs, carry it out, turn a fault into a record."""

from __future__ import annotations

import gc
import os
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import ValidationError

from harness.api.backbone import Backbone
from harness.api.execution import (
    Checkpoints,
    Engine,
    ImageSet,
    Observer,
    Outcome,
    Resources,
    StartingPoint,
)
from harness.api.launcher import Task, Tell, Work, Worker
from harness.api.records import Failure, PluginRecord, RunResult, RunSpec, StageWork
from harness.benchmark.identity import ROLES, code_names
from harness.benchmark.launch.out_of_memory import is_out_of_memory, with_less_memory
from harness.benchmark.launch.places import ImagesPlace
from harness.benchmark.listeners.events import Group, RunObserver, StateLeft
from harness.benchmark.numerics import BF16_INSTRUCTIONS, bf16_instructions
from harness.benchmark.suite.settings import strategy_of
from harness.benchmark.unfinished import checkpoints_of, made_by
from harness.data.division.split import Division
from harness.data.images import PixelForm
from harness.errors import HarnessError, PluginError, TrainingError, WeightsError
from harness.plugins import provenance
from harness.plugins.registry import PluginRegistry, load_plugins
from harness.results.store import weights_file
from harness.utils import files
from harness.utils.faults import faults
from harness.utils.memory import watched
from harness.weights import WeightsFile

if TYPE_CHECKING:
    import torch

    from harness.engine import Isolation, Traces

Unfinished: TypeAlias = Literal["failed", "oom", "timeout"]
DETERMINISTIC = ":4096:8"  # read when CUDA starts: without it cuBLAS has no such kernels
OVER_MEMORY = "over_memory"  # the event of a run whose process is about to end; bytes that it held


@dataclass(frozen=True)
class WorkerSetup(Work):
    """Everything that the runs of one call share; it can be sent to another process.

    Attributes:
        images: dataset, division and form -> its decoded images, or where they lie.
        weights: backbone, with its start, -> its file; None: random weights.
        weights_folder: where tested weights go, if they are kept.
        checkpoints: the results folder, and minutes between two checkpoints of a run under way.
        from_weights: run id -> its tested weights, of finished runs of which only further test sets
            are predicted.
        threads: torch threads of a process that works on the CPU.
        packed: other processes work on the same card, so that no run's seconds are its own.
        jobs: runs side by side.
        memory: bytes that a worker may hold for itself; None: as much as there is.
        native: bf16 was chosen for its speed, so a process whose processor has no instructions for
            it carries out no such run.
    """

    suite: str
    images: Mapping[tuple[str, Division, PixelForm], ImageSet | ImagesPlace]
    weights: Mapping[str, WeightsFile | None]
    device: str = "cpu"
    shortened: bool = False
    weights_folder: Path | None = None
    checkpoints: tuple[Path, float] | None = None
    from_weights: Mapping[str, Path] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    threads: int = 1
    packed: bool = False
    jobs: int = 1
    engine: Engine = "fast"
    native: bool = False
    memory: int | None = None

    def open(self) -> Worker:
        """A worker in this process, on the device that is the setup's."""
        if self.device.startswith("cuda"):  # the caller may have no card, and another environment
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", DETERMINISTIC)
        import torch

        torch.set_num_threads(self.threads)
        # With several cards each worker sees one of them.
        setup = replace(self, device="cuda:0") if self.device == "cuda" else self
        return _Worker(RunExecutor(setup, load_plugins(self.plugins)))


class _Worker(Worker):
    """Runs one after another; one that holds more memory than it may ends with its process."""

    def __init__(self, executor: RunExecutor) -> None:
        self.executor, self.most = executor, executor.setup.memory
        executor.isolation  # noqa: B018 - imports the engine: else it would be time of the first run

    def run(self, task: Task, tell: Tell) -> Outcome:
        observer = RunObserver(task.spec, lambda _, event, value: tell(event, value))
        with watched(self.most, partial(tell, OVER_MEMORY)):
            return self.executor.run(task.spec, observer)


@dataclass
class RunExecutor:
    """Carries out runs, one after another; those of one group share what they can.

    What another group has shared is let go.
    """

    setup: WorkerSetup
    loaded: PluginRegistry
    _group: Group | None = None
    _shared: dict[Any, Any] = field(default_factory=dict)
    _starts: dict[tuple[str, int], StartingPoint | None] = field(default_factory=dict)
    _networks: dict[tuple[str, int], tuple[StageWork, ...]] = field(default_factory=dict)

    def run(self, spec: RunSpec, observer: Observer) -> Outcome:
        """The outcome of a run, whatever happened; only an interrupt gets through."""
        self._open(Group.of(spec))
        with self.isolation.around(spec) as traces:
            outcome = self._outcome(spec, observer)
        if traces.touched:
            self._shared.clear()  # made while numbers were computed in another way
            free_memory(self.setup.device)
        if traces.left:
            outcome = _noted(outcome, traces)
            if isinstance(observer, RunObserver):
                observer.state_left(
                    StateLeft(tuple(traces.left), renew=traces.renew, fresh=traces.fresh)
                )
        return outcome

    @cached_property
    def isolation(self) -> Isolation:
        """The state of the process that every run begins with."""
        from harness.engine import Isolation

        return Isolation(self.setup.threads)

    def _outcome(self, spec: RunSpec, observer: Observer) -> Outcome:
        records: dict[str, PluginRecord] = {}
        try:
            records = plugin_records(self.loaded, spec)
            if isinstance(observer, RunObserver):
                observer.dress = partial(self._dressed, records=records)
            self._check_processor(spec)
            resources = self._resources(spec, observer)
            kept = self.setup.from_weights.get(spec.run_id)
            if kept is not None:
                return _test_again(spec, resources, kept)
            outcome = self._carry_out_somehow(resources, spec)
            if self.setup.weights_folder is not None and outcome.state is not None:
                _save_weights(outcome, self.setup.weights_folder, observer)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises, or sys.exit(): this run only
            outcome = Outcome(failed_run(self.setup, spec, error))
        return self._dressed(outcome, records)

    def _check_processor(self, spec: RunSpec) -> None:
        numbers = (self.setup.device, spec.numeric.precision)
        if self.setup.native and numbers == ("cpu", "bf16") and not bf16_instructions():
            raise HarnessError(
                "--precision auto was settled as bf16 for this folder (plan.json), and this "
                f"processor has no instructions for it ({' or '.join(BF16_INSTRUCTIONS)}): run the "
                "same command with --retry-failed on one that has, or everything with --precision "
                "float32"
            )

    def _dressed(self, outcome: Outcome, records: Mapping[str, PluginRecord]) -> Outcome:
        """With what the engine does not know: suite, origin of the code, machine, time."""
        result = outcome.result
        result = result.model_copy(
            update={
                "suite": self.setup.suite,
                "shortened": self.setup.shortened,
                "cost": result.cost.model_copy(update=self._circumstances(result)),
                "plugins": dict(records),
                "environment": provenance.environment(
                    device_name(self.setup.device), self.setup.engine
                ),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        return Outcome(result, outcome.predictions, external=outcome.external)

    def _circumstances(self, result: RunResult) -> dict[str, Any]:
        """Facts of this run by which the seconds of another are estimated."""
        found: dict[str, Any] = {"packed": self.setup.packed, "jobs": self.setup.jobs}
        if result.status == "ok":
            found["network"] = self._network(result.spec)
        return found

    def _network(self, spec: RunSpec) -> tuple[StageWork, ...]:
        from harness.engine import count_stages

        key = (spec.backbone, spec.seen.crop)
        if key not in self._networks:
            self._networks[key] = count_stages(self.loaded.backbones[spec.backbone], key[1])
        return self._networks[key]

    def _carry_out_somehow(self, resources: Resources, spec: RunSpec) -> Outcome:
        """Whole, or with less memory where that runs out."""

        def attempt(parts: int) -> Outcome:
            # What was computed in parts is rounded in another way: no other run may find it.
            shared = self._shared if parts == 1 else {}
            return self._carry_out(replace(resources, parts=parts, shared=shared), spec)

        def free() -> None:
            self._shared.clear()
            gc.collect()
            free_memory(self.setup.device)

        return with_less_memory(attempt, free, resources.observer.told, spec.protocol.batch_size)

    def _carry_out(self, resources: Resources, spec: RunSpec) -> Outcome:
        outcome = self.loaded.manager.hook.harness_execute(spec=spec, resources=resources)
        if not isinstance(outcome, Outcome):
            raise HarnessError(f"harness_execute returned {outcome!r} for {spec.cell}, no Outcome")
        return outcome

    def _resources(self, spec: RunSpec, observer: Observer) -> Resources:
        self._check_offered(spec)
        images = self.setup.images[Group.of(spec).images]
        if isinstance(images, ImagesPlace):
            images = images.open()
        backbone = self.loaded.backbones[spec.backbone]
        return Resources(
            images=images,
            backbone=backbone,
            start=self._start(spec, backbone, len(images.classes)),
            strategy=strategy_of(self.loaded, spec.strategy, spec.settings),
            metrics=self.loaded.metrics,
            device=self.setup.device,
            suite=self.setup.suite,
            observer=observer,
            shared=self._shared,
            keep_state=self.setup.weights_folder is not None,
            engine=self.setup.engine,
            checkpoints=self._checkpoints(spec),
        )

    def _checkpoints(self, spec: RunSpec) -> Checkpoints | None:
        if self.setup.checkpoints is None:
            return None
        made = made_by(self.setup.device, self.setup.engine, self.setup.threads)
        return checkpoints_of(spec, *self.setup.checkpoints, made)

    def _check_offered(self, spec: RunSpec) -> None:
        """A plugin that was sound where the call began may be broken here, in another process."""
        for role, name in code_names(spec).items():
            if name not in getattr(self.loaded, ROLES[role]):
                broken = "; ".join(map(str, self.loaded.broken)) or "no plugin was left out"
                raise PluginError(f"nothing here offers the {role} {name!r}: {broken}")

    def _start(self, spec: RunSpec, backbone: Backbone, classes: int) -> StartingPoint | None:
        from harness import weights

        file = self.setup.weights[spec.started]
        if file is None:
            return None
        key = (spec.started, classes)
        if key not in self._starts:
            file = weights.found_again(backbone, file)
            self._starts[key] = weights.load_weights(backbone, classes, file)
        return self._starts[key]

    def _open(self, group: Group) -> None:
        """Make place for what the runs of a group share, and let go of all else."""
        before, self._group = self._group, group
        if before is None or before == group:
            return
        shared, self._shared = self._shared, {}
        if shared and before.images == group.images:
            from harness.engine import SharedWork

            self._shared[SharedWork.KEY] = SharedWork.of(shared).beside()
        del shared
        self._starts = {k: kept for k, kept in self._starts.items() if k[0] == group.started}
        free_memory(self.setup.device)


def failed_run(
    setup: WorkerSetup, spec: RunSpec, error: BaseException, status: Unfinished | None = None
) -> RunResult:
    """The record of a run that raised, or whose worker was ended.  `status`: None: by the error."""
    return RunResult(
        run_id=spec.run_id,
        suite=setup.suite,
        spec=spec,
        status=status or ("oom" if is_out_of_memory(error) else "failed"),
        error=Failure(
            kind=storable(type(error).__name__),
            message=message_of(error),
            traceback=storable(_traceback(error)),
            phase=error.phase if isinstance(error, TrainingError) else None,
            step=error.step if isinstance(error, TrainingError) else None,
        ),
    )


def _noted(outcome: Outcome, traces: Traces) -> Outcome:
    """With a note in the last phase of what the run left changed."""
    *before, last = outcome.result.phases or (None,)
    if last is None:
        return outcome
    note = f"left changed, and put back: {', '.join(traces.left)}"
    last = last.model_copy(update={"notes": (*last.notes, note)})
    result = outcome.result.model_copy(update={"phases": (*before, last)})
    return replace(outcome, result=result)


def free_memory(device: str) -> None:
    """Give what the runs before have left back to the device."""
    if not device.startswith("cuda"):
        return
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def plugin_records(loaded: PluginRegistry, spec: RunSpec) -> dict[str, PluginRecord]:
    """Origin of the code that makes a result, by role; own folders have no plugin."""
    records = {}
    for role, name in {"dataset": spec.dataset, **code_names(spec)}.items():
        kind = ROLES.get(role, "datasets")
        if name in getattr(loaded, kind):
            owner = loaded.owner(kind, name)
            record = provenance.plugin_record(owner.plugin, owner.module, owner.distribution)
            if role == "backbone":
                record = record.model_copy(
                    update={
                        "source": loaded.source(kind, name),
                        "others": dict(loaded.backbones[name].sources),
                    }
                )
            records[role] = record
    return records


def device_name(device: str) -> str:
    """The device for people: the card's name for CUDA."""
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def message_of(error: BaseException) -> str:
    """The text of an exception and its notes; where it has none, its kind and the line that raised it."""
    return "; ".join([_text_of(error), *map(storable, getattr(error, "__notes__", ()))])


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001 - a __str__ of somebody's own
        text = (
            f"{type(error).__name__} whose text cannot be had: str() raised {type(fault).__name__}"
        )
    if isinstance(error, SystemExit):
        code = "" if error.code is None else repr(error.code)
        text = f"code of a plugin called sys.exit({code})"
    elif isinstance(error, ValidationError):
        text = f"{error.title} is not valid: {'; '.join(faults(error))}"
    elif text.strip():
        return storable(text)
    else:
        text = f"{type(error).__name__} without a message"
    return storable(f"{text}{_where(error)}")


def _where(error: BaseException) -> str:
    """`, in my_plugin.py, line 7: assert epochs > 99`: the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    code = f": {frames[-1].line}" if frames[-1].line else ""
    return f", in {Path(frames[-1].filename).name}, line {frames[-1].lineno}{code}"


def storable(text: str) -> str:
    """The text, so that it can be stored as UTF-8: half a surrogate pair is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _traceback(error: BaseException) -> str:
    """The traceback without this machine's folders: file names only."""
    lines = traceback.format_exception(error)
    home = f"{Path(__file__).resolve().parents[3]}{os.sep}"
    return "".join(lines).replace(home, "").replace(f"{Path.home()}{os.sep}", "~/")


def _test_again(spec: RunSpec, resources: Resources, file: Path) -> Outcome:
    """The further test sets of a finished run, by the weights that it kept."""
    from harness.engine import test_again

    return test_again(spec, resources, tested_weights(file, spec.run_id))


def tested_weights(file: Path, run_id: str) -> dict[str, torch.Tensor]:
    """The tensors of a file that `bench --save-weights` wrote.

    Raises:
        WeightsError: it cannot be read, or holds those of another run.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            told = (opened.metadata() or {}).get("run_id")
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{file} cannot be read as weights ({error}): it is cut short or damaged"
        ) from error
    if told != run_id:
        raise WeightsError(
            f"{file} holds the weights of {f'run {told}' if told else 'no run'}, not of run {run_id}"
        )
    return found


def _save_weights(outcome: Outcome, folder: Path, observer: Observer) -> None:
    """Keep the tested weights; where that cannot be, say so and keep the run all the same."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    final = weights_file(folder, outcome.result.run_id)
    state: dict[str, torch.Tensor] = {n: t.contiguous() for n, t in (outcome.state or {}).items()}
    try:
        with files.replacing(final) as temporary:
            save_file(state, temporary, metadata={"run_id": outcome.result.run_id})
    except (OSError, SafetensorError) as error:
        if isinstance(observer, RunObserver):
            # The library's own error names no file, and a full disk by its number only.
            number = _SYSTEM_ERROR.search(str(error))
            reason = os.strerror(int(number[1])) if number else getattr(error, "strerror", error)
            observer.weights_lost(f"{final} cannot be written ({reason})")


_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")

"""The array job: its script, its sending by sbatch or on this machine, the states of its tasks."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import HarnessError, UsageError
from harness_slurm.shards import Shards, call

NOTICE = 120  # seconds before the end of its time that a task is told
RESTARTS = 5  # starts after which a task that ran out of time is not queued again (assumed)
ENDED = 128 + 12  # what srun says of a task that SIGUSR2 ended
SETTLED = ("array", "output", "error", "requeue", "signal")  # the script depends on these


def submitit() -> Any:  # noqa: ANN401 - a module
    """The library that carries tasks.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import submitit as found
    except ImportError as error:
        raise UsageError(
            f"harness slurm needs submitit ({error}): pip install 'finetune-harness[slurm]'"
        ) from error
    return found


@dataclass(frozen=True)
class Job:
    """Time and resources of each task.

    Attributes:
        minutes, memory, cpus, gpus: of a task; `memory` as SLURM writes it; no gpus: 0.
        parallel: tasks at a time; None: as many as there are.
        further: more of sbatch's options, by name; True: one without a value.
        setup: lines of the shell before the call.
    """

    minutes: int
    memory: str
    cpus: int = 1
    gpus: int = 0
    partition: str | None = None
    parallel: int | None = None
    further: Mapping[str, str | bool] = field(default_factory=dict)
    setup: tuple[str, ...] = ()

    def script(self, shards: Shards, parts: Sequence[int], cwd: Path) -> str:
        """The job script for these shards: one line is the call itself."""
        submitit()
        from submitit.slurm.slurm import _make_sbatch_string

        most = min(self.parallel or len(parts), len(parts))
        named: dict[str, Any] = {
            "partition": self.partition,
            "gpus_per_node": self.gpus or None,
            "wckey": None,  # submitit's own would be refused where such keys are checked
        }
        text: str = _make_sbatch_string(
            command=f'{shlex.join(call(shards.words))} --shard "$part/{shards.count}" '
            f'--out {shlex.quote(str(shards.folder))}/shard-"$part"',
            folder=shards.folder / "logs",
            job_name="harness",
            map_count=len(parts),
            cpus_per_task=self.cpus,
            time=self.minutes,
            mem=self.memory,
            signal_delay_s=NOTICE,
            stderr_to_stdout=True,
            setup=[
                f"cd {shlex.quote(str(cwd))} || exit 1",
                *self.setup,
                "part=$((SLURM_ARRAY_TASK_ID + 1))",
            ],
            teardown=_teardown(),
            additional_parameters={
                "array": f"{_array(part - 1 for part in parts)}%{most}",
                "requeue": True,
                **{name.replace("-", "_"): value for name, value in self.further.items()},
            },
            **named,
        )
        return f"{text}\n"


def _teardown() -> list[str]:
    """Lines after the call: a task whose time ran out goes into the queue again, and goes on there."""
    return [
        "code=$?",
        f'if [ "$code" = {ENDED} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {RESTARTS} ]; then',
        '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"',
        "fi",
        'exit "$code"',
    ]


def _array(numbers: Iterable[int]) -> str:
    """`0-3,7` for 0, 1, 2, 3, 7."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)


def send(script: Path, parts: Sequence[int]) -> dict[int, str]:
    """Give a script to sbatch: number of a shard -> id of its task.

    Raises:
        UsageError: there is no sbatch here, or it refuses the script.
    """
    said = _ask("sbatch", "--parsable", str(script))
    if said is None:
        raise UsageError(
            "there is no sbatch on this machine: call this on a login node, see the script by --print, "
            "or try it on this machine by --local"
        )
    if said.returncode:
        raise UsageError(f"sbatch refuses {script}: {said.stderr.strip() or said.stdout.strip()}")
    job = said.stdout.strip().partition(";")[0]
    if not job.isdigit():
        raise HarnessError(f"sbatch gave no job id: {said.stdout!r}")
    return {part: f"{job}_{part - 1}" for part in parts}


@dataclass(frozen=True)
class Task:
    """A shard's call; what is queued again after a notice is the same call."""

    words: tuple[str, ...]
    cwd: str

    def __call__(self) -> int:
        """Make the call; its exit code, 1 too: some runs failed.

        Raises:
            CalledProcessError: it could not be carried out.
        """
        done = subprocess.run(self.words, cwd=self.cwd, check=False)  # noqa: S603 - our own call
        if done.returncode not in (0, 1):
            raise subprocess.CalledProcessError(done.returncode, self.words)
        return done.returncode

    def checkpoint(self) -> Any:  # noqa: ANN401 - submitit's
        """The task that goes on: finished runs lie in its folder."""
        return submitit().helpers.DelayedSubmission(self)


def send_local(shards: Shards, parts: Sequence[int], minutes: int, cwd: Path) -> dict[int, str]:
    """Start a process for each shard on this machine, all at once."""
    executor = submitit().AutoExecutor(folder=shards.folder / "logs", cluster="local")
    executor.update_parameters(timeout_min=minutes)
    return {
        part: executor.submit(Task(tuple(shards.command(part)), str(cwd))).job_id for part in parts
    }


FORGOTTEN = "Invalid job id"
ACTIVE = frozenset({"PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "CONFIGURING", "COMPLETING"})


def states(tasks: Mapping[int, tuple[str, str]], logs: Path) -> dict[int, str]:
    """Number of a shard -> the state of its task, as SLURM names it; `GONE`: SLURM does not know it."""
    slurm = {job for by, job in tasks.values() if by == "slurm"}
    known = _slurm_states(slurm) if slurm else {}
    return {
        part: known.get(job, "GONE") if by == "slurm" else _local_state(job, logs)
        for part, (by, job) in tasks.items()
    }


def _slurm_states(jobs: Iterable[str]) -> dict[str, str]:
    """By squeue, which knows what waits or runs; of what has ended by sacct, where a cluster has it.

    Raises:
        HarnessError: squeue does not answer, so that a task might be sent twice.
    """
    found: dict[str, str] = {}
    # One array at a time: squeue refuses all for one that it has forgotten.
    for array in sorted({job.partition("_")[0] for job in jobs}):
        ended = _ask(
            "sacct", "-X", "--noheader", "--parsable2", "--delimiter= ", "--format=JobID,State",
            f"--jobs={array}",
        )  # fmt: skip
        past = _read_states(ended) if ended and not ended.returncode else {}
        found |= {job: state for job, state in past.items() if state not in ACTIVE}
        now = _ask("squeue", "--noheader", "--array", "--format=%F_%K %T", f"--jobs={array}")
        if now is None or (now.returncode and FORGOTTEN not in now.stderr):
            why = "it is not on this machine" if now is None else now.stderr.strip()
            raise HarnessError(f"squeue does not say what becomes of job {array}: {why}")
        found |= _read_states(now)
    return found


def _read_states(said: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Task -> state, a line each; `CANCELLED by 1000` is cancelled."""
    return dict(line.split()[:2] for line in said.stdout.splitlines() if len(line.split()) > 1)


def _local_state(job: str, logs: Path) -> str:
    if next(logs.glob(f"{job}_*_result.pkl"), None):
        return "COMPLETED"
    try:
        os.kill(int(job), 0)
    except OSError:
        return "KILLED"
    return "RUNNING"


def _ask(*words: str) -> subprocess.CompletedProcess[str] | None:
    """The answer of a program of SLURM; None: it is not here."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return None

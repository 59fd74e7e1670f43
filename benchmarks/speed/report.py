"""Parts that the speed scripts share: where they ran, a table, a file of results."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from harness.utils.parallel import cores

RESULTS = Path(__file__).with_name("results")
LIBRARIES = ("torch", "torchvision", "numpy", "transformers", "accelerate", "timm", "triton")
# Arithmetic that decides how fast a CPU is at half precision; torch's own name stops at AVX512.
HALF = ("avx512_bf16", "amx_bf16", "avx512_fp16")


def device_name(device: str) -> str:
    """The device for people: a card's name; of a CPU the cores and the arithmetic it has."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    known = Path("/proc/cpuinfo")
    flags = set(known.read_text().split()) if known.is_file() else set()
    kinds = [torch.backends.cpu.get_cpu_capability(), *(f for f in HALF if f in flags)]
    return f"{platform.machine()}, {cores()} cores, {' '.join(kinds)}"


def versions() -> dict[str, str]:
    """Python and the libraries that are here."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class Log:
    """Prints lines and keeps them for the results file."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.started = time.monotonic()

    def __call__(self, text: str = "") -> None:
        print(text, flush=True)
        self.lines.extend(text.splitlines())

    def table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self(tabulate(rows, headers="keys", floatfmt=".4g", missingval="-"))

    @property
    def spent(self) -> float:
        """Seconds since the script began."""
        return time.monotonic() - self.started


def create(folder: Path, name: str, text: str) -> Path:
    """Write `folder/NAME.json`, or `NAME-2`, `NAME-3`, ...: what is there is never replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder / f"{name}{f'-{number}' if number > 1 else ''}.json"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers do not end")


def save(
    name: str, device: str, log: Log, rows: Sequence[Mapping[str, Any]], **more: object
) -> Path:
    """Write `results/NAME-DEVICE-DATE.json`: device, versions, n, command, log and figures."""
    script, today = Path(sys.argv[0]).name, datetime.now(UTC).date().isoformat()
    record = {
        "script": script,
        "command": shlex.join(["python", f"benchmarks/speed/{script}", *sys.argv[1:]]),
        "date": today,
        "device": device_name(device),
        "versions": versions(),
        "load": os.getloadavg()[0],
        "rows": list(rows),
        **more,
        "log": log.lines,
    }
    stem = f"{name}-{device.partition(':')[0]}-{today}"
    path = create(RESULTS, stem, json.dumps(record, indent=1) + "\n")
    log(f"written: {path.relative_to(Path(__file__).parents[2])}")
    return path


PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt() -> None:
    """Children left behind by a command become ours, so that their core time can be counted."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if not Path("/proc/thread-self/children").exists():
            print("this kernel lists no children: core-seconds leave workers out", file=sys.stderr)


def children() -> set[int]:
    """Numbers of this process's children, on Linux."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(number) for file in lists for number in file.read_text().split()}


def reap(kept: set[int]) -> None:
    """Wait for every child but `kept`: the servers that a command's workers were forked from."""
    while left := children() - kept:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(left.pop(), 0)


def timed(
    command: Sequence[str], limit: float, environment: Mapping[str, str] | None = None
) -> tuple[float, float, str]:
    """Run a command: seconds of wall clock, core-seconds (its children's too), what it said.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    adopt()
    kept = children()  # servers of our own: they end with us
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    wall = time.perf_counter() - start
    reap(kept)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command[:4])} ... failed:\n{said[-3000:]}")
    core = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, core, said


def bench(*options: str) -> list[str]:
    """The command line of `harness bench` with this Python."""
    return [sys.executable, "-m", "harness", "bench", *options]

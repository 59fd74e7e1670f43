"""Faults of a machine under a benchmark, and what comes through of its results (README.md).

python benchmarks/robustness/faults.py kill --times 40
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from harness.errors import StoreError
from harness.results.store import Store

DEMO = (
    "bench", "demo", "--datasets", "demo-xray", "--backbones", "resnet50-mini",
    "--strategies", "full-ft,linear-probe,lp-ft", "--seeds", "0,1", "--limit", "24",
    "--epochs", "2", "--jobs", "2",
)  # fmt: skip
CANNOT_MOUNT = 3


class Lost(Exception):  # noqa: N818 - a verdict
    """Something did not come through; the message says what."""


@dataclass(frozen=True)
class Call:
    """One call of the command line, made again and again.

    Attributes:
        options: of `harness`, without --out.
        plugins: of `-p`.
    """

    options: Sequence[str] = DEMO
    plugins: Sequence[str] = ()

    def start(self, out: Path, cache: Path, *more: str, **env: str) -> subprocess.Popen[str]:
        return self._process([*self.options, *more, "--out", str(out)], cache, env)

    def run(
        self, out: Path, cache: Path, *more: str, codes: Sequence[int] = (0,), **env: str
    ) -> str:
        """Its output; it has to end with one of these exit codes, and without a traceback."""
        return finished(self.start(out, cache, *more, **env), codes)

    def other(self, *options: str, cache: Path, codes: Sequence[int] = (0,), **env: str) -> str:
        """Another command with the same plugins."""
        return finished(self._process(options, cache, env), codes)

    def _process(
        self, options: Sequence[str], cache: Path, env: dict[str, str]
    ) -> subprocess.Popen[str]:
        plugins = [part for plugin in self.plugins for part in ("-p", plugin)]
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *plugins, *options],
            env={**os.environ, "HARNESS_CACHE": str(cache), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def finished(process: subprocess.Popen[str], codes: Sequence[int] = (0,)) -> str:
    said, _ = process.communicate()
    if process.returncode not in codes or "Traceback" in said:
        raise Lost(f"exit code {process.returncode}, expected {codes}:\n{said}")
    return said


def kill(call: Call, place: Path, times: int, seed: int = 0, reference: Path | None = None) -> None:
    """Kill the call at random moments, in turn at a random run and by the clock, and begin it again.

    A finished folder is followed by a new one.
    """
    rng, started = random.Random(seed), time.monotonic()
    longest = 10.0  # seconds of a call, where it was carried out before
    if reference is None:
        reference = untroubled(call, place)
        longest = time.monotonic() - started
    total = len(sound_runs(reference))
    folder, there, done = 0, set[str](), 0
    while done < times:
        out, cache = place / f"killed-{folder}", place / f"cache-{folder}"
        process = call.start(out, cache)
        if done % 2:  # by the clock, which on a busy machine is often before the first run
            moment = rng.uniform(0, longest)
        else:
            _wait_for(process, out, rng.randrange(1, total + 1))
            moment = rng.uniform(0, 0.5)
        try:
            said, _ = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            done += 1
            now = sound_runs(out)
            if there - now:
                raise Lost(f"runs that were there are gone: {sorted(there - now)}") from None
            there = now
            print(f"killed {done} of {times}: {len(now)} runs are there", flush=True)
            continue
        if process.returncode != 0:
            raise Lost(f"exit code {process.returncode} after a kill:\n{said}")
        same(reference, out)
        folder, there = folder + 1, set()
    out, cache = place / f"killed-{folder}", place / f"cache-{folder}"
    call.run(out, cache)
    same(reference, out)


def untroubled(call: Call, place: Path, *more: str) -> Path:
    """The folder of a call that nothing happens to, and its cache beside it."""
    call.run(place / "reference", place / "cache-reference", *more)
    return place / "reference"


def _wait_for(process: subprocess.Popen[str], out: Path, runs: int) -> None:
    """Wait until so many records are there, or the call has ended."""
    while process.poll() is None and len(list((out / "runs").rglob("*.json"))) < runs:
        time.sleep(0.02)


RESULTS, CACHES = ("64k", "256k", "1m", "4m"), ("16k", "256k")


def full(
    call: Call,
    place: Path,
    results: Sequence[str] = RESULTS,
    caches: Sequence[str] = CACHES,
    reference: Path | None = None,
) -> None:
    """Results, cache and TMPDIR on disks of several sizes; then they grow."""
    reference = reference or untroubled(call, place, "--save-weights")
    cache = reference.parent / "cache-reference"
    for size in results:
        with mounted(place / "small", size) as (small, change):
            out = small / "out"
            call.run(out, cache, "--save-weights", codes=(0, 1, 2))
            runs = sound_runs(out)
            change("size=1g")
            call.run(out, cache)
            if runs - sound_runs(out):
                raise Lost("runs that were there are gone")
            same(reference, out, but=("weights/",))
            print(f"results on {size}: {len(runs)} runs before it grew", flush=True)
    for size in caches:
        with mounted(place / "small", size) as (small, change):
            out = place / f"out-{size}"
            call.run(out, small / "cache", codes=(0, 2))
            change("size=1g")
            call.run(out, small / "cache")
            same(reference, out, but=("weights/",))
            print(f"cache on {size}: the same", flush=True)
    with mounted(place / "small", "16k") as (small, _):
        said = call.other(
            "submit", str(reference), "--to", str(place / "a.zip"),
            cache=cache, codes=(2,), TMPDIR=str(small),
        )  # fmt: skip
        if "TMPDIR" not in said:
            raise Lost(f"a full TMPDIR is not named:\n{said}")
        print("TMPDIR on 16k: named", flush=True)


def read_only(call: Call, place: Path, reference: Path | None = None) -> None:
    """Results that can be read only; a cache that can be read only."""
    with mounted(place / "small", "1g") as (small, change):
        out, cache = small / "out", small / "cache"
        call.run(out, cache)
        change("ro")
        said = call.run(out, cache, codes=(2,))
        if "no permission to write" not in said:
            raise Lost(f"a read-only folder is not named:\n{said}")
        call.other("board", str(out), "--format", "md", cache=cache)
        again = place / "again"
        call.run(again, cache)
        same(again, out)
        if reference is not None:
            same(reference, again, but=("weights/",))
    print("read-only results and cache: the same", flush=True)


def together(call: Call, place: Path, processes: int, reference: Path | None = None) -> None:
    """The same call so many times, and boards of its folder, at once."""
    reference, out = reference or untroubled(call, place), place / "together"
    calls = [call.start(out, place / "cache") for _ in range(processes)]
    while any(one.poll() is None for one in calls):
        if sound_runs(out):
            call.other("board", str(out), cache=place / "cache")
        time.sleep(0.1)
    for one in calls:
        finished(one)
    same(reference, out)
    print(f"{processes} at once: the same", flush=True)


def sound_runs(folder: Path) -> set[str]:
    """Ids of the runs there, all of which have to be whole."""
    store, ids = Store(folder), set()
    try:
        for result in store.results():
            store.predictions(result)
            ids.add(result.run_id)
    except StoreError as error:
        raise Lost(f"a run is damaged: {error}") from error
    return ids


def same(reference: Path, folder: Path, but: Sequence[str] = ()) -> None:
    """Hold runs and board against those that nothing happened to, by `benchmarks/same.py`."""
    differences = _same().differences(reference, folder)
    found = [line for line in differences if not any(f": {part}" in line for part in but)]
    if found:
        raise Lost("\n".join(found))
    left = [path for path in folder.rglob(".*.tmp") if time.time() - path.stat().st_mtime > 3600]
    if left:
        raise Lost(f"left behind: {left}")


def _same() -> ModuleType:
    spec = importlib.util.spec_from_file_location("same", Path(__file__).parents[1] / "same.py")
    if spec is None or spec.loader is None:
        raise ImportError("benchmarks/same.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CannotMount(Exception):  # noqa: N818 - this machine does not let us
    """A file system of our own cannot be had here."""


@contextlib.contextmanager
def mounted(place: Path, size: str) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A tmpfs of a size, and what remounts it with other options."""
    place.mkdir(exist_ok=True)

    def mount(*options: str) -> None:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CannotMount(str(error)) from error

    mount("-o", f"size={size}")
    try:
        yield place, lambda option: mount("-o", f"remount,{option}")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fault", choices=["kill", "full", "read-only", "together"])
    parser.add_argument("--times", type=int, default=40, help="of kill")
    parser.add_argument("--processes", type=int, default=4, help="of together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kill")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        call, place = Call(), Path(name)
        try:
            if given.fault == "kill":
                kill(call, place, given.times, given.seed)
            elif given.fault == "full":
                full(call, place)
            elif given.fault == "read-only":
                read_only(call, place)
            else:
                together(call, place, given.processes)
        except CannotMount as error:
            print(f"a file system cannot be mounted here: {error}")
            return CANNOT_MOUNT
        except Lost as error:
            print(f"lost: {error}")
            return 1
    print("nothing is lost")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

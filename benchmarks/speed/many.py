"""Very many runs in one folder: what their board and gate take, and what the last run costs.

Made-up records are written as `bench` writes them, but not made safe on the disk one by one; commands
read them, each in a process of its own, in turns with another checkout where one is given.  Then an
engine that answers at once makes runs in this process: what the 200th costs, what the last one, and
how much of it is waiting for the disk (fsync).

    python benchmarks/speed/many.py --records 100000 --runs 2000
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

import numpy as np
from made import made_plan
from made_page import large_study
from overhead import INSTANT
from report import Log, device_name, save

import harness
from harness.api.execution import Outcome, Predictions
from harness.api.records import RunResult
from harness.results.store import Store, encoded, packed, uncollected

HERE = Path(__file__).parents[2]
CELLS = 5 * 10 * 8  # backbones, seeds and strategies of a dataset
# A process starts with the memory of the one that starts it on its account: so that is a small one.
SMALL = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""
FIRST = 200
VALIDATION = 4  # test images for one of the validation split
SHARE = 10  # runs within a tenth of a place stand for it


def fill(folder: Path, records: int, images: int = 0) -> int:
    """Write made-up records and their plan; returns how many they are.

    With `images` in the test set: predictions of each, and split files, as the gate reads them.
    """
    store = Store(folder)
    with uncollected():
        results = large_study(max(1, records // CELLS), 5, 10)
        for number, result in enumerate(results):
            path = store.place(result)
            path.parent.mkdir(parents=True, exist_ok=True)
            if images:
                outcome = Outcome(result, guessed(images, len(result.data.classes), number))
                result, contents = packed(outcome)  # noqa: PLW2901 - with the name of its file
                for name, content in contents.items():
                    path.with_name(name).write_bytes(content)
                split = store.split_file(result)
                if not split.exists():
                    split.parent.mkdir()
                    samples = [{"id": f"image {n}", "group": f"patient {n}"} for n in range(images)]
                    split.write_text(json.dumps({"samples": samples}))
            path.write_bytes(encoded(result))
        (folder / "plan.json").write_bytes(encoded(made_plan(results)))
    return len(results)


def guessed(images: int, classes: int, number: int) -> Predictions:
    """Logits of a run that is right about two times of three."""
    rng = np.random.default_rng(number)
    targets = np.arange(images) % classes
    logits = rng.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), targets] += 2
    rows = np.arange(images, dtype=np.int32)
    few = images // VALIDATION
    return Predictions(
        {"test": logits, "validation": logits[:few]},
        {"test": targets, "validation": targets[:few]},
        {"test": rows, "validation": rows[:few]},
    )


def command(checkout: Path, *arguments: str) -> tuple[float, float, float, bytes]:
    """Core-seconds, seconds, most memory (MB) and output of a command of some checkout."""
    paths = os.pathsep.join([str(checkout), str(checkout / "plugins")])
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", SMALL, sys.executable, "-m", "harness", *arguments],
        capture_output=True, env={**os.environ, "PYTHONPATH": paths}, cwd=checkout, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr.decode()[-3000:]}")
    core, most = map(float, done.stderr.split()[-2:])
    return core, time.perf_counter() - started, most / 1024, done.stdout


def boards(log: Log, args: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """Figures of the board of very many records, by each checkout."""
    folder = place / "records"
    count = fill(folder, args.records)
    return in_turns(log, args, count, "board", str(folder), "--ranks-only", "--format", "md")


def gates(log: Log, args: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """Figures of the gate over very many runs, held against themselves, by each checkout."""
    folder = place / "checked"
    count = fill(folder, args.checked, args.images)
    return in_turns(log, args, count, "check", str(folder), str(folder))


def in_turns(log: Log, args: argparse.Namespace, count: int, *words: str) -> list[dict[str, Any]]:
    """Figures of a command on so many records, by each checkout."""
    os.sync()
    found: dict[str, list[tuple[float, float, float, bytes]]] = {}
    for _ in range(args.turns):
        for name, checkout in (("this", HERE), ("other", args.other)):
            if checkout is not None:
                one = command(checkout, *words)
                found.setdefault(name, []).append(one)
                log(f"{name:6} {one[0]:7.2f} core-s {one[1]:7.2f} s {one[2]:7.0f} MB")
    texts = {one[3] for turns in found.values() for one in turns}
    log(f"texts that differ: {len(texts) - 1}")
    what = " ".join(word for word in words if os.sep not in word)
    return [
        {
            "what": what, "checkout": name, "records": count,
            "n": len(turns), "core-seconds": statistics.median(one[0] for one in turns),
            "seconds": statistics.median(one[1] for one in turns), "MB": max(one[2] for one in turns),
        }
        for name, turns in found.items()
    ]  # fmt: skip


class Watched:
    """The clocks when each run was kept, and the seconds of every fsync until then."""

    def __init__(self) -> None:
        self.kept: list[tuple[float, float, float, int]] = []
        self._synced, self._syncs = 0.0, 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        add, sync = Store.add, os.fsync

        def kept(store: Store, outcome: Outcome) -> RunResult:
            result = add(store, outcome)
            self.kept.append((time.perf_counter(), time.process_time(), self._synced, self._syncs))
            return result

        def synced(handle: int) -> None:
            started = time.perf_counter()
            sync(handle)
            self._synced += time.perf_counter() - started
            self._syncs += 1

        Store.add, os.fsync = kept, synced  # type: ignore[method-assign]
        try:
            yield
        finally:
            Store.add, os.fsync = add, sync  # type: ignore[method-assign]

    def around(self, number: int) -> dict[str, float]:
        """Medians of a run over those near the one of this number, in ms."""
        near = range(max(1, number - FIRST // SHARE), min(len(self.kept), number + FIRST // SHARE))
        steps = [
            [later - before for before, later in zip(self.kept[i - 1], self.kept[i], strict=True)]
            for i in near
        ]
        wall, core, synced, syncs = (
            statistics.median(column) for column in zip(*steps, strict=True)
        )
        return {
            "ms": 1000 * wall, "core ms": 1000 * core, "fsync ms": 1000 * synced, "fsyncs": syncs,
        }  # fmt: skip


def runs(log: Log, args: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """Figures of a run near the 200th and near the last, made one after another."""
    plugin = place / "instant.py"
    plugin.write_text(INSTANT)
    watched = Watched()
    with watched.watching():
        harness.bench(
            "demo", datasets=["demo-xray"], backbones=["resnet50-mini"], strategies=["full-ft"],
            seeds=list(range(args.runs)), device="cpu", jobs=1, plugins=[str(plugin)],
            out=place / "runs",
        )  # fmt: skip
    rows = [
        {"what": f"run {number} of {args.runs}", **watched.around(number)}
        for number in (min(FIRST, args.runs // 2), args.runs)
    ]
    log(
        f"core time of the last over that of the first: {rows[1]['core ms'] / rows[0]['core ms']:.2f}"
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000, help="0: no board")
    parser.add_argument("--checked", type=int, default=0, help="runs on each side of the gate")
    parser.add_argument("--images", type=int, default=160, help="of a test set of these")
    parser.add_argument("--runs", type=int, default=2000, help="0: no runs")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--other", type=Path, help="a checkout to take in turns")
    parser.add_argument("--place", type=Path, help="a folder for what is made [a temporary one]")
    args = parser.parse_args()
    log, rows = Log(), []
    log(device_name("cpu"))
    with tempfile.TemporaryDirectory(dir=args.place) as place:
        for part, wanted in ((boards, args.records), (gates, args.checked), (runs, args.runs)):
            if wanted:
                found = part(log, args, Path(place))
                log.table(found)
                rows += found
    save("many", "cpu", log, rows, seconds=round(log.spent, 1))


if __name__ == "__main__":
    main()

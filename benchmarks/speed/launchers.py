"""Ways of carrying runs out, side by side: this process, a child of it, several, actors of Ray.

`--part demo`: a part of the demonstration with one job, in the process of the call and in a child,
in turns.  `--part instant`: runs of an engine that answers at once (`overhead.py`), by as many
workers of `local` and of `ray`: what a launcher adds to a run.

    python benchmarks/speed/launchers.py --part demo --turns 3
    python benchmarks/speed/launchers.py --part instant --runs 2000 --launchers local,ray
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from overhead import INSTANT, part
from report import Log, bench, save, timed

DEMO = ("demo", "--datasets", "demo-xray,demo-mri", "--device", "cpu", "--profile")
INSTANTLY = (
    "demo", "--datasets", "demo-xray", "--backbones", "resnet50-mini", "--strategies", "full-ft",
    "--epochs", "1", "--device", "cpu", "--profile",
)  # fmt: skip

STARTED = 20  # runs until all workers work


class Counted:
    """Core-seconds, added up, of every process with an environment variable: read 5 times a second.

    Ray's processes are no children of the call, and end in ways that nobody waits for.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._each: dict[int, float] = {}
        self.seen: list[tuple[float, float]] = [
            (time.time(), 0.0)
        ]  # when, and core-seconds by then

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                self._look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self) -> None:
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended, or is not ours
                if self._mark in (place / "environ").read_bytes():
                    fields = (place / "stat").read_text().rpartition(")")[2].split()
                    spent = int(fields[11]) + int(fields[12])
                    self._each[int(place.name)] = spent / os.sysconf("SC_CLK_TCK")
        self.seen.append((time.time(), sum(self._each.values())))

    def until(self, moment: float) -> float:
        """Core-seconds that were spent by then."""
        return float(np.interp(moment, *zip(*self.seen, strict=True)))


class Called(NamedTuple):
    """One call: seconds of the whole, and when each of its runs was on the disk."""

    wall: float
    runs: float
    core: Counted
    kept: Sequence[float]

    def each(self, first: int, last: int) -> tuple[float, float]:
        """Milliseconds and core-milliseconds a run, from one run to a later one."""
        start, end = self.kept[first], self.kept[last]
        spent = end - start, self.core.until(end) - self.core.until(start)
        return tuple(1000 * seconds / (last - first) for seconds in spent)


def take_turns(
    calls: Mapping[str, Sequence[str]], turns: int, limit: float, log: Log
) -> dict[str, list[Called]]:
    """Each call as often as there are turns, one after the other."""
    found: dict[str, list[Called]] = {}
    for turn in range(turns):
        order = list(calls)[:: 1 if turn % 2 == 0 else -1]
        for name in order:
            mark = f"HARNESS_COUNTED={secrets.token_hex(8)}"
            core = Counted(mark)
            with tempfile.TemporaryDirectory() as out:
                with core.watching():
                    command, given = bench(*calls[name], "--out", out), dict([mark.split("=")])
                    wall, _, said = timed(command, limit, given)
                kept = sorted(path.stat().st_mtime for path in Path(out, "runs").rglob("*.json"))
            one = Called(wall, part(said, "runs"), core, kept)
            log(
                f"{name}: wall {wall:.1f} s, core {core.seen[-1][1]:.1f} s, runs {one.runs:.1f} s, "
                f"load {os.getloadavg()[0]:.1f}"
            )
            found.setdefault(name, []).append(one)
    return found


def demo(args: argparse.Namespace, log: Log) -> list[dict[str, object]]:
    calls = {"in process": (*DEMO, "--in-process"), "child": (*DEMO, "--jobs", "1")}
    found = {
        name: {
            "wall": [one.wall for one in made],
            "core": [one.core.seen[-1][1] for one in made],
            "runs": [one.runs for one in made],
        }
        for name, made in take_turns(calls, args.turns, args.limit, log).items()
    }
    first = found["in process"]
    return [
        {
            "by": name,
            "n": args.turns,
            **{kind: statistics.median(seconds) for kind, seconds in figures.items()},
            **{f"{kind} ratio": ratio(seconds, first[kind]) for kind, seconds in figures.items()},
        }
        for name, figures in found.items()
    ]


def instant(args: argparse.Namespace, log: Log) -> list[dict[str, object]]:
    """Milliseconds that a run takes once workers work: what starts and connects is out."""
    names = args.launchers.split(",")
    with tempfile.TemporaryDirectory() as place:
        plugin = Path(place) / "instant.py"
        plugin.write_text(INSTANT)
        calls = {
            name: (
                *INSTANTLY, "--jobs", str(args.jobs), "-p", str(plugin), "-p", "harness_ray",
                "--seeds", ",".join(map(str, range(args.runs))), "--launcher", name,
            )
            for name in names
        }  # fmt: skip
        found = take_turns(calls, args.turns, args.limit, log)
    near = min(200, args.runs // 4)
    parts = {
        "": (STARTED, args.runs - 1),
        f" near {near}": (near // 2, near + near // 2),
        f" near {args.runs}": (args.runs - 1 - near, args.runs - 1),
    }
    rows: list[dict[str, object]] = []
    for told, (first, last) in parts.items():
        each = {n: [one.each(first, last) for one in found[n]] for n in names}
        for name in names:
            wall, core = ([one[kind] for one in each[name]] for kind in (0, 1))
            wall_1, core_1 = ([one[kind] for one in each[names[0]]] for kind in (0, 1))
            rows.append(
                {
                    "by": f"{name}{told}", "n": args.turns,
                    "wall ms a run": statistics.median(wall), "ratio": ratio(wall, wall_1),
                    "core ms a run": statistics.median(core), "core ratio": ratio(core, core_1),
                }
            )  # fmt: skip
    return rows


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median over turns."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["demo", "instant"], required=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--launchers", default="local,ray")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of one call")
    args = parser.parse_args()
    log = Log()
    rows = demo(args, log) if args.part == "demo" else instant(args, log)
    log.table(rows)
    save(f"launchers-{args.part}", "cpu", log, rows, seconds=round(log.spent, 1))


if __name__ == "__main__":
    main()

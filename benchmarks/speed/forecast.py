"""Forecasts of a call's time against what came: by its plan, and by what it says while it goes on.

One small run is made, then eight calls are planned after it (two sizes of data x two budgets x two
networks, of which the run used one), then all eight are made, each into a folder that holds the
small run and no other.  Compared are the seconds of the plan with those of the call, from its start
to its last line; and, of every line that tells the time left once a tenth of the work is done, that
time with what came.

Everything is measured in seconds of a core (`--clock core`), by one process of one thread, so that a
machine that has other work measures the same: the harness's clocks are replaced by that of the
process.  On an idle machine `--clock wall` measures what a person waits.

    python benchmarks/speed/forecast.py
    python benchmarks/speed/forecast.py --sizes 64,192 --epochs 1,3 --backbones resnet50,densenet121
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from made_images import make_folder
from report import Log, save

FACTOR = 2.0
TENTH = 10  # per cent
LEFT = re.compile(r"(\d+(?:\.\d+)?) ?%, about (\d+(?:\.\d+)?) (s|min|h) left")
SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
CORE = "import time; time.perf_counter = time.monotonic = time.process_time"
BENCH = "import sys; from harness.cli import main; sys.argv = ['harness', *sys.argv[1:]]; main()"
# What the command plans, as figures: the text is for people, and rounded.
PLAN = """
import json, sys
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.run import dry_run
from harness.plugins.registry import load_plugins
given = json.loads(sys.argv[1])
request = BenchRequest(**{k: tuple(v) if isinstance(v, list) else v for k, v in given["request"].items()})
from pathlib import Path
options = BenchOptions(out=Path(given["out"]), in_process=True, device="cpu")
looked = dry_run(request, options, load_plugins(), lambda _: None).outlook
found = looked.estimate
print(json.dumps({"runs": found.expected, "ready": looked.ready, "bases": list(found.bases)}))
"""


def request(folder: Path, size: int, args: argparse.Namespace, **changes: object) -> dict[str, Any]:
    """The fields of a `BenchRequest`."""
    px = args.px
    return {
        "data": [f"xray:made{size}={folder}"], "strategies": args.strategies.split(","),
        "seeds": [0], "weights": "none",
        "sets": [f"protocol.crop={px}", f"protocol.resize={px}", "protocol.patience=null"], **changes,
    }  # fmt: skip


def options(given: dict[str, Any], out: Path) -> list[str]:
    """The same on the command line."""
    words = ["--out", str(out), "--in-process", "--device", "cpu"]
    for name, value in given.items():
        option = {"sets": "--set"}.get(name, f"--{name}")
        if name in ("data", "sets"):
            words += [word for one in value for word in (option, one)]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return words


def ran(code: str, clock: str) -> list[str]:
    """A command that carries code out, under a clock."""
    return [sys.executable, "-c", f"{CORE if clock == 'core' else ''}\n{code}"]


def seconds(call: subprocess.Popen[str] | None, clock: str) -> float:
    """The clock of a process; None: of all that have ended."""
    if clock == "wall":
        return time.perf_counter()
    if call is None:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime
    fields = Path(f"/proc/{call.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def plan(
    given: dict[str, Any], out: Path, environment: dict[str, str], clock: str
) -> dict[str, Any]:
    """The forecast of a dry run, and the seconds that it took."""
    began = seconds(None, clock)
    asked = json.dumps({"request": given, "out": str(out)})
    done = subprocess.run(
        [*ran(PLAN, clock), asked],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"took": seconds(None, clock) - began}


def make(
    given: dict[str, Any], out: Path, environment: dict[str, str], clock: str
) -> tuple[float, list[tuple[float, float]]]:
    """Seconds of a call, and its readings: the time left that it told, and that which came."""
    told, lines = [], []
    began, start = seconds(None, clock), 0.0 if clock == "core" else time.perf_counter()
    with subprocess.Popen(
        [*ran(BENCH, clock), "bench", *options(given, out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
    ) as call:  # fmt: skip
        if call.stderr is None:
            raise AssertionError("it has a pipe")
        for line in call.stderr:
            lines.append(line)
            if (match := LEFT.search(line)) and float(match[1]) >= TENTH:
                left = float(match[2]) * SECONDS[match[3]]
                told.append((seconds(call, clock) - start, left))
    spent = seconds(None, clock) - began
    if call.returncode:
        raise RuntimeError("".join(lines)[-3000:])
    return spent, [(left, spent - when) for when, left in told]


def within(told: float, came: float) -> bool:
    """True if one is at most twice the other."""
    return max(told, came) <= FACTOR * max(min(told, came), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sizes", default="96,288", help="images of each folder, two numbers")
    add("--epochs", default="2,5")
    add("--backbones", default="resnet50,densenet121", help="the small run uses the first")
    add("--strategies", default="full-ft,linear-probe")
    add("--px", type=int, default=64)
    add("--clock", choices=["core", "wall"], default="core")
    args = parser.parse_args()
    log, rows, readings = Log(), [], []
    sizes, epochs = (
        [float(one) for one in given.split(",")] for given in (args.sizes, args.epochs)
    )
    networks = args.backbones.split(",")
    with tempfile.TemporaryDirectory(prefix="forecast-") as place:
        root = Path(place)
        environment = {**os.environ, "HARNESS_CACHE": str(root / "cache")}
        folders = {}
        for size in map(int, sizes):
            counts = (size * 2 // 3, size // 6, size // 6)
            folders[size] = make_folder(root / f"made{size}", counts, classes=2, size=96, seed=size)
        least = min(folders)
        small = request(
            folders[least], least, args, backbones=networks[:1], epochs=1.0, strategies=["full-ft"],
        )  # fmt: skip
        spent, _ = make(small, root / "small", environment, args.clock)
        log(f"small run: {networks[0]}, {least} images, 1 epoch: {spent:.1f} s")
        calls = list(itertools.product(folders, epochs, networks))
        plans = []
        for number, (size, budget, network) in enumerate(calls):
            out = root / f"out{number}"
            shutil.copytree(root / "small", out)
            given = request(folders[size], size, args, backbones=[network], epochs=budget)
            plans.append((given, out, plan(given, out, environment, args.clock)))
        for (size, budget, network), (given, out, told) in zip(calls, plans, strict=True):
            came, left = make(given, out, environment, args.clock)
            readings += left
            foretold = told["runs"] + told["ready"]
            rows.append(
                {
                    "images": size, "epochs": budget, "network": network,
                    "by": ", ".join(told["bases"]), "plan took s": told["took"],
                    "foretold s": foretold, "came s": came, "ratio": foretold / came,
                    "load": os.getloadavg()[0],
                }
            )  # fmt: skip
            log.table(rows[-1:])
    log.table(rows)
    good = sum(within(row["foretold s"], row["came s"]) for row in rows)
    log(f"plans within a factor of {FACTOR:g}: {good} of {len(rows)}")
    fair = sum(within(told, came) for told, came in readings)
    log(f"times left, told after a tenth of the work, within it: {fair} of {len(readings)}")
    save(
        "forecast",
        "cpu",
        log,
        rows,
        readings=readings,
        within=[good, fair],
        clock=args.clock,
        n=len(rows),
    )


if __name__ == "__main__":
    main()

"""Acceptance of a card: one command, parts by worth, the results written after every part.

    python benchmarks/gpu/accept.py                       # one card, 470 s at most
    python benchmarks/gpu/accept.py --only rates,half
    python benchmarks/gpu/accept.py --tiny                # all parts, small, on a CPU: CI does this

Each part is a process of its own, ended when its time is over; rows that it had by then are kept.
A row with `holds` answers a claim of docs/speed.md; one with `skipped` says why there is no figure.
The exit code is 1 where a part failed, not where a claim does not hold: that is for whoever reads.
Of `--tiny` no figure means anything.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import signal
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))

import arithmetic
import numpy as np
import report
import steps
import suite
import torch
import torchvision
from made_images import make_folder
from pydantic import ValidationError
from safetensors.numpy import load_file

from harness.engine import memory_need
from harness.errors import HarnessError
from harness.plugins.registry import load_plugins

Row = dict[str, Any]
GIB = 2**30
ENOUGH = 0.97  # of the bare captured step
SIDE_BY_SIDE = 1.3  # times one worker process, on a whole suite
LEAST = 15.0  # seconds below which no part is begun


@dataclass(frozen=True)
class Sizes:
    """Amount of work of each part: for a card, or as little as shows that the script works."""

    tiny: bool

    @property
    def device(self) -> str:
        return "cpu" if self.tiny else "cuda:0"

    @property
    def backbones(self) -> tuple[str, ...]:
        return ("resnet50-mini",) if self.tiny else ("resnet50", "densenet121", "vgg19")

    def steps(self, **changes: object) -> argparse.Namespace:
        """The options of steps.py."""
        small = {
            "device": "cpu", "batch": 8, "size": 32, "images": 8, "epochs": 1, "repeats": 1,
            "precision": "float32", "compile": False,
        }  # fmt: skip
        large = {
            "device": self.device, "batch": 64, "size": 224, "images": 2048, "epochs": 2,
            "repeats": 3, "precision": "bf16", "compile": False,
        }  # fmt: skip
        return argparse.Namespace(**(small if self.tiny else large) | changes)


def hardware(sizes: Sizes) -> Iterator[Row]:
    """The card, the rate of its matrix product, the rate of its memory: all else is held to these."""
    row: Row = {"device": report.device_name(sizes.device), "cores": os.cpu_count()}
    if not sizes.tiny:
        row |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    for dtype in (torch.bfloat16, torch.float16):
        found = arithmetic.product_rate(sizes.device, dtype, 256 if sizes.tiny else 0)
        row[f"{dtype} TFLOP/s"] = found / 1e12
    moved = arithmetic.copy_rate(sizes.device, 2**20 if sizes.tiny else 0)
    with torch.device("meta"):
        network = torchvision.models.resnet50()
    row["copy TB/s"] = moved / 1e12
    row["ResNet-50 images/s that bytes allow"] = {
        fusion: 64 * moved / amount
        for fusion, amount in arithmetic.bytes_moved(network, 64, 224).items()
    }
    yield row


def tests(sizes: Sizes) -> Iterator[Row]:
    """The project's tests that need a card; without one, how many of a module there are."""
    few = ["--collect-only", "tests/engine/test_steps.py"]
    more = few if sizes.tiny else ["-n", "4", "--maxfail", "20"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *more]
    try:
        seconds, _, said = report.timed(command, 600)
    except RuntimeError as error:
        if sizes.tiny:
            raise
        yield {"holds": False, "tail": str(error).splitlines()[-25:]}
    else:
        yield {"s": seconds, "tail": said.splitlines()[-1:]} | (
            {} if sizes.tiny else {"holds": True}
        )


def rates(sizes: Sizes) -> Iterator[Row]:
    """Steps inside the engine beside the bare captured step, batch 64: at least 97 % of it."""
    loaded = load_plugins(environ={})
    for name in sizes.backbones:
        row = steps.measure(sizes.steps(), name, loaded, report.Log())
        yield row | {"holds": row["engine / bare"] >= ENOUGH}
        steps.release(sizes.device)


def whole_suite(sizes: Sizes) -> Iterator[Row]:
    """A suite by `harness bench` beside a plain loop, timm's parts and the Trainer: goal 10 times."""
    large = [
        *("--images", "1000,128,128", "--epochs", "3", "--workers", "12"),
        *("--backbones", "resnet50", "--until", "130", "--limit", "100"),
    ]
    small = [
        *("--images", "16,8,8", "--epochs", "1", "--workers", "0", "--size", "32", "--batch", "8"),
        *("--backbones", "resnet50", "--strategies", "linear-probe", "--rivals", "loop"),
        *("--cells", "resnet50:linear-probe", "--threads", "1"),
    ]
    device = sizes.device.partition(":")[0]
    common = ["--device", device, "--datasets", "1", "--measure", "1"]
    args, log = suite.parsed([*common, *(small if sizes.tiny else large)]), report.Log()
    with tempfile.TemporaryDirectory() as place:
        yield from suite.measure(args, Path(place), log, busy=False)
    yield {"log": log.lines}


def call(place: Path, out: str, *options: str) -> Row:
    """A `harness bench` into `place/out`: seconds, core-seconds, runs, logits by run and split.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    command = report.bench(*options, "--out", str(place / out))
    cache = {"HARNESS_CACHE": str(place / "cache")}
    seconds, core, said = report.timed(command, 600, cache)
    logits = {
        (path.stem, name): tensor
        for path in (place / out / "runs").rglob("*.safetensors")
        for name, tensor in load_file(path).items()
        if "logits" in name
    }
    runs = len({run for run, _ in logits})
    return {"s": seconds, "core-s": core, "runs": runs, "logits": logits, "said": said}


def folder_options(sizes: Sizes, place: Path, px: int, counts: tuple[int, int, int]) -> list[str]:
    """A folder of images made here, and options that train on it from random weights."""
    data = place / f"data{px}"
    if not data.is_dir():
        make_folder(data, counts, classes=4, size=px, seed=0)
    return [
        "folders", "--data", f"made:d{px}={data}", "--weights", "none", "--device", sizes.device,
        "--set", f"protocol.resize={px}", "--set", f"protocol.crop={px}",
        "--set", "protocol.patience=null",
    ]  # fmt: skip


def apart(one: Row, other: Row) -> float | None:
    """The largest difference between logits of the same run; None where no run is in both."""
    both = one["logits"].keys() & other["logits"].keys()
    return max(
        (float(np.abs(one["logits"][k] - other["logits"][k]).max()) for k in both), default=None
    )


def jobs(sizes: Sizes) -> Iterator[Row]:
    """Several worker processes on one card, small images and large: at least 1.3 times one."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for px, batch in ((32, "8"),) if sizes.tiny else ((64, "32"), (224, "64")):
            counts = (8, 8, 8) if sizes.tiny else (512, 64, 64)
            given = folder_options(sizes, place, px, counts)
            given += ["--backbones", sizes.backbones[0], "--set", f"protocol.batch_size={batch}"]
            given += ["--strategies", "linear-probe" if sizes.tiny else "full-ft,l2-sp"]
            given += [
                "--seeds",
                "0,1" if sizes.tiny else "0,1,2,3",
                "--epochs",
                "1" if sizes.tiny else "3",
            ]
            first: Row = {}
            # One worker twice: the second call finds the images decoded, as the others do.
            for turn, number in enumerate((2,) if sizes.tiny else (1, 1, 2, 4)):
                found = call(place, f"{px}-{turn}", *given, "--jobs", str(number))
                row: Row = {"px": px, "jobs": number, "s": found["s"], "runs": found["runs"]}
                if turn:
                    times = first["s"] / found["s"]
                    row |= {"logits apart": apart(first, found), "times one worker": times}
                    row |= {"holds": times >= SIDE_BY_SIDE} if number > 1 else {}
                if turn < 2:
                    first = found
                yield row


def memory(sizes: Sizes) -> Iterator[Row]:
    """Memory as planned, as reserved, and as the second run's record says, GiB; batch 64 and 256."""
    loaded = load_plugins(environ={})
    for name in sizes.backbones:
        for batch in (8,) if sizes.tiny else (64, 256):
            args = sizes.steps(batch=batch, epochs=1)
            ours = steps.Engine(args, loaded.backbones[name], loaded)
            total = 80 * GIB if sizes.tiny else torch.cuda.mem_get_info()[1]
            need = memory_need(
                ours.backbone, steps.CLASSES, ours.protocol, ours.numeric, args.images, total
            )
            row: Row = {
                "backbone": name, "batch": batch,
                "planned": need / GIB,
            }  # fmt: skip
            for turn in (1, 2):
                if not sizes.tiny:
                    torch.cuda.reset_peak_memory_stats()
                ours.turn()
                peak = ours.result.cost.peak_bytes
                row[f"record {turn}"] = None if peak is None else peak / GIB
                if not sizes.tiny:
                    row[f"allocated {turn}"] = torch.cuda.max_memory_allocated() / GIB
                    row[f"reserved {turn}"] = torch.cuda.max_memory_reserved() / GIB
            if not sizes.tiny:
                row["holds"] = row["reserved 2"] <= row["planned"]
            yield row
            del ours
            steps.release(sizes.device)


def half(sizes: Sizes) -> Iterator[Row]:
    """fp16 beside bf16, engine and bare step: cuDNN's batch norm for channels-last takes fp16 only."""
    loaded = load_plugins(environ={})
    for name in sizes.backbones[:2]:
        for precision in ("bf16", "fp16"):
            try:
                row = steps.measure(sizes.steps(precision=precision), name, loaded, report.Log())
            except (ValidationError, HarnessError) as error:  # no such mode, or not on this device
                yield {"backbone": name, "precision": precision, "skipped": str(error)}
            else:
                yield row
            steps.release(sizes.device)


def compiled(sizes: Sizes) -> Iterator[Row]:
    """Batch 256, recorded and compiled: where it pays (VGG-19 was slower compiled)."""
    loaded = load_plugins(environ={})
    many = {} if sizes.tiny else {"batch": 256, "images": 4096, "repeats": 2}
    for name in sizes.backbones:
        plain = steps.measure(sizes.steps(**many), name, loaded, report.Log())
        yield plain
        steps.release(sizes.device)
        if sizes.tiny:
            yield {"backbone": name, "skipped": "steps are compiled on a card only"}
            continue
        fast = steps.measure(sizes.steps(**many, compile=True), name, loaded, report.Log())
        times = fast["engine"] / plain["engine"]
        yield fast | {"times recorded": times, "holds": fast["engine / bare"] >= ENOUGH}
        steps.release(sizes.device)


def groups(sizes: Sizes) -> Iterator[Row]:
    """Groups after the fourth are compiled, or their record says that they are not."""
    if sizes.tiny:
        yield {"skipped": "steps are compiled on a card only"}
        return
    loaded = load_plugins(environ={})
    ours = steps.Engine(
        sizes.steps(compile=True, size=32, images=64, batch=16, epochs=1),
        loaded.backbones["vgg19-mini"], loaded,
    )  # fmt: skip
    for number in range(6):
        ours.start, ours.shared = None, {}  # a network of its own, as each dataset has
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]  # noqa: SLF001 - no public count
        ours.turn()
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"] - before  # noqa: SLF001
        said = ours.result.spec.numeric.compile
        yield {
            "group": number + 1, "graphs compiled": graphs, "record": said,
            "holds": graphs > 0 or said != "compile",
        }  # fmt: skip


def deterministic(sizes: Sizes) -> Iterator[Row]:
    """The same run in two processes: `--deterministic` gives the same bits; without, how far apart."""
    with tempfile.TemporaryDirectory() as folder:
        place, px = Path(folder), 32 if sizes.tiny else 128
        given = folder_options(sizes, place, px, (8, 8, 8) if sizes.tiny else (512, 64, 64))
        given += ["--backbones", sizes.backbones[0], "--strategies", "full-ft", "--epochs", "1"]
        for options in (["--deterministic"],) if sizes.tiny else (["--deterministic"], []):
            try:
                one, other = (
                    call(place, f"{len(options)}-{turn}", *given, *options) for turn in range(2)
                )
            except RuntimeError as error:
                if "No such option" not in str(error):
                    raise
                yield {"options": options, "skipped": "`harness bench` has no --deterministic"}
                continue
            row: Row = {"options": options, "s": other["s"], "logits apart": apart(one, other)}
            yield row | ({"holds": row["logits apart"] == 0} if options else {})


def leak(sizes: Sizes) -> Iterator[Row]:
    """Networks alive after each of eight seeds from random weights, steps recorded: at most two."""
    loaded = load_plugins(environ={})
    args = sizes.steps(batch=8, size=32, images=8, epochs=1)
    ours = steps.Engine(args, loaded.backbones["resnet50-mini"], loaded)
    ours.start, ours.numeric = None, ours.numeric.model_copy(update={"compile": "graph"})
    built: list[weakref.ref[torch.nn.Module]] = []
    kind = type(ours.backbone)
    plain = kind.build

    def watched(self: Any, classes: int) -> torch.nn.Sequential:  # noqa: ANN401 - any backbone
        network = plain(self, classes)
        built.append(weakref.ref(network))
        return network

    kind.build = watched  # in this process, which ends with the part
    # Python's own collector decides when a cycle goes, as it does in a long suite.
    alive, held = [], []
    for _ in range(3 if sizes.tiny else 8):
        ours.turn()
        alive.append(sum(network() is not None for network in built))
        held.append(None if sizes.tiny else torch.cuda.memory_allocated() / GIB)
    yield {"networks alive": alive, "GiB allocated": held, "holds": max(alive) <= 2}


def dry_run(sizes: Sizes) -> Iterator[Row]:
    """A dry run whose estimate comes from records: at most 1.5 s of a core."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        given = [
            "demo", "--datasets", "demo-xray", "--backbones", "resnet50-mini", "--strategies",
            "linear-probe", "--limit", "8", "--epochs", "1", "--device", "cpu",
        ]  # fmt: skip
        if not sizes.tiny:
            call(place, "out", *given)
        found = [
            call(place, "out", *given, "--seeds", "0,1", "--dry-run")
            for _ in range(1 if sizes.tiny else 3)
        ]
    core = min(one["core-s"] for one in found)
    yield {"core-s": core, "n": len(found), "holds": core <= 1.5}


def half_on_cpu(sizes: Sizes) -> Iterator[Row]:
    """bf16 beside float32 on one thread of a CPU that has it: ResNet-50, 128 px, batch 32."""
    if not sizes.tiny and not any(flag in report.device_name("cpu") for flag in report.HALF):
        yield {"skipped": "this CPU has no arithmetic in bf16"}
        return
    torch.set_num_threads(1)
    loaded, found = load_plugins(environ={}), []
    large = (
        {} if sizes.tiny else {"size": 128, "batch": 32, "images": 32, "epochs": 1, "repeats": 1}
    )
    for precision in ("float32", "bf16"):
        args = sizes.steps(precision=precision, device="cpu", **large)
        found.append(steps.measure(args, sizes.backbones[0], loaded, report.Log()))
    times = found[1]["engine"] / found[0]["engine"]
    yield from [found[0], found[1] | {"times float32": times}]


def demonstration(sizes: Sizes) -> Iterator[Row]:
    """The demonstration on two cores: goal 30 s."""
    if sizes.tiny:
        yield {"skipped": "CI runs the demonstration itself"}
        return
    with tempfile.TemporaryDirectory() as place:
        found = call(Path(place), "out", "demo", "--device", "cpu", "--jobs", "2")
    yield {
        "s": found["s"],
        "core-s": found["core-s"],
        "runs": found["runs"],
        "holds": found["s"] <= 30,
    }


# By worth; seconds at most on a card.
PARTS: dict[str, tuple[Callable[[Sizes], Iterator[Row]], float]] = {
    "hardware": (hardware, 25),
    "tests": (tests, 100),
    "rates": (rates, 95),
    "suite": (whole_suite, 170),
    "half": (half, 45),
    "memory": (memory, 35),
    "deterministic": (deterministic, 75),
    "leak": (leak, 20),
    "jobs": (jobs, 110),
    "compiled": (compiled, 110),
    "groups": (groups, 60),
    "dry-run": (dry_run, 25),
    "cpu-bf16": (half_on_cpu, 40),
    "demo": (demonstration, 90),
}
MARK, CORE = "ROW ", "CORE-SECONDS "


def work(name: str, log: Path, *, tiny: bool) -> None:
    """A part, in a process of its own that leads its group: rows go to the log as they come."""
    os.setsid()
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if tiny:
        torch.set_num_threads(1)
    for row in PARTS[name][0](Sizes(tiny)):
        print(MARK + json.dumps(row, default=str), flush=True)
    print(CORE + str(sum(os.times()[:4])), flush=True)


def run_part(name: str, limit: float, folder: Path, *, tiny: bool) -> Row:
    """Rows of a part, how it ended ('ok', 'failed', 'cut'), and what it said where it did not end well."""
    log, start = folder / f"{name}.log", time.monotonic()
    process = multiprocessing.get_context("forkserver").Process(
        target=work, args=(name, log), kwargs={"tiny": tiny}
    )
    process.start()
    process.join(limit)
    ended = {0: "ok", None: "cut"}.get(process.exitcode, "failed")
    if process.pid is not None and ended == "cut":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # so early that it leads no group and has no children
            process.kill()
        process.join()
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    found: Row = {
        "ended": ended,
        "s": round(time.monotonic() - start, 1),
        "rows": [json.loads(line.removeprefix(MARK)) for line in lines if line.startswith(MARK)],
    }
    core = [float(line.removeprefix(CORE)) for line in lines if line.startswith(CORE)]
    return found | ({"core-s": round(core[0], 1)} if core else {"tail": lines[-15:]})


@contextmanager
def importable() -> Iterator[None]:
    """Processes that parts are forked from hold torch and the scripts already."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(report.__file__).parent), before])
    )
    modules = ["steps", "suite", "arithmetic", "sklearn.metrics", "evaluate", "torchvision"]
    multiprocessing.set_forkserver_preload(modules)
    yield
    os.environ.pop("PYTHONPATH")
    os.environ |= {} if before is None else {"PYTHONPATH": before}


def accept(names: Sequence[str], budget: float, out: Path, *, tiny: bool) -> bool:
    """Run the parts and write the results after each; True where none failed or was cut."""
    start, today = time.monotonic(), datetime.now(UTC).date().isoformat()
    record: Row = {
        "command": shlex.join(["python", "benchmarks/gpu/accept.py", *sys.argv[1:]]),
        "date": today, "versions": report.versions(), "load": os.getloadavg()[0],
        "tiny": tiny, "parts": {},
    }  # fmt: skip
    path = report.create(out, f"accept-{'tiny' if tiny else 'cuda'}-{today}", "{}\n")

    def part(name: str) -> Row:
        left = budget - (time.monotonic() - start)
        if left < LEAST:
            return {"skipped": f"{left:.0f} s left of {budget:.0f}"}
        limit = left if tiny else min(PARTS[name][1], left)
        return run_part(name, limit, Path(logs), tiny=tiny)

    # Two at a time where no figure means anything, else one after another.
    pool = ThreadPoolExecutor(2 if tiny else 1)
    with tempfile.TemporaryDirectory() as logs, importable(), pool:
        for name, found in zip(names, pool.map(part, names), strict=True):
            record["parts"][name] = found
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            print(name, json.dumps(found)[:1500], flush=True)
    print(f"written: {path.name}, {time.monotonic() - start:.1f} s")
    return all(part.get("ended", "ok") == "ok" for part in record["parts"].values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="small, on a CPU")
    parser.add_argument("--budget", type=float, default=470.0, help="seconds in all")
    parser.add_argument("--only", default="", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--only: no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not args.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device here; --tiny runs every part small on a CPU")
    return 0 if accept(names, args.budget, args.out, tiny=args.tiny) else 1


if __name__ == "__main__":
    sys.exit(main())

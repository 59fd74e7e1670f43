"""A whole suite by `harness bench`, beside what people run today: one script per cell.

The folders, and one file of random weights a backbone, are made here, or given (`--folder`,
`--weights`: then figures can be compared, too); all sides start from the same weights and train on
the same images with the same settings (AdamW, constant rate, one precision).  `harness bench` is
timed from its start to its board.  Of the plain loop, of timm's parts and of Hugging Face's Trainer
(rivals.py), chosen cells are timed, each a process of its own; the rest is extrapolated by a formula
that is printed and that leaves out what would cost them more.  Sides take turns (`--turns`).

Beside them stands what arithmetic allows: the operations of the suite over the rate of a matrix
product, measured here in the same precision (on a CPU by a core-second of one thread, which no load
moves): once as the rivals work, once with every frozen part computed once.

Seconds of two sides are compared on a free machine only: where others are at work on a CPU when it
begins, core-seconds are compared alone, and those only mean something with `--threads 1` (threads
that wait for each other count as work).

    python benchmarks/speed/suite.py --device cuda --datasets 5 --measure 1
    python benchmarks/speed/suite.py --device cpu --size 32 --images 24,16,16 --backbones resnet50
    python benchmarks/speed/suite.py --device cpu --folder DIR --weights DIR --name suite-real

`timm` needs `pip install timm`, `trainer` needs `pip install transformers accelerate`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from arithmetic import operations, product_rate, rate_of_a_core
from made_images import make_folder
from report import Log, bench, save, timed
from safetensors.torch import save_file

from harness.utils.parallel import cores

STRATEGIES = 8
BUSY = 0.75  # processes at work for each core, beyond which seconds are not compared
Cells = dict[str, dict[str, Any]]
# Of the eight strategies: full-ft, l1-sp, l2-sp and auto-rgn train everything all the time; the
# two gradual ones and lp-ft for half of the epochs at least; linear-probe never.
FORMULA = "cell times: 4 full-ft + 3 (full-ft + linear-probe) / 2 + linear-probe"
NEEDS = {"trainer": ("transformers", "accelerate"), "timm": ("timm",)}


def weights(folder: Path, backbones: list[str]) -> Path:
    """Random weights under torchvision's names: equal ones for every side."""
    folder.mkdir()
    for name in backbones:
        torch.manual_seed(0)
        state = getattr(torchvision.models, name)().state_dict()
        save_file(state, folder / f"{name}.safetensors")
    return folder


def whole(
    args: argparse.Namespace, place: Path, folders: list[Path], turn: int, log: Log
) -> dict[str, Any]:
    """Our side: every cell of the measured datasets in one call, from an empty cache."""
    out, cache = place / f"out{turn}", place / f"cache{turn}"
    options = ["folders", "--device", args.device, "--epochs", str(args.epochs), "--out", str(out)]
    options += ["--weights", str(args.weights), "--backbones", args.backbones]
    options += ["--precision", args.precision]
    for number, folder in enumerate(folders):
        options += ["--data", f"made:set{number}={folder}"]
    changes = {
        "optimizer": "adamw", "lr": args.lr, "weight_decay": args.decay, "batch_size": args.batch,
        "schedule.kind": "constant", "schedule.horizon": "null", "patience": "null",
        "resize": args.size, "crop": args.size,
    }  # fmt: skip
    options += [part for f, v in changes.items() for part in ("--set", f"protocol.{f}={v}")]
    if args.strategies:
        options += ["--strategies", args.strategies]
    environment = {"HARNESS_CACHE": str(cache)}
    wall, core, said = timed(bench(*options, *args.harness.split()), args.limit, environment)
    results = [json.loads(path.read_text()) for path in (out / "runs").rglob("*.json")]
    log(f"harness bench: {len(results)} runs in {wall:.1f} s ({core:.1f} core-s)")
    log("\n".join(said.splitlines()[-12:]) if args.verbose else "")
    return {"seconds": wall, "core": core, "results": results}


def rival(args: argparse.Namespace, how: str, cell: str, data: Path) -> dict[str, Any]:
    """One cell of a rival, a process from its start to its end."""
    backbone, strategy = cell.split(":")
    command = [
        sys.executable, str(Path(__file__).with_name("rivals.py")), how, strategy,
        "--data", str(data), "--weights", str(Path(args.weights) / f"{backbone}.safetensors"),
        "--backbone", backbone, "--device", args.device, "--epochs", str(args.epochs),
        "--batch", str(args.batch), "--size", str(args.size), "--workers", str(args.workers),
        "--lr", str(args.lr), "--decay", str(args.decay), "--precision", args.precision,
        "--threads", str(args.threads),
    ]  # fmt: skip
    wall, core, said = timed(command, args.limit)
    found = json.loads(next(line for line in reversed(said.splitlines()) if line[:1] == "{"))
    return {"seconds": wall, "core": core, "score": found["score"]}


def our_score(results: list[dict[str, Any]], cell: str) -> float | None:
    """The mean test figure of our runs of a cell, over the measured datasets."""
    backbone, strategy = cell.split(":")
    found = [
        r["metrics"]["balanced-accuracy"]["value"]
        for r in results
        if r["spec"]["backbone"] == backbone and r["spec"]["strategy"] == strategy
    ]
    return statistics.mean(found) if found else None


def suite_cost(
    backbones: list[str], cells: Cells, datasets: int, kind: str = "seconds"
) -> float | None:
    """A rival's whole suite by the formula; a backbone that was not measured leaves it unknown.

    A probe that was not measured counts as much as the cheapest that was: decoding, the same for
    all, takes most of it.  `kind`: 'seconds' or 'core'.
    """
    probes = [one[kind] for cell, one in cells.items() if cell.endswith(":linear-probe")]
    total = 0.0
    for backbone in backbones:
        full, probe = (cells.get(f"{backbone}:{s}") for s in ("full-ft", "linear-probe"))
        if full is None or not probes:
            return None
        total += 5.5 * full[kind] + 2.5 * (probe[kind] if probe else min(probes))
    return total * datasets


def suite_operations(
    args: argparse.Namespace, counts: tuple[int, ...], classes: int
) -> tuple[float, float]:
    """Operations of the suite by the formula: as the rivals work; frozen parts computed once."""
    train, validation, test = counts
    plain, least = 0.0, 0.0
    for name in args.backbones.split(","):
        build = partial(getattr(torchvision.models, name), num_classes=classes)
        one = operations(build, args.size)
        full = args.epochs * (train * one.training + validation * one.forward) + test * one.forward
        probe = (args.epochs * (train + validation) + test) * one.forward
        plain += 5.5 * full + 2.5 * probe
        least += 5.5 * full + sum(counts) * one.forward
    return args.datasets * plain, args.datasets * least


def missing(how: str) -> list[str]:
    return [name for name in NEEDS.get(how, ()) if importlib.util.find_spec(name) is None]


def rivals(args: argparse.Namespace, data: Path, log: Log) -> dict[str, Cells]:
    """The chosen cells of every rival, as many as the time allows."""
    found: dict[str, Cells] = {}
    for how in [how for how in args.rivals.split(",") if how]:
        if lacking := missing(how):
            log(f"{how}: skipped; it needs `pip install {' '.join(lacking)}`")
            continue
        found[how] = {}
        for cell in args.cells.split(","):
            if log.spent > args.until:
                log(f"{how} {cell}: not measured, the time (--until) is over")
                continue
            try:
                one = found[how][cell] = rival(args, how, cell, data)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                log(f"{how} {cell}: failed: {error}")
                continue
            log(
                f"{how} {cell}: {one['seconds']:.1f} s ({one['core']:.1f} core-s), "
                f"balanced accuracy {one['score']:.3f}"
            )
    return found


def middle(turns: list[dict[str, Cells]]) -> dict[str, Cells]:
    """The median of each figure over the turns in which a cell was measured."""
    found: dict[str, Cells] = {}
    pairs = [(how, cell) for turn in turns for how, cells in turn.items() for cell in cells]
    for how, cell in dict.fromkeys(pairs):
        every = [turn[how][cell] for turn in turns if cell in turn.get(how, {})]
        found.setdefault(how, {})[cell] = {
            name: statistics.median(one[name] for one in every) for name in every[0]
        }
    return found


def cell_rows(
    args: argparse.Namespace, results: list[dict[str, Any]], found: dict[str, Cells]
) -> list[dict[str, Any]]:
    """Test figures of both sides and a rival's seconds, a row a cell."""
    rows = []
    for cell in args.cells.split(","):
        row: dict[str, Any] = {"cell": cell, "harness": our_score(results, cell)}
        for how, one in found.items():
            if cell in one:
                row |= {how: one[cell]["score"], f"{how} s": one[cell]["seconds"]}
        rows.append(row)
    return rows


def suite_rows(
    args: argparse.Namespace, ours: dict[str, float], found: dict[str, Cells], *, busy: bool
) -> list[dict[str, Any]]:
    """Whole suites, ours first; ours alone where part of it was left out.

    `busy`: others were at work, so that seconds say nothing of another side's.
    """
    scale = args.datasets / args.measure
    said = "measured" if scale == 1 else f"{args.measure} datasets measured, times {scale:g}"
    if args.strategies:  # then nothing below is the same suite
        found, said = {}, f"{said}; only {args.strategies}: not to be compared"
    mine = {kind: figure * scale for kind, figure in ours.items()}
    rows: list[dict[str, Any]] = [
        {"who": "harness bench", "suite s": mine["seconds"], "core-s": mine["core"], "how": said}
    ]
    for how, cells in found.items():
        names = args.backbones.split(",")
        cost = {kind: suite_cost(names, cells, args.datasets, kind) for kind in mine}
        if (seconds := cost["seconds"]) is None or (core := cost["core"]) is None:
            continue
        row = {
            "who": how, "suite s": seconds, "core-s": core, "how": "extrapolated",
            "core-s, times ours": core / mine["core"],
        }  # fmt: skip
        if not busy:
            row["s, times ours"] = seconds / mine["seconds"]
        rows.append(row)
    return rows


def allowed_rows(
    args: argparse.Namespace, counts: tuple[int, ...], classes: int, log: Log
) -> list[dict[str, Any]]:
    """Time of arithmetic alone at the rate of a matrix product: core-seconds on a CPU."""
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    cpu = args.device == "cpu"
    found = rate_of_a_core(dtype) if cpu else product_rate(args.device, dtype)
    unit = "core-s" if cpu else "suite s"
    log(
        f"matrix product in {args.precision}: {found / 1e9:.4g} GFLOP a {unit.removeprefix('suite ')}"
    )
    ways = ("as the rivals work", "frozen parts once")
    return [
        {
            "who": f"arithmetic, {way}", unit: amount / found,
            "how": f"{amount / 1e12:.4g} TFLOP by the formula",
        }
        for way, amount in zip(ways, suite_operations(args, counts, classes), strict=True)
    ]  # fmt: skip


def images_of(folder: Path) -> tuple[int, ...]:
    """Files of train, validation, test."""
    return tuple(
        sum(path.is_file() for path in (folder / split).rglob("*"))
        for split in ("train", "validation", "test")
    )


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, of the command line where none are given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", default="cuda")
    add("--datasets", type=int, default=5, help="of the suite")
    add("--measure", type=int, default=1, help="datasets that `harness bench` really runs")
    add("--backbones", default="resnet50,densenet121,vgg19")
    add("--strategies", default="", help="of ours; default: all eight")
    add("--images", default="2000,250,250", help="train, validation, test")
    add("--classes", type=int, default=4)
    add("--folder", default="", help="one dataset that is there: train, validation, test")
    add("--weights", default="", help="folder of BACKBONE.safetensors, in torchvision's names")
    add("--name", default="suite", help="of the file of results")
    add("--size", type=int, default=224)
    add("--epochs", type=int, default=5)
    add("--batch", type=int, default=64)
    add("--lr", type=float, default=1e-4)
    add("--decay", type=float, default=0.01)
    add("--workers", type=int, default=min(8, os.cpu_count() or 1))
    add("--precision", default="", help="of both sides; default: bf16 on a card, else float32")
    add("--threads", type=int, default=0, help="of torch in a rival; 0: its own choice")
    add("--turns", type=int, default=1, help="of both sides")
    add("--rivals", default="loop,timm,trainer", help="of loop, timm, trainer; empty: none")
    add("--cells", default="", help="rivals' cells to measure; default: both of each backbone")
    add("--harness", default="", help="more options of `harness bench`, in one string")
    add("--limit", type=float, default=600.0, help="seconds one command may take")
    add("--until", type=float, default=240.0, help="no further cell is begun after these seconds")
    add("--verbose", action="store_true")
    args = parser.parse_args(given)
    both = [
        f"{name}:{s}" for name in args.backbones.split(",") for s in ("full-ft", "linear-probe")
    ]
    args.cells = args.cells or ",".join(both)
    args.precision = args.precision or ("float32" if args.device == "cpu" else "bf16")
    return args


def measure(args: argparse.Namespace, place: Path, log: Log, *, busy: bool) -> list[dict[str, Any]]:
    """Take the turns and print the tables; returns their rows."""
    args.weights = args.weights or weights(place / "weights", args.backbones.split(","))
    counts = tuple(int(part) for part in args.images.split(","))
    folders = [Path(args.folder)] if args.folder else [
        make_folder(place / f"set{n}", counts, classes=args.classes, size=args.size, seed=n)
        for n in range(args.measure)
    ]  # fmt: skip
    classes = sum(path.is_dir() for path in (folders[0] / "train").iterdir())
    log(f"folders ({args.folder or args.images}) and weights: {log.spent:.1f} s")
    mine, theirs = [], []
    for turn in range(args.turns):
        mine.append(whole(args, place, folders, turn, log))
        theirs.append(rivals(args, folders[0], log))
    found = middle(theirs)
    ours = {kind: statistics.median(one[kind] for one in mine) for kind in ("seconds", "core")}
    cells = cell_rows(args, mine[0]["results"], found)
    log("test balanced accuracy, and seconds of the rival's process")
    log.table(cells)
    suites = suite_rows(args, ours, found, busy=busy)
    if not args.strategies:
        suites += allowed_rows(args, images_of(folders[0]), classes, log)
    runs = args.datasets * len(args.backbones.split(",")) * STRATEGIES
    log(f"{runs} runs; rivals extrapolated: {FORMULA}, times {args.datasets} datasets")
    log.table(suites)
    return [*cells, *suites]


def main() -> None:
    args, log, load = parsed(), Log(), os.getloadavg()[0]
    busy = args.device == "cpu" and load > BUSY * cores()
    if busy:
        log(f"others are at work (load {load:.1f} on {cores()} cores): seconds are not compared")
    with tempfile.TemporaryDirectory(prefix="suite-") as place:
        rows = measure(args, Path(place), log, busy=busy)
    save(
        args.name, args.device, log, rows,
        n=args.turns, formula=FORMULA, load_before=load, seconds=round(log.spent, 1),
    )  # fmt: skip


if __name__ == "__main__":
    main()

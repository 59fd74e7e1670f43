"""A whole suite by `harness bench`, beside what people run today: one script per cell.

The folders, and one file of random weights a backbone, are made here, or given (`--folder`,
`--weights`: then figures can be compared, too); all sides start from the same weights and train on
the same images with the same settings (AdamW, constant rate).  `harness bench`
is timed from its start to its board.  Of the plain loop and of Hugging Face's Trainer (rivals.py),
chosen cells are timed, each a process of its own; the rest is extrapolated by a formula that is
printed and that leaves out what would cost them more.

    python benchmarks/speed/suite.py --device cuda --datasets 5 --measure 1
    python benchmarks/speed/suite.py --device cpu --size 32 --images 24,16,16 --backbones resnet50
    python benchmarks/speed/suite.py --device cpu --folder DIR --weights DIR --name suite-real
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torchvision
from made_images import make_folder
from report import Log, bench, save, timed
from safetensors.torch import save_file

STRATEGIES = 8
# Of the eight strategies: full-ft, l1-sp, l2-sp and auto-rgn train everything all the time; the
# two gradual ones and lp-ft for half of the epochs at least; linear-probe never.
FORMULA = "cell times: 4 full-ft + 3 (full-ft + linear-probe) / 2 + linear-probe"
NEEDS = {"trainer": ("transformers", "accelerate")}


def weights(folder: Path, backbones: list[str]) -> Path:
    """Random weights under torchvision's names: equal ones for every side."""
    folder.mkdir()
    for name in backbones:
        torch.manual_seed(0)
        state = getattr(torchvision.models, name)().state_dict()
        save_file(state, folder / f"{name}.safetensors")
    return folder


def whole(args: argparse.Namespace, place: Path, folders: list[Path], log: Log) -> dict[str, Any]:
    """Our side: every cell of the measured datasets in one call."""
    out, cache = place / "out", place / "cache"
    options = ["folders", "--device", args.device, "--epochs", str(args.epochs), "--out", str(out)]
    options += ["--weights", str(args.weights), "--backbones", args.backbones]
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
        "--lr", str(args.lr), "--decay", str(args.decay), *(["--amp"] if args.amp else []),
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


def suite_seconds(args: argparse.Namespace, cells: dict[str, dict[str, Any]]) -> float | None:
    """A rival's whole suite by the formula; a backbone that was not measured leaves it unknown.

    A probe that was not measured counts as much as the cheapest that was: decoding, the same for
    all, takes most of it.
    """
    probes = [one["seconds"] for cell, one in cells.items() if cell.endswith(":linear-probe")]
    total = 0.0
    for backbone in args.backbones.split(","):
        full, probe = (cells.get(f"{backbone}:{s}") for s in ("full-ft", "linear-probe"))
        if full is None or not probes:
            return None
        total += 5.5 * full["seconds"] + 2.5 * (probe["seconds"] if probe else min(probes))
    return total * args.datasets


def missing(how: str) -> list[str]:
    return [name for name in NEEDS.get(how, ()) if importlib.util.find_spec(name) is None]


def rivals(args: argparse.Namespace, data: Path, log: Log) -> dict[str, dict[str, dict[str, Any]]]:
    """The chosen cells of every rival, as many as the time allows."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for how in [how for how in args.rivals.split(",") if how]:
        if lacking := missing(how):
            log(f"{how}: skipped, {' and '.join(lacking)} not installed")
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
            log(f"{how} {cell}: {one['seconds']:.1f} s, balanced accuracy {one['score']:.3f}")
    return found


def tables(
    args: argparse.Namespace, ours: dict[str, Any], found: dict[str, Any], log: Log
) -> list[dict[str, Any]]:
    """Cells beside each other, then the whole suites."""
    cells = []
    for cell in args.cells.split(","):
        row: dict[str, Any] = {"cell": cell, "harness": our_score(ours["results"], cell)}
        for how, one in found.items():
            if cell in one:
                row |= {how: one[cell]["score"], f"{how} s": one[cell]["seconds"]}
        cells.append(row)
    log("test balanced accuracy, and seconds of the rival's process")
    log.table(cells)
    scale = args.datasets / args.measure
    mine = ours["seconds"] * scale
    said = "measured" if scale == 1 else f"{args.measure} datasets measured, times {scale:g}"
    suites: list[dict[str, Any]] = [{"who": "harness bench", "suite s": mine, "how": said}]
    if args.strategies:
        suites[0]["how"] += f"; only {args.strategies}: not to be compared"
    for how, one in found.items():
        seconds = suite_seconds(args, one)
        if seconds is not None:
            suites.append(
                {
                    "who": how,
                    "suite s": seconds,
                    "times ours": seconds / mine,
                    "how": "extrapolated",
                }
            )
    runs = args.datasets * len(args.backbones.split(",")) * STRATEGIES
    log(f"{runs} runs; rivals extrapolated: {FORMULA}, times {args.datasets} datasets")
    log.table(suites)
    return [*cells, *suites]


def main() -> None:
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
    add("--no-amp", dest="amp", action="store_false", help="rivals in float32 instead of AMP")
    add("--rivals", default="loop,trainer", help="of loop, trainer; empty: none")
    add("--cells", default="", help="rivals' cells to measure; default: both of each backbone")
    add("--harness", default="", help="more options of `harness bench`, in one string")
    add("--limit", type=float, default=600.0, help="seconds one command may take")
    add("--until", type=float, default=240.0, help="no further cell is begun after these seconds")
    add("--verbose", action="store_true")
    args = parser.parse_args()
    names = args.backbones.split(",")
    both = [f"{name}:{s}" for name in names for s in ("full-ft", "linear-probe")]
    args.cells = args.cells or ",".join(both)
    log, place = Log(), Path(tempfile.mkdtemp(prefix="suite-"))
    counts = tuple(int(part) for part in args.images.split(","))
    try:
        args.weights = args.weights or weights(place / "weights", names)
        folders = (
            [Path(args.folder)]
            if args.folder
            else [
                make_folder(place / f"set{n}", counts, classes=args.classes, size=args.size, seed=n)
                for n in range(args.measure)
            ]
        )
        log(f"folders ({args.folder or args.images}) and weights: {log.spent:.1f} s")
        ours = whole(args, place, folders, log)
        found = rivals(args, folders[0], log)
        rows = tables(args, ours, found, log)
    finally:
        shutil.rmtree(place)
    save(args.name, args.device, log, rows, n=1, formula=FORMULA, seconds=round(log.spent, 1))


if __name__ == "__main__":
    main()

"""bf16 beside float32 on a CPU: seconds of a training step, and figures of the same runs in both.

Steps: torchvision's networks at batch 32, channels-last, on one thread, the two modes in turns;
seconds of the core, so that other work on the machine counts little.  Figures: `harness bench` makes
the same cells in both modes, seed by seed in turns, and the difference is paired: the seed gives
both the same head, order of batches and split.  Its interval is over seeds (t, 90 %); beside it
stands how much seeds differ among themselves in float32, for that is what a reader compares it to.

    python benchmarks/speed/precision.py --sets endoscopy=DIR,histology=DIR --weights DIR
    python benchmarks/speed/precision.py --sets '' --sizes 64,128,224

With `--place DIR` what was made stays there, and a call that was ended goes on from it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from report import Log, bench, save, timed
from scipy.stats import t as student
from torch import nn

from harness.results.store import Store

MODES = ("float32", "bf16")
BATCH = 32
FIGURES = ("balanced-accuracy", "macro-auroc")
POINT = 0.01


def step_seconds(network: nn.Module, size: int, mode: str) -> float:
    """Seconds of the core for one training step (forward, backward, Adam is left out)."""
    images = torch.rand(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(BATCH) % 4
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "bf16"):
        logits = network(images)
    nn.functional.cross_entropy(logits.float(), targets).backward()
    spent = time.process_time() - started
    network.zero_grad(set_to_none=True)
    return spent


def steps(args: argparse.Namespace, log: Log) -> list[dict[str, Any]]:
    """A row for each network and size."""
    torch.set_num_threads(1)
    rows = []
    for name, size in itertools.product(args.backbones.split(","), args.sizes.split(",")):
        torch.manual_seed(0)
        network = getattr(torchvision.models, name)(num_classes=4)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found: dict[str, list[float]] = {mode: [] for mode in MODES}
        for turn in range(args.turns + 1):
            for mode in MODES:
                seconds = step_seconds(network, int(size), mode)
                if turn:  # the first chooses kernels
                    found[mode].append(seconds)
        rate = {mode: BATCH / statistics.median(each) for mode, each in found.items()}
        ratios = [a / b for a, b in zip(*found.values(), strict=True)]
        rows.append(
            {
                "network": name, "px": int(size), "n": args.turns,
                **{f"{mode} images/s": rate[mode] for mode in MODES},
                "bf16 times as fast": statistics.median(ratios),
                "least": min(ratios), "most": max(ratios),
            }
        )  # fmt: skip
    log(f"training steps, batch {BATCH}, one thread, channels-last, seconds of the core, in turns")
    log.table(rows)
    return rows


def runs(args: argparse.Namespace, place: Path, log: Log) -> dict[str, list[Any]]:
    """The runs of both modes, made seed by seed in turns, with the core-seconds of the calls."""
    spent: dict[str, list[float]] = {mode: [] for mode in MODES}
    for seed in range(args.seeds):
        for mode in MODES if seed % 2 else MODES[::-1]:
            options = [
                "folders", "--device", "cpu", "--jobs", "1", "--precision", mode,
                "--seeds", str(seed), "--epochs", str(args.epochs), "--limit", str(args.limit),
                "--backbones", args.backbones.split(",")[0], "--strategies", args.strategies,
                "--weights", args.weights, "--out", str(place / mode),
            ]  # fmt: skip
            options += [part for one in args.sets.split(",") for part in ("--data", f"real:{one}")]
            changes = {
                "lr": args.lr, "patience": "null", "batch_size": BATCH,
                "resize": args.size, "crop": args.size,
            }  # fmt: skip
            options += [part for f, v in changes.items() for part in ("--set", f"protocol.{f}={v}")]
            known = place / f"{mode}-{seed}.json"
            if not known.exists():
                cache = {"HARNESS_CACHE": str(place / "cache")}
                known.write_text(json.dumps(timed(bench(*options), 7200, cache)[:2]))
            wall, core = json.loads(known.read_text())
            spent[mode].append(core)
            log(f"seed {seed}, {mode}: {core:.1f} core-s ({wall:.1f} s)")
    whole = {mode: sum(each) for mode, each in spent.items()}
    log(f"calls, start and board included: {whole['float32']:.1f} core-s in float32, "
        f"{whole['bf16']:.1f} in bf16: {whole['float32'] / whole['bf16']:.2f} times as fast")  # fmt: skip
    found = {}
    for mode in MODES:
        store = Store(place / mode)
        found[mode] = [
            (run, store.predictions(run).logits["test"])
            for run in store.results()
            if run.spec.seed < args.seeds
        ]
        if failed := store.failures():
            raise RuntimeError(f"{mode}: {failed[0].spec.cell}: {failed[0].error}")
    return found


def paired(args: argparse.Namespace, found: dict[str, list[Any]], log: Log) -> list[dict[str, Any]]:
    """A row for each cell and figure: the difference of bf16 from float32 over the seeds."""
    rows = []
    cells = sorted({(run.spec.dataset, run.spec.strategy) for run, _ in found["float32"]})
    for cell in cells:
        by_mode = {
            mode: {
                run.spec.seed: (run, logits.argmax(axis=1))
                for run, logits in each
                if (run.spec.dataset, run.spec.strategy) == cell
            }
            for mode, each in found.items()
        }
        plain, half = (by_mode[mode] for mode in MODES)
        if plain.keys() != half.keys() or len(plain) != args.seeds:
            raise RuntimeError(f"{cell}: seeds {sorted(plain)} and {sorted(half)}")
        seeds = sorted(plain)
        same = np.mean([np.mean(plain[s][1] == half[s][1]) for s in seeds])
        apart = np.mean([
            np.mean(plain[a][1] == plain[b][1]) for a, b in itertools.combinations(seeds, 2)
        ])  # fmt: skip
        for figure in FIGURES:
            values = [[each[s][0].metrics[figure].value for s in seeds] for each in (plain, half)]
            differences = [b - a for a, b in zip(*values, strict=True)]
            mean, sd = statistics.mean(differences), statistics.stdev(differences)
            reach = float(student.ppf(0.95, len(seeds) - 1)) * sd / len(seeds) ** 0.5
            inside = mean - reach >= -POINT and mean + reach <= POINT
            outside = mean - reach > POINT or mean + reach < -POINT
            rows.append(
                {
                    "set": cell[0], "strategy": cell[1], "figure": figure,
                    "test images": len(plain[seeds[0]][1]), "n": len(seeds),
                    "float32": statistics.mean(values[0]), "sd of seeds": statistics.stdev(values[0]),
                    "bf16": statistics.mean(values[1]), "difference": mean, "low": mean - reach,
                    "high": mean + reach, "sd of difference": sd,
                    "within a point": "yes" if inside else "no" if outside else "undecided",
                    "same class": float(same), "same class, two seeds": float(apart),
                    "values float32": values[0], "values bf16": values[1],
                }
            )  # fmt: skip
    log("test figures, bf16 less float32, paired by seed; interval over seeds (t, 90 %)")
    hidden = {"values float32", "values bf16"}
    log.table([{k: v for k, v in row.items() if k not in hidden} for row in rows])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sets", required=True, help="NAME=FOLDER, with commas; empty: steps only")
    add("--weights", default="none", help="folder of BACKBONE.safetensors")
    add("--backbones", default="resnet50", help="of the steps; the first makes the runs")
    add("--strategies", default="full-ft,linear-probe")
    add("--sizes", default="64,128,224", help="of the steps; empty: none")
    add("--turns", type=int, default=5, help="of the steps")
    add("--seeds", type=int, default=5)
    add("--limit", type=int, default=300, help="images of each split")
    add("--epochs", type=float, default=4)
    add("--size", type=int, default=64, help="of the runs' images")
    add("--lr", type=float, default=1e-4)
    add("--place", type=Path, help="a folder for the runs; else they are removed at the end")
    args = parser.parse_args()
    log = Log()
    rows = steps(args, log) if args.sizes else []
    if args.sets:
        with contextlib.ExitStack() as stack:
            made = args.place or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="precision-"))
            )
            made.mkdir(parents=True, exist_ok=True)
            rows += paired(args, runs(args, made, log), log)
    save("precision", "cpu", log, rows, seconds=round(log.spent, 1))


if __name__ == "__main__":
    main()

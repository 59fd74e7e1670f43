"""Cost of a call by the number of cells, images and seeds: one of them grows, the rest stays.

Every point is a `harness bench` from nothing to its board, on folders made here, with an empty cache;
core time counts every process.  The last column is the cost of one more run, image or seed since the
point before.  The defaults are for a CPU and miniatures; a GPU takes the full networks.

    python benchmarks/speed/scaling.py --device cpu
    python benchmarks/speed/scaling.py --device cuda --backbone resnet50 --size 224 --images 500,1000,2000
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from made_images import make_folder
from report import Log, bench, save, timed

STRATEGIES = (
    "full-ft", "linear-probe", "lp-ft", "gradual-last-first", "gradual-first-last", "l1-sp",
    "l2-sp", "auto-rgn",
)  # fmt: skip
CLASSES = 4


def point(args: argparse.Namespace, place: Path, change: dict[str, int]) -> dict[str, float]:
    """Seconds of one call."""
    now = {"cells": 1, "images": args.base, "seeds": 1} | change
    counts = (now["images"], max(16, now["images"] // 8), max(16, now["images"] // 8))
    data = place / f"images{now['images']}"
    if not data.is_dir():
        make_folder(data, counts, classes=CLASSES, size=args.size, seed=0)
    changes = {
        "batch_size": args.batch, "resize": args.size, "crop": args.size, "patience": "null",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=place) as fresh:
        options = [
            "folders", "--data", f"made:scaling={data}", "--weights", "none", "--device",
            args.device, "--backbones", args.backbone, "--epochs", str(args.epochs),
            "--strategies", ",".join(STRATEGIES[: now["cells"]]),
            "--seeds", ",".join(map(str, range(now["seeds"]))), "--out", f"{fresh}/out",
        ]  # fmt: skip
        options += [part for f, v in changes.items() for part in ("--set", f"protocol.{f}={v}")]
        if args.probe and "seeds" in change:
            options += ["--strategies", "linear-probe"]
        environment = {"HARNESS_CACHE": f"{fresh}/cache"}
        wall, core, _ = timed(bench(*options), args.limit, environment)
    return {"seconds": wall, "core-s": core}


def series(
    args: argparse.Namespace, place: Path, axis: str, values: list[int], log: Log
) -> list[dict[str, Any]]:
    """One axis, its points in rising order."""
    rows: list[dict[str, Any]] = []
    for value in sorted(values):
        row: dict[str, Any] = {"axis": axis, "value": value, **point(args, place, {axis: value})}
        if rows:
            last = rows[-1]
            row["s for one more"] = (row["seconds"] - last["seconds"]) / (value - last["value"])
        rows.append(row)
        log(f"{axis} {value}: {row['seconds']:.1f} s, {row['core-s']:.1f} core-s")
    return rows


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", default="cpu")
    add("--backbone", default="resnet50-mini")
    add("--size", type=int, default=48)
    add("--epochs", type=int, default=2)
    add("--batch", type=int, default=32)
    add("--base", type=int, default=128, help="training images where another number grows")
    add("--cells", default="1,2,4,8", help="strategies; empty: not this axis")
    add("--images", default="128,512,2048", help="to train on; empty: not this axis")
    add("--seeds", default="1,4,16", help="empty: not this axis")
    add("--probe", action="store_true", help="seeds of linear-probe instead of full-ft")
    add("--limit", type=float, default=300.0, help="seconds of one call")
    args = parser.parse_args()
    log, rows = Log(), []
    with tempfile.TemporaryDirectory() as place:
        for axis in ("cells", "images", "seeds"):
            rows += series(args, Path(place), axis, numbers(getattr(args, axis)), log)
    log(f"{args.backbone}, {args.size} px, {args.epochs} epochs; one call a point")
    log.table(rows)
    save("scaling", args.device, log, rows, n=1, seconds=round(log.spent, 1))


if __name__ == "__main__":
    main()

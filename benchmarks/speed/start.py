"""Core-seconds that a call spends before and beside its work: imports, the plan, the workers.

Two calls: a dry run over the records of the whole demonstration, and two linear probes of one of
its cells, as short as runs can be, by one and by two workers.  Every process is counted, the server
that workers are forked from, too.  `--beside` measures another checkout in turns with this one.

    python benchmarks/speed/start.py --records DIR --beside CHECKOUT
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

from report import Log, bench, save, timed

HERE = Path(__file__).resolve().parents[2]


def core(checkout: Path, cache: str, *options: str) -> float:
    """Core-seconds of `harness bench` by that checkout, called from elsewhere."""
    environment = {"PYTHONPATH": f"{checkout}:{checkout / 'plugins'}", "HARNESS_CACHE": cache}
    with contextlib.chdir(cache):  # or the checkout that this was called from is imported
        return timed(bench(*options), 600, environment)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--records", type=Path, required=True, help="a finished folder of `harness bench demo`")
    add("--beside", type=Path, help="another checkout")
    add("--turns", type=int, default=3)
    args = parser.parse_args()
    log, rows = Log(), []
    checkouts = {"this": HERE, **({"beside": args.beside.resolve()} if args.beside else {})}
    cell = (
        "demo --datasets demo-xray --backbones resnet50-mini --strategies linear-probe --seeds 0,1"
    )
    with tempfile.TemporaryDirectory(prefix="start-") as place:
        records = str(args.records.resolve())
        calls = {"dry run over records": ["demo", "--seeds", "0,1", "--dry-run", "--out", records]}
        for jobs in ("1", "2"):
            calls[f"two probes, {jobs} jobs"] = [*cell.split(), "--jobs", jobs, "--out"]
        for what, options in calls.items():
            found: dict[str, list[float]] = {name: [] for name in checkouts}
            for turn in range(args.turns + 1):
                for name, checkout in checkouts.items():
                    out = [] if "--dry-run" in options else [f"{place}/{name}-{len(rows)}-{turn}"]
                    spent = core(checkout, place, *options, *out)
                    if turn:  # the first fills the cache
                        found[name].append(spent)
            rows.append(
                {
                    "call": what, "n": args.turns,
                    **{f"{name} core-s": statistics.median(each) for name, each in found.items()},
                    **{f"{name} slowest": max(each) for name, each in found.items()},
                }
            )  # fmt: skip
    log("core-seconds of calls, medians, in turns")
    log.table(rows)
    save("start", "cpu", log, rows, seconds=round(log.spent, 1))


if __name__ == "__main__":
    main()

"""Choose the demonstration's common rate: on validation, by the mean over all strategies.

    python benchmarks/miniatures/rate.py OUT [--rates 0.003 0.01 0.03 0.05 0.1] [--jobs N]

Carries out `harness bench demo` at each rate, into OUT/RATE; runs that are there already are not
made again.  Prints balanced accuracy on validation, of the checkpoint that is tested, as a markdown
table: a row a strategy, a column a rate, each figure the mean over the suite's cells.  The last row
is the mean over all runs; its largest figure is the choice, but no rate at which a run failed (its
loss was not finite) is chosen.  Nothing here reads a test figure.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from math import isnan, nan
from pathlib import Path
from statistics import mean

from harness.results.store import Store
from harness_suites import STRATEGIES

METRIC = "balanced-accuracy"


def carry_out(rate: float, out: Path, jobs: int) -> None:
    """All runs of the demonstration at a rate; those whose loss is not finite fail and are kept."""
    command = [sys.executable, "-m", "harness", "bench", "demo", "--device", "cpu"]
    given = ["--set", f"protocol.lr={rate}", "--jobs", str(jobs), "--out", str(out)]
    code = subprocess.run([*command, *given], check=False, stdout=subprocess.DEVNULL).returncode
    if code and not Store(out).failures():
        sys.exit(f"rate {rate:g}: `harness bench` ended with {code}, see {out}")


def scores(out: Path) -> dict[str, list[float]]:
    """Balanced accuracy on validation, 0 to 1, of every run in `out`, by strategy; nan: it failed.

    Raises:
        SystemExit: a finished run has none.
    """
    found: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
    for result in Store(out).results():
        value = result.validation[METRIC].value if METRIC in result.validation else None
        if value is None:
            sys.exit(f"{out}: run {result.run_id} ({result.spec.cell}) has no {METRIC}")
        found[result.spec.strategy].append(value)
    for result in Store(out).failures():
        found[result.spec.strategy].append(nan)
    return found


def table(by_rate: dict[float, dict[str, list[float]]]) -> str:
    """Means in points, a row a strategy; an asterisk at the largest mean over all runs.

    Where runs failed their number stands instead, and the rate is not chosen.
    """
    runs = {rate: list(chain(*found.values())) for rate, found in by_rate.items()}
    sound = {rate: mean(values) for rate, values in runs.items() if not any(map(isnan, values))}
    chosen = max(sound, key=sound.__getitem__, default=None)
    lines = [["strategy", *(f"{rate:g}" for rate in by_rate)], ["---"] * (len(by_rate) + 1)]
    lines += [[name, *(_figure(found[name]) for found in by_rate.values())] for name in STRATEGIES]
    lines.append(["mean", *(_figure(runs[rate]) + "*" * (rate == chosen) for rate in by_rate)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(values: list[float]) -> str:
    failed = sum(map(isnan, values))
    return f"{failed} of {len(values)} failed" if failed else f"{mean(values) * 100:.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.003, 0.01, 0.03, 0.05, 0.1])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args(arguments)
    by_rate = {}
    for rate in args.rates:
        carry_out(rate, args.out / f"{rate:g}", args.jobs)
        by_rate[rate] = scores(args.out / f"{rate:g}")
    print(table(by_rate))


if __name__ == "__main__":
    main()

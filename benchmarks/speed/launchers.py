"""Ways of carrying runs out, side by side: this process, a child of it, several, actors of Ray.

`--part demo`: a part of the demonstration with one job, in the process of the call and in a child,
in turns.  `--part instant`: runs of an engine that answers at once (`overhead.py`), by as many
workers of `local` and of `ray`: what a launcher adds to a run.

    python benchmarks/speed/launchers.py --part demo --turns 3
    python benchmarks/speed/launchers.py --part instant --runs 2000 --launchers local,ray
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from overhead import INSTANT, part
from report import Log, bench, save, timed

DEMO = ("demo", "--datasets", "demo-xray,demo-mri", "--device", "cpu", "--profile")
INSTANTLY = (
    "demo", "--datasets", "demo-xray", "--backbones", "resnet50-mini", "--strategies", "full-ft",
    "--epochs", "1", "--device", "cpu", "--profile",
)  # fmt: skip


def take_turns(
    calls: Mapping[str, Sequence[str]], turns: int, limit: float, log: Log
) -> dict[str, dict[str, list[float]]]:
    """Call -> wall and core-seconds of the whole, and wall seconds of its runs, of every turn."""
    found: dict[str, dict[str, list[float]]] = {}
    for turn in range(turns):
        order = list(calls)[:: 1 if turn % 2 == 0 else -1]
        for name in order:
            with tempfile.TemporaryDirectory() as out:
                wall, core, said = timed(bench(*calls[name], "--out", out), limit)
            figures = {"wall": wall, "core": core, "runs": part(said, "runs")}
            log(f"{name}: {', '.join(f'{kind} {s:.1f} s' for kind, s in figures.items())}")
            for kind, seconds in figures.items():
                found.setdefault(name, {}).setdefault(kind, []).append(seconds)
    return found


def demo(args: argparse.Namespace, log: Log) -> list[dict[str, object]]:
    calls = {"in process": (*DEMO, "--in-process"), "child": (*DEMO, "--jobs", "1")}
    found = take_turns(calls, args.turns, args.limit, log)
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
    """Milliseconds that a run more takes, from few runs to many: what starts and connects is out."""
    names = args.launchers.split(",")
    with tempfile.TemporaryDirectory() as place:
        plugin = Path(place) / "instant.py"
        plugin.write_text(INSTANT)
        calls = {
            f"{name} {runs}": (
                *INSTANTLY, "--jobs", str(args.jobs), "-p", str(plugin), "-p", "harness_ray",
                "--seeds", ",".join(map(str, range(runs))), "--launcher", name,
            )
            for name in names
            for runs in (args.few, args.runs)
        }  # fmt: skip
        found = take_turns(calls, args.turns, args.limit, log)
    more = args.runs - args.few
    each = {
        name: [
            1000 * (many - few) / more
            for many, few in zip(
                found[f"{name} {args.runs}"]["runs"],
                found[f"{name} {args.few}"]["runs"],
                strict=True,
            )
        ]
        for name in names
    }
    # Core-seconds are left out: Ray's processes are no children of the call.
    return [
        {
            "by": name,
            "n": args.turns,
            "wall ms a run": statistics.median(figures),
            "ratio": ratio(figures, each[names[0]]),
        }
        for name, figures in each.items()
    ]


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median over turns."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["demo", "instant"], required=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--few", type=int, default=20)
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

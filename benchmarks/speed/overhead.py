"""Time that the harness adds to a run: everything but load, features, training and evaluation.

An engine that answers at once (a plugin made here) takes the place of the real one, so that what is
left is the harness: handing out, messages, records, provenance, files made safe on disk, progress,
plugins that observe.  `harness bench` runs it with few and with many runs; the difference is the cost
of a run without imports and preparation.  Core time counts every process; the board comes apart.

    python benchmarks/speed/overhead.py --few 10 --many 110
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from pathlib import Path

from report import Log, bench, save, timed

INSTANT = """
import numpy as np

from harness import MetricValue, hookimpl
from harness.api.execution import Outcome, Predictions
from harness.api.records import EpochRecord, PhaseRecord, RunResult


@hookimpl(tryfirst=True)
def harness_execute(spec, resources):
    history = tuple(
        EpochRecord(phase="ft", epoch=n, train_loss=1 / n, score=0.5, lr=0.01, seconds=1.0)
        for n in range(1, int(spec.protocol.epochs) + 1)
    )
    for record in history:
        resources.observer.epoch_end(record)
    images, splits = resources.images, ("test", "validation")
    shape = len(images.classes)
    logits = {s: np.zeros((len(images.labels[s]), shape), np.float32) for s in splits}
    targets = {s: np.asarray(images.labels[s], np.int64) for s in splits}
    rows = {s: np.asarray(images.rows[s], np.int32) for s in splits}
    figures = {name: MetricValue(value=0.5) for name in resources.metrics}
    phase = PhaseRecord(
        name="ft", epochs_planned=4, epochs=4, steps=24, trainable=1000, cached_stages=0,
        rates={stage: 1.0 for stage in resources.backbone.stages},
    )
    result = RunResult(
        run_id=spec.run_id, suite=resources.suite, spec=spec, status="ok", metrics=figures,
        validation=figures, history=history, phases=(phase,), tested="last epoch",
        data=images.record, weights=resources.start.record,
    )
    return Outcome(result, Predictions(logits, targets, rows))
"""


def call(runs: int, jobs: int, place: Path, limit: float) -> dict[str, float]:
    """Core-seconds of a call in all, and seconds of its runs and its board by `--profile`."""
    plugin = place / "instant.py"
    plugin.write_text(INSTANT)
    options = [
        "demo", "--datasets", "demo-xray", "--backbones", "resnet50-mini", "--strategies",
        "full-ft", "--seeds", ",".join(map(str, range(runs))), "--device", "cpu", "--profile",
        "--jobs", str(jobs), "-p", str(plugin), "--out", str(place / f"{runs}-{jobs}"),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(dir=place) as out:
        options[-1] = out
        _, core, said = timed(bench(*options), limit)
    return {"core": core, "runs": part(said, "runs"), "board": part(said, "board")}


def part(said: str, name: str) -> float:
    """Seconds of a part of the call, from the table that `--profile` prints."""
    found = re.search(rf"^{name} +([\d.]+)", said, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"no part {name!r} in:\n{said[-2000:]}")
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--many", type=int, default=110)
    parser.add_argument("--jobs", default="1,2")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds of one call")
    args = parser.parse_args()
    log, rows, more = Log(), [], args.many - args.few
    for jobs in map(int, args.jobs.split(",")):
        found: dict[str, list[float]] = {}
        for _ in range(args.turns):
            with tempfile.TemporaryDirectory() as place:
                few = call(args.few, jobs, Path(place), args.limit)
                many = call(args.many, jobs, Path(place), args.limit)
            for name, seconds in many.items():
                found.setdefault(name, []).append(1000 * (seconds - few[name]) / more)
            log(f"{jobs} jobs: {', '.join(f'{n} {v[-1]:.1f} ms' for n, v in found.items())} a run")
        middle = {name: statistics.median(each) for name, each in found.items()}
        rows.append(
            {
                "jobs": jobs, "n": args.turns, "core ms a run": middle["core"],
                "wall ms a run": middle["runs"], "board ms a run": middle["board"],
            }
        )  # fmt: skip
    log(
        f"the cost of a run more, from {args.few} to {args.many} runs; median of {args.turns} turns"
    )
    log.table(rows)
    save("overhead", "cpu", log, rows, seconds=round(log.spent, 1))


if __name__ == "__main__":
    main()

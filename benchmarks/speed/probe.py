"""What a linear probe costs beside a forward pass over the data, and 16 seeds of it beside one.

In turns, so that other work on the machine hits all: the inputs of the head on all three splits
computed and nothing else (the forward pass); one probe, everything included from building the
network to nine metrics on test; the same by the reference engine; and all seeds as siblings of one
call.  Images and weights are made up: no step of a probe depends on what is in them.  Patience is
off, so that every epoch is trained.  On a CPU the clock is this process's work, on a GPU the wall's.

    python benchmarks/speed/probe.py --backbone resnet50 --device cuda --images 2000
    python benchmarks/speed/probe.py --backbone resnet50 --images 140 --seeds 16 --turns 1
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from report import Log, save

from harness.api.backbone import Backbone
from harness.api.execution import ENGINE_VERSION, Engine, ImageSet, Resources, StartingPoint
from harness.api.records import DataRecord, NumericMode, Protocol, RunSpec, Schedule, WeightsRecord
from harness.benchmark.sizing import choose_device
from harness.engine import run
from harness.engine.devices import own_stream
from harness.engine.evaluate import source_at
from harness.engine.state import RunState, SplitData
from harness.plugins import registry
from harness.utils.parallel import cores

CLASSES = ("a", "b", "c", "d", "e")
SPLITS = ("train", "validation", "test")


def images(count: int, size: int) -> ImageSet:
    """`count` images to train on, a quarter more to validate and as many to test."""
    rng = np.random.default_rng(0)
    counts = dict(zip(SPLITS, (count, count // 4, count // 4), strict=True))
    pixels = {s: rng.integers(0, 256, (n, 3, size, size), np.uint8) for s, n in counts.items()}
    labels = {s: np.arange(n) % len(CLASSES) for s, n in counts.items()}
    rows = {s: np.arange(n, dtype=np.int32) for s, n in counts.items()}
    by_class = {s: {c: counts[s] // len(CLASSES) for c in CLASSES} for s in SPLITS}
    record = DataRecord(
        modality="xray", classes=CLASSES, counts=by_class, fingerprint="f" * 64,
        split_file="none", split_sha256="0" * 64, rule="made up",
    )  # fmt: skip
    return ImageSet(CLASSES, pixels, labels, rows, record)


def starting_point(backbone: Backbone) -> StartingPoint:
    """Random weights that count as loaded, so that all seeds share what is below the head."""
    head = f"{backbone.head_layer()}."
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = backbone.build(len(CLASSES)).state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(head)}
    new = tuple(name for name in state if name.startswith(head))
    return StartingPoint(kept, WeightsRecord(name="made up", sha256="a" * 64, new=new))


class Bench:
    """The runs of one table."""

    def __init__(self, given: argparse.Namespace) -> None:
        loaded = registry.load_plugins(())
        self.backbone = loaded.backbones[given.backbone]
        self.device = choose_device(given.device)
        self.cuda = self.device.startswith("cuda")
        self.strategy = loaded.strategies["linear-probe"]()
        self.metrics = loaded.metrics
        self.images = images(given.images, given.size)
        self.start = starting_point(self.backbone)
        layout = "channels-last" if self.cuda else "contiguous"
        self.numeric = NumericMode(
            precision=given.precision, layout=layout, compile="graph" if self.cuda else "none"
        )
        self.protocol = Protocol(
            name="speed", batch_size=given.batch_size, eval_batch_size=64, epochs=given.epochs,
            patience=None, schedule=Schedule(horizon=100), resize=given.size, crop=given.size,
        )  # fmt: skip

    def spec(self, seed: int) -> RunSpec:
        return RunSpec(
            dataset="speed", backbone=self.backbone.name, strategy="linear-probe",
            settings=self.strategy.model_dump(mode="json"), protocol=self.protocol, seed=seed,
            data="f" * 64, weights="a" * 64, engine=ENGINE_VERSION, numeric=self.numeric,
        )  # fmt: skip

    def resources(self, engine: Engine = "fast") -> Resources:
        return Resources(
            images=self.images, backbone=self.backbone, start=self.start, strategy=self.strategy,
            metrics=self.metrics, device=self.device, engine=engine,
        )  # fmt: skip

    def forward(self) -> None:
        """Every image through the frozen network once."""
        with own_stream(self.device):
            state = RunState(self.spec(0), self.resources())
            for split in SPLITS:
                data = SplitData(state.resources, state.spec, split)
                source_at(state, data, len(self.backbone.stages) - 1)

    def probes(self, seeds: int, engine: Engine = "fast") -> None:
        """Runs of one call, one after another."""
        specs, resources = [self.spec(seed) for seed in range(seeds)], self.resources(engine)
        for number, spec in enumerate(specs):
            run(spec, replace(resources, siblings=tuple(specs[number + 1 :])))

    def seconds(self, work: Callable[[], None]) -> float:
        """By the wall on a GPU, by this process's work on a CPU."""
        clock = time.perf_counter if self.cuda else time.process_time
        before = clock()
        work()
        if self.cuda:
            torch.cuda.synchronize()
        return clock() - before


def turns(bench: Bench, given: argparse.Namespace) -> Iterator[dict[str, float]]:
    """One figure of each kind a turn."""
    work: dict[str, Callable[[], None]] = {
        "forward": bench.forward,
        "one": lambda: bench.probes(1),
        "all": lambda: bench.probes(given.seeds),
    }
    if given.reference:
        work["reference"] = lambda: bench.probes(1, "reference")
    bench.probes(1)  # libraries are loaded and kernels chosen
    for _ in range(given.turns):
        yield {name: bench.seconds(one) for name, one in work.items()}


def main() -> None:
    """Print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=2000, help="in the training split")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--epochs", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--precision", default=None, choices=["float32", "bf16"])
    parser.add_argument("--reference", action="store_true", help="the reference engine as well")
    given = parser.parse_args()
    if not choose_device(given.device).startswith("cuda"):
        torch.set_num_threads(1)
    given.precision = given.precision or (
        "bf16" if choose_device(given.device).startswith("cuda") else "float32"
    )
    bench = Bench(given)
    found = list(turns(bench, given))
    median = {name: statistics.median(turn[name] for turn in found) for name in found[0]}
    device = torch.cuda.get_device_name() if bench.cuda else f"{cores()} cores"
    unit = "s of the wall" if bench.cuda else "s of a core"
    log = Log()
    log(f"{given.backbone}, {given.images} images of {given.size} px to train on, {given.epochs:g}")
    log(f"epochs of batch {given.batch_size}, {given.precision}, {device}, {given.turns} turns")
    for name, seconds in median.items():
        label = f"{given.seeds} probes" if name == "all" else name
        each = ", ".join(f"{turn[name]:.3f}" for turn in found)
        log(f"{label:12} {seconds:9.3f} {unit} ({each})")
    more, times = median["one"] / median["forward"] - 1, median["all"] / median["one"]
    log(f"a probe beyond the forward pass: {more:+.1%} (less than 10 % wanted)")
    log(f"{given.seeds} seeds beside one: {times:.2f} x (less than 1.5 wanted)")
    save(
        f"probe-{given.backbone}", "cuda" if bench.cuda else "cpu", log, found,
        n=given.turns, beyond_forward=more, seeds_beside_one=times,
    )  # fmt: skip


if __name__ == "__main__":
    main()

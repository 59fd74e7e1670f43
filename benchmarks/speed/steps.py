"""Training steps inside the engine beside the bare step recorded as one CUDA graph.

Both train the same network on the same uint8 images that lie on the device: normalise, forward and
backward in autocast, channels-last, fused AdamW.  The bare step is written out below, in one graph,
with nothing around it.  Turns alternate in one process; the engine keeps one network for all of its
turns, with what was recorded or compiled on it.  On a CPU both work plainly.

    python benchmarks/speed/steps.py --device cuda
    python benchmarks/speed/steps.py --device cuda --compile --batch 256 --bench
    python benchmarks/speed/steps.py --device cuda --precision fp16
    python benchmarks/speed/steps.py --device cpu --size 64 --images 64 --backbones resnet50
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from made_images import make_folder
from report import Log, bench, save, timed
from torch import Tensor, nn

from harness import engine
from harness.api.backbone import Backbone
from harness.api.execution import ENGINE_VERSION, ImageSet, Resources, StartingPoint
from harness.api.records import (
    DataRecord,
    NumericMode,
    Protocol,
    RunSpec,
    Schedule,
    WeightsRecord,
)
from harness.plugins.registry import PluginRegistry, load_plugins

CLASSES = 4
FEW = 64  # images to validate and test on, or as many as to train: their time is not looked at
MADE = "a" * 64  # stands for the sha256 of weights that are made here
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def image_set(count: int, size: int) -> ImageSet:
    """Noise: a step takes as long on it as on anything."""
    rng = np.random.default_rng(0)
    counts = {"train": count, "validation": min(FEW, count), "test": min(FEW, count)}
    return ImageSet(
        classes=tuple(f"class{n}" for n in range(CLASSES)),
        images={s: rng.integers(0, 256, (n, 3, size, size), np.uint8) for s, n in counts.items()},
        labels={s: np.arange(n) % CLASSES for s, n in counts.items()},
        rows={s: np.arange(n, dtype=np.int32) for s, n in counts.items()},
        record=DataRecord(
            modality="made", classes=(), counts={}, fingerprint="steps", split_file="",
            split_sha256="", rule="", procedural=True,
        ),
    )  # fmt: skip


def starting_point(backbone: Backbone) -> StartingPoint:
    """Random weights that count as loaded.

    Without them the network depends on the seed, and each turn would build, record and compile anew.
    """
    torch.manual_seed(0)
    state, head = backbone.build(CLASSES).state_dict(), f"{backbone.head_layer()}."
    new = tuple(name for name in state if name.startswith(head))
    kept = {name: tensor for name, tensor in state.items() if name not in new}
    return StartingPoint(kept, WeightsRecord(name="made", sha256=MADE, new=new))


def numeric_mode(args: argparse.Namespace) -> NumericMode:
    """The mode of the engine's steps.

    Raises:
        pydantic.ValidationError: the harness has no such precision.
    """
    cuda = args.device.startswith("cuda")
    kind = ("compile" if args.compile else "graph") if cuda else "none"
    return NumericMode.model_validate(
        {
            "precision": args.precision, "layout": "channels-last", "compile": kind,
            "deterministic": not cuda,
        }
    )  # fmt: skip


class Engine:
    """Full fine-tuning by `harness.engine.run`; what runs share is kept from turn to turn."""

    def __init__(
        self, args: argparse.Namespace, backbone: Backbone, loaded: PluginRegistry
    ) -> None:
        self.loaded, self.backbone, self.args = loaded, backbone, args
        self.images = image_set(args.images, args.size)
        self.start: StartingPoint | None = starting_point(backbone)
        self.protocol = Protocol(
            name="steps", optimizer="adamw", lr=1e-4, weight_decay=0.01, batch_size=args.batch,
            epochs=args.epochs, patience=None, schedule=Schedule(kind="constant"),
            checkpoint="last", resize=args.size, crop=args.size,
        )  # fmt: skip
        self.numeric = numeric_mode(args)
        self.shared: dict[object, object] = {}
        self.seed = 0

    def turn(self) -> tuple[float, float]:
        """Images a second while training, and over the whole run."""
        self.seed += 1
        spec = RunSpec(
            dataset="steps", backbone=self.backbone.name, strategy="full-ft",
            protocol=self.protocol, seed=self.seed, data="steps",
            weights="none" if self.start is None else MADE, engine=ENGINE_VERSION, numeric=self.numeric,
        )  # fmt: skip
        resources = Resources(
            images=self.images, backbone=self.backbone, start=self.start,
            strategy=self.loaded.strategies["full-ft"](), metrics=self.loaded.metrics,
            device=self.args.device, shared=self.shared,
        )  # fmt: skip
        start = time.perf_counter()
        self.result = engine.run(spec, resources).result
        whole = self.args.images * self.args.epochs / (time.perf_counter() - start)
        return self.result.cost.images_per_second or 0.0, whole


class Bare:
    """The step and nothing else."""

    def __init__(self, args: argparse.Namespace, backbone: Backbone, images: ImageSet) -> None:
        self.args, self.device = args, torch.device(args.device)
        self.cuda = self.device.type == "cuda"
        torch.backends.cudnn.benchmark = True
        self.layout = torch.channels_last
        network: nn.Module = backbone.build(CLASSES).to(self.device, memory_format=self.layout)
        self.parameters = list(network.train().parameters())
        self.network = torch.compile(network, dynamic=False) if args.compile else network
        self.images = torch.from_numpy(images.images["train"]).to(self.device)
        self.labels = torch.from_numpy(images.labels["train"]).to(self.device)
        shape = (1, 3, 1, 1)
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.mean = 255 * torch.tensor(mean, device=self.device).view(shape)
        self.std = 255 * torch.tensor(std, device=self.device).view(shape)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=1e-4, weight_decay=0.01, fused=True, capturable=self.cuda
        )
        self.rows = torch.arange(args.batch, device=self.device)
        # In fp16 gradients vanish unless the loss is scaled; fused AdamW divides by it on the device.
        half = args.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.device.type, init_scale=2.0**10, enabled=half)
        self.graph = self._recorded() if self.cuda else None

    def _recorded(self) -> torch.cuda.CUDAGraph:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self._step()
        return graph

    def _step(self) -> None:
        raw = self.images.index_select(0, self.rows)
        inputs = ((raw.float() - self.mean) / self.std).contiguous(memory_format=self.layout)
        half = HALF.get(self.args.precision)
        with torch.autocast(self.device.type, half, enabled=half is not None):
            logits: Tensor = self.network(inputs)
            loss = F.cross_entropy(logits, self.labels.index_select(0, self.rows))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def turn(self) -> float:
        """Images a second over as many steps as the engine takes."""
        size, count = self.args.batch, self.args.images // self.args.batch
        order = torch.randperm(len(self.images), device=self.device)
        self._wait()
        start = time.perf_counter()
        for number in range(count * self.args.epochs):
            first = number % count * size
            self.rows.copy_(order[first : first + size])
            if self.graph is None:
                self._step()
            else:
                self.graph.replay()
        self._wait()
        return size * count * self.args.epochs / (time.perf_counter() - start)

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


def whole_bench(args: argparse.Namespace, name: str, data: Path, place: Path) -> float:
    """`images_per_second` of one full-ft run of `harness bench` on a folder of JPEGs."""
    out = place / name
    options = [
        f"made:steps={data}", "--weights", "none", "--backbones", name, "--strategies", "full-ft",
        "--device", args.device, "--epochs", str(args.epochs + 1), "--out", str(out), "--jobs", "1",
        "--compile", "compile" if args.compile else "graph", "--precision", args.precision,
    ]  # fmt: skip
    changes = {
        "optimizer": "adamw", "lr": "1e-4", "batch_size": str(args.batch), "patience": "null",
        "resize": str(args.size), "crop": str(args.size),
    }  # fmt: skip
    sets = [part for f, v in changes.items() for part in ("--set", f"protocol.{f}={v}")]
    timed(bench("folders", "--data", *options, *sets), args.limit)
    (file,) = (out / "runs").rglob("*.json")
    return float(json.loads(file.read_text())["cost"]["images_per_second"] or 0)


def measure(
    args: argparse.Namespace, name: str, loaded: PluginRegistry, log: Log
) -> dict[str, Any]:
    """Alternating turns of one backbone."""
    ours = Engine(args, loaded.backbones[name], loaded)
    bare = Bare(args, loaded.backbones[name], ours.images)
    first = time.perf_counter()
    ours.turn()  # records, compiles
    first = time.perf_counter() - first
    bare.turn()
    inside, whole, alone = [], [], []
    for number in range(args.repeats):
        alone.append(bare.turn())
        trained, run = ours.turn()
        inside.append(trained)
        whole.append(run)
        log(
            f"{name}, turn {number + 1}: bare {alone[-1]:.1f}, engine {trained:.1f}, "
            f"whole run {run:.1f} images/s"
        )
    middle = statistics.median
    return {
        "backbone": name, "precision": args.precision, "compiled": args.compile,
        "batch": args.batch, "px": args.size, "n": args.repeats,
        "bare": middle(alone), "engine": middle(inside), "whole run": middle(whole),
        "engine / bare": middle(inside) / middle(alone), "first run s": first,
    }  # fmt: skip


def release(device: str) -> None:
    """Give memory back: networks and recordings hold each other."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--backbones", default="resnet50,densenet121,vgg19")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=2048, help="to train on; whole batches")
    parser.add_argument("--epochs", type=int, default=2, help="of a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each")
    parser.add_argument("--compile", action="store_true", help="compile both sides' network")
    parser.add_argument("--precision", default="", help="default: bf16 on a card, else float32")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--bench", action="store_true", help="a whole `harness bench`, too")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds of a `harness bench`")
    args = parser.parse_args()
    args.images = max(1, args.images // args.batch) * args.batch
    args.precision = args.precision or ("float32" if args.device == "cpu" else "bf16")
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device == "cuda":
        args.device = "cuda:0"
    log, loaded, rows = Log(), load_plugins(), []
    with tempfile.TemporaryDirectory() as place:
        for name in args.backbones.split(","):
            rows.append(measure(args, name, loaded, log))
            release(args.device)
        if args.bench:
            counts = (args.images, FEW, FEW)
            data = make_folder(
                Path(place) / "data", counts, classes=CLASSES, size=args.size, seed=0
            )
            for row in rows:
                row["bench"] = whole_bench(args, str(row["backbone"]), data, Path(place))
                row["bench / bare"] = row["bench"] / row["bare"]
    log(f"images a second, median of {args.repeats} turns; {'compiled' if args.compile else ''}")
    log.table(rows)
    name = f"steps-{args.precision}-b{args.batch}" + ("-compiled" if args.compile else "")
    save(name, args.device, log, rows, seconds=round(log.spent, 1))


if __name__ == "__main__":
    main()

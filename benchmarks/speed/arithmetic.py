"""Bounds by arithmetic and memory: operations and bytes of a training step, rates of the device.

Operations are counted by torch's counter on networks without memory.  Bytes are those that the
tensors of a step must move between the chip and its memory at three degrees of fusion:

- unfused: convolution, batch norm, ReLU and addition each read what they take and write what they
  give, forward and backward;
- normalisation fused: ReLU and addition ride on the batch norm's passes, which still read the
  convolution's output twice (statistics, then values);
- statistics inside: a convolution sums its own output up and normalises its own input, which no
  fusion of PyTorch does.  Batch norm then moves nothing.

    python benchmarks/speed/arithmetic.py --bandwidth 3.02e12
    python benchmarks/speed/arithmetic.py --device cuda
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torchvision
from report import Log, save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

CLASSES = 1000
# Adam in float32: weight, gradient and two moments are read, all but the gradient written.
ADAM = 7 * 4
HALF = 2  # bytes of an activation in bf16 or fp16
# Passes over the tensor that the module gives out, forward and backward together.
NORM = 3 + 5  # reads it for statistics, for values, writes; reads x and g twice, writes
RELU = 2 + 3  # reads, writes; reads g and y, writes
ADD = 3 + 0  # reads both, writes; both take the gradient as it is
TURNS = 5  # of a rate


class Operations(NamedTuple):
    """Of one image: forward, and forward and backward.  A multiplication and an addition are two."""

    forward: int
    training: int


def operations(build: Callable[[], nn.Module], px: int) -> Operations:
    """Count them: matrix products and convolutions, which are all but a few per cent."""
    with torch.device("meta"):
        network, image = build().train(), torch.empty(2, 3, px, px)
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            network(image)
        with FlopCounterMode(display=False) as training:
            network(image).sum().backward()
    return Operations(forward.get_total_flops() // 2, training.get_total_flops() // 2)


def bytes_moved(network: nn.Module, batch: int, px: int) -> dict[str, int]:
    """Bytes of a step by degree of fusion; `network`: torchvision's ResNet-50, on meta."""
    sizes: Counter[str] = Counter()

    def count(module: nn.Module, taken: tuple[Tensor, ...], given: Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            sizes["product"] += taken[0].numel() + given.numel()
        elif isinstance(module, nn.BatchNorm2d):
            sizes["norm"] += given.numel()
        elif isinstance(module, nn.ReLU):
            sizes["relu"] += given.numel()
        elif isinstance(module, torchvision.models.resnet.Bottleneck):
            sizes["add"] += given.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    network(torch.empty(batch, 3, px, px, device="meta"))
    # Each product reads its input and writes its output, twice more on the way back.
    least = 3 * HALF * sizes["product"] + ADAM * sum(p.numel() for p in network.parameters())
    fused = NORM * HALF * sizes["norm"]
    return {
        "unfused": least + fused + HALF * (RELU * sizes["relu"] + ADD * sizes["add"]),
        "normalisation fused": least + fused + HALF * 2 * sizes["add"],
        "statistics inside": least,
    }


def rate(
    work: Callable[[], object], amount: float, device: str, clock: Callable[[], float]
) -> float:
    """`amount` a second by the clock: the best of `TURNS`, after one that is not counted."""
    best = 0.0
    for turn in range(TURNS + 1):
        start = clock()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        if turn:
            best = max(best, amount / (clock() - start))
    return best


def product_rate(
    device: str,
    dtype: torch.dtype,
    size: int = 0,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Operations a second of a square matrix product, by all threads of this process."""
    cuda = device.startswith("cuda")
    size, many = size or (8192 if cuda else 2048), 10 if cuda else 1
    one = torch.randn(size, size, device=device, dtype=dtype)

    def work() -> None:
        for _ in range(many):
            one @ one

    return rate(work, many * 2 * size**3, device, clock)


def rate_of_a_core(dtype: torch.dtype, size: int = 0) -> float:
    """Operations of a matrix product in a core-second of one thread, whatever else is at work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = product_rate("cpu", dtype, size, clock=time.process_time)
    torch.set_num_threads(threads)
    return found


def copy_rate(device: str, size: int = 0) -> float:
    """Bytes a second of a copy within the device's memory, read and written ones both counted."""
    cuda = device.startswith("cuda")
    size, many = size or (2**30 if cuda else 2**26), 10 if cuda else 1
    one = torch.randn(size, device=device).bfloat16()
    other = torch.empty_like(one)

    def work() -> None:
        for _ in range(many):
            other.copy_(one)

    return rate(work, many * 2 * one.numel() * one.element_size(), device, time.perf_counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="whose rates are measured")
    parser.add_argument("--bandwidth", type=float, default=0.0, help="bytes/s; default: measured")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()
    log, rows = Log(), list[dict[str, Any]]()
    moved = args.bandwidth or copy_rate(args.device)
    for dtype in (torch.float32, torch.bfloat16):
        found = product_rate(args.device, dtype)
        log(f"matrix product in {dtype}: {found / 1e9:.1f} GFLOP/s")
        if args.device == "cpu":
            log(f"in a core-second: {rate_of_a_core(dtype) / 1e9:.1f} GFLOP")
    log(f"memory: {moved / 1e9:.1f} GB/s, {'given' if args.bandwidth else 'a copy, measured'}")
    for name in ("resnet50", "densenet121", "vgg19"):
        build = partial(getattr(torchvision.models, name), num_classes=CLASSES)
        one = operations(build, args.size)
        log(f"{name}: {one.forward / 1e9:.2f} GFLOP forward, {one.training / 1e9:.2f} in training")
    with torch.device("meta"):
        network = torchvision.models.resnet50(num_classes=CLASSES)
    for fusion, amount in bytes_moved(network, args.batch, args.size).items():
        rows.append(
            {
                "ResNet-50": fusion, "GB a step": amount / 1e9, "ms": 1e3 * amount / moved,
                "images/s at most": args.batch * moved / amount,
            }
        )  # fmt: skip
    log(f"bytes of a step in bf16, batch {args.batch}, {args.size} px")
    log.table(rows)
    save("arithmetic", args.device, log, rows, n=TURNS, bandwidth=moved)


if __name__ == "__main__":
    main()

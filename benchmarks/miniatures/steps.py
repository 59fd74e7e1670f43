"""Time of one training step of each miniature beside what the machine's matrix product allows.

    python benchmarks/miniatures/steps.py [--batch 16 32] [--turns 20]

A step is forward and backward at 48 pixels, float32, channels-last, one thread, as the engine makes
it on a CPU, without the optimizer.  Its bound is its operations (those of convolutions and linear
layers, as torch counts them) over the rate of a product of two 512 x 512 matrices.  Times are of
the processor, not of the clock, and the least of all turns, so that others on the machine disturb
little.  Prints a markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from pretrain import SIDE, miniatures
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

CLASSES = 3


def least(work: Callable[[], object], turns: int) -> float:
    """Processor seconds of the fastest turn; one before them is not counted."""
    work()
    spent = []
    for _ in range(turns):
        started = time.thread_time()
        work()
        spent.append(time.thread_time() - started)
    return min(spent)


def product_rate(turns: int) -> float:
    """Operations per second of a 512 x 512 matrix product."""
    one, other = torch.randn(2, 512, 512)
    return 2 * 512**3 / least(lambda: one @ other, turns)


def operations(step: Callable[[], object]) -> int:
    """Multiplications and additions of one call."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def training_step(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Forward and backward on float images [B, 3, H, W] and class numbers [B]."""
    loss_of = nn.CrossEntropyLoss()

    def step() -> None:
        network.zero_grad()
        loss_of(network(images), labels).backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--turns", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| miniature | parameters | batch | ms a step | ms by the product | GFLOP/s of the product |"
    )
    print("|---|---|---|---|---|---|")
    for name, backbone in miniatures().items():
        network = backbone.build(CLASSES).to(memory_format=torch.channels_last).train()
        count = sum(p.numel() for p in network.parameters())
        for batch in args.batch:
            images = torch.randn(batch, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
            step = training_step(network, images, torch.randint(CLASSES, (batch,)))
            seconds, rate = least(step, args.turns), product_rate(args.turns)
            bound = operations(step) / rate
            print(
                f"| {name} | {count:,} | {batch} | {seconds * 1e3:.1f} | {bound * 1e3:.1f} "
                f"| {rate / 1e9:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Which device a call works on.

How many runs go on side by side: what the cores of a CPU or the memory of a card allow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.api.records import NumericMode, Protocol
from harness.errors import UsageError
from harness.plugins.registry import Loaded
from harness.utils.parallel import cores

if TYPE_CHECKING:
    from harness.engine.memory import Need


def choose_device(wanted: str) -> str:
    """The device to use: 'auto' takes the first CUDA card if there is one.

    Raises:
        UsageError: no such device here.
    """
    if wanted == "cpu":
        return "cpu"
    # Read when CUDA starts; without it cuBLAS has no deterministic kernels.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if count else "cpu"
    kind, _, number = wanted.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise UsageError(f"--device {wanted}: it must be auto, cpu, cuda or cuda:N")
    if int(number or 0) >= count:
        raise UsageError(
            f"--device {wanted}: this machine has {count} CUDA devices; use cpu or auto"
        )
    return f"cuda:{number or 0}"


GIB = 2**30
# Small images leave a card idle between kernels.  Measured on one H100, full fine-tuning, images/s
# of one, two and four runs side by side: ResNet-50 at 64 px, batch 32: 7,954, 11,049, 14,117; at
# 224 px, batch 64: 3,230, 3,584, 3,676, less than a second network and its recordings cost a short
# suite.  Runs side by side cannot be compared on cost, so large images go one after another.
SMALL, MOST = 96, 4
# Of what is free on a card, what is left to others and to fragments.
SPARE = 0.1


@dataclass(frozen=True)
class Sizing:
    """`jobs` side by side, and in words why; `room`: bytes of a card that are not planned for."""

    jobs: int
    memory: str = ""
    room: int = 0


@dataclass(frozen=True)
class Load:
    """What is to run: how many runs, on how many images and classes a dataset, in which numbers."""

    runs: int
    images: Mapping[str, int]
    classes: Mapping[str, int]
    protocol: Protocol
    numeric: Mapping[tuple[str, str], NumericMode]


def worth(protocol: Protocol) -> int:
    """How many runs side by side are worth it on a card."""
    return MOST if protocol.crop <= SMALL else 1


def size(load: Load, loaded: Loaded, device: str, asked: int | None, threads: int) -> Sizing:
    """As many as were asked for, else as many as are worth it; with the memory that a card needs."""
    if not device.startswith("cuda"):
        return Sizing(asked or max(1, min(cores() // threads, load.runs)))
    import torch

    free, total = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device)  # runs of other data that still go on let go of it
    needs = _needs(load, loaded, total)
    if not needs:
        return Sizing(asked or 1)
    usable = int(free * (1 - SPARE))
    fitting = min(need.runs(usable) for need in needs)
    jobs = asked or max(1, min(worth(load.protocol), fitting, load.runs))
    largest = max(needs, key=lambda need: need.run)
    peak = jobs * largest.run + max(need.shared for need in needs)
    return Sizing(
        jobs,
        f"memory: at most {peak / GIB:.1f} GiB planned of {free / GIB:.1f} GiB free "
        f"({largest.run / GIB:.1f} GiB a run)",
        max(0, usable - peak),
    )


def _needs(load: Load, loaded: Loaded, total: int) -> list[Need]:
    from harness.engine.memory import need

    return [
        need(loaded.backbones[b], load.classes[d], load.protocol, mode, load.images[d], total)
        for (d, b), mode in load.numeric.items()
        if d in load.images
    ]

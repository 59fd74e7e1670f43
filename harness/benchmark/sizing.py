"""The device of a call, and the number of runs side by side that its cores or memory allow."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.records import RunSpec
from harness.benchmark.request import BenchOptions
from harness.data.preparation import DatasetInfo
from harness.errors import UsageError
from harness.plugins.registry import PluginRegistry
from harness.utils.parallel import cores

if TYPE_CHECKING:
    from harness.engine import MemoryNeed


def choose_device(wanted: str) -> str:
    """The device to use: 'auto' takes the first CUDA card if there is one.

    Raises:
        UsageError: no such device here.
    """
    if wanted == "cpu" or (wanted == "auto" and not _may_have_card()):
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


def _may_have_card() -> bool:
    """False where no driver is: that is known without the seconds that importing torch takes."""
    if Path("/dev/kfd").exists():  # AMD's
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


GIB = 2**30
# Small images leave a card idle between kernels.  Measured on one H100, full fine-tuning, images/s
# of one, two and four runs side by side: ResNet-50 at 64 px, batch 32: 7,954, 11,049, 14,117; at
# 224 px, batch 64: 3,230, 3,584, 3,676, less than a second network and its recordings cost a short
# suite.  Runs side by side cannot be compared on cost, so large images go one after another.
SMALL, MOST = 96, 4
# Of what is free on a card, what is left to others and to fragments.
SPARE = 0.1


def side_by_side(
    specs: Sequence[RunSpec],
    datasets: Mapping[str, DatasetInfo],
    loaded: PluginRegistry,
    options: BenchOptions,
) -> tuple[int, str]:
    """The number of runs at a time, and the memory of a card that this plans, in words.

    As many as were asked for, else what the cores of a CPU or the memory of a card allow.
    """
    if not options.device.startswith("cuda"):
        return options.jobs or max(1, min(cores() // options.threads, len(specs))), ""
    import torch

    free, total = torch.cuda.mem_get_info(options.device)
    needs = _needs(specs, datasets, loaded, total)
    if not needs:
        return options.jobs or 1, ""
    usable = int(free * (1 - SPARE))
    fitting = min(need.runs(usable) for need in needs)
    worth = MOST if specs[0].protocol.crop <= SMALL else 1
    jobs = options.jobs or max(1, min(worth, fitting, len(specs)))
    largest = max(needs, key=lambda need: need.run)
    peak = jobs * largest.run + max(need.shared for need in needs)
    return jobs, (
        f"memory: at most {peak / GIB:.1f} GiB planned of {free / GIB:.1f} GiB free "
        f"({largest.run / GIB:.1f} GiB a run)"
    )


def _needs(
    specs: Sequence[RunSpec],
    datasets: Mapping[str, DatasetInfo],
    loaded: PluginRegistry,
    total: int,
) -> list[MemoryNeed]:
    from harness.engine import memory_need

    cells = {(spec.dataset, spec.backbone): spec for spec in specs if spec.dataset in datasets}
    return [
        memory_need(
            loaded.backbones[backbone],
            len(datasets[dataset].classes),
            spec.protocol,
            spec.numeric,
            sum(datasets[dataset].counts.values()),
            total,
        )
        for (dataset, backbone), spec in cells.items()
    ]

"""The device of a call, and the number of runs side by side that its cores or memory allow."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.api.backbone import Backbone
from harness.api.launcher import Launcher
from harness.api.records import RunSpec
from harness.api.strategy import Strategy
from harness.benchmark.forecast.outline import Outline, added_by, further_copies
from harness.benchmark.request import BenchOptions
from harness.data.preparation.info import DatasetInfo
from harness.errors import HarnessError, UsageError
from harness.plugins.registry import PluginRegistry
from harness.utils import signs
from harness.utils.parallel import cores


def choose_device(wanted: str) -> str:
    """The device to use: 'auto' takes the first CUDA card if there is one, 'cuda' all there are.

    Raises:
        UsageError: no such device here.
    """
    if wanted == "cpu" or (wanted == "auto" and not _may_have_card()):
        return "cpu"
    # Read when CUDA starts; without it cuBLAS has no deterministic kernels.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with signs.doing("looking for a card"):
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
    return f"cuda:{number or 0}" if number or count == 1 else "cuda"


def visible_cards() -> tuple[str, ...]:
    """Variables that make each card that this process sees the only one that another sees."""
    import torch

    count = torch.cuda.device_count()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in listed.split(",") if name.strip()]
    return tuple(names[:count] if names else map(str, range(count)))


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


def _processes(options: BenchOptions) -> int:
    if options.device.startswith("cuda"):
        return options.jobs or 1
    return options.jobs or max(1, cores() // options.threads)


def side_by_side(
    specs: Sequence[RunSpec],
    datasets: Mapping[str, DatasetInfo],
    loaded: PluginRegistry,
    options: BenchOptions,
    launcher: Launcher,
) -> tuple[int, str]:
    """The number of runs at a time, and the memory of a card that this plans, in words.

    As many as were asked for, else as many as a CPU has cores, and one on a card: several share
    it, so that none can be compared on cost, and whether they are faster together is not measured.
    """
    if options.in_process:
        jobs = 1
    else:
        most = launcher.jobs or _processes(options)
        jobs = options.jobs or max(1, min(most, len(specs)))
    if not (options.device.startswith("cuda") and launcher.here):
        return jobs, ""
    import torch

    free, total = torch.cuda.mem_get_info(options.device)
    needs, unknown = _needs(specs, datasets, loaded, total)
    return jobs, planned_memory(needs, math.ceil(jobs / launcher.cards), free, unknown)


FEATURES = 2 * GIB  # that a run holds at most on a CPU, as `harness.engine.evaluate` has it


def host_memory(
    specs: Sequence[RunSpec],
    datasets: Mapping[str, DatasetInfo],
    loaded: PluginRegistry,
    jobs: int,
) -> dict[tuple[str, str], int]:
    """(dataset, backbone) -> bytes of main memory of so many runs side by side, as far as known.

    Counted as for a card, which is more than the caller of a card holds itself; images once, for
    all processes map the same file.
    """
    cells: dict[tuple[str, str], list[RunSpec]] = {}
    for spec in specs:
        if spec.dataset in datasets:
            cells.setdefault((spec.dataset, spec.backbone), []).append(spec)
    found = {}
    for cell, own in cells.items():
        info = datasets[cell[0]]
        images = 3 * own[0].seen.crop ** 2 * sum(info.counts.values())
        needs, unknown = _needs(own, datasets, loaded, 0)
        if not unknown:
            found[cell] = jobs * (max(needs) + FEATURES) + images
    return found


def planned_memory(needs: Sequence[int], jobs: int, free: int, unknown: Sequence[str] = ()) -> str:
    """The plan for a card's `free` bytes, in words.

    Args:
        needs: bytes of a process, for each kind of run.
        jobs: processes on the card.
        free: its bytes.
        unknown: networks and strategies of which it is not known.
    """
    left = f"not known of {', '.join(unknown)}" if unknown else ""
    if not needs:
        return left and f"memory: {left}"
    peak = jobs * max(needs)
    much = f"memory: at most {peak / GIB:.1f} GiB planned of {free / GIB:.1f} GiB free"
    if jobs > 1:
        much += f" ({max(needs) / GIB:.1f} GiB each of {jobs} processes)"
    if peak > free:
        much += "; that may be too much: " + ("fewer --jobs" if jobs > 1 else "a smaller batch")
        much += " would need less"
    return f"{much}; {left}" if left else much


def _needs(
    specs: Sequence[RunSpec],
    datasets: Mapping[str, DatasetInfo],
    loaded: PluginRegistry,
    total: int,
) -> tuple[list[int], list[str]]:
    """Bytes of each kind of run, and the networks and strategies of which they are not known.

    A kind has a dataset, a network, what the strategy adds to it, and the copies it holds.
    """
    from harness.engine import memory_need

    kinds: dict[tuple[str, str, str, int], tuple[RunSpec, Strategy]] = {}
    copies: dict[tuple[str, str, str, float], int | None] = {}
    unknown = []
    for spec in specs:
        if spec.dataset in datasets:
            strategy = loaded.strategies[spec.strategy].model_validate(spec.settings)
            settings, epochs = spec.model_dump_json(include={"settings"}), spec.protocol.epochs
            key = (spec.backbone, spec.strategy, settings, epochs)
            if key not in copies:
                copies[key] = _further(strategy, loaded.backbones[spec.backbone], epochs)
            further = copies[key]
            if further is None:
                unknown.append(spec.strategy)
            adapts = type(strategy).adapt is not Strategy.adapt
            # Its text leaves out the rate that all strategies share, which adds nothing.
            kind = (spec.dataset, spec.backbone, repr(strategy) if adapts else "", further or 0)
            kinds.setdefault(kind, (spec, strategy))
    needs = []
    for (dataset, backbone, _, further), (spec, strategy) in kinds.items():
        info = datasets[dataset]
        need = memory_need(
            loaded.backbones[backbone],
            len(info.classes),
            spec.seen,
            spec.numeric,
            sum(info.counts.values()),
            total,
            strategy,
            further,
        )
        if need is None:
            unknown.append(backbone)
        else:
            needs.append(need)
    return needs, list(dict.fromkeys(unknown))


def _further(strategy: Strategy, backbone: Backbone, epochs: float) -> int | None:
    """Copies of the weights that a strategy's phases hold; None: it cannot be asked beforehand."""
    outline = Outline(backbone.stages, backbone.classifier or backbone.stages[-1:])
    try:
        outline.added = added_by(strategy, backbone.stages)
        return further_copies(strategy, outline, epochs)
    except HarnessError:
        return None

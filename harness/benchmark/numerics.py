"""Numeric modes: precision, layout and compilation that fit the device and the length of the plan.

It is part of every run's identity, so it depends on nothing that a later call may change: not on
the seeds, strategies or shards that are asked for, nor on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from harness.api.backbone import Backbone
from harness.api.records import NumericMode, Plan, Precision, Protocol
from harness.benchmark.request import BenchOptions
from harness.errors import UsageError

# Runs that use a compiled step, as counted here whatever is asked for: of the eight strategies
# of the study, five have a phase in which everything learns.
USERS = 5
NARROW = {"bf16", "fp16"}

# Instructions that multiply bf16, by the names Linux gives them.
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
# Training steps of ResNet-50 in bf16, batch 32, one thread, channels-last: px -> times as fast as in
# float32.  Measured on an AMD EPYC with avx512_bf16: benchmarks/speed/results/precision-cpu.json.
GAINS = {64: 1.7, 128: 2.2, 224: 2.4}


@cache
def bf16_instructions(listing: Path = Path("/proc/cpuinfo")) -> str:
    """The instructions this processor has for bf16; empty: none, or a system that does not list them.

    Read from the system and not from torch, which takes seconds to import.
    """
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return ", ".join(name for name in BF16_INSTRUCTIONS if name in flags)


def settle_precision(device: str, plan: Plan) -> Precision:
    """The precision that `--precision auto` means in a folder with this plan.

    What was settled there, else what its runs are in, else what the device is fast in: calls that
    add to one folder, on whatever machine, make runs of one precision.

    Raises:
        UsageError: the folder holds several.
    """
    held = {plan.precision} if plan.precision else {line.precision for line in plan.runs}
    if len(held) > 1:
        raise UsageError(
            f"--precision auto: the folder's plan.json holds {' and '.join(sorted(held))}; say "
            "which with --precision, or give another folder with --out"
        )
    if held:
        return held.pop()
    return "bf16" if device.startswith("cuda") or bf16_instructions() else "float32"


def numeric_mode(
    options: BenchOptions,
    precision: str | None,
    backbone: Backbone,
    protocol: Protocol,
    images: int | None,
) -> NumericMode:
    """The numeric mode of the runs of one (dataset, backbone); `images`: to train on, if known.

    Raises:
        UsageError: compiling is asked for where nothing can be compiled.
    """
    check_compiling(options)
    if options.engine == "reference" or not options.device.startswith("cuda"):
        return _on_cpu(options, precision or "float32")
    precision = precision or "bf16"
    compiled = not options.deterministic and (
        options.compile == "compile"
        or (options.compile == "auto" and precision in NARROW and pays(backbone, protocol, images))
    )
    return NumericMode.model_validate(
        {
            "precision": precision,
            "layout": "contiguous" if precision == "float64" else "channels-last",
            "compile": "compile" if compiled else "graph",
            "deterministic": options.deterministic,
        }
    )


def check_compiling(options: BenchOptions) -> None:
    """Refuse `--compile compile` where nothing can be compiled.

    Raises:
        UsageError: saying why.
    """
    if options.compile == "compile" and (against := _against_compiling(options)):
        raise UsageError(f"--compile compile: {against}; leave it out")


def _against_compiling(options: BenchOptions) -> str:
    if options.engine == "reference":
        return "--engine reference carries every step out plainly"
    if not options.device.startswith("cuda"):
        return f"steps are compiled on a CUDA device only, and the device is {options.device}"
    if options.deterministic:
        return (
            "the compiler tries kernels out and may choose others in another process, which "
            "--deterministic rules out"
        )
    return ""


def _on_cpu(options: BenchOptions, precision: str) -> NumericMode:
    """Channels-last: steps of the miniatures take 14 to 34 % less of a core."""
    fast = options.engine == "fast" and precision != "float64"
    layout = "channels-last" if fast else "contiguous"
    return NumericMode.model_validate({"precision": precision, "layout": layout})


def pays(backbone: Backbone, protocol: Protocol, images: int | None) -> bool:
    """True if compiling a step takes less time than it saves."""
    known = backbone.compiling
    if known is None or images is None:
        return False
    saved = 1 / known.recorded - 1 / known.compiled
    return images * protocol.epochs * USERS * saved > known.seconds


def describe_modes(modes: Mapping[tuple[str, str], NumericMode]) -> list[str]:
    """The modes for the plan, a line each."""
    by_mode: dict[NumericMode, list[str]] = {}
    for (dataset, backbone), mode in modes.items():
        by_mode.setdefault(mode, []).append(f"{dataset} / {backbone}")
    if len(by_mode) == 1:
        return [f"numbers: {describe_mode(next(iter(by_mode)))}"]
    return [
        f"numbers: {describe_mode(mode)}: {', '.join(cells)}" for mode, cells in by_mode.items()
    ]


def describe_gain(modes: Mapping[tuple[str, str], NumericMode], device: str, px: int) -> list[str]:
    """A line on the gain of bf16 over these modes, as far as that was measured."""
    plain = all(mode.precision == "float32" for mode in modes.values())
    instructions = bf16_instructions()
    if device != "cpu" or not plain or not instructions or px < min(GAINS):
        return []
    sizes, gains = (" / ".join(map(str, each)) for each in (GAINS, GAINS.values()))
    text = (
        f"  with --precision bf16, as other runs: this processor has {instructions}; steps of "
        f"ResNet-50 at {sizes} px were {gains} times as fast (batch 32, an AMD EPYC with avx512_bf16)"
    )
    return [text]


def describe_mode(mode: NumericMode) -> str:
    """A numeric mode in words."""
    steps = {
        "none": "steps carried out plainly",
        "graph": "steps recorded as CUDA graphs",
        "compile": "steps compiled, then recorded as CUDA graphs",
    }
    exact = "deterministic" if mode.deterministic else "fastest kernels"
    return f"{mode.precision}, {mode.layout}, {exact}, {steps[mode.compile]}"

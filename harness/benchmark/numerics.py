"""Numeric modes: precision, layout and compilation that fit the device and the length of the plan.

It is part of every run's identity, so it depends on nothing that a later call may change: not on
the seeds, strategies or shards that are asked for, nor on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.api.backbone import Backbone
from harness.api.records import NumericMode, Protocol
from harness.benchmark.request import BenchOptions
from harness.errors import UsageError

# Runs that use a compiled step, as counted here whatever is asked for: of the eight strategies
# that come with the harness, five have a phase in which everything learns.
USERS = 5
NARROW = {"bf16", "fp16"}


def numeric_mode(
    options: BenchOptions,
    precision: str | None,
    backbone: Backbone,
    protocol: Protocol,
    images: int | None,
) -> NumericMode:
    """The numeric mode of the runs of one (dataset, backbone); `images`: to train on, if known."""
    if options.engine == "reference" or not options.device.startswith("cuda"):
        return _on_cpu(options, precision or "float32")
    precision = precision or "bf16"
    if options.deterministic and options.compile == "compile":
        raise UsageError(
            "--compile compile with --deterministic: the compiler tries kernels out, and may choose "
            "others in another process; leave one of the two out"
        )
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


def describe_mode(mode: NumericMode) -> str:
    """A numeric mode in words."""
    steps = {
        "none": "steps carried out plainly",
        "graph": "steps recorded as CUDA graphs",
        "compile": "steps compiled, then recorded as CUDA graphs",
    }
    exact = "deterministic" if mode.deterministic else "fastest kernels"
    return f"{mode.precision}, {mode.layout}, {exact}, {steps[mode.compile]}"

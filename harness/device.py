"""Which device a call works on."""

from __future__ import annotations

import os

from harness.errors import UsageError


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

"""Settings of the process that outlive a run: torch's, numpy's, Python's, the system's.

docs/write-a-strategy.md has the list in words.
"""

# ruff: noqa: SLF001 - torch has no public way to read many of its flags

from __future__ import annotations

import contextlib
import gc
import locale
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic
from torch.nn.modules import module as module_hooks
from torch.optim import optimizer as optimizer_hooks
from torch.overrides import _pop_mode as pop_function_mode
from torch.utils._python_dispatch import _pop_mode as pop_dispatch_mode

# Variables that torch and its compiler set themselves.
OWN_VARIABLES = (
    b"TORCHINDUCTOR_",
    b"TRITON_",
    b"CUDA_MODULE_LOADING",
    b"KMP_",
    b"TORCH_",
    b"PYTEST_",
)


@dataclass(frozen=True)
class Setting:
    """Something global that a run may change; `default`: its value for runs, () as it is found."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    default: Any = ()


def _pop_to(length: Callable[[], int], pop: Callable[[], object]) -> Callable[[int], None]:
    def write(wanted: int) -> None:
        while length() > wanted:
            pop()

    return write


def _unwritable(_: object) -> None:
    """Nothing puts it back: the process has to be left."""


def _autocast(device: str) -> Setting:
    def write(kept: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, kept[0])
        torch.set_autocast_dtype(device, kept[1])

    return Setting(
        f"autocast on {device}",
        lambda: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)),
        write,
    )


def _depth() -> int:
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _put_depth(kept: int) -> None:
    """Only the outermost autocast forgets the weights that were cast: below it they grow stale."""
    while _depth() > kept:
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()


def _precision(backend: str, operation: str, default: Any = ()) -> Setting:  # noqa: ANN401
    c: Any = torch._C  # the public properties refuse to be read beside the older ones
    return Setting(
        f"float32 precision of {backend} ({operation})",
        lambda: c._get_fp32_precision_getter(backend, operation),
        lambda kept: c._set_fp32_precision_setter(backend, operation, kept),
        default,
    )


def _flag(name: str, getter: str, setter: str, default: Any = ()) -> Setting:  # noqa: ANN401
    def read() -> object:
        return getattr(torch._C, getter)()

    def write(kept: object) -> None:
        getattr(torch._C, setter)(*(kept if isinstance(kept, tuple) else (kept,)))

    return Setting(name, read, write, default)


def _put_einsum(kept: tuple[bool, str | None]) -> None:
    torch.backends.opt_einsum.enabled, torch.backends.opt_einsum.strategy = kept


def _put_collection(kept: tuple[Any, ...]) -> None:
    (gc.enable if kept[0] else gc.disable)()
    gc.set_threshold(*kept[1:])


def _device() -> str | None:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else str(context.device)


def _hooks() -> tuple[Mapping[int, object], ...]:
    both = {**vars(module_hooks), **vars(optimizer_hooks)}
    return tuple(d for n, d in both.items() if n.startswith("_global") and isinstance(d, dict))


def _put_hooks(kept: Sequence[Sequence[tuple[int, object]]]) -> None:
    for there, items in zip(_hooks(), kept, strict=True):
        assert isinstance(there, dict)  # noqa: S101 - for the type checker
        there.clear()
        there.update(items)


def numeric_settings() -> list[Setting]:
    """The settings that decide how numbers are computed; torch's threads are the last."""
    autograd: Any = torch._C._autograd
    c: Any = torch._C
    backends, everywhere = torch.backends, ("none",)
    deterministic: Any = torch.utils.deterministic  # its attribute is a property of its class
    return [
        Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        Setting("torch's default device", _device, torch.set_default_device, None),
        Setting(
            "modes of torch functions", c._len_torch_function_stack,
            _pop_to(c._len_torch_function_stack, pop_function_mode),
        ),
        Setting(
            "modes of torch's dispatch", c._len_torch_dispatch_stack,
            _pop_to(c._len_torch_dispatch_stack, pop_dispatch_mode),
        ),
        Setting(
            "hooks on saved tensors", lambda: autograd._top_saved_tensors_default_hooks(False) is not None,
            lambda _: autograd._pop_saved_tensors_default_hooks(), False,
        ),
        Setting(
            "float32 matmul precision", torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision, "highest",
        ),
        *(_precision("mkldnn", operation, *everywhere) for operation in ("matmul", "conv", "rnn", "all")),
        *(_precision("cuda", operation) for operation in ("conv", "rnn")),
        *(_precision("cuda", operation, *everywhere) for operation in ("matmul", "all")),
        _precision("generic", "all", *everywhere),
        Setting(
            "deterministic algorithms",
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda kept: torch.use_deterministic_algorithms(kept[0], warn_only=kept[1]),
            (False, False),
        ),
        Setting(
            "filling of new memory", lambda: deterministic.fill_uninitialized_memory,
            lambda kept: setattr(deterministic, "fill_uninitialized_memory", kept), True,
        ),
        Setting("torch's grad mode", torch.is_grad_enabled, c._set_grad_enabled, True),
        Setting("torch's inference mode", torch.is_inference_mode_enabled, _unwritable),
        Setting(
            "anomaly detection",
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda kept: torch.set_anomaly_enabled(*kept), (False, True),
        ),
        Setting("depth of autocast", _depth, _put_depth, 0),
        _autocast("cpu"),
        _autocast("cuda"),
        Setting("autocast's cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        Setting(
            "flushing of denormal numbers", lambda: float(np.float32(1e-40) * np.float32(1)) == 0.0,
            torch.set_flush_denormal, False,
        ),
        _flag("mkldnn", "_get_mkldnn_enabled", "_set_mkldnn_enabled", True),
        _flag("mkldnn.deterministic", "_get_mkldnn_deterministic", "_set_mkldnn_deterministic", False),
        _flag("nnpack", "_get_nnpack_enabled", "_set_nnpack_enabled", True),
        _flag("cudnn", "_get_cudnn_enabled", "_set_cudnn_enabled", True),
        _flag("cudnn.benchmark", "_get_cudnn_benchmark", "_set_cudnn_benchmark"),
        _flag("cudnn.deterministic", "_get_cudnn_deterministic", "_set_cudnn_deterministic"),
        _flag("cudnn.allow_tf32", "_get_cudnn_allow_tf32", "_set_cudnn_allow_tf32"),
        _flag(
            "cublas in half precision", "_get_cublas_allow_fp16_reduced_precision_reduction",
            "_set_cublas_allow_fp16_reduced_precision_reduction",
        ),
        _flag(
            "cublas in bf16", "_get_cublas_allow_bf16_reduced_precision_reduction",
            "_set_cublas_allow_bf16_reduced_precision_reduction",
        ),
        _flag(
            "cublas accumulation", "_get_cublas_allow_fp16_accumulation",
            "_set_cublas_allow_fp16_accumulation",
        ),
        _flag("flash attention", "_get_flash_sdp_enabled", "_set_sdp_use_flash"),
        _flag("memory-efficient attention", "_get_mem_efficient_sdp_enabled", "_set_sdp_use_mem_efficient"),
        _flag("plain attention", "_get_math_sdp_enabled", "_set_sdp_use_math"),
        _flag("cudnn attention", "_get_cudnn_sdp_enabled", "_set_sdp_use_cudnn"),
        _flag("linear algebra library", "_get_linalg_preferred_backend", "_set_linalg_preferred_backend"),
        Setting(
            "order of einsum", lambda: (backends.opt_einsum.enabled, backends.opt_einsum.strategy),
            _put_einsum,
        ),
        Setting("hooks on all modules", lambda: tuple(tuple(d.items()) for d in _hooks()), _put_hooks),
        Setting("torch's threads", torch.get_num_threads, torch.set_num_threads),
    ]  # fmt: skip


def _environ() -> dict[bytes, bytes]:
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # a copy by the public way decodes each
    return {name: value for name, value in data.items() if not name.startswith(OWN_VARIABLES)}


def _put_environ(kept: Mapping[bytes, bytes]) -> None:
    for name in set(_environ()) - set(kept):
        del os.environb[name]
    os.environb.update(kept)


def _signals() -> dict[int, object]:
    if threading.current_thread() is not threading.main_thread():
        return {}  # another thread can change none
    return {int(one): signal.getsignal(one) for one in signal.valid_signals()}


def _put_signals(kept: Mapping[int, Any]) -> None:
    for number, handler in kept.items():
        if signal.getsignal(number) is not handler and handler is not None:
            signal.signal(number, handler)


def _put_filters(kept: Sequence[Any]) -> None:
    warnings.filters[:] = kept  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]  # what the module does itself


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def _put_streams(kept: tuple[Any, Any, Any]) -> None:
    sys.stdin, sys.stdout, sys.stderr = kept


def process_settings() -> list[Setting]:
    """The settings of Python and of the system."""
    found = [
        Setting("numpy's error handling", np.geterr, lambda kept: np.seterr(**kept)),
        Setting("warning filters", lambda: tuple(warnings.filters), _put_filters),
        Setting(
            "locale", lambda: locale.setlocale(locale.LC_ALL),
            lambda kept: locale.setlocale(locale.LC_ALL, kept),
        ),
        Setting("environment variables", _environ, _put_environ),
        Setting("working directory", _folder, os.chdir),
        Setting("umask", _umask, os.umask),
        Setting("sys.path", lambda: tuple(sys.path), lambda kept: sys.path.__setitem__(slice(None), kept)),
        Setting("signal handlers", _signals, _put_signals),
        Setting("standard streams", lambda: (sys.stdin, sys.stdout, sys.stderr), _put_streams),
        Setting(
            "garbage collection", lambda: (gc.isenabled(), *gc.get_threshold()),
            _put_collection,
        ),
        Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Setting("time-out of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
    ]  # fmt: skip
    if hasattr(os, "sched_getaffinity"):
        found.append(
            Setting(
                "cores of the process",
                lambda: os.sched_getaffinity(0),
                lambda kept: os.sched_setaffinity(0, kept),
            )
        )
    return found


class Settings:
    """Settings that this torch has, and their values for runs."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        self.settings, self.wanted = [], []
        for one in settings:
            try:
                now = one.read()
            except (AttributeError, RuntimeError, TypeError):
                continue  # an older or newer torch has no such thing
            self.settings.append(one)
            self.wanted.append(now if one.default == () else one.default)

    def read(self) -> list[Any]:
        """All values as they are."""
        return [_read(one) for one in self.settings]

    def put(self, kept: Sequence[Any]) -> list[str]:
        """Set what differs from `kept`; returns the names of what did."""
        differ: dict[str, None] = {}
        for turn in range(2):  # some of them move each other
            if turn and not differ:
                break
            for one, value in zip(self.settings, kept, strict=True):
                if _read(one) != value:
                    differ[one.name] = None
                    with contextlib.suppress(Exception):  # it is looked at again
                        one.write(value)
        return list(differ)


def _read(one: Setting) -> Any:  # noqa: ANN401 - of any type
    try:
        return one.read()
    except RuntimeError as error:  # torch refuses to say where two of its ways to set it differ
        return str(error)

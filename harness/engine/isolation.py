"""State of the process that outlives a run: set at its start, checked at its end, and put back.

A line of set-up in somebody's strategy would else give the runs after it other bits under the same
ids.  docs/write-a-strategy.md has the list in words.
"""

# ruff: noqa: SLF001 - torch has no public way to read many of its flags

from __future__ import annotations

import builtins
import contextlib
import gc
import hashlib
import importlib
import locale
import math
import os
import random
import signal
import socket
import sys
import sysconfig
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torch.utils.deterministic
import typing_extensions
from torch import nn, optim
from torch.nn.modules import module as module_hooks
from torch.optim import optimizer as optimizer_hooks
from torch.overrides import _pop_mode as pop_function_mode
from torch.utils._python_dispatch import _pop_mode as pop_dispatch_mode

from harness.api.records import RunSpec

# What the first run would import; imported before the state is recorded, for it changes some of it.
FIRST = ("harness.engine", "torchvision")
# Variables that torch and its compiler set themselves.
OWN_VARIABLES = (
    b"TORCHINDUCTOR_",
    b"TRITON_",
    b"CUDA_MODULE_LOADING",
    b"KMP_",
    b"TORCH_",
    b"PYTEST_",
)
_here = threading.local()


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


def _numerics() -> list[Setting]:
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


def _process() -> list[Setting]:
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


# -- functions that were put in the place of others ------------------------------------------------


def _places() -> Iterator[tuple[str, Any]]:
    """Modules and classes whose functions decide what a run computes."""
    modules: list[types.ModuleType] = [
        torch, F, nn, nn.init, nn.utils, optim, torch.autograd, torch.random, torch.linalg, np,
        np.random, np.linalg, builtins, math, random,
    ]  # fmt: skip
    names = ("harness", "torch.nn.modules", "torch.optim", "torch.utils.data")
    for name, module in sorted(sys.modules.copy().items()):  # another thread may import
        own = name.split(".")[0].startswith("harness")  # the plugins that come along, too
        if own or name.startswith(names):
            modules.append(module)
    classes = {torch.Tensor, nn.Module, nn.Parameter}
    for module in dict.fromkeys(modules):
        yield module.__name__, module
        if module not in (torch, np, builtins):
            own_classes = [one for one in vars(module).copy().values() if isinstance(one, type)]
            classes |= {
                one for one in own_classes if one.__module__.startswith(("harness", "torch."))
            }
    for one in sorted(classes, key=lambda one: (one.__module__, one.__qualname__)):
        yield f"{one.__module__}.{one.__qualname__}", one


@dataclass(frozen=True)
class _Place:
    """A module or class, its functions, and what is in it now.

    `values`: the functions as `pick` gives them, of all names at once: seven hundred places are looked
    at twice a run.
    """

    name: str
    place: Any
    names: tuple[str, ...]
    pick: Callable[[Mapping[str, Any]], Any]
    values: Any
    size: int
    now: Mapping[str, Any]

    @property
    def holds(self) -> bool:
        """True if the same functions stand there."""
        try:
            if self.pick(self.now) != self.values:
                return False
        except KeyError:  # one was taken away
            return False
        if not isinstance(self.place, type) or len(self.now) == self.size:
            return True
        # A class may have more than functions by now: pickling leaves `__slotnames__` in it.
        return _functions(self.place).keys() <= set(self.names)

    def put_back(self) -> list[str]:
        """Put the functions back; returns the names that stood for others, or were not there."""
        values = self.values if len(self.names) > 1 else [self.values] * len(self.names)
        kept = dict(zip(self.names, values, strict=True))
        changed = [name for name, value in kept.items() if self.now.get(name) is not value]
        more = list(_functions(self.place).keys() - kept.keys())
        added = more if isinstance(self.place, type) else []
        with contextlib.suppress(Exception):  # it is looked at again
            for name in changed:
                setattr(self.place, name, kept[name])
            for name in added:
                delattr(self.place, name)
        return [f"{self.name}.{name}" for name in (*changed, *added)]


class Patches:
    """Functions, by the place they stand in; what stands there now is compared by identity."""

    def __init__(self) -> None:
        self.places = []
        for name, place in _places():
            now, names = vars(place), tuple(_functions(place))
            pick = itemgetter(*names) if names else _nothing  # of one name: its function alone
            self.places.append(_Place(name, place, names, pick, pick(now), len(now), now))

    def put_back(self) -> list[str]:
        """Put every function back in its place; returns the places that held another."""
        return [name for one in self.places if not one.holds for name in one.put_back()]

    def there(self) -> bool:
        """True if a place holds another function."""
        return not all(one.holds for one in self.places)


def _nothing(_: Mapping[str, Any]) -> None:
    """A place without functions holds what it held."""


def _functions(place: Any) -> dict[str, Any]:  # noqa: ANN401 - a module or a class
    """The functions of a module or class, and numbers and texts of harness's own modules."""
    own = isinstance(place, types.ModuleType) and place.__name__.split(".")[0] == "harness"
    found = {}
    for name, value in vars(place).copy().items():  # of a thousand places, several times a call
        if callable(value):
            kept = not isinstance(value, types.ModuleType)
        elif name.startswith("__") and name.endswith("__"):
            kept = False
        else:
            kept = isinstance(value, (property, classmethod, staticmethod)) or (
                own and name.isupper() and isinstance(value, (int, float, str, tuple))
            )
        if kept and name not in ("FEATURE_BYTES", "__abstractmethods__"):
            found[name] = value
    return found


def _first_optimizers() -> None:
    """One of each: the first of a class puts a wrapper round its `step`."""
    every: list[Any] = list(vars(optim).values())
    for one in every:
        if isinstance(one, type) and issubclass(one, optim.Optimizer):
            with contextlib.suppress(Exception):  # not every one works on every tensor
                build: Any = one
                build([nn.Parameter(torch.zeros(1, device="cpu"))])


def _patched_at_import(places: Sequence[_Place]) -> list[str]:
    """Places in torch that hold a function of somebody's own already."""
    folder = str(Path(torch.__file__).parent)
    known = (folder, sysconfig.get_path("stdlib"), str(typing_extensions.__file__), "<")
    return [
        f"{one.name}.{name}"
        for one in places
        if one.name.startswith("torch")
        for name in one.names
        if isinstance(one.now[name], types.FunctionType)
        and not one.now[name].__code__.co_filename.startswith(known)
    ]


# -- one run -----------------------------------------------------------------------------------


@dataclass
class Traces:
    """Changes that a run made to the process.

    Attributes:
        left: names of what it left changed.
        touched: something differed on the way: what it shares with others may be spoiled.
        patched: functions were put in the place of others; copies of them may lie anywhere.
        fresh: it could not all be put back: later runs need another process.
    """

    left: list[str] = field(default_factory=list)
    touched: bool = False
    patched: bool = False
    fresh: bool = False

    @property
    def renew(self) -> bool:
        """A worker process had better be left."""
        return self.fresh or self.patched

    def add(self, names: Sequence[str]) -> None:
        self.left += [name for name in names if name not in self.left]
        self.touched |= bool(names)


class Isolation:
    """The state of this process as runs of one call begin with it."""

    def __init__(self, threads: int) -> None:
        """Record it.  `threads`: torch's threads in runs."""
        for name in FIRST:
            importlib.import_module(name)
        self.numerics, self.process = Settings(_numerics()), Settings(_process())
        _first_optimizers()
        self.patches = Patches()
        self.before = self.numerics.read()
        torch.set_num_threads(threads)
        self.numerics.wanted[-1] = torch.get_num_threads()
        self.at_import = _patched_at_import(self.patches.places)

    def leave(self) -> None:
        """Give the process back to the caller as it was."""
        self.numerics.put(self.before)

    @contextlib.contextmanager
    def around(self, spec: RunSpec) -> Iterator[Traces]:
        """Carry out one run inside the block; `Traces` is complete after it."""
        traces = Traces()
        before = [*self._put_back(traces), *self.at_import]
        traces.left = [f"{name} (before the run)" for name in before]
        modules, generators = len(sys.modules), generators_now()
        _seed(spec)
        _here.isolation, _here.traces = self, traces
        try:
            yield traces
        finally:
            _here.isolation = _here.traces = None
            put_generators(generators)
            changed = self._put_back(traces)
            if len(sys.modules) > modules:  # a library that is imported adds filters of its own
                changed = [name for name in changed if name != "warning filters"]
            traces.add(changed)
            traces.fresh = bool(changed) and bool(self._put_back(traces))

    def _put_back(self, traces: Traces) -> list[str]:
        numbers = self.numerics.put(self.numerics.wanted)  # first: the dtype moves `torch.Storage`
        patched = self.patches.put_back()
        traces.patched |= bool(patched)
        return [*numbers, *patched, *self.process.put(self.process.wanted)]


def numerics() -> list[Any] | None:
    """The state that decides how numbers are computed; None: nobody keeps runs apart."""
    isolation: Isolation | None = getattr(_here, "isolation", None)
    return None if isolation is None else isolation.numerics.read()


def changed_since(kept: list[Any] | None) -> bool:
    """True if code of the strategy computes otherwise now: what it makes is for itself only."""
    isolation: Isolation | None = getattr(_here, "isolation", None)
    if isolation is None or kept is None:
        return False
    differs = isolation.numerics.read() != kept or isolation.patches.there()
    _here.traces.touched |= differs
    return differs


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Around a metric or an observer: the run goes on as if it had not been there."""
    isolation: Isolation | None = getattr(_here, "isolation", None)
    generators = generators_now()
    kept = None if isolation is None else isolation.numerics.read()
    try:
        yield
    finally:
        put_generators(generators)
        if isolation is not None and kept is not None:
            _here.traces.add(isolation.numerics.put(kept))


def generators_now() -> tuple[Any, ...]:
    """States of the global generators: Python's, numpy's, torch's on the CPU."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the global one


def put_generators(kept: tuple[Any, ...]) -> None:
    """Put the global generators into states that `generators_now` gave."""
    random.setstate(kept[0])
    np.random.set_state(kept[1])  # noqa: NPY002
    torch.set_rng_state(kept[2])


def _seed(spec: RunSpec) -> None:
    """Generators that the engine never draws from, for strategies that do."""
    text = f"{spec.seed}|{spec.dataset}|{spec.backbone}|global"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002

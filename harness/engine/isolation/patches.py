"""Functions of torch, numpy, Python and the harness that were put in the place of others."""

from __future__ import annotations

import builtins
import contextlib
import math
import random
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import typing_extensions
from torch import nn, optim


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

    def at_import(self) -> list[str]:
        """Places in torch that held a function of somebody's own already."""
        folder = str(Path(torch.__file__).parent)
        known = (folder, sysconfig.get_path("stdlib"), str(typing_extensions.__file__), "<")
        return [
            f"{one.name}.{name}"
            for one in self.places
            if one.name.startswith("torch")
            for name in one.names
            if isinstance(one.now[name], types.FunctionType)
            and not one.now[name].__code__.co_filename.startswith(known)
        ]


def _nothing(_: Mapping[str, Any]) -> None:
    """A place without functions holds what it held."""


def _functions(place: Any) -> dict[str, Any]:  # noqa: ANN401 - a module or a class
    """The functions of a module or class, and numbers and texts of harness's own modules."""
    own = isinstance(place, types.ModuleType) and place.__name__.split(".")[0] == "harness"
    found = {}
    for name, value in vars(place).copy().items():  # of a thousand places, at every call
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


def first_optimizers() -> None:
    """One of each: the first of a class puts a wrapper round its `step`."""
    every: list[Any] = list(vars(optim).values())
    for one in every:
        if isinstance(one, type) and issubclass(one, optim.Optimizer):
            with contextlib.suppress(Exception):  # not every one works on every tensor
                build: Any = one
                build([nn.Parameter(torch.zeros(1, device="cpu"))])

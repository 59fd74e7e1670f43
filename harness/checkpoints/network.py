"""A network found in a checkpoint, whatever its wrapper is called.

The tensors may lie under a name (`state_dict`, `model`, `ema`, ...) and their names may have a
prefix (`module.`, `backbone.`, ...): the share of names and shapes that fit tells.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.checkpoints.reading import DEPTH, WRAPPERS
from harness.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]
Modernise = Callable[[Mapping[str, "Tensor"]], dict[str, "Tensor"]]

RIVAL = 0.9  # a place that fits so much of what the best one fits is one to choose from
PREFIXES = 8  # the commonest of a mapping are tried
_NUMBERED = re.compile(r"((?:[^.]*[^.\d][^.]*\.)*?)(\d+)\.(.+)")


@dataclass(frozen=True)
class FoundNetwork:
    """The tensors of a checkpoint that are a network's, by today's published names.

    Attributes:
        note: what was taken off or passed over to get there; empty for a plain file.
    """

    tensors: dict[str, Tensor]
    note: str


@dataclass(frozen=True)
class _Place:
    """Some tensors of a checkpoint: the keys that lead to them, and the prefix of their names.

    `numbered`: children were saved by their number.
    """

    keys: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]
    fits: int
    beside: tuple[str, ...]
    numbered: bool = False

    def __str__(self) -> str:
        where = "".join(f"[{key!r}]" for key in self.keys)
        return f"{where or 'the file'}{f', names from {self.prefix!r} on' if self.prefix else ''}"

    @property
    def expression(self) -> str:
        """Python for these tensors, of a checkpoint `c`."""
        whole = "c" + "".join(f"[{key!r}]" for key in self.keys)
        if not self.prefix:
            return whole
        size = len(self.prefix)
        return f"{{k[{size}:]: v for k, v in {whole}.items() if k.startswith({self.prefix!r})}}"


def find_network(
    path: Path, content: object, wanted: Shapes, modernise: Modernise = dict
) -> FoundNetwork:
    """The tensors of a checkpoint whose names and shapes fit `wanted` best.

    Raises:
        WeightsError: it holds no tensors by name, or several networks that fit as well.
    """
    states, odd = _states(content)
    tried = [place for keys, state in states for place in _places(keys, state, wanted, modernise)]
    best = max(tried, key=lambda place: place.fits, default=None)  # the first: that of WRAPPERS
    if best is None or (odd and not best.fits):
        raise _without_names(path, content, odd)
    rivals = [
        place for place in tried if place.fits >= RIVAL * best.fits and not _equal(place, best)
    ]
    usual = best.keys and best.keys[-1] in WRAPPERS
    beside = any(place.keys == best.keys for place in rivals)
    if best.fits and rivals and (beside or not usual):
        listed = " and ".join(map(str, (best, *rivals)))
        raise WeightsError(
            f"{path} holds several networks that fit as well ({listed}). Save the one to use alone: "
            f"`c = torch.load({path.name!r}); torch.save({best.expression}, 'NEW/{path.name}')`, "
            "and give --weights NEW."
        )
    return FoundNetwork(dict(best.tensors), _note(best, rivals if best.fits else []))


def _note(best: _Place, rivals: Sequence[_Place]) -> str:
    parts = [f"read from {''.join(f'[{key!r}]' for key in best.keys)}"] if best.keys else []
    if best.prefix:
        parts.append(f"names without {best.prefix!r}")
    if best.numbered:
        parts.append("children by their number")
    if best.beside:
        more = f" and {len(best.beside) - 1} more" if len(best.beside) > 1 else ""
        parts.append(f"other tensors passed over: {best.beside[0]}{more}")
    if rivals:
        parts.append(f"fitting as well, not used: {', '.join(map(str, rivals))}")
    return "; ".join(parts)


def _states(content: object) -> tuple[list[tuple[tuple[str, ...], dict[str, Tensor]]], str]:
    """Mappings of tensors in a checkpoint, those under the usual names first.

    And of the first mapping that mixes tensors with other values, the name of such a value.
    """
    import torch

    found, odd = [], ""
    for keys, mapping in _mappings(content):
        others = [name for name, v in mapping.items() if not isinstance(v, torch.Tensor)]
        if mapping and not others:
            found.append((keys, {str(name): tensor for name, tensor in mapping.items()}))
        elif len(others) < len(mapping) and not odd:
            odd = str(others[0])
    return found, odd


def _without_names(path: Path, content: object, odd: str) -> WeightsError:
    if odd:
        return WeightsError(
            f"{path} holds something that is no tensor: {odd!r}. Save its tensors alone: "
            f"`c = torch.load({path.name!r}); torch.save({{k: v for k, v in c.items() if "
            f"torch.is_tensor(v)}}, 'NEW/{path.name}')`, and give --weights NEW."
        )
    if isinstance(content, Mapping):
        holds = ", ".join(map(repr, list(content)[:5])) or "nothing"
    else:
        holds = f"a {type(content).__name__}"
    return WeightsError(
        f"{path} holds no tensors by name, but {holds}. Give a file that "
        "torch.save(model.state_dict(), ...) or safetensors wrote."
    )


def _mappings(
    content: object, keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    if not isinstance(content, Mapping):
        return
    yield keys, content
    if len(keys) < DEPTH:
        usual = sorted(content, key=lambda name: _rank(str(name)))
        for name in usual:
            yield from _mappings(content[name], (*keys, str(name)))


def _rank(name: str) -> int:
    return WRAPPERS.index(name) if name in WRAPPERS else len(WRAPPERS)


def _places(
    keys: tuple[str, ...], state: dict[str, Tensor], wanted: Shapes, modernise: Modernise
) -> Iterator[_Place]:
    """The tensors of a mapping by each prefix that its names may have."""
    for prefix in _prefixes(state, wanted):
        inside = {n[len(prefix) :]: t for n, t in state.items() if n.startswith(prefix)}
        tensors = modernise(inside)
        fits = sum(
            name in tensors and tuple(tensors[name].shape) == shape
            for name, shape in wanted.items()
        )
        beside = tuple(name for name in state if not name.startswith(prefix))
        yield _Place(keys, prefix, tensors, fits, beside)
    if found := _by_number(keys, state, wanted):
        yield found


def _by_number(keys: tuple[str, ...], state: Mapping[str, Tensor], wanted: Shapes) -> _Place | None:
    """The tensors of a network that was saved as a list of its children (`backbone.4.0.conv1.weight`).

    Children that have tensors are in order on both sides.
    """
    split = {name: found.groups() for name in state if (found := _NUMBERED.fullmatch(name))}
    prefixes = Counter(prefix for prefix, _, _ in split.values())
    if not prefixes:
        return None
    (prefix, _), *_ = prefixes.most_common(1)
    inside = {name: parts[1:] for name, parts in split.items() if parts[0] == prefix}
    numbers = sorted({int(number) for number, _ in inside.values()})
    children = dict.fromkeys(name.partition(".")[0] for name in wanted)
    child = dict(zip(numbers, children, strict=False))
    tensors = {
        f"{child[int(number)]}.{rest}": state[name]
        for name, (number, rest) in inside.items()
        if int(number) in child
    }
    fits = sum(n in tensors and tuple(tensors[n].shape) == shape for n, shape in wanted.items())
    beside = tuple(
        name for name in state if name not in inside or int(inside[name][0]) not in child
    )
    return _Place(keys, prefix, tensors, fits, beside, numbered=True) if fits else None


def _prefixes(state: Mapping[str, Tensor], wanted: Shapes) -> list[str]:
    """None first, then what stands before names that are wanted, the commonest first."""
    seen: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for cut in range(1, len(parts)):
            if ".".join(parts[cut:]) in wanted:
                seen[".".join(parts[:cut]) + "."] += 1
    return ["", *(prefix for prefix, _ in seen.most_common(PREFIXES))]


def _equal(one: _Place, other: _Place) -> bool:
    """True if two places hold the same tensors, whatever lies beside them."""
    import torch

    shared = one.tensors.keys() & other.tensors.keys()
    return len(shared) >= RIVAL * one.fits and all(
        one.tensors[name] is other.tensors[name]
        or torch.equal(one.tensors[name], other.tensors[name])
        for name in shared
    )

"""A network of timm as a chain of stages: taken apart, and held against its own forward pass.

A stage is the network with everything but some of its modules taken out, and steps that are
carried out one after another: a module of it by its path, or a function of what is left.  So every
tensor keeps timm's name below that of its stage.  Three layouts are tried:

tokens   a vision transformer: what makes tokens, each block, the head
groups   children in order, as timm's `group_matcher` groups them for layer-wise rates
whole    two stages: all features, the head

The head is the linear layer that `get_classifier` gives, and nothing else: normalisation above the
last block belongs to that block, other layers there are a stage `neck`.  A layout counts if the
chain gives the network's logits to the bit, in eval mode and, with equal draws, in train mode.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Step = str | Callable[[Any, Tensor], Tensor]
Layout = Literal["tokens", "groups", "whole"]
SEED = 3


class NoChainError(Exception):
    """No chain of stages computes what the network does; the message is why."""


@dataclass
class Stage:
    """A stage to be: its steps, and the paths of modules and parameters that it holds."""

    steps: list[Step]
    holds: list[str]


@dataclass(frozen=True)
class TakenApart:
    """A network's layout, and its stages by name in forward order."""

    layout: Layout
    stages: Mapping[str, Stage]


class _Steps(nn.Module):
    """The forward pass of a stage: `steps`, one after another."""

    steps: tuple[Step, ...]

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = self.get_submodule(step)(x) if isinstance(step, str) else step(self, x)
        return x


def take_apart(model: nn.Module, side: int) -> TakenApart:
    """The first layout whose chain computes what the network does; `side`: of images to try it on.

    Raises:
        NoChainError: there is none, or the head is no linear layer.
    """
    reasons = []
    for layout, split in LAYOUTS.items():
        try:
            stages = split(model)
            _check_whole(model, stages)
            _check_same(model, assemble(model, stages), side)
        except Exception as error:  # noqa: BLE001 - timm's code on a part of a network may raise anything
            told = str(error).partition("\n")[0] or type(error).__name__
            reasons.append(f"{layout}: {told}")
        else:
            return TakenApart(layout, stages)
    raise NoChainError("; ".join(reasons))


def assemble(model: nn.Module, stages: Mapping[str, Stage]) -> nn.Sequential:
    """The chain of a network's stages; they share its modules."""
    return nn.Sequential(OrderedDict((name, _part(model, stage)) for name, stage in stages.items()))


def side_of(model: nn.Module) -> int | None:
    """The side of the images that a network was built for, where it says so."""
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return int(size[0]) if isinstance(size, tuple) and size[0] == size[1] else None


def least_side(model: nn.Module, multiple: int, largest: int) -> int:
    """The least multiple that a network takes, by passing images without values through it."""
    sketch = copy.deepcopy(model).to("meta").eval()
    for side in range(multiple, largest, multiple):
        try:
            with torch.no_grad():
                sketch(torch.empty(1, 3, side, side, device="meta"))
        except Exception:  # noqa: BLE001, S112 - too small, in whatever words
            continue
        return side
    return largest


# -- layouts ------------------------------------------------------------------------------------


def tokens(model: nn.Module) -> dict[str, Stage]:
    """Stages of a vision transformer: `embed`, `block1` ... , `head`."""
    net: Any = model
    if not hasattr(net, "_pos_embed") or getattr(net, "rope", None) is not None:
        raise NoChainError("it is no plain vision transformer")
    blocks = [f"blocks.{name}" for name, _ in net.blocks.named_children()]
    head = _classifier(model)
    first = ("patch_embed", "pos_drop", "patch_drop", "norm_pre")
    own = [
        name for name, _ in (*model.named_parameters(), *model.named_buffers()) if "." not in name
    ]
    rest = [name for name, _ in model.named_children() if name not in {*first, "blocks", head}]
    found = {"embed": Stage([_embed], [*first, *own])}
    found |= {f"block{n}": Stage([path], [path]) for n, path in enumerate(blocks, start=1)}
    return _with_head(model, found, Stage([_pooled_tokens], rest))


def groups(model: nn.Module) -> dict[str, Stage]:
    """Stages as timm groups a network's parameters: `stem`, `stage1` ... , `head`."""
    from timm.models import group_parameters

    net: Any = model
    grouped = group_parameters(model, net.group_matcher(coarse=True), reverse=False)
    group_of = {name: int(group) for group, names in grouped.items() for name in names}
    if group_of.keys() != {name for name, _ in model.named_parameters()}:
        raise NoChainError("its groups of parameters are not a partition")
    head = _classifier(model)
    last = max(group_of.values())
    beside = [name for name in group_of if group_of[name] == last and _below(name, head)]
    group_of |= dict.fromkeys(beside, last + 1)
    numbers = sorted(set(group_of.values()))
    modules: dict[int, list[str]] = {number: [] for number in numbers}
    at = numbers[0]
    for path, group in _in_order(model, "", group_of, head):
        at = at if group is None else group
        modules[at].append(path)
    top, neck = modules.pop(last + 1), modules.pop(last, [])
    if top != [head]:
        raise NoChainError(f"{', '.join(top)} come with the head")
    names = ["stem", *(f"stage{n}" for n in range(1, len(modules)))]
    found = {
        name: Stage([*paths], paths) for name, paths in zip(names, modules.values(), strict=True)
    }
    return _with_head(model, found, Stage([*neck], neck))


def whole(model: nn.Module) -> dict[str, Stage]:
    """Two stages: `body` and `head`."""
    head = _classifier(model)
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    body = [name for name in names if not _below(name, head)]
    plain = [path for path, module in model.named_modules() if path and not _has_tensors(module)]
    return _with_head(model, {"body": Stage([_features], [*body, *plain])}, Stage([], []))


LAYOUTS: Mapping[Layout, Callable[[nn.Module], dict[str, Stage]]] = {
    "tokens": tokens,
    "groups": groups,
    "whole": whole,
}


def _embed(net: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - timm's
    """Tokens [B, N, D] of images, as timm's vision transformer makes them."""
    tokens: Tensor = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(x))))  # noqa: SLF001
    return tokens


def _pooled_tokens(net: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - timm's
    """What the classifier takes, [B, D]."""
    pooled: Tensor = net.forward_head(net.norm(x), pre_logits=True)
    return pooled


def _features(net: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - timm's
    """The same of whatever network."""
    pooled: Tensor = net.forward_head(net.forward_features(x), pre_logits=True)
    return pooled


def _with_head(model: nn.Module, body: dict[str, Stage], neck: Stage) -> dict[str, Stage]:
    """The stages with what lies above the last of them, and the head."""
    head = _classifier(model)
    sizes = [p.dim() for n, p in model.named_parameters() if any(_below(n, h) for h in neck.holds)]
    if any(size > 1 for size in sizes):
        body = {**body, "neck": neck}
    else:  # pooling and normalisation
        last = list(body.values())[-1]
        last.steps += neck.steps
        last.holds += neck.holds
    return {**body, "head": Stage([head], [head])}


def _classifier(model: nn.Module) -> str:
    """The path of the linear layer that gives the logits."""
    net: Any = model
    layer = net.get_classifier()
    if not isinstance(layer, nn.Linear):
        raise NoChainError(f"its classifier is a {type(layer).__name__}, no linear layer")
    return next(str(path) for path, module in model.named_modules() if module is layer)


def _in_order(
    module: nn.Module, prefix: str, group_of: Mapping[str, int], head: str
) -> Iterator[tuple[str, int | None]]:
    """Paths of children in order, as fine as groups of parameters ask; with their group."""
    for name, child in module.named_children():
        path = prefix + name
        found = {group for name, group in group_of.items() if _below(name, path)}
        mixed = len(found) > 1 and any(True for _ in child.children())
        if mixed or (_below(head, path) and path != head):
            yield from _in_order(child, f"{path}.", group_of, head)
        elif type(child) is not nn.Identity:
            yield path, min(found, default=None)


def _below(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers()))


# -- parts of a network -------------------------------------------------------------------------


def _part(model: nn.Module, stage: Stage) -> nn.Module:
    part = _pruned(model, "", stage.holds)
    kind: Any = type(model)
    part.__class__ = type(f"{kind.__name__}Stage", (_Steps, kind), {})
    vars(part)["steps"] = tuple(stage.steps)
    return part


def _pruned(module: nn.Module, prefix: str, holds: Iterable[str]) -> nn.Module:
    """A shallow copy with those modules and tensors alone that lie at or below the paths."""
    holds = tuple(holds)
    pruned = copy.copy(module)
    for name, one in vars(module).items():
        if isinstance(one, dict | set):  # hooks, say: what is hung on one stage is not on all
            vars(pruned)[name] = copy.copy(one)
    for store in ("_parameters", "_buffers", "_modules"):
        kept: dict[str, Any] = {}
        for name, one in getattr(module, store).items():
            path = prefix + name
            if one is None or any(_below(path, held) for held in holds):
                kept[name] = one
            elif isinstance(one, nn.Module) and any(_below(held, path) for held in holds):
                kept[name] = _pruned(one, f"{path}.", holds)
        vars(pruned)[store] = kept
    return pruned


# -- checks -------------------------------------------------------------------------------------


def _check_whole(model: nn.Module, stages: Mapping[str, Stage]) -> None:
    """Every tensor is in one stage, under its own name."""
    found = [
        name.partition(".")[2]
        for name, _ in assemble(model, stages).named_parameters(remove_duplicate=False)
    ]
    if sorted(found) != sorted(name for name, _ in model.named_parameters(remove_duplicate=False)):
        raise NoChainError("its stages do not hold every parameter once")


def _check_same(model: nn.Module, chain: nn.Sequential, side: int) -> None:
    several = any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in model.modules())  # noqa: SLF001
    count = 2 if several else 1  # batch norm cannot train on one
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(SEED))
    for training in (False, True):
        with torch.no_grad(), _mode(model, training=training), _mode(chain, training=training):
            logits = [_drawn(network, images) for network in (model, chain)]
        if not torch.equal(*logits):
            mode = "train" if training else "eval"
            raise NoChainError(f"in {mode} mode its stages give other logits than it does")


def _drawn(network: nn.Module, images: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        logits: Tensor = network(images)
    return logits


@contextmanager
def _mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    before = network.training
    network.train(training)
    yield
    network.train(before)

"""The network of a run, put together: built, filled, given its head, adapted; and cut in two."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from harness.api.backbone import Backbone
from harness.api.records import NumericMode, RunSpec
from harness.api.strategy import Strategy
from harness.engine.graphs import GraphCache
from harness.engine.seeds import generator, global_seed
from harness.errors import PhaseError, PluginError

# What the loss is multiplied by under fp16, to begin with (assumed); halved where a gradient is not
# finite, doubled after 2,000 steps without (torch's own figure).
LOSS_SCALE = 2.0**12

# Modules that normalise, by type: names are no guide (`downsample.1` is one).
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


class PooledByProducts(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling as two matrix products: torch's own has no deterministic way back.

    Along an axis of n places, place i of m is the mean of those from floor(i n / m) to before
    ceil((i + 1) n / m).
    """

    def forward(self, x: Tensor) -> Tensor:
        wanted = self.output_size
        rows, columns = wanted if isinstance(wanted, tuple) else (wanted, wanted)
        height = _windows(x.shape[-2], rows or x.shape[-2], x)
        width = _windows(x.shape[-1], columns or x.shape[-1], x)
        # Zeros and ones are exact in any precision; a share of a window is not.
        return (height @ x @ width.T) / (height.sum(1)[:, None] * width.sum(1))


def _windows(n: int, m: int, like: Tensor) -> Tensor:
    """A matrix [m, n]: one where a place is in the window of row i; of `like`'s type, beside it."""
    row, place = (torch.arange(count, device=like.device) for count in (m, n))
    first, last = row * n // m, -(-(row + 1) * n // m)
    return ((place >= first[:, None]) & (place < last[:, None])).to(like.dtype)


# Modules without parameters or randomness: what precedes the first weights of a stage can be
# computed once together with the frozen stages below it.
FIXED = (
    nn.AdaptiveAvgPool2d,
    PooledByProducts,
    nn.AvgPool2d,
    nn.MaxPool2d,
    nn.Flatten,
    nn.ReLU,
    nn.Identity,
)


def handed_on(output: object) -> list[Tensor]:
    """The tensors [B, ...] that a stage hands to the next: one, or those of a list or tuple.

    Empty where it is something else, which can be used, but not kept.
    """
    several: list[object] = [output]
    if isinstance(output, list | tuple) and type(output) in {list, tuple}:  # not one with names
        several = list(output)
    tensors = [one for one in several if isinstance(one, Tensor) and one.is_floating_point()]
    return tensors if len(tensors) == len(several) else []


class Packed(nn.Module):
    """Several tensors [B, ...] as one [B, n], as features are kept."""

    def forward(self, several: list[Tensor]) -> Tensor:
        return torch.cat([one.flatten(1) for one in several], dim=1)


class Unpacked(nn.Module):
    """The several tensors again, as a `kind` of them."""

    def __init__(self, kind: type, several: list[Tensor]) -> None:
        super().__init__()
        self.kind, self.shapes = kind, [one.shape[1:] for one in several]

    def forward(self, packed: Tensor) -> object:
        parts = packed.split([shape.numel() for shape in self.shapes], dim=1)  # type: ignore[no-untyped-call]
        return self.kind(
            part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)
        )


@dataclass
class Network:
    """The network of a run.

    Attributes:
        stages: names of the backbone's stages; classifier: those of its own classifier.
        start: values of the starting point by parameter name, after `adapt`'s renaming.
        initial: the full state before the first step.
        new_stages: stages in which the loaded file filled nothing, the head among them.
        as_built: `adapt` left the network as it was.
        head_layer: name of the linear layer that is new for this dataset; to ask the backbone for it
            is to build the network again.
        graphs: work that was recorded on it.
        scaler: scales the loss under fp16, where small gradients would be lost; else does nothing.
        touched: stages below this number have never learned: what they compute can be shared.
        several: by number of a stage that is handed more than one tensor, how to take them apart.
    """

    model: nn.Sequential
    stages: tuple[str, ...]
    classifier: tuple[str, ...]
    start: dict[str, Tensor]
    initial: dict[str, Tensor]
    new_stages: tuple[str, ...]
    as_built: bool
    head_layer: str
    graphs: GraphCache
    scaler: torch.amp.GradScaler
    touched: int
    several: dict[int, Unpacked] = field(default_factory=dict)

    @property
    def last_stage(self) -> int:
        """Number of the stage that holds the head."""
        return len(self.stages) - 1

    def cut(self, stage: int) -> tuple[nn.Sequential, nn.Sequential]:
        """The chain in two: what is frozen below stage number `stage`, and what learns."""
        chain, at = units(self.model, stage), stage
        while at < len(chain) and type(chain[at]) in FIXED:
            at += 1
        if stage in self.several:
            return nn.Sequential(*chain[:at], Packed()), nn.Sequential(
                self.several[stage], *chain[at:]
            )
        return nn.Sequential(*chain[:at]), nn.Sequential(*chain[at:])

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite the parameters and buffers."""
        own = self.model.state_dict()
        copy_all(list(own.values()), [tensors[name] for name in own])


def new_network(
    spec: RunSpec,
    backbone: Backbone,
    classes: int,
    start: Mapping[str, Tensor] | None,
    strategy: Strategy,
    device: str,
) -> Network:
    """Build, load `start`, draw the head, adapt.  All draws are the same for every strategy."""
    with global_seed(spec, "backbone"):
        model = _chain(backbone, classes)
    if start is not None:
        _fill(model, start)
    head_layer = backbone.head_layer()
    with global_seed(spec, "head"):
        model.get_submodule(head_layer).reset_parameters()  # type: ignore[operator]
    known = _starting_names(model, head_layer, start)
    values = {n: p.detach().clone() for n, p in model.named_parameters() if n in known}
    model = _adapt(strategy, model, spec)
    model = place(model, spec.numeric, device)
    named = dict(model.named_parameters())
    tied = {n: values[plain_name(n)] for n in named if plain_name(n) in values}
    return Network(
        model=model,
        stages=backbone.stages,
        classifier=backbone.classifier,
        start={n: v.to(named[n].device, named[n].dtype) for n, v in tied.items()},
        initial={n: t.detach().clone() for n, t in model.state_dict().items()},
        new_stages=_new_stages(backbone.stages, known),
        as_built=type(strategy).adapt is Strategy.adapt,
        head_layer=head_layer,
        graphs=GraphCache(device),
        scaler=torch.amp.GradScaler(
            torch.device(device).type,
            init_scale=LOSS_SCALE,
            enabled=spec.numeric.precision == "fp16",
        ),
        touched=len(backbone.stages),
    )


def _chain(backbone: Backbone, classes: int) -> nn.Sequential:
    """The network that `build` gives, if it is the chain that the backbone declares."""
    where, stages = f"backbone {backbone.name!r}", ", ".join(backbone.stages)
    built: object = backbone.build(classes)
    if not isinstance(built, nn.Sequential):
        raise PluginError(
            f"{where}: build() returns {type(built).__name__}; it must return an nn.Sequential of "
            f"its stages {stages}"
        )
    found = ", ".join(name for name, _ in built.named_children())
    if found != stages:
        raise PluginError(f"{where}: build() returns the stages {found}; it declares {stages}")
    last = built.get_submodule(backbone.head_layer())
    if isinstance(last, nn.Linear) and last.out_features != classes:
        raise PluginError(
            f"{where}: its last layer {backbone.head_layer()!r} gives {last.out_features} logits, and "
            f"build() was asked for {classes} classes"
        )
    return built


def set_back(network: Network, spec: RunSpec) -> Network:
    """The same network as `new_network` gives: only the head's draw depends on the run's seed."""
    on_device = network.model.get_submodule(network.head_layer)
    with global_seed(spec, "head"):
        drawn = copy.deepcopy(on_device).to("cpu", torch.float32)
        drawn.reset_parameters()  # type: ignore[operator]
    for name, tensor in drawn.state_dict().items():
        network.initial[f"{network.head_layer}.{name}"].copy_(tensor)
    network.load(network.initial)
    network.touched = len(network.stages)
    for parameter in network.model.parameters():
        parameter.grad = None
        parameter.requires_grad_()
    network.model.train()
    if network.scaler.is_enabled():
        fresh = network.scaler.state_dict() | {"scale": LOSS_SCALE, "_growth_tracker": 0}
        network.scaler.load_state_dict(fresh)
    return network


def copy_all(into: list[Tensor], values: list[Tensor]) -> None:
    """Copy lists of tensors, a kernel a dtype instead of one a tensor."""
    for dtype in {tensor.dtype for tensor in into}:
        chosen = [number for number, tensor in enumerate(into) if tensor.dtype == dtype]
        torch._foreach_copy_([into[n] for n in chosen], [values[n] for n in chosen])


def place(model: nn.Sequential, numeric: NumericMode, device: str) -> nn.Sequential:
    """Dtype, memory layout, device and, on a card, determinism of the numeric mode."""
    if numeric.deterministic and torch.device(device).type == "cuda":
        for module in model.modules():
            # A pooling to one place is a plain mean, which is deterministic.
            if type(module) is nn.AdaptiveAvgPool2d and module.output_size not in (1, (1, 1)):
                module.__class__ = PooledByProducts
    if numeric.precision == "float64":
        model = model.double()
    if numeric.layout == "channels-last":
        model = model.to(memory_format=torch.channels_last)
    return model.to(device)


def plain_name(name: str) -> str:
    """A parameter's name before a parametrization renamed it; other names as they are."""
    if ".parametrizations." not in name or not name.endswith(".original"):
        return name
    module, rest = name.split(".parametrizations.", 1)
    return f"{module}.{rest.removesuffix('.original')}"


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state, each parametrized tensor (LoRA's, say) as the value that it has, under its own name.

    Copies on the CPU.  Under the autocast of a run the values are those that it computed with.
    """
    found = dict(model.state_dict())
    for path, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for name, parts in module.parametrizations.items():
                inside = f"{path}.parametrizations.{name}."
                found = {n: t for n, t in found.items() if not n.startswith(inside)}
                value: Tensor = getattr(module, name)
                own = next(iter(parts.state_dict().values()))  # what was there before
                found[f"{path}.{name}"] = value.to(own.dtype)
    return {name: tensor.detach().cpu().clone() for name, tensor in found.items()}


def merge_parametrizations(model: nn.Module) -> None:
    """Put in the place of every parametrized tensor the value that it has."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def fit_to(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Merge what `adapt` parametrized, if the tensors that are to be loaded are merged."""
    if not any(".parametrizations." in name for name in tensors):
        merge_parametrizations(model)


def _fill(model: nn.Sequential, state: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def _starting_names(
    model: nn.Sequential, head_layer: str, state: Mapping[str, Tensor] | None
) -> set[str]:
    """Parameters that belong to the starting point: loaded ones, or all random ones but the head."""
    names = {name for name, _ in model.named_parameters()}
    names -= {name for name in names if name.startswith(f"{head_layer}.")}
    return names if state is None else names & set(state)


def _new_stages(stages: tuple[str, ...], known: set[str]) -> tuple[str, ...]:
    filled = {name.split(".")[0] for name in known}
    return tuple(stage for stage in stages if stage not in filled or stage == "head")


def _adapt(strategy: Strategy, model: nn.Sequential, spec: RunSpec) -> nn.Sequential:
    stages = [name for name, _ in model.named_children()]
    with global_seed(spec, "adapt"):
        adapted: object = strategy.adapt(model, generator(spec, "adapt"))
    if not isinstance(adapted, nn.Sequential):
        raise PhaseError(
            f"strategy {strategy.name!r}: adapt() returns {type(adapted).__name__}; it must return "
            "the network, an nn.Sequential of its stages"
        )
    if [name for name, _ in adapted.named_children()] != stages:
        raise PhaseError(
            f"strategy {strategy.name!r} changed the stages in adapt(); "
            f"they must stay {', '.join(stages)}"
        )
    return adapted


def units(model: nn.Sequential, stage: int) -> list[nn.Module]:
    """The chain as modules to call in turn, with stage number `stage` unrolled where it can be.

    A stage is unrolled only if calling its children in turn is the same as calling it.
    """
    chain: list[nn.Module] = []
    for number, module in enumerate(model.children()):
        plain = type(module) is nn.Sequential and not module._forward_hooks  # noqa: SLF001
        plain = plain and not module._forward_pre_hooks  # noqa: SLF001
        chain.extend(module.children() if number == stage and plain else [module])
    return chain


class _Fixed(torch.autograd.Function):
    """Batch norm by running statistics, nothing of which learns: a scale and a shift a channel.

    Its backward pass is the scale, which the forward kernel does in one go; torch's own takes, on a
    card and channels-last, several times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.BatchNorm2d) -> Tensor:  # noqa: ANN401 - torch's
        mean, var = _known(module.running_mean), _known(module.running_var)
        ctx.save_for_backward(module.weight.detach() * torch.rsqrt(var + module.eps))
        return F.batch_norm(
            x, mean, var, module.weight, module.bias, training=False, eps=module.eps
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's
        (scale,) = ctx.saved_tensors
        zero, one = torch.zeros_like(scale), torch.ones_like(scale)
        return F.batch_norm(gradients[0], zero, one, scale, zero, training=False, eps=0.0), None


@contextlib.contextmanager
def fixed_norms(network: nn.Module) -> Iterator[None]:
    """Inside the block, frozen batch norms in eval mode take the short way back."""
    chosen = [m for m in network.modules() if type(m) is nn.BatchNorm2d and _is_fixed(m)]
    for module in chosen:
        vars(module)["forward"] = partial(_apply, module)
    try:
        yield
    finally:
        for module in chosen:
            del vars(module)["forward"]


def _is_fixed(module: nn.BatchNorm2d) -> bool:
    known = module.running_mean is not None and module.affine
    learns = module.affine and (module.weight.requires_grad or module.bias.requires_grad)
    return known and not module.training and not learns


def _apply(module: nn.BatchNorm2d, x: Tensor) -> Tensor:
    normalised: Tensor = _Fixed.apply(x, module)
    return normalised


def _known(statistics: Tensor | None) -> Tensor:
    if statistics is None:
        raise ValueError("a norm without running statistics")
    return statistics

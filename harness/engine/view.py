"""The engine's side of `ModelView`: what a strategy may look at, gradients included."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.api.strategy import Directive, ParameterInfo, Params, Phase
from harness.engine.batches import Batches
from harness.engine.graphs import CapturableWork
from harness.engine.model import LOSS_SCALE, NORMS, plain_name
from harness.engine.recovery.splitting import Part, refuse_batch_layers
from harness.engine.state import RunState
from harness.engine.storage import Numbered

KERNELS = (nn.modules.conv._ConvNd, nn.Linear)  # noqa: SLF001 - the common base of convolutions


class StrategyView:
    """Read-only: nothing that is done here changes a later step."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._state.network.model.named_children())

    @property
    def head(self) -> tuple[str, ...]:
        return self._state.network.new_stages

    @property
    def classifier(self) -> tuple[str, ...]:
        wanted = {*self._state.network.classifier, *self.head}
        return tuple(stage for stage in self.stages if stage in wanted)

    @property
    def parameters(self) -> Mapping[str, ParameterInfo]:
        model, start = self._state.network.model, self._state.network.start
        named = dict(model.named_parameters())
        norms = torch.stack([p.detach().norm() for p in named.values()]).tolist()
        return {
            name: ParameterInfo(
                stage=name.split(".")[0],
                kind=kind_of(model, name),
                shape=tuple(parameter.shape),
                pretrained=name in start,
                norm=norm,
                module=plain_name(name).rpartition(".")[0],
            )
            for (name, parameter), norm in zip(named.items(), norms, strict=True)
        }

    @property
    def steps_per_epoch(self) -> int:
        return self._state.data.steps_per_epoch

    @property
    def epochs_left(self) -> float:
        return self._state.budget.epochs_left

    @property
    def class_counts(self) -> tuple[int, ...]:
        return self._state.data.class_counts

    @property
    def last_gradient(self) -> Params:
        named = self._state.network.model.named_parameters()
        return {n: p.grad.detach().clone() for n, p in named if p.grad is not None}

    def gradients(
        self, batches: int, norm_mode: Literal["train", "eval"] = "eval"
    ) -> Iterator[Params]:
        state = self._state
        first = state.budget.looks
        state.budget.charge_looks(batches)
        yield from self.look(first, batches, norm_mode)

    def look(
        self, first: int, batches: int, norm_mode: Literal["train", "eval"]
    ) -> Iterator[Params]:
        """The looks from number `first` of the run on, which cost nothing."""
        state = self._state
        samples, size = state.data.train.labels.numel(), state.protocol.batch_size
        seen = Batches(samples, size, state.spec, "look")
        for number in range(first, first + batches):
            with state.clock.measure("train"):
                yield gradients_on(state, seen, number, norm_mode)


def kind_of(model: nn.Module, name: str) -> Literal["kernel", "bias", "norm", "other"]:
    """By the type of the module that holds it; names are no guide (`downsample.1` is a norm)."""
    path, _, leaf = plain_name(name).rpartition(".")
    holder: object = model.get_submodule(path)
    if isinstance(holder, NORMS):
        return "norm"
    if isinstance(holder, KERNELS):
        return "bias" if leaf == "bias" else "kernel"
    return "other"


class GradientProbe:
    """Gradients for every parameter, dropout off; over fixed memory, so that it can be recorded."""

    def __init__(
        self,
        state: RunState,
        size: int,
        norm_mode: Literal["train", "eval"],
        *,
        recorded: bool = True,
    ) -> None:
        self.model, self.norm_mode = state.network.model, norm_mode
        self.criterion, self.autocast, self.means = (
            state.numerics.loss,
            state.numerics.autocast,
            state.data.train.means,
        )
        self.scale = LOSS_SCALE if state.network.scaler.is_enabled() else 1.0
        self.room = state.data.train.room(size)
        self.targets = torch.empty(size, dtype=torch.int64, device=state.data.train.labels.device)
        self.gradients: dict[str, Tensor] = {}
        plain = state.spec.numeric.compile == "none" or not recorded
        self.once = None if plain else CapturableWork(state.network.graphs.pool)

    def bytes(self) -> int:
        return sum(g.numel() * g.element_size() for g in self.gradients.values())

    def at(self, state: RunState, batches: Numbered, number: int) -> dict[str, Tensor]:
        """The gradients on a batch, apart from the fixed memory."""
        state.data.train.fill(self.room, batches, number)
        rows = batches.on(self.targets.device, number)
        torch.index_select(state.data.train.labels, 0, rows, out=self.targets)
        if self.once is None:
            self._work()
        else:
            self.once(self._work, state.clock)
        return {name: gradient.clone() for name, gradient in self.gradients.items()}

    def _work(self) -> None:
        inputs = self.means(self.room)
        with _modes(self.model, self.norm_mode), torch.enable_grad():
            same = {n: p.detach().requires_grad_() for n, p in self.model.named_parameters()}
            buffers = {n: b.clone() for n, b in self.model.named_buffers()}
            with self.autocast():
                loss = self.criterion(
                    functional_call(self.model, (same, buffers), (inputs,)), self.targets
                )
            slopes: Sequence[Tensor | None] = torch.autograd.grad(
                loss * self.scale, list(same.values()), allow_unused=True
            )
        self.gradients = {
            name: torch.zeros_like(p) if g is None else g / self.scale
            for g, (name, p) in zip(slopes, same.items(), strict=True)
        }


def gradients_on(
    state: RunState, batches: Batches, number: int, norm_mode: Literal["train", "eval"]
) -> dict[str, Tensor]:
    """Gradients on one batch of `batches`."""
    size, protocol = len(batches.at(number)), state.protocol
    if state.parts > 1:
        return _in_parts(state, batches, number, norm_mode)
    if state.spec.numeric.compile == "none":
        return GradientProbe(state, size, norm_mode).at(state, batches, number)
    key = (
        "look", size, norm_mode, protocol.mean, protocol.std, protocol.class_weights,
        protocol.label_smoothing,
    )  # fmt: skip
    return state.network.graphs.keep(key, lambda: GradientProbe(state, size, norm_mode)).at(
        state, batches, number
    )


def _in_parts(
    state: RunState, batches: Batches, number: int, norm_mode: Literal["train", "eval"]
) -> dict[str, Tensor]:
    """The same, of a batch that is carried out in parts."""
    with _modes(state.network.model, norm_mode):
        refuse_batch_layers(state.network.model)
    targets, criterion = state.data.train.targets(batches.at(number)), state.numerics.loss
    whole, size = criterion.mass(targets), -(-state.protocol.batch_size // state.parts)
    total: dict[str, Tensor] = {}
    for first in range(0, len(targets), size):
        part = Part(batches, first, size)
        probe = GradientProbe(state, len(part.at(number)), norm_mode, recorded=False)
        share = criterion.mass(targets[first : first + size]) / whole
        for name, gradient in probe.at(state, part, number).items():
            total[name] = total[name] + share * gradient if first else share * gradient
    return total


@contextlib.contextmanager
def _modes(model: nn.Module, norm_mode: Literal["train", "eval"]) -> Iterator[None]:
    """Everything in eval mode but, where asked for, the norm layers; as before afterwards."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    for module in model.modules():
        if isinstance(module, NORMS):
            module.training = norm_mode == "train"
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


# For `harness.testing`, which watches a strategy's run.


def network_tensors(view: StrategyView) -> dict[str, Tensor]:
    """The parameters and buffers of the network that is viewed, not copied."""
    return view._state.network.model.state_dict()  # noqa: SLF001


def initial_tensors(view: StrategyView, directive: Directive) -> dict[str, Tensor]:
    """The same as the directive finds them when it begins."""
    tensors = view._state.beginning(directive) if isinstance(directive, Phase) else None  # noqa: SLF001
    return network_tensors(view) if tensors is None else tensors


def head_layer(view: StrategyView) -> str:
    """Name of the linear layer that `SolveHead` fits."""
    return view._state.network.head_layer  # noqa: SLF001


@contextlib.contextmanager
def free_looks(view: StrategyView) -> Iterator[None]:
    """Looks inside the block are not counted: the strategy's own stay where they were."""
    before = view._state.budget.looks  # noqa: SLF001
    try:
        yield
    finally:
        view._state.budget.looks = before  # noqa: SLF001

"""A linear head as the only thing that learns: its shape, its rule, its inputs, its first values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from harness.api.records import RunSpec
from harness.api.strategy import Distance, Phase
from harness.engine.batches import Features
from harness.engine.evaluate import feature_key, source_at
from harness.engine.optimizer import State, decays, multipliers
from harness.engine.probe.lanes import Coefficients, Rule, Shape, Task, goals
from harness.engine.seeds import generator
from harness.engine.state import RunState


class Head:
    """The last layer of a run's network in a phase that trains nothing else."""

    def __init__(self, state: RunState, phase: Phase) -> None:
        self.state, self.phase = state, phase
        self.path = state.network.head_layer
        self.layer = linear(state.network.model, self.path)
        weight = self.layer.weight
        self.shape = Shape(len(weight), weight.shape[1], bias=self.layer.bias is not None)
        names = [f"{self.path}.{name}" for name, _ in self.layer.named_parameters()]
        named = dict(state.network.model.named_parameters())
        self.rates = multipliers(phase, named)
        every = decays(phase, named, state.protocol.weight_decay)
        self.decays = {name: every[name] for name in names}
        self.costs: dict[object, float] = {}

    @cached_property
    def task(self) -> Task:
        """The task that lanes of this head share; its inputs are computed once."""
        state, weight = self.state, self.layer.weight
        features, watched = self._inputs()
        target, mass = goals(
            state.data.train.labels, self.shape.classes, state.numerics.loss.class_weights,
            state.numerics.loss.label_smoothing,
        )  # fmt: skip
        return Task(
            features=features,
            watched=watched,
            goals=target.to(weight.device, weight.dtype),
            mass=mass,
            even=state.numerics.loss.class_weights is None,
            shape=self.shape,
            rule=self.rule,
        )

    def _inputs(self) -> tuple[Tensor, Tensor]:
        """Inputs on the training and the validation split, [N, D] each; notes what they cost."""
        state, last = self.state, self.state.network.last_stage
        found = []
        for split in (state.data.train, state.data.validation):
            source, _ = source_at(state, split, last)
            if not isinstance(source, Features):
                raise TypeError(f"the head's inputs on {split.name} are not kept")
            found.append(source.values)
            self.costs[feature_key(state, split, last)] = source.seconds
        half = torch.bfloat16 if state.spec.numeric.precision == "bf16" else found[0].dtype
        return found[0].to(half), found[1].to(half)

    @cached_property
    def rule(self) -> Rule:
        """The optimizer, the decay and the penalties of the phase."""
        distances = [one for one in self.phase.penalties if isinstance(one, Distance)]
        smooth = [one for one in distances if not one.proximal]
        return Rule(
            self.state.protocol,
            rate=self._columns(self.rates),
            decay=self._columns(self.decays),
            l2=self._columns(_strengths(one for one in smooth if one.kind == "l2")),
            l1=self._columns(_strengths(one for one in smooth if one.kind == "l1")),
            reach=self._columns(_strengths(one for one in distances if one.proximal)),
        )

    def _columns(self, values: Mapping[str, float]) -> Coefficients:
        weight, bias = (values.get(f"{self.path}.{part}", 0.0) for part in ("weight", "bias"))
        return self.shape.columns(weight, bias, self.layer.weight.detach())

    @torch.no_grad()
    def drawn(self, spec: RunSpec) -> tuple[Tensor, ...]:
        """The head of a run before its first step, as `new_network` draws it, and empty moments."""
        # torch's own initialisation of a linear layer, but from a generator of its own: the global
        # one may be at work for a run beside this one.
        rng, row = generator(spec, "head"), torch.zeros(self.shape.row)
        nn.init.kaiming_uniform_(self.shape.weight(row), a=5**0.5, generator=rng)
        if self.shape.bias:
            reach = self.shape.inputs**-0.5
            nn.init.uniform_(self.shape.biases(row), -reach, reach, generator=rng)
        row = row.to(self.layer.weight.device, self.layer.weight.dtype)
        return (row, *(torch.zeros_like(row) for _ in range(self.rule.moments)))

    @torch.no_grad()
    def put(self, row: Tensor) -> None:
        """Give the network's head the values of a row [P]."""
        self.layer.weight.copy_(self.shape.weight(row))
        if self.shape.bias:
            self.layer.bias.copy_(self.shape.biases(row))

    def optimizer_state(self, moments: Iterable[Tensor], steps: int) -> State:
        """The optimizer's state of both parameters after `steps`, as torch.optim keeps it."""
        rows = [row.clone() for row in moments]
        if not rows:
            return {}
        parts = {"weight": [self.shape.weight(row) for row in rows]}
        if self.shape.bias:
            parts["bias"] = [self.shape.biases(row) for row in rows]
        names = ("momentum_buffer",) if len(rows) == 1 else ("exp_avg", "exp_avg_sq")
        found: State = {}
        for part, tensors in parts.items():
            kept = found[f"{self.path}.{part}"] = dict(zip(names, tensors, strict=True))
            if len(rows) > 1:
                kept["step"] = torch.tensor(float(steps), device=rows[0].device)
        return found


def linear(model: nn.Module, path: str) -> nn.Linear:
    """The linear layer at `path`."""
    layer = model.get_submodule(path)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{path} is no linear layer")
    return layer


def _strengths(distances: Iterable[Distance]) -> dict[str, float]:
    found: dict[str, float] = {}
    for distance in distances:
        for name in distance.parameters:
            found[name] = found.get(name, 0.0) + distance.strength
    return found

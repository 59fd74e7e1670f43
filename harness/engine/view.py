"""What a strategy may look at: the engine's side of `ModelView`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import nn

from harness.engine.batches import Batches
from harness.engine.look import look as look_at
from harness.engine.model import plain_name
from harness.engine.norms import NORMS
from harness.engine.state import RunState
from harness.strategy import ParameterInfo, Params

KERNELS = (nn.modules.conv._ConvNd, nn.Linear)  # noqa: SLF001 - the common base of convolutions


class View:
    """Read-only: nothing that is done here changes a later step."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._state.model.named_children())

    @property
    def head(self) -> tuple[str, ...]:
        return self._state.new_stages

    @property
    def classifier(self) -> tuple[str, ...]:
        wanted = {*self._state.classifier, *self.head}
        return tuple(stage for stage in self.stages if stage in wanted)

    @property
    def parameters(self) -> Mapping[str, ParameterInfo]:
        model, start = self._state.model, self._state.start
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
        return self._state.steps_per_epoch

    @property
    def epochs_left(self) -> float:
        return self._state.epochs_left

    @property
    def class_counts(self) -> tuple[int, ...]:
        return self._state.class_counts

    def gradients(
        self, batches: int, norm_mode: Literal["train", "eval"] = "eval"
    ) -> Iterator[Params]:
        state = self._state
        look = Batches(state.train.labels.numel(), state.protocol.batch_size, state.spec, "look")
        first = state.looks
        state.charge_looks(batches)
        for number in range(first, first + batches):
            with state.clock.measure("train"):
                yield look_at(state, look, number, norm_mode)


def kind_of(model: nn.Module, name: str) -> Literal["kernel", "bias", "norm", "other"]:
    """By the type of the module that holds it; names are no guide (`downsample.1` is a norm)."""
    path, _, leaf = plain_name(name).rpartition(".")
    holder: object = model.get_submodule(path)
    if isinstance(holder, NORMS):
        return "norm"
    if isinstance(holder, KERNELS):
        return "bias" if leaf == "bias" else "kernel"
    return "other"

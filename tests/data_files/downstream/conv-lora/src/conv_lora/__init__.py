"""Low-rank adapters on convolutions (Aleem et al. 2024, arXiv 2402.04964)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from harness import ModelView, Phase, Phases, Search, Strategy, hookimpl

if TYPE_CHECKING:
    import torch
    from torch import nn

HARNESS_API_VERSION = 1


class ConvLora(Strategy):
    """Each kernel W becomes W + scale * up @ down; only `up`, `down` and the head learn."""

    name = "conv-lora"
    paper = "Aleem et al. 2024, arXiv 2402.04964"
    rank: Annotated[int, Field(ge=1, description="rank of the adapters"), Search(1, 16)] = 2
    scale: Annotated[
        float, Field(gt=0, description="weight of the adapters"), Search(0.1, 10.0, log=True)
    ] = 1.0

    def adapt(self, model: nn.Sequential, rng: torch.Generator) -> nn.Sequential:
        from torch import nn
        from torch.nn.utils import parametrize

        from conv_lora.low_rank import LowRank

        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                adapter = LowRank(module.weight, self.rank, self.scale, rng)
                parametrize.register_parametrization(module, "weight", adapter)
        return model

    def phases(self, model: ModelView, epochs: float) -> Phases:
        adapters = [name for name in model.parameters if name.endswith((".0.up", ".0.down"))]
        yield Phase("adapters", epochs, train=dict.fromkeys([*model.head, *adapters], 1.0))


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [ConvLora]

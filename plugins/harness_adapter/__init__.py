"""Bottleneck adapters: a small residual branch behind layers that stay frozen (Houlsby et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from harness import ModelView, Phase, Phases, Search, Strategy, hookimpl

if TYPE_CHECKING:
    import torch
    from torch import nn

PARTS = (".adapter.down.", ".adapter.up.")  # of an adapter, in names of parameters


class Adapter(Strategy):
    """Behind a layer, h becomes h + U gelu(D h + d) + u; D, d, U, u, norm layers and the head learn.

    D [m, c] and U [c, m], with m = c / `reduction`, begin near zero (normal, sigma 0.01, cut off at
    two), d and u at zero, so that training begins close to the starting point.

    Where: below the head, behind every linear layer that gives no more features than it takes (in a
    transformer, the projection of its attention and the second layer of its MLP, as Houlsby et al.
    have them), and behind every convolution with a kernel above 1 x 1, where D and U are 1 x 1
    convolutions (the places are those of Rebuffi et al. 2017, whose adapter is one such convolution).
    """

    name = "adapter"
    paper = "Houlsby et al. 2019, arXiv 1902.00751, sections 2.1 and 3.6; Rebuffi et al. 2017, arXiv 1705.08045"
    assumed: ClassVar[tuple[str, ...]] = ("reduction",)
    reduction: Annotated[
        float,
        Field(ge=1, description="features of a layer for one of its adapter's bottleneck"),
        Search(1.0, 64.0, log=True),
    ] = 16.0
    norm: Annotated[
        Literal["train", "eval"],
        Field(description="statistics of batch-norm layers: of the batch, or running"),
    ] = "train"

    def adapt(self, model: nn.Sequential, rng: torch.Generator) -> nn.Sequential:
        """Put an adapter behind the layers of every stage below the head."""
        from harness_adapter.bottleneck import attach

        for stage in list(model)[:-1]:
            attach(stage, self.reduction, rng)
        return model

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs."""
        learning = [
            name
            for name, info in model.parameters.items()
            if info.kind == "norm" or any(part in name for part in PARTS)
        ]
        rates = dict.fromkeys((*model.head, *learning), 1.0)
        yield Phase("adapters" if learning else "head", epochs, train=rates, norm=self.norm)


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [Adapter]

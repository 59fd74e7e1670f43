"""LoRA: low-rank updates of frozen kernels learn, and the head (Hu et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from harness import ModelView, Phase, Phases, Search, Strategy, hookimpl

if TYPE_CHECKING:
    import torch
    from torch import nn

PARTS = (".lora_a", ".lora_b")  # of an update, as parameters are named


class Lora(Strategy):
    """W x + b becomes (W + alpha / rank B A) x + b; A [r, in], B [out, r], the head learn (equation 3).

    W is the kernel of any linear or convolution layer below the head; that of a convolution,
    [out, in, k, k], is taken as the matrix [out, in k k].  r is `rank`, or the smaller side of W
    where that is less.  B begins at zero, A within 1 / sqrt(in) of it, evenly, as the authors' code
    draws it (the paper says Gaussian): training begins at the starting point.

    The paper updates kernels of attention alone, each projection for itself.

    The network computes with the sum, so it is tested, kept and exported under its own names.
    """

    name = "lora"
    paper = "Hu et al. 2022, arXiv 2106.09685, equation 3 and section 4.1"
    assumed: ClassVar[tuple[str, ...]] = ("norm",)
    rank: Annotated[int, Field(ge=1, description="r, of the updates"), Search(1, 64, log=True)] = 8
    alpha: Annotated[
        float,
        Field(gt=0, description="updates are multiplied by alpha / rank; the paper sets it once"),
    ] = 8.0
    norm: Annotated[
        Literal["eval", "train"],
        Field(
            description="statistics of batch-norm layers: running, so that nothing else moves, or of "
            "the batch"
        ),
    ] = "eval"

    def adapt(self, model: nn.Sequential, rng: torch.Generator) -> nn.Sequential:
        """Put an update on every kernel below the head."""
        from torch.nn.utils import parametrize

        from harness_lora.low_rank import LowRank, kernels

        for stage in list(model)[:-1]:
            for layer, name, kernel in kernels(stage):
                update = LowRank(kernel, self.rank, self.alpha / self.rank, rng)
                parametrize.register_parametrization(layer, name, update)
        return model

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs.  A stage that is new in the weights learns as it is."""
        rates = {
            name: float(info.stage not in model.head)
            for name, info in model.parameters.items()
            if name.endswith(PARTS)
        }
        named = "lora" if any(rates.values()) else "head"
        yield Phase(named, epochs, train=rates | dict.fromkeys(model.head, 1.0), norm=self.norm)


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [Lora]

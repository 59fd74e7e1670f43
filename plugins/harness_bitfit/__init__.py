"""BitFit: biases and the head learn (Ben Zaken et al. 2022)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness import ModelView, Phase, Phases, Strategy, hookimpl


class BitFit(Strategy):
    """Biases and the head learn: b of y = W x + b, shifts of normalisation layers included.

    In a convolutional network most biases are such shifts.  A network without biases is probed: its
    phase is called `head`.
    """

    name = "bitfit"
    paper = "Ben Zaken et al. 2022, arXiv 2106.10199, section 3"
    assumed: ClassVar[tuple[str, ...]] = ("norm",)
    norm: Annotated[
        Literal["eval", "train"],
        Field(
            description="statistics of batch-norm layers: running, so that nothing else moves, or of "
            "the batch"
        ),
    ] = "eval"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs."""
        biases = [
            name
            for name, info in model.parameters.items()
            if info.kind == "bias" or (info.kind == "norm" and name.endswith(".bias"))
        ]
        below = [name for name in biases if model.parameters[name].stage not in model.head]
        rates = dict.fromkeys((*model.head, *below), 1.0)
        yield Phase("biases" if below else "head", epochs, train=rates, norm=self.norm)


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [BitFit]

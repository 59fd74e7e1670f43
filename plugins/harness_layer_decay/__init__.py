"""Layer-wise rate decay: everything learns, the slower the nearer to the input."""

from typing import Annotated, ClassVar

from pydantic import Field

from harness import ModelView, Phase, Phases, Search, Strategy, hookimpl


class LayerDecay(Strategy):
    """Full fine-tuning; a stage that lies d stages below the head has `decay` ** d times the rate.

    Clark et al. count layers of a language model; here the unit is a stage of the network, which is
    a block of a transformer and several layers of a convolutional network.  For fine-tuned vision
    transformers the code of BEiT and of MAE takes 0.65 (ViT-B) and 0.75 (ViT-L).
    """

    name = "layer-decay"
    paper = "Clark et al. 2020, arXiv 2003.10555, appendix B; Bao et al. 2022, arXiv 2106.08254"
    assumed: ClassVar[tuple[str, ...]] = ("decay",)
    decay: Annotated[
        float,
        Field(gt=0, le=1, description="multiplier of the rate from a stage to the one below it"),
        Search(0.5, 1.0),
    ] = 0.75

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs.  A stage that is new in the weights has the full rate."""
        depth = len(model.stages) - 1
        rates = {stage: self.decay ** (depth - at) for at, stage in enumerate(model.stages)}
        yield Phase("ft", epochs, train=rates | dict.fromkeys(model.head, 1.0))


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [LayerDecay]

"""Train normalisation layers and the head (Frankle et al. 2021, arXiv 2003.00152)."""

from typing import Annotated

from pydantic import Field

from harness import ModelView, Phase, Phases, Search, Strategy, hookimpl

HARNESS_API_VERSION = 1


class NormTuning(Strategy):
    """Scales and shifts of normalisation layers learn, and the head; kernels stay as they were."""

    name = "norm-tuning"
    paper = "Frankle et al. 2021, arXiv 2003.00152"
    norm_rate: Annotated[
        float,
        Field(gt=0, description="learning-rate multiplier of the normalisation layers"),
        Search(0.1, 10.0, log=True),
    ] = 1.0

    def phases(self, model: ModelView, epochs: float) -> Phases:
        norms = [name for name, info in model.parameters.items() if info.kind == "norm"]
        heads = dict.fromkeys(model.head, 1.0)
        yield Phase("norms", epochs, train=heads | dict.fromkeys(norms, self.norm_rate))


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [NormTuning]

"""Part of the network learns, the rest is frozen: norm layers, the last stages, or one stage."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness import ModelView, Phase, PhaseError, Phases, Search, Strategy, hookimpl


def below_head(model: ModelView) -> list[str]:
    """The stages that are not the head's, in forward order."""
    return [stage for stage in model.stages if stage not in model.head]


class NormOnly(Strategy):
    """Normalisation layers and the head learn: scale gamma and shift beta of y = gamma x + beta.

    Statistics of batch-norm layers follow the batches, as published.  A network without such layers
    is probed: its phase is called `head`.
    """

    name = "norm-only"
    paper = "Frankle et al. 2021, arXiv 2003.00152"
    norm: Annotated[
        Literal["train", "eval"],
        Field(description="statistics of batch-norm layers: of the batch, or running"),
    ] = "train"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs."""
        norms = [name for name, info in model.parameters.items() if info.kind == "norm"]
        rates = dict.fromkeys((*model.head, *norms), 1.0)
        yield Phase("norms" if norms else "head", epochs, train=rates, norm=self.norm)


class LastK(Strategy):
    """The last `k` stages below the head learn, and the head; what is below them is frozen."""

    name = "last-k"
    paper = "Yosinski et al. 2014, arXiv 1411.1792"
    k: Annotated[int, Field(ge=1, description="stages below the head that learn"), Search(1, 5)] = 1

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs.

        Raises:
            PhaseError: the network has fewer stages.
        """
        stages = below_head(model)
        if self.k > len(stages):
            raise PhaseError(
                f"last-k: k = {self.k}, and the network has {len(stages)} stages below its head "
                f"({', '.join(stages)}); full-ft trains all of them"
            )
        learning = (*stages[-self.k :], *model.head)
        yield Phase("last", epochs, train=dict.fromkeys(learning, 1.0))


class SingleStage(Strategy):
    """One stage learns, and the head (surgical fine-tuning, Lee et al. 2023, section 2).

    Which one is best depends on what has changed: the first for other images, a middle one for other
    looks of a class, the last for other classes.
    """

    name = "single-stage"
    paper = "Lee et al. 2023, arXiv 2210.11466"
    assumed: ClassVar[tuple[str, ...]] = ("stage",)
    stage: Annotated[
        int | str,
        Field(description="its name, or its place: 1 the first, -1 the last below the head"),
    ] = 1

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs.

        Raises:
            PhaseError: the network has no such stage below its head.
        """
        chosen = self.chosen(below_head(model))
        yield Phase(chosen, epochs, train=dict.fromkeys((chosen, *model.head), 1.0))

    def chosen(self, stages: list[str]) -> str:
        """The name of the stage that learns, of those below the head."""
        count = len(stages)
        places: dict[int | str, str] = {name: name for name in stages}
        for number, name in enumerate(stages):
            places |= {number + 1: name, number - count: name}
        found = places.get(self.stage)
        if found is None:
            raise PhaseError(
                f"single-stage: there is no stage {self.stage!r} below the head; there are "
                f"{', '.join(stages)}, or 1 to {count}, or -1 to -{count}"
            )
        return found


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [NormOnly, LastK, SingleStage]

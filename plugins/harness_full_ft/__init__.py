"""Fine-tune everything, from the first step to the last."""

from harness import ModelView, Phase, Phases, Strategy, hookimpl


class FullFineTuning(Strategy):
    """Every parameter learns at the protocol's rate."""

    name = "full-ft"
    paper = "Davila et al. 2024, arXiv 2406.10050 (the study's control)"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        yield Phase("ft", epochs, train={"*": 1.0})


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [FullFineTuning]

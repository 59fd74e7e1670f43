"""Full fine-tuning, the control that every other strategy is compared with."""

from harness import ModelView, Phase, Phases, Strategy, hookimpl


class FullFineTuning(Strategy):
    """Full fine-tuning: every parameter learns at the protocol's rate for the whole budget."""

    name = "full-ft"
    paper = "Davila et al. 2024, arXiv 2406.10050 (the study's control)"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs."""
        yield Phase("ft", epochs, train={"*": 1.0})


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [FullFineTuning]

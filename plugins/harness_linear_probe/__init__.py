"""Linear probing: a new head on features of the frozen backbone."""

from typing import Annotated, Literal

from pydantic import Field

from harness import ModelView, Phase, Phases, SolveHead, Strategy, hookimpl

# Inverse strengths C of the L2 penalty, as Kumar et al. 2022 try them (section 4): 100 from 1e-7 to
# 1e2, evenly in the exponent.
STRENGTHS = tuple(10 ** (-7 + 9 * i / 99) for i in range(100))


class LinearProbe(Strategy):
    """Linear probing: only the head learns, for the whole budget.

    The stages below it stay in eval mode, so that their batch-norm statistics do not move either.
    """

    name = "linear-probe"
    paper = "Alain and Bengio 2016, arXiv 1610.01644; Davila et al. 2024, arXiv 2406.10050"
    head_scope: Annotated[
        Literal["last", "classifier"],
        Field(description="the last linear layer, or all layers of the network's classifier"),
    ] = "last"
    solver: Annotated[
        Literal["gradient", "logistic"],
        Field(description="steps like everyone, or logistic regression with C from validation"),
    ] = "gradient"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One directive that takes all `epochs` epochs of the budget."""
        if self.solver == "logistic":
            yield SolveHead("lp", STRENGTHS, epochs)
            return
        stages = model.head if self.head_scope == "last" else model.classifier
        yield Phase("lp", epochs, train=dict.fromkeys(stages, 1.0))


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [LinearProbe]

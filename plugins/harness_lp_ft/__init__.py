"""LP-FT: linear probing, then full fine-tuning from the trained head."""

from typing import Annotated, Literal

from pydantic import Field

from harness import ModelView, Phase, Phases, Search, SolveHead, Strategy, hookimpl

# Inverse strengths C of the L2 penalty, as Kumar et al. 2022 try them (section 4): 100 from 1e-7 to
# 1e2, evenly in the exponent.
STRENGTHS = tuple(10 ** (-7 + 9 * i / 99) for i in range(100))


class LpFt(Strategy):
    """LP-FT: the head learns alone; then everything does, from the best probe on validation.

    A head that fits already sends small gradients into the features, which distorts them less than
    a random one does (Kumar et al. 2022).
    """

    name = "lp-ft"
    paper = "Kumar et al. 2022, arXiv 2202.10054"
    probe: Annotated[
        float, Field(gt=0, lt=1, description="share of the budget spent probing"), Search(0.1, 0.9)
    ] = 0.5
    ft_rate: Annotated[
        float,
        Field(gt=0, description="learning-rate multiplier of the fine-tuning phase"),
        Search(0.01, 1.0, log=True),
    ] = 1.0
    head_scope: Annotated[
        Literal["last", "classifier"],
        Field(description="what the probe trains: the last linear layer, or the classifier"),
    ] = "last"
    solver: Annotated[
        Literal["gradient", "logistic"],
        Field(description="probe by steps, or by logistic regression with C from validation"),
    ] = "gradient"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """A probe of `probe * epochs` epochs, then full fine-tuning for the rest."""
        probing = epochs * self.probe
        if self.solver == "logistic":
            yield SolveHead("lp", STRENGTHS, probing)
        else:
            stages = model.head if self.head_scope == "last" else model.classifier
            yield Phase("lp", probing, train=dict.fromkeys(stages, 1.0))
        yield Phase("ft", epochs - probing, train={"*": self.ft_rate}, begin="best")


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [LpFt]

"""WiSE-FT: the weights between a probe and its fine-tuning that validation likes best."""

from typing import Annotated

from pydantic import Field

from harness import Interpolate, ModelView, Phase, Phases, Search, Strategy, hookimpl

Share = Annotated[float, Field(ge=0, le=1)]


class WiseFt(Strategy):
    """LP-FT, then w = (1 - a) w_probe + a w_ft over all tensors, with a chosen on validation.

    The paper's first end is a zero-shot model, which networks of images alone lack.  Either end is
    the checkpoint of its phase that is best on validation.  Statistics of batch-norm layers are
    measured again for every a.
    """

    name = "wise-ft"
    paper = (
        "Wortsman et al. 2022, arXiv 2109.01903; after lp-ft: Kumar et al. 2022, arXiv 2202.10054"
    )
    probe: Annotated[
        float, Field(gt=0, lt=1, description="share of the budget spent probing"), Search(0.1, 0.9)
    ] = 0.5
    ft_rate: Annotated[
        float,
        Field(gt=0, description="learning-rate multiplier of the fine-tuning phase"),
        Search(0.01, 1.0, log=True),
    ] = 1.0
    shares: Annotated[
        tuple[Share, ...],
        Field(min_length=1, description="values of a to try, each a look at validation"),
    ] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """A probe of `probe * epochs` epochs, full fine-tuning for the rest, and the mixing."""
        probing = epochs * self.probe
        yield Phase("lp", probing, train=dict.fromkeys(model.head, 1.0), keep=True)
        yield Phase("ft", epochs - probing, train={"*": self.ft_rate}, begin="best", keep=True)
        yield Interpolate("mix", ("lp", "ft"), self.shares)


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [WiseFt]

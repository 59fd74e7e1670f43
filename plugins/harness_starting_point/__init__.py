"""L2-SP and L1-SP: penalties on the distance from the starting point (Li et al. 2018)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness import Distance, ModelView, ParameterInfo, Phase, Phases, Search, Strategy, hookimpl

Include = Annotated[
    Literal["kernels", "all"],
    Field(description="tie convolution and linear kernels only, or biases and norms too"),
]
HeadStrength = Annotated[
    float,
    Field(ge=0, description="L2 strength on new kernels, towards zero"),
    Search(1e-4, 1.0, log=True),
]


def tied(
    parameters: Mapping[str, ParameterInfo], include: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the (pre-trained, new) parameters that the penalties cover; `include` as in L2SP."""
    chosen = {n: p for n, p in parameters.items() if include == "all" or p.kind == "kernel"}
    old = tuple(name for name, info in chosen.items() if info.pretrained)
    new = tuple(name for name, info in chosen.items() if not info.pretrained)
    return old, new


def tie(start: Distance, head: Distance, epochs: float) -> Phases:
    """The one phase of both strategies: full fine-tuning under both penalties for `epochs` epochs.

    What the penalties cover takes no ordinary weight decay.
    """
    covered = [*start.parameters, *head.parameters]
    yield Phase(
        "ft",
        epochs,
        train={"*": 1.0},
        penalties=(start, head),
        decay=dict.fromkeys(covered, 0.0),
    )


class L2SP(Strategy):
    """Full fine-tuning with alpha / 2 |w - w0|^2 on old kernels and beta / 2 |w|^2 on new ones.

    The squares sum over all elements of a kernel and over kernels; w0 is the starting point.
    """

    name = "l2-sp"
    paper = "Li et al. 2018, arXiv 1802.01483, equation 3"
    # Assumed: the authors' alpha of 0.1 belongs to SGD at 0.01; under Adam at 1e-3 it swamps the
    # loss (measured), so both strengths are set an order lower.
    assumed: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    alpha: Annotated[
        float,
        Field(ge=0, description="L2 strength towards the start"),
        Search(1e-6, 1.0, log=True),
    ] = 0.01
    beta: HeadStrength = 0.01
    include: Include = "kernels"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        old, new = tied(model.parameters, self.include)
        start = Distance("l2", self.alpha, old)
        yield from tie(start, Distance("l2", self.beta, new, towards="zero"), epochs)


class L1SP(Strategy):
    """Full fine-tuning with alpha |w - w0| on old kernels and beta / 2 |w|^2 on new ones.

    Absolute values and squares sum over all elements of a kernel and over kernels; w0 is the
    starting point.
    """

    name = "l1-sp"
    paper = "Li et al. 2018, arXiv 1802.01483, appendix"
    assumed: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    alpha: Annotated[
        float,
        Field(ge=0, description="L1 strength towards the start"),
        Search(1e-6, 1.0, log=True),
    ] = 1e-5
    beta: HeadStrength = 0.01
    step: Annotated[
        Literal["sign", "proximal"],
        Field(description="gradient by the sign, or soft thresholding after each step"),
    ] = "sign"
    include: Include = "kernels"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        old, new = tied(model.parameters, self.include)
        start = Distance("l1", self.alpha, old, proximal=self.step == "proximal")
        yield from tie(start, Distance("l2", self.beta, new, towards="zero"), epochs)


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [L1SP, L2SP]

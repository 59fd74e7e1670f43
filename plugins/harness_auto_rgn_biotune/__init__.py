"""Auto-RGN as coded in davilac/BioTune at 61e9b10, not proven for the 2024 study."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness import ModelView, ParameterInfo, Phase, Phases, Strategy, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class AutoRGNBioTune(Strategy):
    """Auto-RGN with norms in, on the last batch's gradient, with one optimizer throughout.

    After every epoch, RGN = |g| / |w| of each module's `weight`, norms included: g is the gradient of
    the epoch's last batch, w the weight after it.  Over the next epoch all tensors of a module learn
    at RGN / max RGN.  The first epoch is plain fine-tuning; the optimizer's state is kept.
    """

    name = "auto-rgn-biotune"
    paper = (
        "Lee et al. 2023, arXiv 2210.11466; as coded in davilac/BioTune at 61e9b10, not proven for "
        "the 2024 study"
    )

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase an epoch, until the budget is spent."""
        rates: Mapping[str, float] = {"*": 1.0}
        for number in range(math.ceil(epochs)):
            report = yield Phase(
                f"epoch-{number + 1}",
                min(1.0, epochs - number),
                train=rates,
                anneal="run",
                continues=number > 0,
                keep_optimizer=True,
                norm="train",
            )
            if report.stopped:
                return
            rates = multipliers(model.parameters, model.last_gradient)


def multipliers(
    parameters: Mapping[str, ParameterInfo], gradients: "Mapping[str, Tensor]"
) -> dict[str, float]:
    """Multipliers of all parameters by name: RGN of the module's weight over the largest RGN.

    1 where that cannot be told: the module has no weight, or one that is zero, did not learn, or
    whose gradient is not finite (a step that fp16 left out).
    """
    norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    rgn = {
        info.module: norms[name] / info.norm
        for name, info in parameters.items()
        if name.rpartition(".")[2] == "weight"
        and math.isfinite(norms.get(name, math.nan))
        and info.norm > 0
    }
    largest = max(rgn.values(), default=0.0) or 1.0
    return {
        name: rgn[info.module] / largest if info.module in rgn else 1.0
        for name, info in parameters.items()
    }


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [AutoRGNBioTune]

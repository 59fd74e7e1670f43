"""Auto-RGN: rates by relative gradient norm, tensor by tensor (Lee et al. 2023)."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from harness import ModelView, ParameterInfo, Phase, Phases, Search, Strategy, hookimpl


class AutoRGN(Strategy):
    """Auto-RGN: each epoch, a tensor's rate is multiplied by its relative gradient norm.

    The relative gradient norm (RGN) of a tensor w is ||g|| / ||w||, mean over `batches` training
    batches before the epoch; the multiplier is RGN over the largest RGN of all tensors, 0 to 1.
    Normalisation layers are neither measured nor trained.
    """

    name = "auto-rgn"
    paper = "Lee et al. 2023, arXiv 2210.11466"
    batches: Annotated[
        int, Field(ge=1, description="training batches looked at before an epoch"), Search(1, 20)
    ] = 5
    norm: Annotated[
        Literal["eval", "train"],
        Field(
            description="statistics of batch-norm layers: running (as published) or of the batch"
        ),
    ] = "eval"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase an epoch, each after a look at the gradients, until the budget is spent."""
        for number in range(math.ceil(epochs)):
            rates = multipliers(model.parameters, self.relative_gradient_norms(model))
            left = min(1.0, epochs - number, model.epochs_left)  # looks may have cost some
            if left <= 0:
                return
            report = yield Phase(
                f"epoch-{number + 1}",
                left,
                train=rates,
                anneal="run",
                norm=self.norm,
                continues=number > 0,
            )
            if report.stopped:
                return

    def relative_gradient_norms(self, model: ModelView) -> dict[str, float]:
        """||g|| / ||w|| by name, of each tensor that is measured and not zero; mean over batches."""
        import torch

        size = {
            name: info.norm
            for name, info in model.parameters.items()
            if info.kind != "norm" and info.norm > 0
        }
        rows = [
            torch.stack([gradients[name].norm() / norm for name, norm in size.items()])
            for gradients in model.gradients(self.batches, self.norm)
        ]
        return dict(zip(size, torch.stack(rows).mean(0).tolist(), strict=True))


def multipliers(
    parameters: Mapping[str, ParameterInfo], rgn: Mapping[str, float]
) -> dict[str, float]:
    """Multipliers by name, 0 to 1: RGN over the largest RGN; all 1 where every gradient is zero.

    A tensor without an RGN, because it is zero, takes the multiplier of its module's weight.
    """
    largest = max(rgn.values())
    rates = {name: value / largest if largest else 1.0 for name, value in rgn.items()}
    for name, info in parameters.items():
        if info.kind != "norm" and name not in rates:
            beside = [
                rates[n] for n, p in parameters.items() if n in rgn and p.module == info.module
            ]
            rates[name] = max(beside, default=1.0)
    return rates


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [AutoRGN]

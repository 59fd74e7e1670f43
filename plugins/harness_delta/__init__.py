"""DELTA: full fine-tuning whose features stay near those of the starting point (Li et al. 2019)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from harness import Batch, Distance, ModelView, Phase, Phases, Search, Strategy, hookimpl

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class FeatureDistance:
    """The protocol's loss + alpha / 2 sum_j mean (F_j(x) - F0_j(x))^2.

    F_j is the output of stage j, F0_j that of the frozen copy on the same batch; the mean is over
    images, channels and places.
    """

    alpha: float
    stages: tuple[str, ...]
    capturable: bool = True

    def __call__(self, model: "nn.Module", batch: Batch) -> "Tensor":
        """The loss of a batch, scalar."""
        import torch
        import torch.nn.functional as F

        if batch.reference is None:
            raise ValueError("its phase asks for no reference")
        logits, now = self.features(model, batch.inputs)
        with torch.no_grad():
            _, start = self.features(batch.reference, batch.inputs)
        apart = sum(F.mse_loss(one, other) for one, other in zip(now, start, strict=True))
        return batch.loss(logits, batch.targets) + self.alpha / 2 * apart

    def features(self, model: "nn.Module", x: "Tensor") -> "tuple[Tensor, list[Tensor]]":
        """Logits [B, C], and what the stages give, each [B, ...]."""
        found = []
        for name, stage in model.named_children():
            x = stage(x)
            if name in self.stages:
                found.append(x)
        return x, found


class Delta(Strategy):
    """DELTA without channel attention: full fine-tuning, every stage's output tied to its start.

    Loss + alpha / 2 sum_j mean (F_j - F0_j)^2 + beta / 2 |w_head|^2, j over the stages below the
    head.  The paper's form with attention weighs each channel by how much a classifier loses without
    it, which takes a training of its own for every dataset; here all weigh the same.
    """

    name = "delta"
    paper = "Li et al. 2019, arXiv 1901.09229"
    assumed: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    alpha: Annotated[
        float, Field(ge=0, description="strength towards the start"), Search(0.01, 100.0, log=True)
    ] = 1.0
    beta: Annotated[
        float, Field(ge=0, description="L2 strength on the head"), Search(1e-4, 1.0, log=True)
    ] = 0.01

    def phases(self, model: ModelView, epochs: float) -> Phases:
        """One phase of `epochs` epochs.  What beta covers takes no ordinary weight decay."""
        head = tuple(n for n, info in model.parameters.items() if info.stage in model.head)
        below = tuple(stage for stage in model.stages if stage not in model.head)
        yield Phase(
            "ft", epochs, train={"*": 1.0}, objective=FeatureDistance(self.alpha, below),
            penalties=(Distance("l2", self.beta, head, towards="zero"),),
            decay=dict.fromkeys(head, 0.0), reference="pretrained",
        )  # fmt: skip


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [Delta]

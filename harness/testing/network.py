"""A backbone under test."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from harness.api.backbone import Backbone
from harness.testing.promise import Unchecked
from harness.testing.trial import one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

CLASSES = 2
SEED = 11


class BackboneCase:
    """A backbone, and the chains that the promises share."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    @cached_property
    def sketched(self) -> nn.Sequential | Exception:
        """What comes of building on the meta device."""
        import torch

        try:
            with torch.device("meta"):
                return self.backbone.build(CLASSES).eval()
        except Exception as error:  # noqa: BLE001 - one promise is blamed for it
            return error

    @property
    def sketch(self) -> nn.Sequential:
        """On the meta device: shapes without values.

        Raises:
            Unchecked: it cannot be built there.
        """
        if isinstance(self.sketched, Exception):
            raise Unchecked("build() fails on the meta device, see 'meta-device'")
        return self.sketched

    @cached_property
    def chain(self) -> nn.Sequential:
        """With values, in eval mode; every call of `build` after the same seed."""
        return self.fresh()

    def fresh(self) -> nn.Sequential:
        """As `chain`, built once more."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self.backbone.build(CLASSES).eval()

    def logits(self, chain: nn.Sequential, inputs: Tensor) -> Tensor:
        """A forward pass in eval mode."""
        import torch

        with torch.no_grad(), one_thread():
            found: Tensor = chain(inputs)
        return found

    @cached_property
    def repeats(self) -> bool:
        """Whether two forward passes give the same bits."""
        import torch

        one, two = (self.logits(self.chain, self.images) for _ in range(2))
        return torch.equal(one, two)

    def needs_repeatable(self) -> None:
        """Raise `Unchecked` where comparing two passes would say nothing."""
        if not self.repeats:
            raise Unchecked("two equal passes differ anyway, see 'eval-deterministic'")

    @cached_property
    def images(self) -> Tensor:
        """Three images, float32 [3, 3, 64, 64]."""
        import torch

        return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(SEED))

"""The optimizers' steps over rows of parameters, each row with a rate of its own.

The arithmetic is torch.optim's, written in additions, products, quotients and roots that round
each on its own: a number then does not depend on where in a row, or in which row, it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.records import Protocol

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch's defaults for Adam and AdamW

Coefficients = Tensor | float


@dataclass(frozen=True)
class Rule:
    """How a gradient moves a row [P].  A coefficient is a number, or one for each column [P].

    Attributes:
        rate: multiplies the lane's rate.
        decay: weight decay.
        l2: pulls towards zero by l2 * w; l1: by l1 * sign(w); reach: by rate * reach at most,
            after the step (soft thresholding).
    """

    protocol: Protocol
    rate: Coefficients = 1.0
    decay: Coefficients = 0.0
    l2: Coefficients = 0.0
    l1: Coefficients = 0.0
    reach: Coefficients = 0.0

    @property
    def moments(self) -> int:
        """Rows of optimizer state beside each row of parameters."""
        if self.protocol.optimizer == "sgd":
            return 1 if self.protocol.momentum else 0
        return 2

    def table(self, rates: Tensor, factors: Sequence[float], first: int) -> Tensor:
        """What changes from step to step, float64 [T, 2 S + 1] for lanes of `rates` [S].

        The rate and the step's size for each lane, and the root of Adam's second correction.
        `first`: steps made before.
        """
        made = torch.arange(first + 1, first + 1 + len(factors), dtype=torch.float64)
        plain = torch.tensor(factors, dtype=torch.float64)[:, None] * rates
        if not isinstance(self.rate, Tensor):
            plain = plain * self.rate
        if self.protocol.optimizer == "sgd":
            return torch.cat([plain, plain, torch.ones_like(made)[:, None]], 1)
        size = plain / (1 - BETA1**made)[:, None]
        return torch.cat([plain, size, (1 - BETA2**made).sqrt()[:, None]], 1)

    def apply(
        self, rows: Tensor, gradient: Tensor, moments: Sequence[Tensor], table: Tensor
    ) -> None:
        """One step in place, rows [S, P]; the gradient is overwritten."""
        count = len(rows)
        plain, size = table[:count, None], table[count : 2 * count, None]
        if isinstance(self.rate, Tensor):
            plain, size = plain * self.rate, size * self.rate
        self._pull(rows, gradient, plain)
        if self.protocol.optimizer == "sgd":
            moved = _momentum(gradient, moments, self.protocol.momentum)
        else:
            moved = _adam(gradient, moments, table[2 * count])
        rows.sub_(moved * size)
        if _any(self.reach):
            reach = plain * self.reach
            rows.copy_(rows.sign() * (rows.abs() - reach).clamp_(min=0))

    def _pull(self, rows: Tensor, gradient: Tensor, rate: Tensor) -> None:
        """Penalties and weight decay."""
        if _any(self.l2):
            gradient.add_(rows * self.l2)
        if _any(self.l1):
            gradient.add_(rows.sign() * self.l1)
        if _any(self.decay) and self.protocol.optimizer == "adamw":
            rows.sub_(rows * (rate * self.decay))
        elif _any(self.decay):
            gradient.add_(rows * self.decay)


def _any(coefficients: Coefficients) -> bool:
    return isinstance(coefficients, Tensor) or coefficients != 0


def _momentum(gradient: Tensor, moments: Sequence[Tensor], momentum: float) -> Tensor:
    if not moments:
        return gradient
    (held,) = moments
    return held.mul_(momentum).add_(gradient)


def _adam(gradient: Tensor, moments: Sequence[Tensor], root: Tensor) -> Tensor:
    mean, square = moments
    mean.mul_(BETA1).add_(gradient * (1 - BETA1))
    square.mul_(BETA2).add_((gradient * gradient).mul_(1 - BETA2))
    scale = square.sqrt().div_(root).add_(EPSILON)
    return torch.div(mean, scale, out=scale)

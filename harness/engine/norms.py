"""Modules that normalise: found by type, since names are no guide (`downsample.1` is one)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


class _Fixed(torch.autograd.Function):
    """Batch norm by running statistics, nothing of which learns: a scale and a shift a channel.

    Its backward pass is the scale, which the forward kernel does in one go; torch's own takes, on a
    card and channels-last, several times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.BatchNorm2d) -> Tensor:  # noqa: ANN401 - torch's
        mean, var = _known(module.running_mean), _known(module.running_var)
        ctx.save_for_backward(module.weight.detach() * torch.rsqrt(var + module.eps))
        return F.batch_norm(
            x, mean, var, module.weight, module.bias, training=False, eps=module.eps
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's
        (scale,) = ctx.saved_tensors
        zero, one = torch.zeros_like(scale), torch.ones_like(scale)
        return F.batch_norm(gradients[0], zero, one, scale, zero, training=False, eps=0.0), None


@contextlib.contextmanager
def fixed_norms(network: nn.Module) -> Iterator[None]:
    """Inside the block, batch norms in eval mode with frozen scales take the short way back."""
    chosen = [m for m in network.modules() if type(m) is nn.BatchNorm2d and _is_fixed(m)]
    for module in chosen:
        vars(module)["forward"] = partial(_apply, module)
    try:
        yield
    finally:
        for module in chosen:
            del vars(module)["forward"]


def _is_fixed(module: nn.BatchNorm2d) -> bool:
    known = module.running_mean is not None and module.affine
    return known and not module.training and not module.weight.requires_grad


def _apply(module: nn.BatchNorm2d, x: Tensor) -> Tensor:
    found: Tensor = _Fixed.apply(x, module)
    return found


def _known(statistics: Tensor | None) -> Tensor:
    if statistics is None:
        raise ValueError("a norm without running statistics")
    return statistics

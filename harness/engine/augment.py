"""Augmentation of a whole batch on its device, each sample with its own draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.records import Augmentation

DEGREES, SHIFT, SCALE = 10.0, 0.05, 0.1


def draw(size: int, kinds: Sequence[Augmentation], rng: torch.Generator) -> Tensor:
    """Random numbers for a batch, float32 [B, 6] in 0..1, from a CPU generator.

    Columns: horizontal flip, vertical flip, angle, scale, shift x, shift y.  What is not asked for
    draws nothing.
    """
    drawn = torch.ones(size, 6)
    for column, kind in enumerate(("flip-horizontal", "flip-vertical")):
        if kind in kinds:
            drawn[:, column] = torch.rand(size, generator=rng)
    if "affine" in kinds:
        drawn[:, 2:] = torch.rand(size, 4, generator=rng)
    return drawn


def augment(images: Tensor, kinds: Sequence[Augmentation], drawn: Tensor) -> Tensor:
    """Flip and move images [B, 3, H, W] as the draws [B, 6] say, on the images' device.

    'affine': rotation up to 10 degrees, shift up to 5 %, scale within 10 %, bilinear, edges
    repeated; a flip happens with probability one half.
    """
    drawn = drawn.to(images.device, non_blocking=True)
    for column, kind, axis in ((0, "flip-horizontal", 3), (1, "flip-vertical", 2)):
        if kind in kinds:
            chosen = drawn[:, column] < 0.5  # noqa: PLR2004
            images = torch.where(chosen.view(-1, 1, 1, 1), images.flip(axis), images)
    if "affine" in kinds:
        theta = _affine(drawn[:, 2:] * 2 - 1).to(images.dtype)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return images


def _affine(draws: Tensor) -> Tensor:
    """[B, 4] draws in -1..1 to [B, 2, 3] matrices: angle, scale, shift x, shift y."""
    angle = torch.deg2rad(draws[:, 0] * DEGREES)
    scale = 1 + draws[:, 1] * SCALE
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [cos, -sin, draws[:, 2] * 2 * SHIFT, sin, cos, draws[:, 3] * 2 * SHIFT]
    return torch.stack(rows, dim=1).view(-1, 2, 3)

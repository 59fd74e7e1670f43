"""Randomness by purpose: a new consumer of random numbers shifts nobody else's."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

from harness.api.records import RunSpec


def seed_for(spec: RunSpec, purpose: str) -> int:
    """A 63-bit seed shared by all strategies of one (dataset, backbone, seed)."""
    text = f"{spec.seed}|{spec.dataset}|{spec.backbone}|{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(spec: RunSpec, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator().manual_seed(seed_for(spec, purpose))


@contextlib.contextmanager
def global_seed(spec: RunSpec, purpose: str, device: str = "cpu") -> Iterator[None]:
    """Seed the global generators of the CPU and of `device`, and leave them as they were.

    Not by `torch.manual_seed`: it seeds every card, also one whose dropout is under way.
    """
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed_for(spec, purpose))
        for one in cuda:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed_for(spec, purpose))
        yield

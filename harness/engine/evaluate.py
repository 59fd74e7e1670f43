"""Outputs of a network on a split: features of frozen stages, computed once, and predictions."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Hashable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from harness.api.execution import Observer
from harness.engine.batches import (
    FLIP,
    Batches,
    Features,
    InOrder,
    Mirrored,
    MirroredFeatures,
    Source,
    chunks,
    empty_rows,
)
from harness.engine.devices import device_memory, untuned
from harness.engine.graphs import CapturableWork
from harness.engine.model import NORMS, Unpacked, handed_on
from harness.engine.recovery.splitting import refuse_batch_layers
from harness.engine.shared import FeatureKey, SharedWork, seed_below_head
from harness.engine.state import RunState, SplitData

Place = tuple[Hashable, ...]
# More than this is computed batch by batch instead: a fixed figure (on a card, a fixed share of its
# memory), so that what is cached never depends on what else the machine is doing.
FEATURE_BYTES = 2 * 1024**3
FEATURE_SHARE = 0.1


def source_at(
    state: RunState, split: SplitData, stage: int, *, augmented: bool = False
) -> tuple[Source, bool]:
    """Inputs of stage number `stage`: cached features, or (pixels, False) where none are kept.

    Features of stages that have never learned are shared by all runs of the same starting point.
    `augmented`: to train on; where images may be mirrored these are the features of both sides.
    """
    mirrored = augmented and bool(state.data.train.augmentations)
    if not keeps(state, split, stage, mirrored=mirrored):
        return split, False
    shared = SharedWork.of(state.resources.shared).features
    key = feature_key(state, split, stage, mirrored=mirrored)
    if key is not None and key in shared:
        state.clock.borrow("features", shared[key].seconds, key)
        return shared[key], True
    prefix, _ = state.network.cut(stage)
    before = state.clock.seconds["features"]
    with state.clock.measure("features"):
        values = outputs(state, prefix, split, ("prefix", stage))
        if mirrored:
            sides = outputs(state, prefix, Mirrored(split.pixels), ("prefix, mirrored", stage))
            values = torch.stack([values, sides], dim=1)
    state.clock.settled.add(key)
    kind = MirroredFeatures if mirrored else Features
    features = kind(values, state.clock.seconds["features"] - before)
    if key is not None:
        _make_room(shared, most(state.data.train.pixels.device) - _bytes(values))
        shared[key] = features
    return features, True


def keeps(state: RunState, split: SplitData, stage: int, *, mirrored: bool = False) -> bool:
    """True if features at stage number `stage` are computed once, and not batch by batch.

    A mirrored image has two sides, whose features are kept; other augmentations have no end.
    """
    prefix, _ = state.network.cut(stage)
    if len(prefix) == 0 or tuple(state.data.train.augmentations) not in {(), FLIP}:
        return False
    kept = SharedWork.of(state.resources.shared).features
    key = feature_key(state, split, stage, mirrored=mirrored)
    return _fits(state, prefix, split, stage, sides=1 + mirrored) or key in kept


def predict_split(state: RunState, split: SplitData) -> Tensor:
    """Logits of the whole network over a split, from shared features where the prefix is frozen."""
    stage = min(state.network.touched, state.network.last_stage)
    source, cached = source_at(state, split, stage) if state.network.as_built else (split, False)
    network = state.network.cut(stage)[1] if cached else state.network.model
    with state.clock.measure("evaluate"):
        return predict(state, network, source, ("from", stage if cached else 0))


def feature_key(
    state: RunState, split: SplitData, stage: int, *, mirrored: bool = False
) -> FeatureKey | None:
    """The key that the features are shared by; None: they are this run's alone."""
    if not state.network.as_built or stage > state.network.touched:
        return None
    spec = state.spec
    return FeatureKey(
        split.name, split.external, mirrored, stage, spec.data, spec.limit, spec.labels, spec.weights,
        seed_below_head(spec, state.resources.start), spec.numeric, spec.protocol.eval_batch_size,
    )  # fmt: skip


@contextlib.contextmanager
def recomputed_features() -> Iterator[None]:
    """On a CPU, no features are kept inside the block: every batch passes the whole network."""
    global FEATURE_BYTES  # noqa: PLW0603 - as tests patch it
    before = FEATURE_BYTES
    FEATURE_BYTES = 0
    try:
        yield
    finally:
        FEATURE_BYTES = before


def most(device: torch.device) -> int:
    """Bytes that the features on a device may take."""
    if device.type != "cuda":
        return FEATURE_BYTES
    return int(device_memory(device) * FEATURE_SHARE)


@torch.no_grad()
def _fits(
    state: RunState, prefix: nn.Sequential, split: SplitData, stage: int, *, sides: int
) -> bool:
    """Looked at with one image, once for a network, which then knows how many tensors it hands on."""
    network = state.network
    sizes: dict[int, int] = network.graphs.sizes
    if stage not in sizes:
        prefix.eval()
        with untuned(), state.numerics.autocast():
            output = prefix(split.inputs(torch.arange(1)))
        several = handed_on(output)
        sizes[stage] = sum(map(_bytes, several)) if several else sys.maxsize
        if several and not isinstance(output, Tensor):
            network.several[stage] = Unpacked(type(output), several)
    return sides * sizes[stage] * len(split) <= most(split.pixels.device)


def _bytes(values: Tensor) -> int:
    return values.numel() * values.element_size()


def _make_room(shared: dict[FeatureKey, Features | MirroredFeatures], limit: int) -> None:
    """Drop the oldest features until those that are left take at most `limit` bytes."""
    held = {key: _bytes(features.values) for key, features in shared.items()}
    for key in list(held):
        if sum(held.values()) <= limit:
            return
        del shared[key], held[key]


@torch.no_grad()
def outputs(state: RunState, network: nn.Module, source: Source, place: Place) -> Tensor:
    """Outputs of the network, in eval mode, for all rows of a source: [N, ...] on the device.

    `place` says which part of the run's network it is.
    """
    network.eval()
    size = -(-state.protocol.eval_batch_size // state.parts)
    if state.parts > 1:
        refuse_batch_layers(network)
    part = "features" if str(place[0]).startswith("prefix") else "evaluate"
    told = partial(_tell, state.resources.observer, part, len(source))
    if state.spec.numeric.compile == "none":
        found = []
        with state.numerics.autocast():
            for index in chunks(len(source), size):
                found.append(network(source.inputs(index)))
                told(len(found) * size)
        return torch.cat(found)
    room = source.room(size)
    key = (
        "outputs", *place, room.shape, room.dtype, room.stride(),
        state.protocol.mean, state.protocol.std,
    )  # fmt: skip
    forward = state.network.graphs.keep(key, lambda: Forward(state, network, source, room))
    return forward.over(state, source, told)


def _tell(observer: Observer, part: str, total: int, done: int) -> None:
    """A sign of life after a batch, the last of which may be smaller."""
    observer.working(part, min(done, total), total)


def predict(state: RunState, network: nn.Module, source: Source, place: Place) -> Tensor:
    """Logits, float32 [N, C] on the CPU; the network is in eval mode afterwards."""
    logits = outputs(state, network, source, place).float()
    return logits.cpu()


@torch.no_grad()
def estimate_norms(network: nn.Module, source: Source, batches: Batches) -> None:
    """Set the running statistics of the learning norm layers to those of one pass over `source`.

    Averaged weights never saw a batch, so the statistics gathered on the way do not fit them.
    """
    norms = [m for m in network.modules() if isinstance(m, NORMS) and m.training]
    momenta = [getattr(m, "momentum", None) for m in norms]
    for norm in norms:
        if isinstance(norm, nn.modules.batchnorm._NormBase):  # noqa: SLF001 - all batch norms
            norm.reset_running_stats()
            norm.momentum = None
    for number in range(batches.per_epoch):
        network(source.inputs(batches.at(number)))
    for norm, momentum in zip(norms, momenta, strict=True):
        if isinstance(norm, nn.modules.batchnorm._NormBase):  # noqa: SLF001
            norm.momentum = momentum


class Forward:
    """A forward pass over one batch of fixed size, recorded for every source of the same shape."""

    def __init__(self, state: RunState, network: nn.Module, source: Source, room: Tensor) -> None:
        self.network, self.room, self.means = network, room, source.means
        self.autocast = state.numerics.autocast
        self.out: Tensor | None = None
        known = len(room) == state.protocol.batch_size  # as in training, where trying pays
        self.once = CapturableWork(state.network.graphs.pool, tune=known)

    def bytes(self) -> int:
        return 0 if self.out is None else self.out.numel() * self.out.element_size()

    def over(self, state: RunState, source: Source, told: Callable[[int], None]) -> Tensor:
        """All rows of a source, [N, ...]."""
        batches = InOrder(len(source), len(self.room))
        whole: Tensor | None = None
        for number in range(batches.count):
            source.fill(self.room, batches, number)
            self.once(self._work, state.clock)
            if self.out is None:
                raise ValueError("nothing was computed")
            if whole is None:
                whole = empty_rows(self.out, len(source))
            first = number * len(self.out)
            part = whole[first : first + len(self.out)]
            part.copy_(self.out[: len(part)])
            told(first + len(part))
        if whole is None:
            raise ValueError("a source without rows")
        return whole

    @torch.no_grad()
    def _work(self) -> None:
        with self.autocast():
            self.out = self.network(self.means(self.room))

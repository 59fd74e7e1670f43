"""Features: outputs of frozen leading stages, computed once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from harness.engine import devices
from harness.engine.batches import Features, Source
from harness.engine.devices import untuned
from harness.engine.evaluate import outputs, predict
from harness.engine.shared import FeatureKey, SharedWork, seed_below_head
from harness.engine.state import RunState, SplitData

# More than this is computed batch by batch instead: a fixed figure (on a card, a fixed share of its
# memory), so that what is cached never depends on what else the machine is doing.
FEATURE_BYTES = 2 * 1024**3
FEATURE_SHARE = 0.1


def source_at(state: RunState, split: SplitData, stage: int) -> tuple[Source, bool]:
    """Inputs of stage number `stage`: cached features, or (pixels, False) where none are kept.

    Features of stages that have never learned are shared by all runs of the same starting point.
    """
    if not keeps(state, split, stage):
        return split, False
    shared = SharedWork.of(state.resources.shared).features
    key = feature_key(state, split, stage)
    if key is not None and key in shared:
        state.clock.borrow("features", shared[key].seconds, key)
        return shared[key], True
    prefix, _ = state.network.cut(stage)
    before = state.clock.seconds["features"]
    with state.clock.measure("features"):
        values = outputs(state, prefix, split, ("prefix", stage))
        state.clock.wait()  # others may read them from another stream
    state.clock.settled.add(key)
    features = Features(values, state.clock.seconds["features"] - before)
    if key is not None:
        _make_room(shared, most(state.data.train.pixels.device) - _bytes(values))
        shared[key] = features
    return features, True


def keeps(state: RunState, split: SplitData, stage: int) -> bool:
    """True if features at stage number `stage` are computed once, and not batch by batch."""
    prefix, _ = state.network.cut(stage)
    if len(prefix) == 0 or state.protocol.augment:
        return False
    kept = SharedWork.of(state.resources.shared).features
    return feature_key(state, split, stage) in kept or _fits(state, prefix, split, stage)


def predict_split(state: RunState, split: SplitData) -> Tensor:
    """Logits of the whole network over a split, from shared features where the prefix is frozen."""
    stage = min(state.network.touched, state.network.last_stage)
    source, cached = source_at(state, split, stage) if state.network.as_built else (split, False)
    network = state.network.cut(stage)[1] if cached else state.network.model
    with state.clock.measure("evaluate"):
        return predict(state, network, source, ("from", stage if cached else 0))


def feature_key(state: RunState, split: SplitData, stage: int) -> FeatureKey | None:
    """The key that the features are shared by; None: they are this run's alone."""
    if not state.network.as_built or stage > state.network.touched:
        return None
    spec = state.spec
    return FeatureKey(
        split.name, stage, spec.data, spec.limit, spec.weights,
        seed_below_head(spec, state.resources.start), spec.numeric.precision, spec.numeric.layout,
        spec.protocol.eval_batch_size,
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
    return int(devices.memory(device) * FEATURE_SHARE)


@torch.no_grad()
def _fits(state: RunState, prefix: nn.Sequential, split: SplitData, stage: int) -> bool:
    """Looked at with one image, once for a network."""
    sizes: dict[int, int] = state.network.graphs.sizes
    if stage not in sizes:
        prefix.eval()
        with untuned(), state.numerics.autocast():
            sizes[stage] = _bytes(prefix(split.inputs(torch.arange(1))))
    return sizes[stage] * len(split) <= most(split.pixels.device)


def _bytes(values: Tensor) -> int:
    return values.numel() * values.element_size()


def _make_room(shared: dict[FeatureKey, Features], limit: int) -> None:
    """Drop the oldest features until those that are left take at most `limit` bytes."""
    held = {key: _bytes(features.values) for key, features in shared.items()}
    for key in list(held):
        if sum(held.values()) <= limit:
            return
        del shared[key], held[key]

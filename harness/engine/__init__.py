"""One run on one device; knows no plugins, no files, no command line.

The only part of the project that owns an optimizer, a batch, a device or a clock.  What stands here
is all that others may use of it.
"""

from harness.engine.evaluate import recomputed_features
from harness.engine.inference import predict_images, rebuilt_network
from harness.engine.isolation.isolation import Isolation, Traces
from harness.engine.model import merge_parametrizations
from harness.engine.needs import count_stages, memory_need
from harness.engine.optimizer import multipliers
from harness.engine.shared import SharedWork
from harness.engine.training import run, test_again
from harness.engine.view import (
    StrategyView,
    free_looks,
    head_layer,
    initial_tensors,
    network_tensors,
)

__all__ = [
    "Isolation",
    "SharedWork",
    "StrategyView",
    "Traces",
    "count_stages",
    "free_looks",
    "head_layer",
    "initial_tensors",
    "memory_need",
    "merge_parametrizations",
    "multipliers",
    "network_tensors",
    "predict_images",
    "rebuilt_network",
    "recomputed_features",
    "run",
    "test_again",
]

"""The three full networks, small: 32 px, a few steps; all eight strategies on one of them."""

import math
from itertools import product, starmap

import pytest
from cases import nightly
from toys import toy_images, toy_run

from harness import NumericMode
from harness.engine import run
from harness.plugins.registry import load_plugins

pytestmark = pytest.mark.slow

LOADED = load_plugins(environ={})
STRATEGIES = LOADED.suites["demo"].strategies
IMAGES = toy_images((6, 3, 3), size=32)


@pytest.mark.parametrize(
    ("backbone", "strategy"),
    [
        *(("resnet50", strategy) for strategy in STRATEGIES),
        # What a strategy asks of a network: all of it, its features, its stages, its gradients.
        *product(("densenet121",), ("full-ft", "linear-probe", "gradual-last-first", "auto-rgn")),
        ("vgg19", "linear-probe"),
        *starmap(nightly, product(("vgg19",), ("full-ft", "gradual-last-first", "auto-rgn"))),
    ],
)
def test_a_full_network_runs(backbone, strategy):
    chosen = LOADED.strategies[strategy]()
    spec, resources = toy_run(
        chosen, backbone=LOADED.backbones[backbone], images=IMAGES, start=None, epochs=2,
        batch_size=3, lr=1e-4, numeric=NumericMode(), keep_state=False, resize=32, crop=32,
    )  # fmt: skip
    outcome = run(spec, resources)

    assert sum(p.steps for p in outcome.result.phases) == 4
    assert all(math.isfinite(e.train_loss) for e in outcome.result.history)
    assert outcome.predictions.logits["test"].shape == (3, 3)
    head = outcome.result.phases[0].rates["head"]
    assert head > 0

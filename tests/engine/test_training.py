"""A run: numeric modes, small sets, what is recorded, generators left alone."""

import numpy as np
import pytest
import torch
from toys import FLOAT64, FULL, HEAD, ToyVgg, toy_images, toy_protocol, toy_run

from harness.engine import run


def test_a_run_leaves_the_global_generators_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    run(*toy_run(FULL, backbone=ToyVgg(), start=None))

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
def test_numeric_modes_stay_close_to_float64(precision, layout):
    numeric = FLOAT64.model_copy(update={"precision": precision, "layout": layout})
    images = toy_images((96, 48, 120))
    chosen = run(*toy_run(FULL, images=images, numeric=numeric, epochs=10))
    exact = run(*toy_run(FULL, images=images, epochs=10))

    found, wanted = (o.result.metrics["balanced-accuracy"].value for o in (chosen, exact))
    assert abs(found - wanted) < (0.05 if precision == "float32" else 0.25)


def test_a_training_set_smaller_than_a_batch_still_trains():
    result = run(*toy_run(FULL, images=toy_images((9, 6, 6)))).result
    assert result.phases[0].steps == 4


def test_costs_and_counts_are_recorded():
    outcome = run(*toy_run(HEAD))
    cost = outcome.result.cost

    assert cost.trainable == 33
    assert cost.alone.total >= cost.alone.train + cost.alone.evaluate > 0
    assert cost.images_per_second > 0
    assert outcome.predictions.logits["test"].shape == (24, 3)
    assert outcome.predictions.logits["test"].dtype == np.float32
    assert outcome.predictions.rows["test"].tolist() == list(range(72, 96))


def test_weights_none_says_so():
    assert run(*toy_run(HEAD, start=None)).result.weights.name == "none"


def test_protocol_defaults_of_the_toy():
    assert toy_protocol().patience is None

"""The miniatures' source task, and what their starting points know of it."""

import runpy
import sys

import numpy as np
import pytest
import torch
from places import ROOT
from torch import nn

from harness.weights import find_weights, load_weights, read_tensors

pytestmark = pytest.mark.slow

HERE = ROOT / "benchmarks" / "miniatures"


@pytest.fixture(scope="module")
def scripts():
    """The two scripts, which stand outside of any package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import pretrain
        import source_task

        yield pretrain, source_task
        for name in ("pretrain", "source_task"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def images(scripts):
    drawn, labels = scripts[1].sample(10, 48, seed=77)
    return torch.from_numpy(drawn), torch.from_numpy(labels)


def test_source_task_is_drawn_alike_every_time(scripts):
    _, task = scripts
    first, again, other = (task.sample(2, 32, seed) for seed in (5, 5, 6))
    assert first[0].shape == (2 * len(task.CLASSES), 3, 32, 32)
    assert first[0].dtype == np.uint8
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], np.repeat(np.arange(len(task.CLASSES)), 2))
    assert not np.array_equal(first[0], other[0])


def test_mean_colour_tells_little_of_the_class(scripts):
    from sklearn.linear_model import LogisticRegression

    drawn, labels = scripts[1].sample(40, 24, seed=3)
    colours = drawn.reshape(len(drawn), 3, -1)
    figures = np.concatenate([colours.mean(2), colours.std(2)], axis=1) / 64
    held_out = np.arange(len(labels)) % 2 == 0
    probe = LogisticRegression(max_iter=2000).fit(figures[~held_out], labels[~held_out])
    assert probe.score(figures[held_out], labels[held_out]) < 0.2


@pytest.mark.parametrize("name", ["resnet50-mini", "densenet121-mini", "vgg19-mini"])
def test_shipped_file_knows_its_source_task(scripts, images, name):
    pretrain, task = scripts
    backbone = pretrain.miniatures()[name]
    file = find_weights(backbone)
    chain = backbone.build(len(task.CLASSES))
    start = load_weights(backbone, len(task.CLASSES), file)
    layer = backbone.head_layer()
    published = backbone.source_head(read_tensors(file.path))
    head = {
        f"{layer}.{leaf}": published[backbone.published_name(f"{layer}.{leaf}")].float()
        for leaf in ("weight", "bias")
    }
    chain.load_state_dict({**start.state, **head})
    assert pretrain.accuracy(chain, *images) > 0.75


def test_rate_is_chosen_by_the_mean_over_all_strategies(scripts):
    rate = runpy.run_path(str(HERE / "rate.py"))
    low = {name: [0.5, 0.5] for name in rate["STRATEGIES"]}
    high = low | {"auto-rgn": [0.75, 1.0], "full-ft": [0.5, 0.25]}
    broken = {name: [1.0, 1.0] for name in rate["STRATEGIES"]} | {"l2-sp": [1.0, float("nan")]}
    lines = rate["table"]({0.01: low, 0.1: high, 1.0: broken}).splitlines()
    assert "| strategy | 0.01 | 0.1 | 1 |" in lines
    assert "| auto-rgn | 50.0 | 87.5 | 100.0 |" in lines
    assert "| full-ft | 50.0 | 37.5 | 100.0 |" in lines
    assert "| l2-sp | 50.0 | 50.0 | 1 of 2 failed |" in lines
    assert lines[-1] == "| mean | 50.0 | 53.1* | 1 of 16 failed |"


def test_a_step_is_held_against_its_operations(scripts, monkeypatch, capsys):
    steps = runpy.run_path(str(HERE / "steps.py"))
    step = steps["training_step"](nn.Linear(4, 5), torch.ones(3, 4), torch.tensor([0, 1, 4]))
    assert steps["operations"](step) == 2 * (2 * 3 * 4 * 5)  # the product and the weights' gradient
    monkeypatch.setattr(sys, "argv", ["steps.py", "--batch", "2", "--turns", "1"])
    steps["main"]()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in scripts[0].RECIPES]


def test_folding_changes_no_output(scripts):
    pretrain, _ = scripts
    torch.manual_seed(0)
    chain = pretrain.miniatures()["vgg19-mini"].build(5).double()
    network = pretrain.with_norm(chain).double()
    inputs = torch.randn(8, 3, 48, 48, dtype=torch.float64)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = None
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
        network.train()(inputs)
        expected = network.eval()(inputs)
        pretrain.fold(network)
        torch.testing.assert_close(chain.eval()(inputs), expected, rtol=1e-9, atol=1e-12)
    assert expected.std() > 0

"""Looking at a run from a strategy leaves no trace and costs what the protocol says."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toys import FULL, ToyBackbone, ToyVgg, own_network, toy_run, toy_start, watching

from harness import Distance, Phase, Schedule
from harness.engine import run
from harness.engine.batches import Batches
from harness.engine.state import RunState
from harness.engine.view import StrategyView


@pytest.mark.parametrize("norm_mode", ["eval", "train"])
def test_looking_leaves_no_trace(norm_mode):
    def peek(looks):
        def steps(model, epochs):
            list(model.gradients(looks, norm_mode))
            list(model.parameters.items())
            yield Phase("ft", epochs / 2, {"*": 1.0})
            list(model.gradients(looks, norm_mode))
            yield Phase("ft", epochs / 2, {"*": 1.0})

        return watching(steps)

    given = {"backbone": ToyVgg(), "start": toy_start(ToyVgg()), "checkpoint": "last"}
    blind, peeked = (run(*toy_run(peek(looks), **given)) for looks in (0, 3))

    assert all(torch.equal(blind.state[n], peeked.state[n]) for n in blind.state)
    assert (blind.result.cost.looks, peeked.result.cost.looks) == (0, 6)


def test_gradients_are_those_of_the_loss_in_eval_mode():
    spec, resources = toy_run(FULL)
    state = RunState(spec, resources)
    (found,) = StrategyView(state).gradients(1)

    model = own_network(spec, resources).model.eval()
    index = Batches(48, 16, spec, "look").at(0)
    F.cross_entropy(
        model(state.data.train.inputs(index)), state.data.train.targets(index)
    ).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_the_last_gradient_is_that_of_the_last_step_and_costs_nothing():
    """Nothing before a step; then of what learned, with the distance's own gradient; on batch 2."""
    weights = ("head.fc.weight",)
    tie = Distance("l2", 0.5, weights, towards="zero")
    seen = []

    def steps(model, epochs):
        seen.append(model.last_gradient)
        list(model.gradients(1))
        yield Phase("lp", 1, {"head": 1.0}, penalties=(tie,))
        list(model.gradients(1))
        seen.append(model.last_gradient)

    def two_steps():
        yield Phase("lp", 2 / 3, {"head": 1.0}, penalties=(tie,))

    # The schedule is constant, so that one step more is all that sets the two runs apart.
    given = {"checkpoint": "last", "schedule": Schedule(kind="constant")}
    result = run(*toy_run(watching(steps), **given)).result
    spec, resources = toy_run(watching(lambda _, __: two_steps()), **given)
    model = own_network(spec, resources).model.eval()
    model.load_state_dict(run(spec, resources).state)
    index = Batches(48, 16, spec).at(2)
    state = RunState(spec, resources)
    loss = F.cross_entropy(model(state.data.train.inputs(index)), state.data.train.targets(index))
    (loss + 0.25 * model.head.fc.weight.square().sum()).backward()

    before, after = seen
    assert before == {}
    assert set(after) == {"head.fc.weight", "head.fc.bias"}
    for name, gradient in after.items():
        wanted = dict(model.named_parameters())[name].grad
        torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-12)
    assert result.cost.looks == 2


def test_looks_cost_budget_where_the_protocol_says_so():
    def steps(model, epochs):
        list(model.gradients(3))
        assert model.epochs_left == pytest.approx(3)
        yield Phase("ft", model.epochs_left, {"*": 1.0})

    result = run(*toy_run(watching(steps), charge_looks=True)).result
    assert sum(p.steps for p in result.phases) == 9


def test_the_view_tells_kinds_by_type():
    class Net(ToyBackbone):
        def build(self, classes):
            model = super().build(classes)
            model.layer1.downsample = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
            return model

    backbone = Net()
    view = StrategyView(RunState(*toy_run(FULL, backbone=backbone, start=None)))
    kinds = {name: info.kind for name, info in view.parameters.items()}

    assert kinds["layer1.downsample.0.weight"] == "kernel"
    assert kinds["layer1.downsample.0.bias"] == "bias"
    assert kinds["layer1.downsample.1.weight"] == "norm"
    assert kinds["head.fc.weight"] == "kernel"
    assert not view.parameters["head.fc.weight"].pretrained
    assert view.parameters["stem.conv.weight"].pretrained
    assert view.parameters["stem.conv.weight"].module == "stem.conv"
    assert (view.stages, view.head) == (backbone.stages, ("head",))
    assert (view.steps_per_epoch, view.epochs_left, view.class_counts) == (3, 4.0, (16, 16, 16))

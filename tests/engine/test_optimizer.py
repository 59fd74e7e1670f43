"""Parameters that learn, their rates, optimizers and penalties, against PyTorch's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from toys import FULL, distance, state_after, strategy, toy_protocol, toy_run

from harness import Distance, Phase, PhaseError, Schedule
from harness.engine import run
from harness.engine.batches import Batches
from harness.engine.optimizer import (
    ClosedForm,
    LeftOut,
    Optimizer,
    Penalties,
    PhaseSchedule,
    decays,
    first_match,
    matches,
    multipliers,
    rate_factor,
)
from harness.engine.shared import build_network
from harness.engine.state import RunState
from harness.engine.training import _drive

NAMES = [
    f"{s}.{i}.{w}" for s in ("stem", "layer1", "head") for i in (0, 1) for w in ("weight", "bias")
]


@given(
    st.dictionaries(
        st.sampled_from(["stem", "layer1", "head", "*.bias", "*"]),
        st.floats(0, 10, allow_nan=False),
        min_size=1,
    )
)
def test_every_parameter_learns_or_is_frozen_never_both(train):
    def first(name):
        from fnmatch import fnmatchcase

        return next(
            (v for p, v in train.items() if name.startswith(f"{p}.") or fnmatchcase(name, p)), 0
        )

    expected = {name: first(name) for name in NAMES if first(name)}
    if expected:
        assert multipliers(Phase("p", 1, train), NAMES) == expected
    else:
        with pytest.raises(PhaseError, match="trains nothing"):
            multipliers(Phase("p", 1, train), NAMES)


@pytest.mark.parametrize(
    ("schedule", "elapsed", "span", "expected"),
    [
        (Schedule(kind="cosine"), 0, 4, 1.0),
        (Schedule(kind="cosine"), 2, 4, 0.5),
        (Schedule(kind="cosine"), 4, 4, 0.0),
        (Schedule(kind="cosine", horizon=100), 50, 4, 0.5),
        (Schedule(kind="linear", floor=0.2), 2, 4, 0.6),
        (Schedule(kind="constant"), 3, 4, 1.0),
        (Schedule(kind="constant", warmup=2), 1, 4, 0.5),
        (Schedule(kind="linear", warmup=1), 2.5, 4, 0.5),
    ],
)
def test_rates_over_time(schedule, elapsed, span, expected):
    assert rate_factor(schedule, elapsed, span) == pytest.approx(expected)


def test_a_schedule_spans_the_phase_or_the_run():
    def rates(anneal):
        phases = [Phase(n, 2, {"*": 1.0}, anneal=anneal) for n in "ab"]
        return [r.lr for r in run(*toy_run(strategy(*phases))).result.history]

    assert rates("phase")[1] == pytest.approx(rates("phase")[3])
    assert sorted(rates("run"), reverse=True) == rates("run")


@pytest.mark.parametrize(
    "term",
    [
        Distance("l2", 0.3, ("stem.conv.weight", "head.fc.bias"), towards="zero"),
        Distance("l2", 0.3, ("stem.conv.weight", "stem.norm.weight")),
        Distance("l1", 0.3, ("stem.conv.weight",)),
        Distance("l1", 0.3, ("head.fc.weight",), towards="zero"),
    ],
)
def test_closed_form_gradients_are_those_of_autograd(term):
    spec, resources = toy_run(FULL)
    made = build_network(spec, resources)
    named = dict(made.model.named_parameters())
    with torch.no_grad():
        for p in named.values():
            p.add_(torch.randn_like(p))
    for p in named.values():
        p.grad = torch.zeros_like(p)
    ClosedForm([term], named, made.start).add_gradients()
    closed = {n: p.grad.clone() for n, p in named.items()}

    expected = torch.autograd.grad(term(named, made.start), list(named.values()), allow_unused=True)
    for (name, found), wanted in zip(closed.items(), expected, strict=True):
        torch.testing.assert_close(
            found, torch.zeros_like(found) if wanted is None else wanted, msg=name
        )


def test_a_foreign_penalty_goes_through_autograd():
    term = Distance("l2", 0.5, ("stem.conv.weight",))

    def same(now, start):
        return term(now, start)

    def end(penalty):
        return state_after(strategy(Phase("p", 4, {"*": 1.0}, penalties=(penalty,))))

    assert distance(end(term), end(same)) < 1e-8
    assert distance(end(term), state_after(FULL)) > 1e-3


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_decay_and_rates_by_parameter_equal_torch_groups(kind):
    phase = Phase("p", 4, {"head": 1.0, "stem": 0.5, "*": 0.1}, decay={"head": 0.0})
    found = state_after(strategy(phase), optimizer=kind, weight_decay=0.1)

    spec, resources = toy_run(strategy(phase), optimizer=kind, weight_decay=0.1)
    state = RunState(spec, resources)
    model = state.network.model.train()
    rate = {"head": 1.0, "stem": 0.5, "layer1": 0.1, "layer2": 0.1}
    groups = [
        {
            "params": list(stage.parameters()),
            "m": rate[n],
            "weight_decay": 0.0 if n == "head" else 0.1,
        }
        for n, stage in model.named_children()
    ]
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}.get(kind)
    plain = make(groups, lr=1e-2) if make else torch.optim.SGD(groups, lr=1e-2, momentum=0.9)
    batches = Batches(48, 16, spec)
    for step in range(12):
        for group in plain.param_groups:
            group["lr"] = 1e-2 * group["m"] * 0.5 * (1 + math.cos(math.pi * step / 12))
        index = batches.at(step)
        plain.zero_grad()
        F.cross_entropy(
            model(state.data.train.inputs(index)), state.data.train.targets(index)
        ).backward()
        plain.step()
    assert distance(found, model.state_dict()) < 1e-8


def test_optimizer_state_is_kept_only_if_asked():
    def steps_of(keep):
        spec, resources = toy_run(
            strategy(Phase("a", 2, {"*": 1.0}), Phase("b", 2, {"*": 1.0}, keep_optimizer=keep))
        )
        state = RunState(spec, resources)
        _drive(state)
        return {int(s["step"]) for s in state.optimizer_state.values()}

    assert steps_of(keep=True) == {12}
    assert steps_of(keep=False) == {6}


@given(st.lists(st.sampled_from(["*", "a*", "a", "a.x", "a.y", "b.x", "*.x", "b"]), unique=True))
def test_the_first_pattern_that_matches_wins(patterns):
    values = {pattern: float(number + 1) for number, pattern in enumerate(patterns)}
    names = ["a.x", "a.y", "b.x"]
    tried = {n: [v for p, v in values.items() if matches(p, n)] for n in names}
    assert first_match(values, names) == {n: found[0] for n, found in tried.items() if found}


# Errors say what, where and what to do


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"stem": 1.0, "haed": 1.0}, "'haed', which is no parameter; did you mean 'head'?"),
        (
            {"stem.0.wieght": 1.0},
            "'stem.0.wieght', which is no parameter; did you mean 'stem.0.wei",
        ),
        ({"9*": 1.0}, "'9*', which is no parameter; the stages are stem, layer1, head"),
    ],
)
def test_a_wrong_pattern_is_named(train, message):
    with pytest.raises(PhaseError) as trained:
        multipliers(Phase("p", 1, train), NAMES)
    assert str(trained.value).startswith(f"phase 'p' trains {message}")
    with pytest.raises(PhaseError) as decayed:
        decays(Phase("p", 1, {"*": 1.0}, decay=train), NAMES, 0.1)
    assert str(decayed.value).startswith(f"phase 'p' sets the decay of {message}")


def test_a_phase_that_trains_nothing_says_so():
    with pytest.raises(PhaseError) as told:
        multipliers(Phase("p", 1, {"*": 0.0}), NAMES)
    assert str(told.value) == "phase 'p' trains nothing; give a stage a rate above 0"


def test_decay_is_the_phases_word_else_the_protocols():
    phase = Phase("p", 1, {"head": 1.0}, decay={"a.x": 0.0, "b": 0.3})
    assert decays(phase, iter(["a.x", "a.y", "b.x"]), 0.1) == {"a.x": 0.0, "a.y": 0.1, "b.x": 0.3}


# Rates, worked out by hand


@pytest.mark.parametrize(
    ("schedule", "elapsed", "span", "expected"),
    [
        (Schedule(kind="linear", floor=0.2), 5, 4, 0.2),  # past the end
        (Schedule(kind="linear", warmup=1), 1.25, 1.5, 0.5),  # half an epoch of decay
        (Schedule(kind="linear", warmup=2), 2, 2, 1.0),  # none
        (Schedule(kind="cosine", floor=0.5, horizon=4), 2, 100, 0.75),
    ],
)
def test_rates_at_the_ends_of_a_schedule(schedule, elapsed, span, expected):
    assert rate_factor(schedule, elapsed, span) == pytest.approx(expected)


@pytest.mark.parametrize(("anneal", "factor"), [("phase", 0.75), ("run", 0.375)])
def test_the_rate_of_a_step_counts_from_the_phase_or_the_run(anneal, factor):
    """Step 25 of 10 an epoch: half an epoch into 2 epochs, two and a half into 4."""
    protocol = toy_protocol(schedule=Schedule(kind="linear"))
    steps = PhaseSchedule(Phase("b", 2, {"*": 1.0}, anneal=anneal), protocol, 10, 20, 40)
    assert steps.factor(25) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("epochs", "step", "share"), [(4.0, 10, 0.25), (0.25, 1, 0.5), (0.12, 1, 1.0), (0.01, 1, 1.0)]
)
def test_progress_is_the_share_of_the_runs_steps(epochs, step, share):
    """10 steps an epoch; a run of less than half a step has one."""
    phase = Phase("b", 2, {"*": 1.0})
    steps = PhaseSchedule(phase, toy_protocol(epochs=epochs), 10, 20, 40)
    assert steps.progress(step) == pytest.approx(share)


# The optimizer, a step at a time

RATES = {"stem.w": 0.5, "head.w": 1.0, "head.b": 1.0}
DECAYS = {"stem.w": 0.1, "head.w": 0.1, "head.b": 0.0}


def made(optimizer="sgd", momentum=0.0, scale=None, **values):
    """Parameters and an optimizer at a rate of 0.1; scale: that of the loss, in fp16."""
    values = {"stem.w": [1.0, 2.0], "head.w": [3.0], "head.b": [4.0]} | values
    learning = {name: nn.Parameter(torch.tensor(value)) for name, value in values.items()}
    protocol = toy_protocol(optimizer=optimizer, momentum=momentum, lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    return learning, Optimizer(protocol, learning, RATES, DECAYS, scaler, protocol.lr)


def step(learning, optimizer, slope=1.0):
    """One step of a loss whose slope is the same in every value."""
    optimizer.inner.zero_grad()
    optimizer.scaler.scale(slope * sum(p.sum() for p in learning.values())).backward()
    Penalties((), learning, {}).step(optimizer)


def flat(learning):
    return torch.cat([p.detach() for p in learning.values()]).tolist()


def test_groups_share_a_multiplier_and_a_decay():
    _, optimizer = made()
    assert optimizer.group_of == {"stem.w": 0, "head.w": 1, "head.b": 2}
    assert [group["lr"] for group in optimizer.inner.param_groups] == [0.0, 0.0, 0.0]
    assert optimizer.group_rates(0.5) == pytest.approx([0.025, 0.05, 0.05])
    optimizer.set_rate(0.5)
    assert [optimizer.rate(name) for name in RATES] == pytest.approx([0.025, 0.05, 0.05])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # The slope and decay * w, times the rate.
        ("sgd", [0.9725, 1.97, 2.935, 3.95]),
        # A first step of Adam is as long as the rate; AdamW's decay, rate * decay * w, is beside it.
        ("adam", [0.975, 1.975, 2.95, 3.95]),
        ("adamw", [0.9725, 1.97, 2.935, 3.95]),
    ],
)
def test_a_first_step_by_hand(kind, expected):
    learning, optimizer = made(kind)
    assert all(group["fused"] for group in optimizer.inner.param_groups)
    optimizer.set_rate(0.5)
    step(learning, optimizer)
    assert flat(learning) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("device", [False, True])
def test_momentum_by_hand(device):
    """Without a decay at 0.1: 4 - 0.1 * 1 - 0.1 * (1 + 0.9)."""
    learning, optimizer = made(momentum=0.9)
    if device:
        optimizer.rates_on(torch.device("cpu"))
        optimizer.put_rates(torch.tensor(optimizer.group_rates(1.0)))
    else:
        optimizer.set_rate(1.0)
    for _ in range(2):
        step(learning, optimizer)
    assert flat(learning)[-1] == pytest.approx(3.71)


def test_only_sgd_with_a_momentum_starts_with_a_state():
    assert made("adam", 0.9)[1].state() == made("sgd", 0.0)[1].state() == {}
    state = made("sgd", 0.9)[1].state()
    assert {name: kept["momentum_buffer"].tolist() for name, kept in state.items()} == {
        "stem.w": [0.0, 0.0], "head.w": [0.0], "head.b": [0.0],
    }  # fmt: skip


def test_state_goes_on_under_the_parameters_names():
    learning, optimizer = made(momentum=0.9)
    step(learning, optimizer)
    kept = optimizer.state()
    assert list(kept) == ["stem.w", "head.w", "head.b"]
    _, later = made(momentum=0.9)
    later.restore({"head.b": kept["head.b"], "gone.w": kept["stem.w"]})
    later.rates_on(torch.device("cpu"))  # a recorded update starts no momentum anew
    found = {name: one["momentum_buffer"].tolist() for name, one in later.state().items()}
    assert found == {"stem.w": [0.0, 0.0], "head.w": [0.0], "head.b": [1.0]}


def test_rates_may_be_read_from_the_device():
    learning, optimizer = made("adamw")
    with pytest.raises(PhaseError) as told:
        optimizer.put_rates(torch.zeros(3))
    assert str(told.value) == "rates_on() comes before put_rates()"
    optimizer.rates_on(torch.device("cpu"))
    groups = optimizer.inner.param_groups
    assert [(group["capturable"], group["fused"]) for group in groups] == [(False, True)] * 3
    assert [float(optimizer.rate(name)) for name in RATES] == [0.0, 0.0, 0.0]
    optimizer.put_rates(torch.tensor([0.025, 0.05, 0.05]))
    assert [float(optimizer.rate(name)) for name in RATES] == pytest.approx([0.025, 0.05, 0.05])
    step(learning, optimizer)
    assert flat(learning) == pytest.approx([0.9725, 1.97, 2.935, 3.95], abs=1e-6)


def test_rates_lie_on_the_device_that_is_asked_for():
    _, optimizer = made()
    optimizer.rates_on(torch.device("meta"))
    assert optimizer.rate("head.b").device.type == "meta"


def test_an_update_on_a_gpu_can_be_recorded(monkeypatch):
    here = lambda size, device: torch.full((size,), 0.0)  # noqa: E731 - no GPU is needed
    monkeypatch.setattr(torch, "zeros", here)
    _, optimizer = made()
    optimizer.rates_on(torch.device("cuda"))
    assert [group["capturable"] for group in optimizer.inner.param_groups] == [True] * 3


def test_no_momentum_is_started_where_there_is_none():
    for kind, momentum in (("adam", 0.9), ("sgd", 0.0)):
        _, optimizer = made(kind, momentum)
        optimizer.rates_on(torch.device("cpu"))
        assert optimizer.state() == {}


def test_the_scale_of_the_loss_leaves_no_trace_and_steps_left_out_are_told():
    learning, optimizer = made(scale=4.0)
    optimizer.set_rate(0.5)
    assert optimizer.notes() == ()
    step(learning, optimizer)
    after = [0.9725, 1.97, 2.935, 3.95]
    assert flat(learning) == pytest.approx(after)
    assert [p.grad.tolist() for p in learning.values()] == [[1.0, 1.0], [1.0], [1.0]]
    assert optimizer.notes() == ()
    for count in ("1 step", "2 steps"):
        step(learning, optimizer, slope=math.inf)
        assert optimizer.notes() == (f"{count} left out: a gradient was not finite in fp16",)
    assert flat(learning) == pytest.approx(after)
    assert optimizer.scaler.get_scale() == 1.0  # halved each time
    assert made()[1].notes() == ()


def test_steps_of_a_single_parameter_are_counted_too():
    alone, scaler = {"w": nn.Parameter(torch.ones(()))}, torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer = Optimizer(toy_protocol(), alone, {"w": 1.0}, {"w": 0.0}, scaler, 0.1)
    step(alone, optimizer, slope=math.nan)
    assert optimizer.notes() == ("1 step left out: a gradient was not finite in fp16",)


def test_steps_left_out_are_counted_where_the_parameters_lie():
    far = nn.Parameter(torch.zeros(1, device="meta"))
    counted = LeftOut.by(torch.optim.SGD([far]))
    assert {counted.count.device.type, counted.last.device.type} == {"meta"}


# Penalties by hand


@pytest.mark.parametrize("towards", ["zero", "start"])
def test_a_proximal_step_moves_by_rate_times_strength(towards):
    """A step of 0.025 down, then 0.025 * 2 nearer.  What is no farther lands on the origin."""
    start, origin = {"stem.w": torch.full((3,), 0.5)}, {"zero": 0.0, "start": 0.5}[towards]
    learning, optimizer = made(**{"stem.w": [origin + 1.0, origin - 0.2, origin + 0.06]})
    optimizer.set_rate(0.5)
    for parameter in learning.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.inner.param_groups[0]["weight_decay"] = 0.0
    nearer = Distance("l1", 2.0, ("stem.w", "frozen.w"), towards=towards, proximal=True)
    frozen = [
        Distance("l1", 2.0, ("frozen.w",), proximal=True), Distance("l2", 2.0, ("frozen.w",))
    ]  # fmt: skip
    Penalties((nearer, *frozen), learning, start).step(optimizer)
    expected = [origin + 0.925, origin - 0.175, origin]
    assert learning["stem.w"].tolist() == pytest.approx(expected, abs=1e-6)
    assert learning["stem.w"].grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("scale", [None, 4.0])
def test_a_closed_form_counts_before_the_step_and_is_not_scaled(scale):
    """Slope 1, and 2 * (w - 0.5) on top: 4 - 0.1 * (1 + 2 * 3.5)."""
    learning, optimizer = made(scale=scale)
    optimizer.set_rate(1.0)
    penalties = Penalties(
        (Distance("l2", 2.0, ("head.b",)),), learning, {"head.b": torch.tensor([0.5])}
    )
    optimizer.scaler.scale(sum(p.sum() for p in learning.values())).backward()
    penalties.step(optimizer)
    assert learning["head.b"].item() == pytest.approx(3.2)


def test_other_penalties_are_added_to_the_loss_and_distances_are_not():
    learning, _ = made()
    start = {"head.b": torch.tensor([1.0])}
    terms = (
        lambda now, start: (now["head.b"] - start["head.b"]).sum(),
        Distance("l2", 9.0, ("head.b",)),
        lambda now, _: now["head.w"].sum() * 10,
    )
    assert Penalties(terms, learning, start).added_to(torch.tensor(0.5)).item() == 33.5


def test_a_penalty_towards_a_start_that_is_not_there_is_refused():
    learning, _ = made()
    term = Distance("l2", 1.0, ("stem.w", "head.w", "head.b"))
    with pytest.raises(PhaseError) as told:
        Penalties((term,), learning, {"stem.w": torch.zeros(2)})
    assert str(told.value) == (
        "a penalty ties 'head.w' to the starting point, but it is new for this dataset; list only "
        "parameters whose `pretrained` is true"
    )

"""Parameters that learn, their rates, optimizers and penalties, against PyTorch's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from toys import FULL, distance, state_after, strategy, toy_run

from harness import Distance, Phase, PhaseError, Schedule
from harness.engine import run
from harness.engine.batches import Batches
from harness.engine.optimizer import ClosedForm, first_match, matches, multipliers, rate_factor
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

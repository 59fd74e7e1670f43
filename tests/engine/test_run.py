"""The engine's promises: frozen is frozen, caching changes nothing, the protocol is followed."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize
from toys import (
    FLOAT64,
    FULL,
    HEAD,
    ToyBackbone,
    ToyVgg,
    accuracy,
    distance,
    strategy,
    toy_images,
    toy_protocol,
    toy_run,
    toy_start,
    watching,
)  # fmt: skip

from harness import Distance, Phase, PhaseError, Schedule, Strategy, TrainingError
from harness.api.execution import Observer
from harness.api.records import MetricValue
from harness.engine import features, run
from harness.engine.batches import Batches, steps_per_epoch
from harness.engine.optimizer import ClosedForm, first_match, matches, multipliers, rate_factor
from harness.engine.shared import SharedWork, build_network
from harness.engine.state import Numerics, RunState
from harness.engine.training import _drive
from harness.engine.view import StrategyView


def state_after(chosen, **given):
    spec, resources = toy_run(chosen, checkpoint="last", **given)
    return run(spec, resources).state


# -- frozen stages and caching ------------------------------------------------------------------


@pytest.mark.parametrize("stages", [("head",), ("layer2", "head"), ("layer1", "layer2", "head")])
def test_caching_frozen_stages_changes_nothing(stages, monkeypatch):
    chosen = strategy(Phase("p", 4, dict.fromkeys(stages, 1.0)))
    cached = run(*toy_run(chosen, checkpoint="last"))
    monkeypatch.setattr(features, "FEATURE_BYTES", 0)
    plain = run(*toy_run(chosen, checkpoint="last"))

    assert cached.result.phases[0].cached_stages == 4 - len(stages)
    assert plain.result.phases[0].cached_stages == 0
    for name, tensor in plain.state.items():
        torch.testing.assert_close(cached.state[name], tensor, rtol=1e-8, atol=1e-12)


def test_runs_share_features_and_end_the_same():
    shared = {}
    first = run(*toy_run(HEAD, shared=shared))
    second = run(*toy_run(HEAD, shared=shared, seed=0))
    alone = run(*toy_run(HEAD))

    assert SharedWork.of(shared).features
    assert all(torch.equal(second.state[n], alone.state[n]) for n in alone.state)
    assert second.result.cost.incurred.features == 0
    assert second.result.cost.alone.features == pytest.approx(first.result.cost.alone.features)


def test_features_of_another_starting_point_are_not_taken():
    shared = {}
    run(*toy_run(HEAD, shared=shared, start=None, seed=0))
    mixed = run(*toy_run(HEAD, shared=shared, start=None, seed=1))
    alone = run(*toy_run(HEAD, start=None, seed=1))

    assert all(torch.equal(mixed.state[n], alone.state[n]) for n in alone.state)


def test_another_backbone_takes_over_the_pixels_and_nothing_else():
    shared = {}
    run(*toy_run(HEAD, shared=shared))
    work = SharedWork.of(shared)
    pixels, beside = dict(work.pixels), work.beside()
    assert len(pixels) == 3
    assert not beside.features
    assert not beside.networks
    assert not beside.heads.kept

    given = {"backbone": ToyVgg()}
    mixed = run(*toy_run(HEAD, shared={SharedWork.KEY: beside}, **given))
    alone = run(*toy_run(HEAD, **given))
    assert beside.pixels == pixels
    assert all(torch.equal(mixed.state[n], alone.state[n]) for n in alone.state)


def test_a_place_that_is_taken_is_told():
    with pytest.raises(TypeError, match="taken"):
        SharedWork.of({SharedWork.KEY: 1})


def test_features_are_not_shared_once_a_stage_has_learned():
    shared = {}
    chosen = strategy(Phase("a", 2, {"*": 1.0}), Phase("b", 2, {"head": 1.0}))
    run(*toy_run(HEAD, shared=shared))
    mixed = run(*toy_run(chosen, shared=shared))
    alone = run(*toy_run(chosen))

    assert all(torch.equal(mixed.state[n], alone.state[n]) for n in alone.state)


def test_a_frozen_stage_keeps_its_batch_norm_statistics():
    before = build_network(*toy_run(FULL)).initial
    after = state_after(strategy(Phase("p", 4, {"layer2": 1.0, "head": 1.0})))

    for name in before:
        changed = not torch.equal(before[name], after[name])
        assert changed == name.startswith(("layer2", "head")), name


def test_norm_eval_keeps_statistics_while_the_stage_learns():
    before = build_network(*toy_run(FULL)).initial
    after = state_after(strategy(Phase("p", 4, {"*": 1.0}, norm="eval")))

    assert torch.equal(before["stem.norm.running_mean"], after["stem.norm.running_mean"])
    assert not torch.equal(before["stem.norm.weight"], after["stem.norm.weight"])


def test_the_protocol_can_ask_for_eval_norms_and_a_phase_overrule_it():
    before = build_network(*toy_run(FULL)).initial["stem.norm.running_mean"]
    assert torch.equal(state_after(FULL, norm="eval")["stem.norm.running_mean"], before)
    overruled = strategy(Phase("p", 4, {"*": 1.0}, norm="train"))
    assert not torch.equal(state_after(overruled, norm="eval")["stem.norm.running_mean"], before)


def test_dropout_acts_only_while_its_stage_learns(monkeypatch):
    calls = []
    original = F.dropout
    monkeypatch.setattr(
        F, "dropout", lambda x, p, train, inplace: calls.append(train) or original(x, p, train)
    )
    given = {"backbone": ToyVgg(), "start": toy_start(ToyVgg())}
    calls.clear()
    run(*toy_run(HEAD, **given))
    assert calls
    assert not any(calls)
    run(*toy_run(strategy(Phase("p", 1, {"fc": 1.0, "head": 1.0})), **given))
    assert any(calls)


# -- looking ------------------------------------------------------------------------------------


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

    given = {"backbone": ToyVgg(), "start": toy_start(ToyVgg())}
    blind, peeked = (run(*toy_run(peek(looks), **given)) for looks in (0, 3))

    assert all(torch.equal(blind.state[n], peeked.state[n]) for n in blind.state)
    assert (blind.result.cost.looks, peeked.result.cost.looks) == (0, 6)


def test_gradients_are_those_of_the_loss_in_eval_mode():
    spec, resources = toy_run(FULL)
    state = RunState(spec, resources)
    (found,) = StrategyView(state).gradients(1)

    model = build_network(spec, resources).model.eval()
    index = Batches(48, 16, spec, "look").at(0)
    F.cross_entropy(
        model(state.data.train.inputs(index)), state.data.train.targets(index)
    ).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


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


# -- selection of parameters --------------------------------------------------------------------

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
    ("phase", "match"),
    [
        (Phase("lp", 1, {"haed": 1.0}), r"phase 'lp' trains 'haed'.*did you mean 'head'"),
        (Phase("lp", 1, {"zzz": 1.0}), r"the stages are stem, layer1, layer2, head"),
        (Phase("lp", 1, {"head": -1.0}), r"must be 0 or more"),
        (Phase("lp", 1, {"head": math.nan}), r"must be 0 or more"),
        (Phase("lp", 1, {"head": 1.0}, decay={"haed": 0.1}), r"sets the decay of 'haed'"),
        (Phase("lp", 5, {"head": 1.0}), r"4 epochs left, but phase 'lp' asks for 5"),
        (Phase("lp", -1, {"head": 1.0}), r"must be 0 or more"),
        (Phase("lp", math.nan, {"head": 1.0}), r"must be 0 or more"),
        (Phase("lp", 1, {"head": 1.0}, share=0), r"above 0 and at most 1"),
        (Phase("lp", 0.01, {"head": 1.0}), r"trained nothing"),
        (
            Phase("lp", 1, {"*": 1.0}, penalties=(Distance("l2", 1.0, ("head.fc.weight",)),)),
            r"ties 'head.fc.weight' to the starting point, but it is new",
        ),
    ],
)
def test_an_impossible_phase_is_refused(phase, match):
    with pytest.raises(PhaseError, match=match):
        run(*toy_run(strategy(phase)))


def test_overspending_over_several_phases_is_refused():
    greedy = strategy(Phase("a", 3, {"*": 1.0}), Phase("b", 2, {"*": 1.0}))
    with pytest.raises(PhaseError, match="has 1 epochs left, but phase 'b' asks for 2"):
        run(*toy_run(greedy))


# -- batches and the budget ---------------------------------------------------------------------


@given(st.integers(1, 200), st.integers(1, 40))
def test_a_pass_sees_each_sample_at_most_once_and_never_a_batch_of_one(samples, size):
    spec, _ = toy_run(FULL)
    batches = Batches(samples, size, spec)
    seen = [batches.at(k) for k in range(batches.per_epoch)]

    flat = torch.cat(seen).tolist()
    assert len(set(flat)) == len(flat)
    assert len(flat) >= samples - 1
    assert all(len(b) > 1 for b in seen) or size == 1 or samples == 1


def test_batch_k_is_the_same_whoever_asks_and_whenever():
    spec, _ = toy_run(FULL)
    forwards, backwards = Batches(48, 16, spec), Batches(48, 16, spec)

    late = [backwards.at(k) for k in (8, 1, 5)]
    assert all(torch.equal(forwards.at(k), b) for k, b in zip((8, 1, 5), late, strict=True))
    other, _ = toy_run(HEAD)
    assert torch.equal(Batches(48, 16, other).at(4), forwards.at(4))
    reseeded, _ = toy_run(FULL, seed=1)
    assert not torch.equal(Batches(48, 16, reseeded).at(4), forwards.at(4))


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6))
def test_step_boundaries_add_up(shares):
    epochs = [4 * s / sum(shares) for s in shares]
    spec, resources = toy_run(
        strategy(*(Phase(f"p{i}", e, {"head": 1.0}) for i, e in enumerate(epochs)))
    )
    state = RunState(spec, resources)
    _drive(state)

    assert sum(p.steps for p in state.log.phases) == 4 * steps_per_epoch(48, 16)
    assert [p.skipped for p in state.log.phases] == [p.steps == 0 for p in state.log.phases]


def test_all_strategies_share_head_and_order_but_not_over_seeds():
    heads = [
        build_network(*toy_run(s, seed=seed)).initial["head.fc.weight"]
        for s in (FULL, HEAD)
        for seed in (0, 1)
    ]

    assert torch.equal(heads[0], heads[2])
    assert not torch.equal(heads[0], heads[1])


def test_a_run_leaves_the_global_generators_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    run(*toy_run(FULL, backbone=ToyVgg(), start=None))

    assert torch.equal(torch.rand(3), expected)


def test_a_share_uses_the_same_part_every_time_and_keeps_classes():
    seen = []

    @dataclass
    class Spy:
        capturable: bool = False

        def __call__(self, model, batch):
            seen.append(batch.index)
            return F.cross_entropy(model(batch.inputs), batch.targets)

    run(*toy_run(strategy(Phase("p", 4, {"head": 1.0}, share=0.25, objective=Spy()))))
    rows = torch.cat(seen).unique()

    assert len(rows) == 12
    assert torch.bincount(rows % 3).tolist() == [4, 4, 4]
    assert len(torch.cat(seen)) == 12 * 12  # the budget counts steps of the whole split


# -- schedules ----------------------------------------------------------------------------------


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


# -- selection, patience, checkpoints -----------------------------------------------------------


def scripted(scores, *, higher_is_better=True):
    """A validation metric that answers from a list; test figures come after it is used up."""
    left = list(scores)
    plain = accuracy(higher_is_better=higher_is_better)

    class Scripted(type(plain)):
        def compute(self, logits, targets, classes):
            return left.pop(0) if left else MetricValue(value=0.5)

    return Scripted(plain.name, plain.build, higher_is_better)


def values(*scores):
    return [MetricValue(value=s, reason=None if s is not None else "made") for s in scores]


def scored_run(chosen, scores, *, higher_is_better=True, **given):
    spec, resources = toy_run(chosen, **given)
    metric = scripted(scores, higher_is_better=higher_is_better)
    return run(
        spec,
        copy.copy(resources).__class__(**{**resources.__dict__, "metrics": {metric.name: metric}}),
    )


def test_the_best_epoch_on_validation_is_tested():
    outcome = scored_run(FULL, values(0.2, 0.9, 0.9, 0.3))
    assert outcome.result.tested == "best on validation: phase ft, epoch 2"

    shorter = scored_run(FULL, values(0.2, 0.9, 0.9, 0.3), checkpoint="last")
    assert shorter.result.tested == "last epoch"
    assert distance(outcome.state, shorter.state) > 0


def test_a_metric_where_less_is_better_selects_the_least():
    outcome = scored_run(FULL, values(0.9, 0.2, 0.4, 0.3), higher_is_better=False)
    assert outcome.result.tested == "best on validation: phase ft, epoch 2"


def test_a_phase_that_does_not_select_is_never_tested():
    chosen = strategy(Phase("a", 2, {"*": 1.0}, select=False), Phase("b", 2, {"*": 1.0}))
    outcome = scored_run(chosen, values(0.99, 0.99, 0.1, 0.2))
    assert outcome.result.tested == "best on validation: phase b, epoch 4"


def test_without_a_defined_score_the_last_epoch_is_tested_and_says_so():
    outcome = scored_run(FULL, values(None, None, None, None))
    assert outcome.result.tested == "last epoch: balanced-accuracy is undefined on validation"


def test_patience_ends_the_phase_not_the_run():
    chosen = strategy(Phase("a", 2, {"head": 1.0}), Phase("b", 2, {"*": 1.0}))
    result = scored_run(chosen, values(0.5, 0.5, 0.4, 0.6), patience=1).result

    assert [(p.name, p.epochs, p.stopped) for p in result.phases] == [
        ("a", 2, True),
        ("b", 2, False),
    ]


def test_unspent_epochs_stay_on_the_budget():
    left = []

    def steps(model, epochs):
        report = yield Phase("a", 3, {"head": 1.0})
        assert report.stopped
        left.append(model.epochs_left)
        yield Phase("b", model.epochs_left, {"*": 1.0})

    result = scored_run(watching(steps), values(0.5, 0.5, 0.6, 0.7), patience=1).result
    assert left == [2.0]
    assert sum(p.steps for p in result.phases) == 12


def test_patience_restarts_with_a_phase_unless_it_continues():
    def stops(continues):
        phases = [Phase(f"e{i}", 1, {"*": 1.0}, continues=continues and i > 0) for i in range(4)]
        result = scored_run(strategy(*phases), values(0.5, 0.4, 0.3, 0.2), patience=2).result
        return [p.stopped for p in result.phases]

    assert stops(continues=False) == [False] * 4
    assert stops(continues=True) == [False, False, True, True]


def test_a_phase_can_be_spared_from_patience():
    chosen = strategy(Phase("a", 4, {"*": 1.0}, patience=False))
    result = scored_run(chosen, values(0.5, 0.4, 0.3, 0.2), patience=1).result
    assert result.phases[0].epochs == 4


def test_begin_best_and_begin_pretrained():
    begin = {}

    def steps(model, epochs):
        yield Phase("a", 2, {"*": 1.0})
        yield Phase("b", 0, {"*": 1.0}, begin="best")
        begin["best"] = {n: p.norm for n, p in model.parameters.items()}
        yield Phase("c", 1, {"*": 1.0}, begin="pretrained")

    spec, resources = toy_run(watching(steps))
    start = build_network(spec, resources).initial
    outcome = scored_run(watching(steps), values(0.9, 0.1, 0.2))
    assert begin["best"]["stem.conv.weight"] == pytest.approx(
        outcome.state["stem.conv.weight"].norm().item()
    )
    again = state_after(
        strategy(Phase("a", 3, {"*": 1.0}), Phase("c", 0.34, {"*": 1.0}, begin="pretrained"))
    )
    assert distance(again, start) > 0


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step():
    with pytest.raises(
        TrainingError, match=r"the loss of phase 'ft' is (nan|inf) at step"
    ) as caught:
        run(*toy_run(FULL, lr=1e200))
    assert caught.value.phase == "ft"
    assert caught.value.step >= 2


def test_reports_tell_what_happened():
    reports = []

    def steps(model, epochs):
        reports.append((yield Phase("a", 2, {"head": 1.0})))
        reports.append((yield Phase("b", 2, {"*": 1.0})))

    scored_run(watching(steps), values(0.1, 0.4, 0.3, 0.2))
    assert [
        (r.score, r.best, r.history, r.steps, r.trainable, r.cached_stages) for r in reports
    ] == [
        (0.4, 0.4, (0.1, 0.4), 6, 33, 3),
        (0.2, 0.4, (0.3, 0.2), 6, 1419, 0),
    ]


def test_observers_hear_of_epochs_and_phases():
    class Ear(Observer):
        def __init__(self):
            self.heard = []

        def epoch_end(self, record):
            self.heard.append(("epoch", record.epoch))

        def phase_end(self, report):
            self.heard.append(("phase", report.phase))

    spec, resources = toy_run(FULL, epochs=4)
    ear = Ear()
    run(spec, resources.__class__(**{**resources.__dict__, "observer": ear}))
    assert ear.heard == [*(("epoch", float(e)) for e in range(1, 5)), ("phase", "ft")]


# -- optimizers, penalties, objectives ----------------------------------------------------------


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


def test_class_weights_and_label_smoothing_are_torchs():
    spec, _ = toy_run(FULL, class_weights="balanced", label_smoothing=0.1)
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    weight = torch.tensor([48 / 30, 48 / 90, 48 / 24], dtype=torch.float64)

    expected = F.cross_entropy(logits, targets, weight=weight, label_smoothing=0.1)
    loss = Numerics.of(spec, (10, 30, 8), "cpu").loss
    torch.testing.assert_close(loss(logits, targets), expected)


def test_an_objective_sees_the_batch_and_a_frozen_reference():
    seen = []

    @dataclass
    class Distil:
        capturable: bool = False

        def __call__(self, model, batch):
            with torch.no_grad():
                teacher = batch.reference(batch.inputs).softmax(1)
            seen.append((batch.progress, len(batch.index), model is batch.reference))
            logits = model(batch.inputs)
            return F.cross_entropy(logits, batch.targets) + F.cross_entropy(logits, teacher)

    for reference in ("phase-start", "pretrained"):
        seen.clear()
        chosen = strategy(
            Phase("lp", 2, {"head": 1.0}),
            Phase("ft", 2, {"layer2": 1.0, "head": 1.0}, objective=Distil(), reference=reference),
        )
        outcome = run(*toy_run(chosen))
        assert outcome.result.phases[1].cached_stages == (2 if reference == "phase-start" else 0)
        assert [round(p, 3) for p, _, _ in seen[:2]] == [0.5, 0.583]
        assert {same for _, _, same in seen} == {False}


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages_of_weights(kind):
    """The last phase's tested weights are the average of the path, followed here by hand."""
    chosen = strategy(Phase("p", 4, {"*": 1.0}, average=kind))
    found = state_after(chosen)

    spec, resources = toy_run(FULL)
    state = RunState(spec, resources)
    model = state.network.model.train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    batches = Batches(48, 16, spec)
    average = {n: p.detach().clone() for n, p in model.named_parameters()}
    ends = []
    for step in range(12):
        adam.param_groups[0]["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / 12))
        index = batches.at(step)
        adam.zero_grad()
        F.cross_entropy(
            model(state.data.train.inputs(index)), state.data.train.targets(index)
        ).backward()
        adam.step()
        with torch.no_grad():
            for n, p in model.named_parameters():
                average[n] = 0.99 * average[n] + 0.01 * p
        if step % 3 == 2:
            ends.append({n: p.detach().clone() for n, p in model.named_parameters()})
    if kind == "swa":
        average = {n: torch.stack([e[n] for e in ends]).mean(0) for n in average}
    assert distance(average, {n: found[n] for n in average}) < 1e-6


def test_adapted_networks_keep_their_starting_point():
    class LowRank(nn.Module):
        def __init__(self, weight, rng):
            super().__init__()
            out, into = weight.flatten(1).shape
            self.a = nn.Parameter(torch.randn(2, into, generator=rng).to(weight) * 0.1)
            self.b = nn.Parameter(torch.zeros(out, 2).to(weight))

        def forward(self, weight):
            return weight + (self.b @ self.a).view_as(weight)

    class LoRA(Strategy):
        name = "lora"

        def adapt(self, model, rng):
            for stage in list(model)[:-1]:
                parametrize.register_parametrization(
                    stage.conv, "weight", LowRank(stage.conv.weight, rng)
                )
            return model

        def phases(self, model, epochs):
            infos = model.parameters
            original = "stem.conv.parametrizations.weight.original"
            assert infos[original].pretrained
            assert infos[original].kind == "kernel"
            assert infos[original].module == "stem.conv"
            assert not infos["stem.conv.parametrizations.weight.0.a"].pretrained
            assert infos["stem.conv.parametrizations.weight.0.a"].kind == "other"
            yield Phase("lora", epochs, {"head": 1.0, "*.parametrizations.weight.0.*": 1.0})

    outcome = run(*toy_run(LoRA(), checkpoint="last"))
    before = build_network(*toy_run(FULL)).initial
    assert torch.equal(
        outcome.state["stem.conv.parametrizations.weight.original"], before["stem.conv.weight"]
    )
    assert outcome.state["stem.conv.parametrizations.weight.0.b"].abs().sum() > 0


def test_adapt_may_not_change_the_stages():
    class Breaker(Strategy):
        name = "breaker"

        def adapt(self, model, rng):
            return nn.Sequential(model)

        def phases(self, model, epochs):
            yield Phase("p", epochs, {"*": 1.0})

    with pytest.raises(PhaseError, match="changed the stages in adapt"):
        run(*toy_run(Breaker()))


# -- data and numeric modes ---------------------------------------------------------------------


def test_images_are_normalised_as_the_protocol_says():
    spec, resources = toy_run(FULL)
    state = RunState(spec, resources)
    x = state.data.train.inputs(torch.tensor([5, 2]))

    raw = resources.images.images["train"][[5, 2]].astype(np.float64) / 255
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (spec.protocol.mean, spec.protocol.std))
    np.testing.assert_allclose(x.numpy(), (raw - mean) / std, rtol=1e-12)


@pytest.mark.parametrize("kinds", [("flip-horizontal",), ("flip-vertical",), ("affine",)])
def test_augmentation_is_seeded_per_sample_and_only_for_training(kinds):
    first, second = (run(*toy_run(HEAD, augment=kinds)) for _ in range(2))
    plain = run(*toy_run(HEAD))

    assert all(torch.equal(first.state[n], second.state[n]) for n in first.state)
    assert distance(first.state, plain.state) > 0
    assert first.result.phases[0].cached_stages == 0


def test_flips_are_exact():
    from harness.engine.batches import augment, draw

    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.float64).view(2, 3, 4, 4)
    rng = torch.Generator().manual_seed(0)
    flipped = augment(images, ["flip-horizontal"], draw(len(images), ["flip-horizontal"], rng))
    chosen = torch.rand(2, generator=torch.Generator().manual_seed(0)) < 0.5
    for i in range(2):
        assert torch.equal(flipped[i], images[i].flip(2) if chosen[i] else images[i])


@pytest.mark.parametrize("precision", ["float32", "bf16"])
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


def test_protocol_defaults_of_the_toy():
    assert toy_protocol().patience is None


@given(st.lists(st.sampled_from(["*", "a*", "a", "a.x", "a.y", "b.x", "*.x", "b"]), unique=True))
def test_the_first_pattern_that_matches_wins(patterns):
    values = {pattern: float(number + 1) for number, pattern in enumerate(patterns)}
    names = ["a.x", "a.y", "b.x"]
    tried = {n: [v for p, v in values.items() if matches(p, n)] for n in names}
    assert first_match(values, names) == {n: found[0] for n, found in tried.items() if found}

"""A phase: its budget, the epoch it selects, patience, what it reports, objectives, averages."""

import copy
import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from by_hand import LR, ByHand
from hypothesis import given
from hypothesis import strategies as st
from toys import FULL, accuracy, distance, own_network, state_after, strategy, toy_run, watching

from harness import Distance, Phase, PhaseError, TrainingError
from harness.api.execution import Observer
from harness.api.records import MetricValue, NumericMode
from harness.engine import run
from harness.engine.batches import Batches, steps_per_epoch
from harness.engine.state import Numerics, RunState
from harness.engine.training import _drive


@pytest.mark.parametrize(
    ("phase", "match"),
    [
        (Phase("lp", 1, {"haed": 1.0}), r"phase 'lp' trains 'haed'.*did you mean 'head'"),
        (Phase("lp", 1, {"zzz": 1.0}), r"the stages are stem, layer1, layer2, head"),
        (Phase("lp", 1, {"head": 1.0}, decay={"haed": 0.1}), r"sets the decay of 'haed'"),
        (Phase("lp", 5, {"head": 1.0}), r"4 epochs left, but phase 'lp' asks for 5"),
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


@pytest.mark.slow
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


def test_steps_are_rounded_to_the_nearest():
    phases = strategy(Phase("a", 0.6, {"*": 1.0}), Phase("b", 3.4, {"*": 1.0}))  # 1.8 and 10.2
    assert [p.steps for p in run(*toy_run(phases)).result.phases] == [2, 10]


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


def fine_tuned(steps, *, first=0, span=12):
    """A network from its starting point after some steps of full fine-tuning by hand."""
    hand = ByHand(*toy_run(FULL))
    hand.step = first
    hand.modes("stem", "layer1", "layer2", "head")
    adam = torch.optim.Adam(hand.model.parameters(), lr=LR)
    for _ in range(steps):
        hand.train_step(adam, hand.cosine(first, span))
    return hand


def test_the_weights_of_the_best_epoch_are_tested():
    outcome = scored_run(FULL, values(0.2, 0.9, 0.9, 0.3))
    hand = fine_tuned(6)
    assert distance(outcome.state, hand.model.state_dict()) < 1e-7

    hand.model.eval()
    rows = torch.arange(24)
    for split in ("validation", "test"):
        with torch.no_grad():
            logits = hand.model(hand.xy(rows, split)[0])
        found = torch.from_numpy(outcome.predictions.logits[split])
        torch.testing.assert_close(found, logits.float(), rtol=1e-5, atol=1e-6)


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


def test_patience_counts_from_the_best_score():
    """0.45 is better than the 0.4 before it, and still the second in a row below 0.5."""
    chosen = strategy(Phase("a", 4, {"*": 1.0}))
    result = scored_run(chosen, values(0.5, 0.4, 0.45, 0.6), patience=2).result
    assert (result.phases[0].epochs, result.phases[0].stopped) == (3, True)


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


def test_begin_best_takes_the_weights_of_the_best_epoch():
    begin = {}

    def steps(model, epochs):
        yield Phase("a", 4, {"*": 1.0})
        yield Phase("b", 0, {"*": 1.0}, begin="best")
        begin.update({n: p.norm for n, p in model.parameters.items()})

    scored_run(watching(steps), values(0.2, 0.9, 0.1, 0.3))
    best = dict(fine_tuned(6).model.named_parameters())
    assert begin == pytest.approx({n: p.detach().norm().item() for n, p in best.items()})


def test_begin_pretrained_goes_back_to_the_start():
    chosen = strategy(Phase("a", 2, {"*": 1.0}), Phase("b", 2, {"*": 1.0}, begin="pretrained"))
    alone = fine_tuned(6, first=6, span=6)  # the second half's batches, from the starting point
    assert distance(state_after(chosen), alone.model.state_dict()) < 1e-7


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


@pytest.mark.parametrize("reference", ["pretrained", "phase-start"])
def test_a_reference_is_the_network_it_says(reference):
    seen = []

    @dataclass
    class Spy:
        capturable: bool = False

        def __call__(self, model, batch):
            seen.append((batch.inputs, batch.reference(batch.inputs)))
            return F.cross_entropy(model(batch.inputs), batch.targets)

    phases = [
        Phase("a", 2, {"*": 1.0}),
        Phase("b", 2, {"*": 1.0}, objective=Spy(), reference=reference),
    ]
    run(*toy_run(strategy(*phases)))
    at_start = own_network(*toy_run(FULL)).model
    frozen = at_start if reference == "pretrained" else fine_tuned(6, span=6).model
    assert len(seen) == 6
    for inputs, found in seen:
        torch.testing.assert_close(found, frozen.eval()(inputs).detach(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_an_average_has_the_statistics_of_a_pass_of_its_own(kind):
    found = state_after(strategy(Phase("p", 4, {"*": 1.0}, average=kind)))
    hand = ByHand(*toy_run(FULL))
    hand.model.load_state_dict(found)
    hand.model.train()
    loader = [hand.xy(hand.order.at(number))[0] for number in range(3)]
    torch.optim.swa_utils.update_bn(loader, hand.model)
    own = {n: b for n, b in hand.model.named_buffers() if "running" in n}
    assert len(own) == 6
    for name, expected in own.items():
        torch.testing.assert_close(found[name], expected)


def test_an_average_above_features_that_are_kept_in_bf16():
    """Their norms are measured as the steps were made: mixed, within rounding of float32.

    At a rate that moves nothing, so that the weights are those of the start.
    """
    chosen = strategy(Phase("p", 2, {"layer2": 1.0, "head": 1.0}, average="swa"))
    mixed, plain = (
        run(*toy_run(chosen, numeric=NumericMode(precision=precision, compile="none"), lr=1e-9))
        for precision in ("bf16", "float32")
    )
    assert mixed.result.phases[0].cached_stages == 2
    name = "layer2.norm.running_mean"
    torch.testing.assert_close(mixed.state[name], plain.state[name], rtol=0.1, atol=0.02)


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

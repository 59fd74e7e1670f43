"""`Interpolate`: the weights between two phases, chosen on validation."""

import pytest
import torch
from toys import (
    accuracy,
    own_network,
    strategy,
    toy_images,
    toy_run,
    watching,
)  # fmt: skip

from harness import Interpolate, Phase
from harness.api.metric import Metric
from harness.api.records import MetricValue, NumericMode, PhaseRecord
from harness.engine import run
from harness.errors import PhaseError

PROBE = Phase("lp", 1, {"head": 1.0}, keep=True)
TUNE = Phase("ft", 2, {"*": 1.0}, begin="best", keep=True)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def outcome(*directives, **given):
    return run(*toy_run(strategy(*directives), **{"checkpoint": "last"} | given))


def scores(found):
    return found.result.phases[-1].scores


@pytest.mark.parametrize(
    ("between", "said"),
    [
        (
            ("lp", "fit"),
            "no such phase was carried out; did you mean 'ft'?; phases that were kept: lp, ft",
        ),
        (
            ("lp", "last"),
            "directive 'mix' mixes the weights of phase 'last', which were not kept; give it keep=True",
        ),
    ],
)
def test_a_phase_that_cannot_be_mixed_is_told(between, said):
    last = Phase("last", 1, {"*": 1.0})
    with pytest.raises(PhaseError) as told:
        outcome(PROBE, TUNE, last, Interpolate("mix", between, (0.5,)))
    assert said in str(told.value)


def test_the_record_and_the_report_hold_all_that_was_tried():
    reports = []

    def steps(model, epochs):
        reports.append((yield PROBE))
        reports.append((yield TUNE))
        before = model.epochs_left
        reports.append((yield Interpolate("mix", ("lp", "ft"), (0.0, 1.0, 0.5), epochs=0.5)))
        assert before - model.epochs_left == 0.5

    found = run(*toy_run(watching(steps), lr=3e-2)).result
    record, report = found.phases[-1], reports[-1]
    assert (record.name, record.kind, record.shares) == ("mix", "interpolate", (0.0, 1.0, 0.5))
    assert record.scores == report.history
    assert record.scores[record.shares.index(record.share)] == max(record.scores) == report.score
    assert record.notes == (f"share {record.share:g}, chosen on validation",)
    assert (record.steps, record.trainable, record.epochs) == (0, 0, 0.5)
    assert len(found.history) == 3
    assert "shares" not in found.phases[0].model_dump(mode="json")
    again = PhaseRecord.model_validate(record.model_dump(mode="json"))
    assert again == record


def test_a_mix_that_is_best_on_validation_is_tested():
    mix = Interpolate("mix", ("lp", "ft"), (0.0, 0.5, 1.0))
    found = run(*toy_run(strategy(PROBE, TUNE, mix), seed=2)).result
    best = max(one.score for one in found.history)
    assert max(scores(run(*toy_run(strategy(PROBE, TUNE, mix), seed=2)))) > best
    assert found.tested == "best on validation: phase mix, epoch 3"
    assert found.validation["balanced-accuracy"].value == max(found.phases[-1].scores)


def test_what_is_kept_is_the_best_of_its_own_phase():
    """Of four epochs the third is best: the last is not what is mixed, and no statistics moved."""
    tuned = Phase("ft", 4, {"*": 1.0}, norm="eval", keep=True)
    other = Phase("other", 0, {"*": 1.0}, keep=True)
    mix = Interpolate("mix", ("other", "ft"), (1.0,))
    found = outcome(other, tuned, mix, lr=0.1, seed=3)
    epochs = [one.score for one in found.result.history]
    assert max(epochs) not in {epochs[0], epochs[-1]}, "another seed is needed here"
    assert scores(found) == (max(epochs),)


def test_statistics_that_did_not_move_stay_and_those_that_did_are_measured():
    mix = Interpolate("mix", ("lp", "ft"), (0.5,))
    frozen = outcome(PROBE, Phase("ft", 2, {"*": 1.0}, norm="eval", keep=True), mix).state
    moved = outcome(PROBE, TUNE, mix).state
    initial = own_network(*toy_run(strategy(PROBE))).initial
    for name in frozen:
        if name.endswith(STATISTICS):
            assert torch.equal(frozen[name], initial[name]), name
            assert not torch.equal(moved[name], initial[name]), name
    assert int(moved["stem.norm.num_batches_tracked"]) == 3  # batches of one pass


def test_two_heads_are_mixed_on_features_and_the_rest_stays():
    """A line between two heads: logits of the middle are the mean of both ends'."""
    first = Phase("a", 1, {"head": 1.0}, keep=True)
    second = Phase("b", 2, {"head": 1.0}, keep=True)

    def logits(share):
        mix = Interpolate("mix", ("a", "b"), (share,))
        found = outcome(first, second, mix)
        return found.predictions.logits["test"], found.state

    (low, state), (middle, _), (high, _) = map(logits, (0.0, 0.5, 1.0))
    assert middle == pytest.approx((low + high) / 2, abs=1e-6)
    assert abs(high - low).max() > 1e-3
    initial = own_network(*toy_run(strategy(first))).initial
    assert all(torch.equal(state[n], initial[n]) for n in state if not n.startswith("head"))


class _Nothing(Metric):
    def compute(self, logits, targets, classes):
        return MetricValue(value=None, reason="never")


def test_where_no_share_has_a_figure_the_last_is_taken():
    spec, resources = toy_run(
        strategy(PROBE, Phase("ft", 2, {"*": 1.0}, keep=True), Interpolate("mix", ("lp", "ft"), (1.0, 0.0)))
    )  # fmt: skip
    metrics = {"balanced-accuracy": _Nothing(name="balanced-accuracy", build=lambda: None)}
    found = run(spec, type(resources)(**(vars(resources) | {"metrics": metrics})))
    record = found.result.phases[-1]
    assert (record.scores, record.share) == ((None, None), 0.0)
    initial = own_network(spec, resources).initial
    assert torch.equal(found.state["stem.conv.weight"], initial["stem.conv.weight"])


def test_a_lower_figure_is_better_where_the_metric_says_so():
    lower = accuracy(higher_is_better=False)
    mix = Interpolate("mix", ("lp", "ft"), (1.0, 0.5, 0.0))
    spec, resources = toy_run(strategy(PROBE, TUNE, mix), lr=3e-2)
    metrics = {"balanced-accuracy": lower}
    found = run(spec, type(resources)(**(vars(resources) | {"metrics": metrics}))).result
    record = found.phases[-1]
    assert len(set(record.scores)) > 1
    assert record.scores[record.shares.index(record.share)] == min(record.scores)


@pytest.mark.parametrize("precision", ["float64", "bf16"])
def test_both_engines_mix_the_same(precision):
    """Recorded work and plain steps, on 52 images: the last batch has four."""
    chosen = strategy(PROBE, TUNE, Interpolate("mix", ("lp", "ft"), (0.0, 0.25, 1.0)))
    found = []
    for compiled, engine in (("graph", "fast"), ("none", "reference")):
        numeric = NumericMode(precision=precision, compile=compiled)
        images = toy_images((52, 24, 24))
        spec, resources = toy_run(chosen, images=images, numeric=numeric, checkpoint="last")
        found.append(run(spec, type(resources)(**(vars(resources) | {"engine": engine}))))
    one, other = found
    if precision == "float64":
        assert scores(one) == scores(other)
        for name, tensor in one.state.items():
            assert torch.allclose(tensor.double(), other.state[name].double(), rtol=1e-8), name
    assert len(scores(one)) == len(scores(other)) == 3


def test_a_skipped_phase_leaves_what_it_began_with():
    mix = Interpolate("mix", ("nothing", "ft"), (0.0,))
    nothing = Phase("nothing", 0, {"*": 1.0}, keep=True)
    found = outcome(nothing, Phase("ft", 1, {"head": 1.0}, keep=True), mix).state
    initial = own_network(*toy_run(strategy(nothing))).initial
    assert all(torch.equal(found[name], initial[name]) for name in found)

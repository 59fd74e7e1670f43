"""The work of runs: against the products that torch counts while the engine carries them out."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from toys import ToyBackbone, strategy, toy_run

from harness import HarnessError, Phase, SolveHead
from harness.api.records import Cost, RunResult, StageWork
from harness.benchmark.forecast import work
from harness.benchmark.forecast.work import (
    Networks,
    plan_work,
    run_work,
    shared_once,
    steps_per_epoch,
    work_done,
)
from harness.data.preparation.info import DatasetInfo
from harness.engine import count_stages, needs, run
from harness.plugins.registry import load_plugins
from harness_adapter import Adapter
from harness_auto_rgn import AutoRGN
from harness_delta import Delta
from harness_full_ft import FullFineTuning
from harness_gradual_unfreezing import FirstToLast, LastToFirst
from harness_linear_probe import LinearProbe
from harness_lora import Lora
from harness_lp_ft import LpFt
from harness_wise_ft import WiseFt

COUNTS = {"train": 48, "validation": 24, "test": 24}
STAGES = ("stem", "layer1", "layer2", "head")


@pytest.fixture
def products_only(monkeypatch):
    """Operations are multiply-adds of convolutions and linear layers, and nothing else."""
    for name in ("CALL", "UPDATE"):
        monkeypatch.setattr(work, name, 0.0)
    monkeypatch.setattr(needs, "ELEMENT", 0.0)


def planned(made, **protocol):
    spec, _ = toy_run(made, **protocol)
    return run_work(spec, made, count_stages(ToyBackbone(), 8), COUNTS, STAGES)


def test_stages_of_a_network_counted_by_hand(products_only):
    """8 x 8 places; stem 3 to 6 channels, then 8, then 10, pooled for three classes at most."""
    found = count_stages(ToyBackbone(), 8)
    assert [stage.operations for stage in found] == [
        64 * 9 * 3 * 6, 64 * 9 * 6 * 8, 64 * 9 * 8 * 10, 10 * needs.CLASSES,
    ]  # fmt: skip
    assert [stage.calls for stage in found] == [3, 3, 3, 3]
    assert [stage.handed for stage in found] == [3 * 64, 6 * 64, 8 * 64, 10]  # the head pools first
    assert [stage.parameters for stage in found[:3]] == [
        9 * 3 * 6 + 3 * 6, 9 * 6 * 8 + 3 * 8, 9 * 8 * 10 + 3 * 10,
    ]  # fmt: skip


class Agreement:
    """The loss, and how far the logits are from those of the frozen copy."""

    capturable = True

    def __call__(self, model, batch):
        with torch.no_grad():
            before = batch.reference(batch.inputs)
        now = model(batch.inputs)
        return batch.loss(now, batch.targets) + (now - before).square().mean()


UPPER = {"layer2": 1.0, "head": 1.0}


@pytest.mark.parametrize(
    ("made", "protocol"),
    [
        (FullFineTuning(), {}),
        (Delta(), {}),
        (strategy(Phase("up", 4, UPPER, Agreement(), reference="pretrained")), {}),
        (strategy(Phase("up", 4, UPPER, Agreement(), reference="phase-start")), {}),
        (strategy(Phase("up", 4, UPPER, reference="pretrained")), {}),  # nobody looks at it
        (FullFineTuning(), {"epochs": 2.5, "checkpoint": "last"}),
        (LinearProbe(), {}),
        (LinearProbe(), {"augment": ("flip-horizontal",)}),  # both sides are kept
        (LinearProbe(), {"augment": ("flip-horizontal", "affine")}),  # nothing is kept
        (LpFt(), {"batch_size": 20}),
        (LastToFirst(), {}),
        (FirstToLast(), {}),
        (AutoRGN(batches=2), {}),
        (WiseFt(shares=(0.0, 0.5, 1.0)), {}),
    ],
    ids=lambda one: one.name if hasattr(one, "name") else " ".join(one) or "plain",
)
def test_planned_and_recorded_work_is_what_torch_counts(made, protocol, products_only):
    spec, resources = toy_run(made, **protocol)
    with FlopCounterMode(display=False) as counter:
        outcome = run(spec, resources)
    network = count_stages(ToyBackbone(), 8)
    cost = outcome.result.cost.model_copy(update={"network": network})
    done = work_done(outcome.result.model_copy(update={"cost": cost}))
    counted = counter.get_total_flops() / 2
    # The engine looks at one image more, to see if features would fit.
    assert planned(made, **protocol).total == pytest.approx(counted, rel=0.015)
    assert done.total == pytest.approx(counted, rel=0.015)


def test_a_step_towards_the_frozen_start_counted_by_hand(products_only):
    """16 images through stem, layer1, layer2 and head, twice: once by the frozen start; and back."""
    stem, head = 64 * 9 * 3 * 6, 10 * needs.CLASSES
    once = stem + 64 * 9 * 6 * 8 + 64 * 9 * 8 * 10 + head
    (phase,) = planned(Delta()).phases
    assert phase.step == 16 * (once + once + (once - stem) + once)
    steps = 4 * 48 // 16
    assert planned(Delta()).total - planned(FullFineTuning()).total == steps * 16 * once


@pytest.mark.parametrize("made", [Lora(), Adapter()], ids=lambda one: one.name)
def test_what_learns_on_top_of_a_stage_keeps_it_from_being_frozen(made):
    """A plan knows it of `adapt`, a record of its rates."""
    spec, resources = toy_run(made)
    outcome = run(spec, resources).result
    assert set(outcome.phases[0].rates.values()) == {1.0}
    cost = outcome.cost.model_copy(update={"network": count_stages(ToyBackbone(), 8)})
    done = work_done(outcome.model_copy(update={"cost": cost}))
    everything = planned(FullFineTuning())
    assert planned(made).total == done.total == everything.total
    assert planned(LinearProbe()).total < 0.5 * everything.total


def test_a_strategy_that_wants_other_stages_is_not_foretold():
    class Picky(FullFineTuning):
        def adapt(self, model, rng):
            return model.encoder

    with pytest.raises(HarnessError, match=r"full-ft wants other stages: .*encoder"):
        planned(Picky())


def test_work_after_steps_rises_to_all_but_the_test():
    made = LpFt()
    found = planned(made, batch_size=20)  # 3 steps an epoch: the rest of 8 is one
    assert found.steps_per_epoch == 3
    assert found.steps == 12
    done = [found.after(step) for step in range(found.steps + 1)]
    assert done[0] == 0
    assert done == sorted(set(done))
    assert done[-1] + found.test == found.total
    # In each epoch, of one phase, the last step brings the validation.
    steps = [b - a for a, b in pairwise(done[6:])]
    assert steps[0] == pytest.approx(steps[1])
    assert steps[2] == pytest.approx(steps[1] + found.phases[1].check)


def test_a_run_that_patience_ended_did_less(products_only):
    spec, resources = toy_run(FullFineTuning(), epochs=8, patience=1, lr=1e-6)
    result = run(spec, resources).result
    network = count_stages(ToyBackbone(), 8)
    done = work_done(
        result.model_copy(update={"cost": result.cost.model_copy(update={"network": network})})
    )
    stopped = result.phases[0].epochs
    assert stopped < 8
    whole = planned(FullFineTuning(), epochs=8, patience=1)
    share = (done.total - done.test) / (whole.total - whole.test)
    assert share == pytest.approx(stopped / 8)


def test_features_are_made_once_for_the_runs_of_a_group():
    probe = LinearProbe()
    specs = [toy_run(probe, seed=seed)[0] for seed in (0, 1)]
    specs.append(specs[0].model_copy(update={"dataset": "other"}))
    each = planned(probe)
    made = shared_once([(spec, each) for spec in specs])
    assert [made[spec.run_id].total for spec in specs] == [
        each.total, each.total - each.phases[0].features, each.total,
    ]  # fmt: skip
    assert each.phases[0].features > 0
    drawn = [spec.model_copy(update={"weights": "none"}) for spec in specs[:2]]
    again = shared_once([(spec, each) for spec in drawn])
    assert [one.total for one in again.values()] == [each.total] * 2
    begun = [specs[0].model_copy(update={"start": start}) for start in ("a", "b")]
    assert [one.total for one in shared_once([(one, each) for one in begun]).values()] == [
        each.total
    ] * 2


def test_features_that_do_not_fit_are_made_batch_by_batch(monkeypatch):
    from harness.engine import evaluate

    assert work.FEATURE_BYTES == evaluate.FEATURE_BYTES
    kept = planned(LinearProbe())
    monkeypatch.setattr(work, "FEATURE_BYTES", 0)
    assert planned(LinearProbe()).phases[0].features == 0
    assert planned(LinearProbe()).total > kept.total


def test_a_fitted_head_costs_its_features_and_fits():
    found = planned(strategy(SolveHead("lp", (0.1, 1.0), 4.0)))
    (phase,) = found.phases
    assert phase.features > 0
    assert phase.looks > 2 * work.FITTING * COUNTS["train"] * 22  # 10 inputs, 2 classes, a bias
    assert phase.step == phase.check == 0


@pytest.mark.parametrize("batch", [1, 7, 16, 47, 48, 49])
def test_steps_of_an_epoch_are_those_of_the_engine(batch):
    from harness.engine.batches import steps_per_epoch as of_the_engine

    assert steps_per_epoch(48, batch) == of_the_engine(48, batch)


def test_a_strategy_that_wants_more_than_an_outline_says_so():
    class Deep(FullFineTuning):
        name = "deep"

        def phases(self, model, epochs):
            yield Phase("ft", epochs, {model.parameters["layer9.weight"].stage: 1.0})

    with pytest.raises(HarnessError, match=r"deep cannot be asked for its phases: .*layer9"):
        planned(Deep())


def test_work_of_a_record_that_says_nothing_of_its_network_is_not_known():
    spec, resources = toy_run(LinearProbe(), epochs=1)
    assert work_done(run(spec, resources).result) is None


def test_work_of_a_plan_takes_networks_from_records_and_leaves_out_what_it_cannot_know(monkeypatch):
    loaded = load_plugins()
    spec, _ = toy_run(LinearProbe())
    spec = spec.model_copy(update={"backbone": "resnet50-mini"})
    info = DatasetInfo(("a", "b"), COUNTS, "f" * 64, decoded=True)
    elsewhere = spec.model_copy(update={"dataset": "elsewhere"})
    span = loaded.backbones["resnet50-mini"]
    network = count_stages(span, spec.protocol.crop)
    known = Networks()
    assert plan_work([spec], {"toy": info}, loaded, known) == {}
    known.add(spec, network)
    counted = plan_work([spec, elsewhere], {"toy": info}, loaded, known)
    assert list(counted) == [spec.run_id]
    alone = run_work(spec, LinearProbe(), network, COUNTS, span.stages)
    assert counted[spec.run_id].total == alone.total

    twice = tuple(
        StageWork(operations=2 * one.operations, calls=0, parameters=0, handed=one.handed)
        for one in network
    )
    record = RunResult(
        run_id=spec.run_id, suite="s", spec=spec, status="ok", cost=Cost(network=twice)
    )
    monkeypatch.setattr(work, "CALL", 0.0)
    monkeypatch.setattr(work, "UPDATE", 0.0)
    plain = plan_work([spec], {"toy": info}, loaded, known)[spec.run_id].total
    told = plan_work([spec], {"toy": info}, loaded, [record])[spec.run_id].total
    assert told == 2 * plain

"""Features of frozen stages: caching and sharing them changes nothing."""

import pytest
import torch
from toys import HEAD, ToyVgg, strategy, toy_run, toy_start

from harness import Phase
from harness.engine import evaluate, run
from harness.engine.shared import SharedWork


@pytest.mark.parametrize("stages", [("head",), ("layer2", "head"), ("layer1", "layer2", "head")])
def test_caching_frozen_stages_changes_nothing(stages, monkeypatch):
    chosen = strategy(Phase("p", 4, dict.fromkeys(stages, 1.0)))
    cached = run(*toy_run(chosen, checkpoint="last"))
    monkeypatch.setattr(evaluate, "FEATURE_BYTES", 0)
    plain = run(*toy_run(chosen, checkpoint="last"))

    assert cached.result.phases[0].cached_stages == 4 - len(stages)
    assert plain.result.phases[0].cached_stages == 0
    for name, tensor in plain.state.items():
        torch.testing.assert_close(cached.state[name], tensor, rtol=1e-8, atol=1e-12)


LAST = {"checkpoint": "last"}  # the best one may be from before anything went wrong


def test_runs_share_features_and_end_the_same():
    shared = {}
    first = run(*toy_run(HEAD, shared=shared, **LAST))
    second = run(*toy_run(HEAD, shared=shared, seed=0, **LAST))
    alone = run(*toy_run(HEAD, **LAST))

    assert SharedWork.of(shared).features
    assert all(torch.equal(second.state[n], alone.state[n]) for n in alone.state)
    assert second.result.cost.incurred.features == 0
    assert second.result.cost.alone.features == pytest.approx(first.result.cost.alone.features)


@pytest.mark.parametrize(
    "given",
    [
        {"start": None},
        {"backbone": ToyVgg(), "start": toy_start(ToyVgg(), without=("fc",))},
    ],
    ids=["drawn", "drawn in part"],
)
def test_features_of_another_starting_point_are_not_taken(given):
    """Random features below the head depend on the seed; here the second run must not take them."""
    shared = {}
    run(*toy_run(HEAD, shared=shared, seed=0, **given, **LAST))
    mixed = run(*toy_run(HEAD, shared=shared, seed=1, **given, **LAST))
    alone = run(*toy_run(HEAD, seed=1, **given, **LAST))

    assert all(torch.equal(mixed.state[n], alone.state[n]) for n in alone.state)


def test_features_are_not_shared_once_a_stage_has_learned():
    shared = {}
    chosen = strategy(Phase("a", 2, {"*": 1.0}), Phase("b", 2, {"head": 1.0}))
    run(*toy_run(HEAD, shared=shared, **LAST))
    mixed = run(*toy_run(chosen, shared=shared, **LAST))
    alone = run(*toy_run(chosen, **LAST))

    assert all(torch.equal(mixed.state[n], alone.state[n]) for n in alone.state)


@pytest.mark.parametrize("change", [{"deterministic": False}, {"compile": "graph"}])
def test_features_made_under_one_numeric_mode_are_not_taken_under_another(change):
    shared = {}
    spec, resources = toy_run(HEAD, shared=shared, **LAST)
    run(spec, resources)
    before = set(SharedWork.of(shared).features)
    run(spec.model_copy(update={"numeric": spec.numeric.model_copy(update=change)}), resources)
    added = {(key.split, key.stage) for key in SharedWork.of(shared).features.keys() - before}
    assert added == {(key.split, key.stage) for key in before} != set()

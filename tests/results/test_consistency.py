"""Contradictions: what a record says twice, what its plugins declare, what two runs cannot share."""

import json
import shutil
from dataclasses import replace as replaced

import numpy as np
import pytest
from command import Cli, bench
from places import TOY

from harness.api.records import PhaseRecord, RunResult
from harness.plugins.registry import load_plugins
from harness.results.store import Store
from harness.results.verify.consistency import Repeats, plan_faults, record_faults

pytestmark = pytest.mark.slow

LOADED = load_plugins([TOY])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("consistency")
    bench(out, "--strategies", "full-ft,linear-probe", "--seeds", "0,1")
    return out


@pytest.fixture
def run(folder):
    """A run of full fine-tuning, seed 0, and a way to its record with some values changed."""
    (found,) = [
        one
        for one in Store(folder).results()
        if (one.spec.strategy, one.spec.seed) == ("full-ft", 0)
    ]
    return found


def changed(run, place, value):
    record = json.loads(run.model_dump_json())
    holder = record
    *way, last = place.split("/")
    for key in way:
        holder = holder[int(key) if isinstance(holder, list) else key]
    holder[int(last) if isinstance(holder, list) else last] = value
    return RunResult.model_validate(record)


def faults(run):
    return list(record_faults(run, LOADED))


def test_what_a_run_leaves_contradicts_nothing(folder):
    repeats, store = Repeats(), Store(folder)
    planned = {line.run_id: line for line in store.plan().runs}
    suite = store.plan().suites["toy"]
    results = store.results()
    assert len(results) == 4
    for one in results:
        assert faults(one) == []
        assert list(plan_faults(one, planned[one.run_id], suite, LOADED)) == []
        assert list(repeats.faults(one, store.predictions(one))) == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("plugins/strategy/source", "1" * 64, "plugins.strategy.source is not sources.strategy"),
        ("plugins/backbone/source", "1" * 64, "plugins.backbone.source is not sources.backbone"),
        ("weights/sha256", "f" * 64, "weights.sha256 is not the weights of its spec"),
        ("weights/miniature", None, "weights.miniature is"),
        ("data/procedural", None, "data.procedural is"),
        ("data/modality", "mri-of-the-knee", "data.modality is 'mri-of-the-knee'"),
        ("data/licence", "MIT-0", "data.licence is 'MIT-0'"),
        ("history/0/phase", "other", "none of its phases"),
        ("history/0/epoch", 99.0, "not in order"),
        ("cost/trainable", 1, "cost.trainable"),
        ("cost/alone/train", -1.0, "negative seconds"),
        ("tested", "best on validation: phase full-ft, epoch 77", "knows nothing"),
        ("finished", "9999-99-99", "no date"),
        ("finished", "2999-01-01T00:00:00+00:00", "still to come"),
    ],
)
def test_what_is_said_twice_and_differently_is_found(run, place, value, said):
    if value is None and place.endswith(("miniature", "procedural")):
        record, _, name = place.partition("/")
        value = not getattr(getattr(run, record), name)
    found = faults(changed(run, place, value))
    assert any(said in one for one in found), found


def test_the_tested_epoch_has_the_validation_figure_and_is_the_best(run):
    (tested,) = [
        number
        for number, epoch in enumerate(run.history)
        if run.tested.endswith(f"epoch {epoch.epoch:g}")
    ]
    score = run.history[tested].score
    other = (tested + 1) % len(run.history)

    (found,) = faults(changed(run, f"history/{tested}/score", score - 0.25))
    assert f"the tested epoch's score is {score - 0.25}" in found
    (found,) = faults(changed(run, f"history/{other}/score", score + 0.25))
    assert "was better on validation than the tested one" in found
    assert faults(changed(run, f"history/{other}/score", score - 0.25)) == []


def test_a_tested_mix_has_the_validation_figure_and_no_share_is_better(run):
    score = run.validation[run.spec.protocol.metric].value
    ends = max(epoch.epoch for epoch in run.history)

    def said(scores, share=0.5, tested="mix"):
        mix = PhaseRecord(
            name="mix", kind="interpolate", epochs_planned=0, epochs=0, steps=0, trainable=0,
            cached_stages=0, rates={}, shares=(0.0, 0.5), scores=scores, share=share,
        )  # fmt: skip
        told = f"best on validation: phase {tested}, epoch {ends:g}" if tested else run.tested
        return faults(run.model_copy(update={"phases": (*run.phases, mix), "tested": told}))

    assert said((None, score)) == []
    (found,) = said((score, score - 0.25))
    assert f"the tested share's score is {score - 0.25}" in found
    (found,) = said((score + 0.25, score))
    assert found == "share 0 of mix was better on validation than the tested one"
    assert said((score - 0.25, None), tested="") == []
    assert said((score + 0.25, None), tested="") == [
        "share 0 of mix was better on validation than the tested one"
    ]


def test_a_run_of_another_budget_than_its_suites_is_marked(run):
    suite = LOADED.suites["demo"]

    def said(run, suite=suite):
        return list(plan_faults(run, None, suite, LOADED))

    full = changed(changed(run, "suite", "demo"), "spec/protocol/epochs", suite.protocol.epochs)
    fewer = changed(full, "spec/protocol/epochs", suite.protocol.epochs / 2)
    assert said(full) == []
    (found,) = said(fewer)
    assert "shortened is false" in found
    assert said(changed(fewer, "shortened", True)) == []
    elsewhere = changed(fewer, "environment/harness", "0.0.1")  # whose suite may have been another
    assert said(elsewhere) == []
    assert said(fewer, None) == []
    assert said(fewer, suite.model_copy(update={"title": ""})) == []  # of a suite file


def test_a_suite_file_may_bear_the_name_of_a_suite(tmp_path, toy_cli):
    (tmp_path / "toy.toml").write_text('extends = "toy"\n[protocol]\nepochs = 1\n')
    out = tmp_path / "out"
    toy_cli("bench", tmp_path / "toy.toml", "--strategies", "full-ft", "--jobs", 1, "--out", out)
    (made,) = Store(out).results()
    assert (made.suite, made.shortened, made.spec.protocol.epochs) == ("toy", False, 1)
    toy_cli("verify", out)


def test_who_carries_runs_out_need_not_count_what_learns_or_name_no_weights(run):
    assert run.spec.weights == "none"
    assert faults(changed(run, "weights", None)) == []
    assert faults(changed(run, "cost/trainable", 0)) == []
    named = changed(changed(run, "weights", None), "spec/weights", "f" * 64)
    assert faults(named) == ["its spec names weights, and it does not say which"]


@pytest.mark.parametrize("name", ["full_ft", "Full-FT", "fullft", "fu11-ft", "full.ft"])
def test_look_alikes_of_strategies_are_found(run, name):
    (found,) = faults(changed(run, "spec/strategy", name))
    assert f"its strategy {name!r} looks like 'full-ft'" in found


@pytest.mark.parametrize("name", ["\uff46ull-ft", "my_own", ""])
def test_names_that_no_plugin_can_give_are_found(run, name):
    (found,) = faults(changed(run, "spec/strategy", name))
    assert "has a name that no plugin can give" in found


def test_a_strategy_of_somebody_else_cannot_bear_our_name(run):
    found = faults(changed(run, "plugins/strategy/distribution", "someones-package"))
    assert "has the name of one that comes with the harness" in found[0]
    assert faults(changed(run, "spec/strategy", "full-fit")) == []


def test_a_plan_that_asks_for_something_else_is_found(folder, run):
    (line,) = [one for one in Store(folder).plan().runs if one.run_id == run.run_id]
    other = line.model_copy(update={"seed": 7, "strategy": "lp-ft"})
    (found,) = plan_faults(run, other, None, LOADED)
    assert found == "plan.json asks for its run id with another strategy, seed"


# -- alike where chance forbids it ------------------------------------------------------------


def later(run, **spec):
    """Another run, that took another time."""
    cost = run.cost.model_copy(
        update={"alone": run.cost.alone.model_copy(update={"total": run.cost.alone.total + 1})}
    )
    changes = {"spec": run.spec.model_copy(update=spec), "run_id": "0" * 16, "cost": cost}
    return run.model_copy(update=changes)


@pytest.mark.parametrize(
    ("spec", "differ"),
    [
        ({"seed": 5}, "seed"),
        ({"backbone": "other"}, "backbone"),
        ({"data": "0" * 64}, "dataset"),
        ({"strategy": "other"}, None),  # which may train the same
    ],
)
def test_logits_of_another_run_are_found(folder, run, spec, differ):
    repeats, predictions = Repeats(), Store(folder).predictions(run)
    assert list(repeats.faults(run, predictions)) == []
    found = list(repeats.faults(later(run, **spec), predictions))
    expected = f"those of run {run.run_id}, bit for bit, which has another {differ}"
    assert len(found) == (differ is not None)
    assert all(expected in one for one in found)


def test_heads_that_were_solved_and_logits_that_say_nothing_may_be_alike(folder, run):
    predictions = Store(folder).predictions(run)
    phases = tuple(phase.model_copy(update={"kind": "solve-head"}) for phase in run.phases)
    repeats, solved = Repeats(), run.model_copy(update={"phases": phases})
    assert list(repeats.faults(solved, predictions)) == []
    assert list(repeats.faults(later(solved, seed=5), predictions)) == []

    flat = {split: np.zeros_like(logits) for split, logits in predictions.logits.items()}
    repeats, nothing = Repeats(), replaced(predictions, logits=flat)
    assert list(repeats.faults(run, nothing)) == []
    assert list(repeats.faults(later(run, seed=5), nothing)) == []


def test_the_same_microseconds_are_found(folder, run):
    predictions = Store(folder).predictions(run)
    moved = {split: logits + 1e-3 for split, logits in predictions.logits.items()}
    repeats = Repeats()
    assert list(repeats.faults(run, predictions)) == []
    copy = later(run, seed=5).model_copy(update={"cost": run.cost})
    (found,) = repeats.faults(copy, replaced(predictions, logits=moved))
    assert f"it took as long as run {run.run_id} to the microsecond" in found
    packed = run.cost.model_copy(update={"packed": True})  # which share the time of a product
    several = copy.model_copy(update={"cost": packed})
    assert list(repeats.faults(several, replaced(predictions, logits=moved))) == []


# -- a whole folder ---------------------------------------------------------------------------


def test_a_forged_record_is_named_and_what_files_cannot_show_is_said(folder, run, tmp_path):
    shutil.copytree(folder, tmp_path / "r")
    said = Cli((TOY,))("verify", tmp_path / "r").stdout
    assert "not shown by files:" in said
    assert "--replay N" in said

    path = Store(tmp_path / "r").place(run)
    record = json.loads(path.read_text())
    record["plugins"]["strategy"]["source"] = "1" * 64
    train = record["data"]["counts"]["train"]
    record["data"]["counts"]["train"] = dict.fromkeys(train, 10_000)
    path.write_text(json.dumps(record))
    done = Cli((TOY,))("verify", tmp_path / "r", "--json", exit_code=1)
    report = json.loads(done.stdout)
    name = path.relative_to(tmp_path / "r").as_posix()
    assert (name, "record") in {(one["file"], one["check"]) for one in report["problems"]}
    assert any("counts other train images" in one["message"] for one in report["problems"])
    assert len(report["not_shown"]) == 5

    path.unlink()
    shutil.copy(Store(folder).place(run), path)
    plan = json.loads((tmp_path / "r" / "plan.json").read_text())
    for line in plan["runs"]:
        line["seed"] = 3
    (tmp_path / "r" / "plan.json").write_text(json.dumps(plan))
    report = json.loads(Cli((TOY,))("verify", tmp_path / "r", "--json", exit_code=1).stdout)
    assert {one["check"] for one in report["problems"]} == {"plan"}

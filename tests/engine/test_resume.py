"""Runs that are interrupted and go on: the bits of a run that was not."""

import json
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from toys import HEAD, ToyVgg, strategy, toy_images, toy_run, watching

from harness import Distance, Interpolate, Phase
from harness.api.execution import Checkpoints, Observer
from harness.api.records import NumericMode
from harness.api.strategy import SolveHead
from harness.engine import run
from harness.plugins.registry import load_plugins

IMAGES = toy_images((52, 24, 24))  # batches of 16, 16, 16 and 4
MADE_BY = {"torch": "as it is"}


class Interrupt(Exception):  # noqa: N818 - no fault
    pass


class Watcher(Observer):
    """Interrupts once `step` optimizer steps are made; hears what it is told."""

    def __init__(self, step=None):
        self.step, self.texts, self.epochs, self.steps = step, [], [], []

    def working(self, part, done, total):
        if part == "train":
            self.steps.append(done)
            if done == self.step:
                raise Interrupt

    def told(self, text):
        self.texts.append(text)

    def epoch_end(self, record):
        self.epochs.append(record.epoch)


def carried_out(tmp_path, chosen, observer, *, made_by=None, seconds=1e-9, **given):
    given = {"images": IMAGES, **given}
    spec, resources = toy_run(chosen, **given)
    kept = Checkpoints(tmp_path / "kept", seconds, made_by or MADE_BY)
    return run(spec, replace(resources, checkpoints=kept, observer=observer))


def plain(outcome):
    """The record without times, and without that it was interrupted."""
    record = json.loads(outcome.result.model_dump_json())
    for name in ("alone", "incurred", "images_per_second", "resumed"):
        record["cost"].pop(name, None)
    for part in (*record["history"], *record["phases"]):
        part.pop("seconds")
    return record


def assert_same_bits(found, wanted):
    assert plain(found) == plain(wanted)
    for split, logits in wanted.predictions.logits.items():
        assert found.predictions.logits[split].tobytes() == logits.tobytes(), split
    assert found.state.keys() == wanted.state.keys()
    for name, tensor in wanted.state.items():
        assert torch.equal(found.state[name], tensor), name


def interrupted(tmp_path, make, step, **given):
    """The run, interrupted once its checkpoint of `step` steps is there, and gone on with."""
    first, second = Watcher(step + 1), Watcher()
    with pytest.raises(Interrupt):
        carried_out(tmp_path, make(), first, **given)
    found = carried_out(tmp_path, make(), second, **given)
    assert [text for text in second.texts if "goes on from" in text], second.texts
    assert second.steps[0] == step + 1, "it went on from another step"
    assert found.result.cost.resumed == 1
    return found, second


@dataclass
class Noisy:
    """An objective that draws from its own generator and the global one."""

    capturable: bool = False

    def __call__(self, model, batch):
        noise = torch.rand(batch.inputs.shape, generator=batch.rng, dtype=batch.inputs.dtype)
        with torch.no_grad():
            start = batch.reference(batch.inputs)
        logits = model(batch.inputs + 0.1 * noise + 0.01 * torch.rand(1))
        return batch.loss(logits, batch.targets) + 0.01 * (logits - start).square().mean()


def two_phases():
    tied = (Distance("l2", 1e-2, ("layer1.conv.weight",)),)
    return strategy(
        Phase("a", 1.5, {"head": 1.0, "layer2": 0.5}, average="ema", keep=True),
        Phase(
            "b", 2.5, {"*": 1.0}, begin="best", keep_optimizer=True, penalties=tied, anneal="run"
        ),
    )


def everything():
    return strategy(
        SolveHead("solved", (0.1, 1.0)),
        Phase("a", 1, {"head": 1.0}, keep=True, average="swa"),
        Phase("b", 2, {"*": 1.0}, objective=Noisy(), reference="phase-start", keep=True),
        Interpolate("mixed", ("a", "b"), (0.0, 0.5, 1.0)),
        Phase("c", 1, {"layer2": 0.3, "head": 1.0}, continues=True, keep_optimizer=True),
    )


CASES = {
    "second phase": (two_phases, {"patience": 2}),
    "everything": (everything, {"augment": ("flip-horizontal", "affine")}),
    "dropout": (lambda: strategy(Phase("all", 4, {"*": 1.0})), {"backbone": ToyVgg()}),
}


# Within an epoch, at its end, at a phase's end, in the second phase.
@pytest.mark.parametrize(
    ("case", "step", "steps"),
    [
        ("second phase", 1, "none"), ("second phase", 6, "graph"), ("second phase", 9, "graph"),
        ("everything", 4, "graph"), ("everything", 7, "none"), ("everything", 15, "graph"),
        ("dropout", 4, "none"), ("dropout", 11, "graph"),
    ],
)  # fmt: skip
def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(tmp_path, case, step, steps):
    make, given = CASES[case]
    numeric = NumericMode(precision="float32", compile=steps)
    given = {"numeric": numeric, "start": None if case == "dropout" else "given", **given}
    spec, resources = toy_run(make(), images=IMAGES, **given)
    wanted = run(spec, resources)
    found, _ = interrupted(tmp_path, make, step, **given)

    assert_same_bits(found, wanted)


def test_the_scale_of_the_loss_and_steps_left_out_go_on_in_fp16(tmp_path, monkeypatch):
    """A scale at which the first gradients are not finite."""
    monkeypatch.setattr("harness.engine.model.LOSS_SCALE", 2.0**31)
    given = {"numeric": NumericMode(precision="fp16", compile="graph")}
    wanted = run(*toy_run(CASES["dropout"][0](), images=IMAGES, **given))
    found, _ = interrupted(tmp_path, CASES["dropout"][0], 12, **given)

    assert "left out" in str([phase.notes for phase in wanted.result.phases])
    assert_same_bits(found, wanted)


@pytest.mark.nightly
@pytest.mark.parametrize("name", sorted(load_plugins().strategies))
def test_every_strategy_goes_on(tmp_path, name):
    make = load_plugins().strategies[name]
    given = {"patience": 2, "numeric": NumericMode(precision="float32", compile="graph")}
    spec, resources = toy_run(make(), images=IMAGES, **given)
    wanted = run(spec, resources)
    step = sum(phase.steps for phase in wanted.result.phases) - 3
    found, _ = interrupted(tmp_path, make, step, **given)

    assert_same_bits(found, wanted)


def looking(asked=5, scale=1.0):
    """Rates by all that a view gives; the last look is broken off."""

    def steps(view, epochs):
        last = {}
        for number in range(int(epochs)):
            norms = {name: info.norm for name, info in view.parameters.items()}
            for gradients in view.gradients(asked, "train"):
                last = {name: float(g.norm()) / (1 + norms[name]) for name, g in gradients.items()}
                break
            moved = sum(float(g.square().sum()) for g in view.last_gradient.values())
            rates = {
                n: scale * (0.1 + v + 0.01 * moved) for n, v in last.items() if "conv.bias" not in n
            }
            report = yield Phase(f"e{number}", min(1, view.epochs_left), rates, anneal="run")
            last = {"seconds": report.seconds}

    return lambda: watching(steps)


@pytest.mark.parametrize("step", [6, 14])
def test_looks_at_the_network_are_those_of_the_interrupted_run(tmp_path, step):
    spec, resources = toy_run(looking()(), images=IMAGES, charge_looks=False)
    wanted = run(spec, resources)
    found, watcher = interrupted(tmp_path, looking(), step, charge_looks=False)

    assert_same_bits(found, wanted)
    assert found.result.cost.looks == 20
    assert watcher.epochs == [1, 2, 3, 4]


def test_the_second_interruption_goes_on_from_the_latest_checkpoint(tmp_path):
    wanted = run(*toy_run(two_phases(), images=IMAGES))
    for step in (3, 8):
        with pytest.raises(Interrupt):
            carried_out(tmp_path, two_phases(), Watcher(step))
    watcher = Watcher()
    found = carried_out(tmp_path, two_phases(), watcher)

    assert watcher.steps[0] == 8
    assert found.result.cost.resumed == 2
    assert_same_bits(found, wanted)


def test_a_checkpoint_is_made_when_it_is_due_and_the_one_before_goes(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("harness.engine.recovery.course.time.monotonic", lambda: clock[0])
    seen = []

    class Slow(Watcher):
        def working(self, part, done, total):
            if part == "train":
                clock[0] = 10.0 * done
                seen.append([p.name for p in (tmp_path / "kept").glob("*.state")])

    carried_out(tmp_path, HEAD, Slow(), seconds=45)

    assert next(names for names in seen if names) == ["5.state"]
    assert seen[4] == []
    assert seen[-1] == ["15.state"]
    assert all(len(names) <= 1 for names in seen)


def begun_anew(tmp_path, chosen, **given):
    """The line that is told where a checkpoint is there and cannot be used; the run is as ever."""
    watcher = Watcher()
    found = carried_out(tmp_path, chosen, watcher, **given)
    assert watcher.steps[0] == 1
    assert found.result.cost.resumed == 0
    assert_same_bits(found, run(*toy_run(chosen, images=IMAGES)))
    return watcher.texts


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("checkpoint.json", "checkpoint.json is damaged"),
        ("5.state", "5.state is damaged"),
        ("0.start", "0.start is damaged"),
    ],
)
def test_damaged_files_are_named_and_the_run_begins_anew(tmp_path, file, why):
    with pytest.raises(Interrupt):
        carried_out(tmp_path, two_phases(), Watcher(6))
    path = tmp_path / "kept" / file
    path.write_bytes(path.read_bytes()[:-10] + b"0123456789")

    (text,) = begun_anew(tmp_path, two_phases())
    assert text == f"its checkpoint cannot be gone on from ({why}): it begins anew"


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(Interrupt):
        carried_out(tmp_path, two_phases(), Watcher(6))
    (tmp_path / "kept" / "5.state").unlink()

    (text,) = begun_anew(tmp_path, two_phases())
    assert "5.state cannot be read (No such file or directory)" in text


def test_another_torch_is_named(tmp_path):
    with pytest.raises(Interrupt):
        carried_out(tmp_path, two_phases(), Watcher(6))

    (text,) = begun_anew(tmp_path, two_phases(), made_by={"torch": "9.9"})
    assert "it was made with torch as it is, and this is 9.9" in text


@pytest.mark.parametrize("other", [two_phases, looking(scale=2.0)], ids=["no look", "other rates"])
def test_a_strategy_that_asks_for_other_phases_begins_anew(tmp_path, other):
    with pytest.raises(Interrupt):
        carried_out(tmp_path, looking()(), Watcher(6))

    (text,) = begun_anew(tmp_path, other())
    assert "the strategy asks for other phases than before" in text


class Counting:
    """An objective that remembers."""

    capturable = False

    def __init__(self):
        self.calls = Counter()

    def __call__(self, model, batch):
        self.calls["steps"] += 1
        return batch.loss(model(batch.inputs), batch.targets) / self.calls["steps"]


def test_an_objective_that_remembers_ends_the_checkpoints_with_a_word(tmp_path):
    def make():
        return strategy(
            Phase("a", 1, {"head": 1.0}), Phase("b", 3, {"head": 1.0}, objective=Counting())
        )

    wanted = run(*toy_run(make(), images=IMAGES))
    first, second = Watcher(10), Watcher()
    with pytest.raises(Interrupt):
        carried_out(tmp_path, make(), first)
    assert first.texts == [
        "no checkpoints from now on: what an objective or penalty remembers cannot be kept"
    ]
    found = carried_out(tmp_path, make(), second)

    assert second.steps[0] == 5, "the last one before it remembered anything"
    assert_same_bits(found, wanted)


def test_a_disk_that_takes_no_checkpoint_costs_the_checkpoint(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.engine.recovery.course.torch.save", full)
    watcher = Watcher()
    found = carried_out(tmp_path, two_phases(), watcher)

    assert watcher.texts == [
        "no checkpoints from now on: it cannot be written: No space left on device"
    ]
    assert_same_bits(found, run(*toy_run(two_phases(), images=IMAGES)))


def test_times_are_those_of_both_parts(tmp_path):
    with pytest.raises(Interrupt):
        carried_out(tmp_path, HEAD, Watcher(9))
    spent = torch.load(next((tmp_path / "kept").glob("*.state")), weights_only=True)["run"]
    cost = carried_out(tmp_path, HEAD, Watcher()).result.cost

    assert cost.incurred.total > spent["elapsed"] > sum(spent["seconds"].values()) > 0
    assert cost.incurred.train > spent["seconds"]["train"] > 0

"""Heads trained as lanes: as the reference engine trains them, whoever else is trained beside."""

import itertools
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn
from toys import FLOAT64, ToyBackbone, toy_images, toy_run, toy_start

from harness import Distance, Phase, Schedule, Strategy, TrainingError
from harness.api.execution import Observer, StartingPoint, family
from harness.benchmark.events import RunQueue
from harness.benchmark.workers import ProcessWorkers, _Worker
from harness.engine import evaluate, memo, run
from harness.engine.devices import RunClock
from harness.engine.graphs import GraphCache
from harness.engine.phase import PhaseRun
from harness.engine.probe import lanes as block
from harness.engine.probe import phase as probe
from harness.engine.shared import SharedWork
from harness.engine.state import RunState, Selection
from harness.engine.training import _drive

FLOAT32, BF16 = (FLOAT64.model_copy(update={"precision": p}) for p in ("float32", "bf16"))
RAGGED = toy_images((45, 24, 24))  # batches of 16, 16 and 13
HORIZON = Schedule(kind="cosine", horizon=10)


def strategy(*directives, name="made"):
    class Made(Strategy):
        def phases(self, model, epochs):
            for directive in directives:  # noqa: UP028 - a tuple would not take the reports
                yield directive

    Made.name = name
    return Made()


def head(epochs=4.0, **given):
    return Phase("lp", epochs, {"head": 1.0}, **given)


def made(chosen, *, engine="fast", siblings=(), **given):
    """(spec, resources); `siblings`: changes of seed and protocol of runs still to come."""
    given = {"images": RAGGED, "lr": 0.3} | given
    spec, resources = toy_run(chosen, **given)
    others = tuple(toy_run(chosen, **(given | other))[0] for other in siblings)
    return spec, replace(resources, engine=engine, siblings=others)


def driven(chosen, **given):
    """The state of a run after its last phase."""
    state = RunState(*made(chosen, **given))
    _drive(state)
    return state


def told(state):
    """What a run says of itself, without the clock."""
    history = [replace(record, seconds=0.0) for record in state.log.history]
    phases = [record.model_copy(update={"seconds": 0.0}) for record in state.log.phases]
    best = state.selection.best and (state.selection.best.phase, state.selection.best.epoch)
    return (
        history,
        phases,
        best,
        (state.budget.steps, state.budget.spent, state.network.touched, state.log.trained_samples),
    )


def bits(outcome):
    """Of the tested network, its predictions, and every epoch's loss: the best may come early."""
    losses = torch.tensor([e.train_loss for e in outcome.result.history], dtype=torch.float64)
    logits = map(torch.from_numpy, outcome.predictions.logits.values())
    return [*outcome.state.values(), *logits, losses]


def same_bits(one, other):
    return all(torch.equal(a, b) for a, b in zip(bits(one), bits(other), strict=True))


@pytest.fixture
def trained(monkeypatch):
    """Blocks' epochs that are trained: (lanes, first step)."""
    seen = []
    original = block.HeadBatch.train
    monkeypatch.setattr(
        block.HeadBatch,
        "train",
        lambda block, first, *rest: (
            seen.append((block.count, first)) or original(block, first, *rest)
        ),
    )
    return seen


# -- the reference engine is the oracle ---------------------------------------------------------

BOTH = ("head.fc.weight", "head.fc.bias")
PULLED = (
    Distance("l2", 0.3, BOTH[:1], towards="zero"),
    Distance("l1", 0.01, BOTH, towards="zero"),
    Distance("l2", 0.1, ("stem.conv.weight", *BOTH), towards="zero"),
)
SHRUNK = (Distance("l1", 0.5, BOTH[:1], towards="zero", proximal=True),)
CASES = {
    "adam": (head(), {"optimizer": "adam", "weight_decay": 0.02}),
    "adamw": (head(), {"optimizer": "adamw", "weight_decay": 0.3}),
    "sgd": (head(), {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.02}),
    "momentum": (head(), {"optimizer": "sgd", "lr": 0.05}),
    "loss": (head(), {"class_weights": "balanced", "label_smoothing": 0.1}),
    "smoothing": (head(), {"label_smoothing": 0.2}),
    "weights": (head(), {"class_weights": "balanced", "optimizer": "sgd"}),
    "penalties": (head(penalties=PULLED, decay={"*.bias": 0.0}), {"weight_decay": 0.1}),
    "adamw, no decay of biases": (
        head(decay={"*.bias": 0.0}),
        {"optimizer": "adamw", "weight_decay": 0.3},
    ),
    "proximal": (head(penalties=SHRUNK), {"optimizer": "sgd"}),
    "rates": (Phase("lp", 4, {"head.fc.bias": 3.0, "head": 0.5}), {}),
    "warm-up": (head(), {"schedule": Schedule(kind="linear", warmup=1.5, floor=0.1)}),
    "over the run": (head(2.5, anneal="run"), {}),
    "a fraction": (head(2.4), {"schedule": HORIZON}),
    "less than a pass": (head(0.4), {}),
    "patience": (head(), {"epochs": 9.0, "patience": 2}),
    "patience ignored": (head(patience=False), {"patience": 1}),
    "not selected": (head(select=False), {}),
    "last": (head(), {"checkpoint": "last"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_lane_learns_what_the_reference_learns(case):
    phase, protocol = CASES[case]
    if case == "patience":
        phase = head(9.0)
    # In eval mode: a bias before batch norm has no gradient, and Adam makes steps of its noise.
    more = 0.5 if phase.epochs <= 3.5 else 0.0
    after = Phase("ft", more, {"*": 0.1}, keep_optimizer=True, norm="eval")
    chosen = strategy(phase, after)
    fast, plain = (driven(chosen, engine=e, **protocol) for e in ("fast", "reference"))

    for ours, theirs in zip(told(fast)[0], told(plain)[0], strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-8)
        assert replace(ours, train_loss=0.0) == replace(theirs, train_loss=0.0)
    assert told(fast)[1:] == told(plain)[1:]
    for name, tensor in plain.network.model.state_dict().items():
        torch.testing.assert_close(
            fast.network.model.state_dict()[name], tensor, rtol=1e-8, atol=1e-12
        )
    assert fast.optimizer_state.keys() == plain.optimizer_state.keys()
    for name, kept in plain.optimizer_state.items():
        assert kept.keys() == fast.optimizer_state[name].keys()
        for key, tensor in kept.items():
            found = fast.optimizer_state[name][key]
            torch.testing.assert_close(found, tensor, rtol=1e-8, atol=1e-12)
    if plain.selection.best is not None:
        for name, tensor in plain.selection.best.tensors.items():
            torch.testing.assert_close(
                fast.selection.best.tensors[name], tensor, rtol=1e-8, atol=1e-12
            )


def test_the_cases_reach_what_they_are_for(trained):
    """Every case is served by lanes; the one of patience stops before its time."""
    for phase, protocol in CASES.values():
        driven(strategy(phase), **protocol)
    assert sum(first == 0 for _, first in trained) == len(CASES)
    stopped = driven(strategy(head(9.0)), epochs=9.0, patience=2)
    assert stopped.log.phases[0].stopped
    assert stopped.log.phases[0].epochs < 9


def test_a_head_without_biases_is_a_lane_too(trained):
    class Bare(ToyBackbone):
        def build(self, classes):
            model = super().build(classes)
            model.head.fc = nn.Linear(10, classes, bias=False)
            return model

    backbone = Bare()
    given = {"backbone": backbone, "start": toy_start(backbone), "weight_decay": 0.1}
    fast, plain = (driven(strategy(head()), engine=e, **given) for e in ("fast", "reference"))

    assert len(trained) == 4
    torch.testing.assert_close(
        fast.network.model.head.fc.weight, plain.network.model.head.fc.weight, rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_float32_is_as_far_as_a_unit_in_the_last_place_takes_it(optimizer):
    """||w_fast - w_ref|| <= 3 ||w_ref' - w_ref||, ref' begun one unit in the last place aside."""
    start = toy_start(ToyBackbone())
    moved = StartingPoint(
        {
            n: torch.nextafter(t, t + 1) if t.is_floating_point() else t
            for n, t in start.state.items()
        },
        start.record,
    )
    given = {"numeric": FLOAT32, "optimizer": optimizer}
    fast, plain = (
        driven(strategy(head()), engine=e, start=start, **given) for e in ("fast", "reference")
    )
    aside = driven(strategy(head()), engine="reference", start=moved, **given)

    def apart(one, other):
        pairs = zip(
            one.network.model.head.parameters(), other.network.model.head.parameters(), strict=True
        )
        return sum(float((a - b).detach().double().square().sum()) for a, b in pairs) ** 0.5

    assert apart(fast, plain) <= 3 * apart(aside, plain)


@pytest.mark.slow
def test_mixed_precision_scores_as_the_reference_does():
    """The paired difference over five seeds stays within a point (90 % interval)."""
    images = toy_images((96, 48, 300))
    differences = []
    for seed in range(5):
        found = [
            run(*made(strategy(head(8.0)), engine=e, images=images, numeric=BF16, epochs=8.0,
                      seed=seed, optimizer="adam"))
            for e in ("fast", "reference")
        ]  # fmt: skip
        fast, plain = (o.result.metrics["balanced-accuracy"].value for o in found)
        differences.append(fast - plain)
    values = torch.tensor(differences, dtype=torch.float64)
    reach = 2.132 * values.std() / 5**0.5  # Student's t with 4 degrees of freedom
    assert abs(float(values.mean())) + float(reach) <= 0.01


# -- company changes nothing --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("numeric", [FLOAT32, BF16], ids=["float32", "bf16"])
def test_a_lane_has_the_same_bits_in_any_company(numeric, trained):
    chosen = strategy(head(3.0))
    given = {"numeric": numeric, "optimizer": "adam", "patience": 2, "weight_decay": 0.01}
    members = [{"seed": s, "lr": lr} for s in range(3) for lr in (0.3, 0.05)]
    alone = [run(*made(chosen, **given, **member)) for member in members]
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 0, 2], [4, 2]):
        shared, trained[:] = {}, []
        for place, number in enumerate(order):
            left = [members[n] for n in order[place + 1 :]]
            beside = run(*made(chosen, siblings=left, shared=shared, **given, **members[number]))
            assert same_bits(beside, alone[number]), (order, number)
        assert sum(count for count, first in trained if first == 0) == len(order)


@pytest.mark.slow
def test_many_shapes_are_sums_of_their_own():
    """No lane's bits depend on its place or on the others, in any shape of batch."""
    torch.manual_seed(0)
    for classes, inputs, size in itertools.product((2, 3, 9), (10, 64, 100, 512), (7, 16, 33)):
        shape = block.Shape(classes, inputs, bias=True)
        spec = toy_run(strategy(head()))[0]
        rule = block.Rule(spec.protocol)
        labels = torch.arange(70) % classes
        goal, mass = block.goals(labels, classes, None, 0.0)
        x = torch.randn(70, inputs)
        task = block.Task(x, x[:11], goal.float(), mass, True, shape, rule)

        def lane(seed, task=task, size=size, spec=spec):
            reseeded = spec.model_copy(update={"seed": seed})
            torch.manual_seed(seed)
            row = torch.zeros(task.shape.row)
            row[: task.shape.weights].normal_()
            rows = (row, torch.zeros_like(row), torch.zeros_like(row))
            return block.HeadLane(rows, 1e-3 * (1 + seed), block.Batches(70, size, reseeded))

        def after(seeds, task=task, lane=lane, size=size):
            read, width = [], block.BLOCK["cpu"]
            for first in range(0, len(seeds), width):
                lanes = [lane(seed) for seed in seeds[first : first + width]]
                together = block.HeadBatch(task, lanes, GraphCache("cpu"))
                together.train(0, [1.0] * lanes[0].batches.per_epoch, RunClock("cpu"))
                read += together.hold().read()
            return dict(zip(seeds, read, strict=True))

        alone = after([1])[1]
        for seeds in ([1, 2, 3, 4], [4, 3, 2, 1], [2, 1]):
            found = after(seeds)[1]
            assert torch.equal(found.logits, alone.logits), (classes, inputs, size, seeds)
            assert torch.equal(found.losses, alone.losses), (classes, inputs, size, seeds)
            assert all(torch.equal(a, b) for a, b in zip(found.rows, alone.rows, strict=True))


@pytest.mark.parametrize("epochs", [6.0, 4.4])
def test_epochs_trained_ahead_change_nothing(epochs, monkeypatch, trained):
    chosen, given = strategy(head(epochs)), {"patience": 2, "epochs": 6.0, "numeric": FLOAT32}
    members = [{"seed": seed} for seed in range(6)]
    alone = [run(*made(chosen, **given, **member)) for member in members]
    assert {len(one.result.history) for one in alone} > {3}
    monkeypatch.setitem(block.AHEAD, "cpu", 4)
    shared = {}
    for place, member in enumerate(members):
        left = members[place + 1 :]
        beside = run(*made(chosen, siblings=left, shared=shared, **given, **member))
        assert same_bits(beside, alone[place])
        assert _plain(beside) == _plain(alone[place])


def test_random_backbones_share_rates_but_no_seeds(trained):
    """Without loaded weights every seed has features of its own."""
    chosen, shared = strategy(head(2.0)), {}
    left = [{"seed": 1}, {"seed": 0, "lr": 3e-3}]
    run(*made(chosen, siblings=left, shared=shared, start=None))
    assert sum(count for count, first in trained if first == 0) == 2
    beside = run(*made(chosen, shared=shared, start=None, seed=1))
    assert same_bits(beside, run(*made(chosen, start=None, seed=1)))


def test_a_family_differs_in_seed_and_rate_only():
    chosen = strategy(head())
    spec = toy_run(chosen)[0]
    assert family(spec) == family(toy_run(chosen, seed=3, lr=0.5)[0])
    for other in ({"batch_size": 8}, {"epochs": 5.0}, {"numeric": FLOAT32}):
        assert family(spec) != family(toy_run(chosen, **other)[0])


def test_a_lane_that_fails_fails_alone_at_the_step_of_the_reference():
    chosen, shared = strategy(head()), {}
    given = {"numeric": FLOAT32, "optimizer": "sgd"}
    wild = {"lr": 1e38}
    calm = run(*made(chosen, siblings=[wild, {"seed": 1}], shared=shared, **given))
    with pytest.raises(TrainingError) as ours:
        run(*made(chosen, shared=shared, **given, **wild))
    with pytest.raises(TrainingError) as theirs:
        run(*made(chosen, engine="reference", **given, **wild))

    assert (ours.value.step, ours.value.phase) == (theirs.value.step, theirs.value.phase)
    assert str(ours.value) == str(theirs.value)
    assert same_bits(calm, run(*made(chosen, **given)))
    beside = run(*made(chosen, shared=shared, seed=1, **given))
    assert same_bits(beside, run(*made(chosen, seed=1, **given)))


# -- leading phases are remembered --------------------------------------------------------------

LONG = strategy(head(4.0), name="long")
SHORT = strategy(head(2.0), Phase("ft", 2, {"*": 1.0}, begin="best"), name="short")
FRACTION = strategy(head(1.5), Phase("ft", 2.5, {"*": 1.0}, keep_optimizer=True), name="fraction")
GRADUAL = strategy(
    head(1.0, anneal="run", patience=False),
    Phase("all", 3, {"*": 1.0}, anneal="run", keep_optimizer=True),
    name="gradual",
)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [HORIZON, Schedule(kind="constant", warmup=1.0)])
def test_a_phase_that_begins_like_another_is_not_trained_again(schedule, trained):
    given = {"schedule": schedule, "optimizer": "adam", "patience": 3, "numeric": FLOAT32}
    chosen = (LONG, SHORT, FRACTION, GRADUAL)
    alone = {one.name: run(*made(one, **given)) for one in chosen}
    for order, rounds in (((0, 1, 3, 2), 4 + 1), ((2, 3, 1, 0), 2 + 0 + 1 + 2)):
        shared, trained[:] = {}, []
        for number in order:
            again = run(*made(chosen[number], shared=shared, **given))
            assert same_bits(again, alone[chosen[number].name]), (order, chosen[number].name)
            assert _plain(again) == _plain(alone[chosen[number].name])
        # 1.5 epochs share the first with all others and train half of one of their own.
        assert len(trained) == rounds, (order, trained)


def _plain(outcome):
    result = outcome.result
    return (
        [replace(record, seconds=0.0) for record in result.history],
        [record.model_copy(update={"seconds": 0.0}) for record in result.phases],
        result.tested,
        result.metrics,
    )


@pytest.mark.parametrize(
    "other",
    [
        {"schedule": Schedule(kind="cosine")},  # spans the phase, so that every rate differs
        {"lr": 2e-2},
        {"seed": 1},
        {"label_smoothing": 0.1},
        {"weight_decay": 0.1},
        {"batch_size": 15},
        {"optimizer": "sgd"},
        {"class_weights": "balanced"},
    ],
)
def test_what_would_learn_otherwise_is_not_served(other, trained):
    shared, given = {}, {"schedule": HORIZON}
    run(*made(LONG, shared=shared, **given))
    before = len(trained)
    run(*made(SHORT, shared=shared, **(given | other)))
    assert len(trained) > before


def test_other_penalties_and_decays_are_not_served(trained):
    shared, given = {}, {"schedule": HORIZON, "weight_decay": 0.1}
    for phase in (head(), head(penalties=PULLED), head(penalties=SHRUNK), head(decay={"*": 0.0})):
        before = len(trained)
        run(*made(strategy(phase), shared=shared, **given))
        assert len(trained) == before + 4


def test_what_is_forgotten_is_trained_again_to_the_same_bits(monkeypatch, trained):
    monkeypatch.setattr(memo, "MEMO_BYTES", 0)
    shared, given = {}, {"schedule": HORIZON, "numeric": FLOAT32}
    alone = run(*made(LONG, **given))
    run(*made(LONG, shared=shared, seed=1, **given))
    run(*made(LONG, shared=shared, seed=2, **given))
    assert len(SharedWork.of(shared).heads.kept) == 1
    assert same_bits(run(*made(LONG, shared=shared, **given)), alone)


# -- what a run tells, and what it costs --------------------------------------------------------


def test_the_observer_hears_of_every_epoch_of_a_served_phase():
    class Heard(Observer):
        def __init__(self):
            self.events = []

        def epoch_end(self, record):
            self.events.append((record.phase, record.epoch, record.score))

        def phase_end(self, report):
            self.events.append((report.phase, report.steps, report.score, report.best))

    shared, heard = {}, []
    for engine in ("fast", "fast", "reference"):
        spec, resources = made(LONG, engine=engine, shared=shared)
        heard.append(Heard())
        run(spec, replace(resources, observer=heard[-1]))
    assert heard[0].events == heard[1].events == heard[2].events
    assert len(heard[0].events) == 5


@pytest.fixture
def paid(monkeypatch):
    """A clock on which a block's epoch takes 100 s, its reading 10, a score 1, features 1000, all else nothing."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def takes(owner, name, seconds, when=lambda *_: True):
        original = getattr(owner, name)

        def work(*args, **given):
            now[0] += seconds * when(*args)
            return original(*args, **given)

        monkeypatch.setattr(owner, name, work)

    takes(block.HeadBatch, "train", 100.0)
    takes(block.HeldHeads, "read", 10.0)
    takes(Selection, "score", 1.0)
    takes(evaluate, "outputs", 1000.0, lambda *args: args[-1][0] == "prefix")


@pytest.mark.parametrize("patience", [None, 2])
@pytest.mark.usefixtures("paid")
def test_everyone_is_charged_as_if_alone_and_nobody_pays_twice(patience):
    members = [{"seed": seed} for seed in range(6)]  # two blocks on a CPU
    given, shared = {"patience": patience, "epochs": 6.0}, {}
    chosen = strategy(head(6.0))
    lone = [run(*made(chosen, **given, **member)).result for member in members]
    costs = []
    for place, member in enumerate(members):
        left = members[place + 1 :]
        costs.append(
            run(*made(chosen, siblings=left, shared=shared, **given, **member)).result.cost
        )

    for cost, alone in zip(costs, lone, strict=True):
        epochs = len(alone.history)
        assert cost.alone == alone.cost.alone
        assert cost.alone.train == 100 * epochs
        assert cost.alone.evaluate == 11 * epochs
        # Features of all three splits; those of the test split are another run's for all but one.
        assert cost.alone.features == 3000
    together = sum(cost.incurred.total for cost in costs)
    assert costs[0].incurred.train > costs[0].alone.train
    assert together < sum(cost.alone.total for cost in costs) / 2
    assert sum(cost.incurred.features for cost in costs) == 3000
    for cost in costs:
        assert cost.images_per_second == pytest.approx(0.45 * 3 / 3, abs=1e-3)


# -- what is a probe, and what is not -----------------------------------------------------------


class Objective:
    capturable = False

    def __call__(self, model, batch):
        return nn.functional.cross_entropy(model(batch.inputs), batch.targets)


class Deep(ToyBackbone):
    """A head with dropout below its last layer."""

    def build(self, classes):
        model = super().build(classes)
        parts = OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), drop=nn.Dropout(0.2),
            fc=nn.Linear(10, classes),
        )  # fmt: skip
        model.head = nn.Sequential(parts)
        return model


def carried_out(phase, **given):
    return type(probe.phase_run(RunState(*made(strategy(phase), **given)), phase))


@pytest.mark.parametrize(
    "phase",
    [
        Phase("p", 4, {"*": 1.0}),
        Phase("p", 4, {"layer2": 1.0, "head": 1.0}),
        Phase("p", 4, {"head.fc.weight": 1.0}),
        head(objective=Objective()),
        head(share=0.5),
        head(average="ema"),
        head(reference="pretrained"),
        head(penalties=(lambda now, start: now["head.fc.bias"].square().sum(),)),
    ],
)
def test_other_phases_are_carried_out_plainly(phase):
    assert carried_out(phase) is PhaseRun


def test_a_probe_is_carried_out_in_lanes_unless_something_stands_against_it(monkeypatch):
    assert carried_out(head()) is probe.ProbeRun
    assert carried_out(head(), engine="reference") is PhaseRun
    assert carried_out(head(), augment=("flip-horizontal",)) is PhaseRun
    assert carried_out(head(), backbone=Deep(), start=toy_start(Deep())) is PhaseRun
    monkeypatch.setattr("harness.engine.evaluate.FEATURE_BYTES", 0)
    assert carried_out(head()) is PhaseRun


def test_an_adapted_network_and_a_later_phase_are_carried_out_plainly(trained):
    class Adapted(Strategy):
        name = "adapted"

        def adapt(self, model, rng):
            return model

        def phases(self, model, epochs):
            yield head()

    run(*made(Adapted()))
    run(*made(strategy(Phase("a", 2, {"*": 1.0}), head(2.0))))
    assert not trained


# -- on a card ----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestOnACard:
    """Epochs are recorded from the second on; blocks are 16 lanes wide."""

    @staticmethod
    def made(*args, **given):
        spec, resources = made(*args, **given)
        return spec, replace(resources, device="cuda:0")

    @pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
    def test_recorded_epochs_learn_what_the_reference_learns(self, optimizer):
        given = {"optimizer": optimizer, "weight_decay": 0.02, "class_weights": "balanced"}
        fast, plain = (
            run(*self.made(strategy(head(3.4)), engine=e, **given)) for e in ("fast", "reference")
        )
        assert [p.epochs for p in fast.result.phases] == [p.epochs for p in plain.result.phases]
        for name, tensor in plain.state.items():
            torch.testing.assert_close(fast.state[name], tensor, rtol=1e-8, atol=1e-12)

    @pytest.mark.parametrize("numeric", [FLOAT32, BF16], ids=["float32", "bf16"])
    def test_a_lane_has_the_same_bits_in_any_company(self, numeric):
        given = {"numeric": numeric, "optimizer": "adam", "patience": 2, "epochs": 6.0}
        members = [{"seed": s, "lr": lr} for s in range(9) for lr in (0.3, 0.05)]
        chosen, shared = strategy(head(6.0)), {}
        alone = [run(*self.made(chosen, **given, **member)) for member in members]
        for number, member in reversed(list(enumerate(members))):
            left = members[:number]
            beside = run(*self.made(chosen, siblings=left, shared=shared, **given, **member))
            assert same_bits(beside, alone[number]), member

    def test_an_epoch_does_not_wait_for_the_device(self, monkeypatch):
        original, rounds = block.HeadBatch.train, []

        def train(*args):
            rounds.append(1)
            torch.cuda.set_sync_debug_mode("error" if len(rounds) > 2 else "default")
            try:
                original(*args)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(block.HeadBatch, "train", train)
        run(*self.made(strategy(head(5.0)), numeric=FLOAT32, epochs=5.0))
        assert len(rounds) == 5


# -- who is told of siblings --------------------------------------------------------------------


def test_siblings_stay_with_one_worker_while_others_have_something_else_to_do():
    class Quiet:
        def __getattr__(self, name):
            return lambda *args: None

    class Line:
        def __init__(self):
            self.sent = []

        def send(self, task):
            self.sent.append(task)

    chosen = [strategy(head(), name=name) for name in ("a", "b")]
    specs = [toy_run(one, seed=seed)[0] for seed in range(3) for one in chosen]
    pool = ProcessWorkers(specs, None, None, Quiet())
    pool.workers = [_Worker(None, Line()), _Worker(None, Line())]
    for _ in range(3):
        for worker in pool.workers:
            pool._hand_out(worker)

    first, second = (worker.connection.sent for worker in pool.workers)
    assert [(spec.strategy, spec.seed) for spec, _ in first] == [("a", 0), ("a", 1), ("a", 2)]
    assert [(spec.strategy, spec.seed) for spec, _ in second] == [("b", 0), ("b", 1), ("b", 2)]
    assert [[(s.strategy, s.seed) for s in siblings] for _, siblings in first] == [
        [("a", 1), ("a", 2)],
        [("a", 2)],
        [],
    ]


def test_a_worker_takes_a_sibling_from_another_before_it_stands_idle():
    specs = [toy_run(LONG, seed=seed)[0] for seed in range(2)]
    queue = RunQueue(specs)
    assert queue.take(("toy", "toy"), {family(specs[0])}) == specs[0]
    assert queue.take(("toy", "toy"), {family(specs[0])}) == specs[1]
    assert queue.waiting == {}

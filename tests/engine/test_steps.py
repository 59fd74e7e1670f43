"""Recorded steps against the plain path: the same plans, the same weights.

On a CPU recorded work is done plainly each time, so these tests hold the bookkeeping (fixed memory,
rates on the device, networks that are used again); with the mark `gpu` they hold the graphs too.
"""

import hashlib
import math
import multiprocessing
import warnings

import numpy as np
import pytest
import torch
from toys import FULL, HEAD, ToyBackbone, ToyVgg, distance, strategy, toy_images, toy_run

from harness import Distance, Phase
from harness.api.records import NumericMode
from harness.engine import model, run
from harness.engine.model import PooledByProducts, fixed_norms
from harness.engine.steps import CapturedSteps
from harness.plugins.registry import load_plugins

DEVICES = [
    "cpu",
    pytest.param(
        "cuda:0",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]
PLAIN = NumericMode(precision="float64", deterministic=False)
RECORDED = PLAIN.model_copy(update={"compile": "graph"})
FLOAT32 = PLAIN.model_copy(update={"precision": "float32"})
MIXED = RECORDED.model_copy(update={"precision": "bf16", "layout": "channels-last"})
STRATEGIES = load_plugins().strategies
IMAGES = toy_images((52, 24, 24))  # three full batches and one of four


def trained(chosen, numeric, device, *, engine="fast", shared=None, **given):
    given = {"images": IMAGES, "checkpoint": "last"} | given
    spec, resources = toy_run(chosen, numeric=numeric, shared=shared, **given)
    moved = {"device": device, "engine": engine}
    return run(spec, type(resources)(**(vars(resources) | moved)))


def reference(chosen, numeric, device, **given):
    plain = numeric.model_copy(update={"compile": "none"})
    return trained(chosen, plain, device, engine="reference", **given)


def assert_same(found, wanted, rtol=1e-8):
    assert [p.model_dump(exclude={"seconds"}) for p in found.result.phases] == [
        p.model_dump(exclude={"seconds"}) for p in wanted.result.phases
    ]
    for name, tensor in wanted.state.items():
        if rtol > 1e-8 and name.endswith("conv.bias"):
            continue  # before a norm its gradient is rounding, and Adam makes a step of it
        scale = float(tensor.double().norm())
        off = float((found.state[name].double() - tensor.double()).norm())
        assert off <= rtol * max(scale, 1e-3), f"{name} is {off / max(scale, 1e-3):.1e} off"


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backbone", [ToyBackbone(), ToyVgg()], ids=lambda b: b.name)
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_ends_where_the_reference_does(name, backbone, device):
    """Twice over one shared network, so that the second run finds everything recorded."""
    shared = {}
    for seed in (0, 1):
        given = {"seed": seed, "backbone": backbone}
        chosen = STRATEGIES[name]()
        found = trained(chosen, RECORDED, device, shared=shared, **given)
        assert_same(found, reference(chosen, PLAIN, device, **given))


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_strategies_may_follow_each_other_on_one_network(device):
    shared = {}
    mixed = {n: trained(STRATEGIES[n](), RECORDED, device, shared=shared) for n in STRATEGIES}
    for name, found in mixed.items():
        assert_same(found, reference(STRATEGIES[name](), PLAIN, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_optimizers_rates_decays_and_kept_state(optimizer, precision, device):
    chosen = strategy(
        Phase("a", 1.25, {"head": 1.0}, decay={"head": 0.1}),
        Phase("b", 1.5, {"fc": 0.5, "head": 1.0}, keep_optimizer=True, anneal="run"),
        Phase("c", 1.25, {"block1": 0.1, "*.weight": 0.3, "*": 2.0}, keep_optimizer=True),
    )
    numeric = RECORDED.model_copy(update={"precision": precision})
    given = {"optimizer": optimizer, "backbone": ToyVgg(), "batch_size": 12}
    found = trained(chosen, numeric, device, **given)
    wanted = reference(chosen, numeric, device, **given)
    assert_same(found, wanted, rtol=1e-8 if precision == "float64" else 1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_penalties_proximal_steps_and_averages(device):
    names = ("stem.conv.weight", "layer1.conv.weight", "layer2.conv.weight")
    terms = (
        Distance("l1", 1e-2, names[:1]),
        Distance("l2", 1e-1, names[1:2]),
        Distance("l1", 1e-2, names[2:], proximal=True),
        Distance("l2", 1e-1, ("head.fc.weight",), towards="zero"),
    )
    chosen = strategy(
        Phase("a", 2, {"*": 1.0}, penalties=terms, average="ema"),
        Phase("b", 2, {"*": 1.0}, penalties=terms, average="swa", norm="eval"),
    )
    assert_same(trained(chosen, RECORDED, device), reference(chosen, PLAIN, device))


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "protocol",
    [
        {"class_weights": "balanced", "label_smoothing": 0.1},
        {"augment": ("flip-horizontal", "flip-vertical", "affine")},
        {"checkpoint": "best", "patience": 1},
        {"charge_looks": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["full-ft", "auto-rgn", "gradual-first-last"])
def test_protocols(name, protocol, device):
    chosen = STRATEGIES[name]()
    found = trained(chosen, RECORDED, device, **protocol)
    assert_same(found, reference(chosen, PLAIN, device, **protocol))


class Tilted:
    """A loss of its own that uses all a batch offers."""

    capturable = True

    def __call__(self, model, batch):
        logits = model(batch.inputs)
        held = batch.reference(batch.inputs)
        loss = torch.nn.functional.cross_entropy(logits, batch.targets)
        drift = (logits - held).square().mean()
        return loss + (0.1 + batch.progress) * drift * (1 + 1e-3 * batch.index.sum())


@pytest.mark.parametrize("device", DEVICES)
def test_a_capturable_objective_sees_the_batch_the_progress_and_the_reference(device):
    chosen = strategy(Phase("p", 4, {"*": 1.0}, objective=Tilted(), reference="phase-start"))
    assert_same(trained(chosen, RECORDED, device), reference(chosen, PLAIN, device))


@pytest.mark.parametrize("device", DEVICES)
def test_an_objective_that_cannot_be_recorded_is_carried_out_plainly(device, monkeypatch):
    monkeypatch.setattr(Tilted, "capturable", False)
    steps = []
    original = CapturedSteps.step
    monkeypatch.setattr(CapturedSteps, "step", lambda s, n: steps.append(n) or original(s, n))
    chosen = strategy(Phase("p", 4, {"*": 1.0}, objective=Tilted(), reference="phase-start"))
    assert_same(trained(chosen, RECORDED, device), reference(chosen, PLAIN, device))
    assert steps == []


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_float32_is_within_the_noise_of_a_changed_last_bit(device):
    """||w_fast - w_ref|| <= 3 ||w_ref' - w_ref||, ref' begun one unit in the last place aside."""
    numeric, recorded = FLOAT32, FLOAT32.model_copy(update={"compile": "graph"})
    for name in STRATEGIES:
        chosen = STRATEGIES[name]()
        wanted = reference(chosen, numeric, device).state
        found = trained(chosen, recorded, device).state
        start = toy_run(chosen)[1].start
        moved = {
            n: torch.nextafter(t, t + 1) if t.is_floating_point() else t
            for n, t in start.state.items()
        }
        begun = type(start)(moved, start.record)
        aside = reference(chosen, numeric, device, start=begun).state
        assert distance(found, wanted) <= 3 * distance(aside, wanted), name


def digest_on_a_card(backbone, precision):
    """A sha256 over the weights of a deterministic run."""
    numeric = RECORDED.model_copy(update={"precision": precision, "deterministic": True})
    state = trained(FULL, numeric, "cuda:0", backbone=backbone).state
    content = b"".join(tensor.numpy().tobytes() for _, tensor in sorted(state.items()))
    return hashlib.sha256(content).hexdigest()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestOnACard:
    def test_no_step_waits_for_the_device(self, monkeypatch):
        """Once everything is recorded, a step that waited would raise."""
        original = CapturedSteps.step

        def step(self, number):
            steady = number >= 9
            with warnings.catch_warnings(action="ignore"):  # that the mode is a prototype
                torch.cuda.set_sync_debug_mode("error" if steady else "default")
            try:
                original(self, number)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(CapturedSteps, "step", step)
        numeric = MIXED
        kinds = ("flip-horizontal", "affine")
        for augment in ((), kinds):
            trained(FULL, numeric, "cuda:0", augment=augment)

    def test_a_second_seed_records_nothing(self, monkeypatch):
        from harness.engine.graphs import CapturableWork

        recorded = []
        original = CapturableWork._record
        monkeypatch.setattr(
            CapturableWork, "_record", lambda s, work: recorded.append(s) or original(s, work)
        )
        shared = {}
        counts = []
        for seed in (0, 1):
            trained(FULL, RECORDED, "cuda:0", shared=shared, seed=seed)
            counts.append(len(recorded))
        assert counts[0] > 0
        assert counts[1] - counts[0] == 0  # float64 updates are not recorded

    def test_images_that_do_not_fit_are_streamed(self, monkeypatch):
        from harness.engine import storage

        numeric = RECORDED
        uploaded = trained(FULL, numeric, "cuda:0")
        monkeypatch.setattr(storage, "SHARES", dict.fromkeys(storage.SHARES, 0.0))
        assert_same(trained(FULL, numeric, "cuda:0"), uploaded)

    def test_deterministic_runs_have_the_same_bits_in_another_process(self):
        given = {"backbone": ToyVgg(), "precision": "bf16"}
        here = [digest_on_a_card(**given) for _ in range(2)]
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            here.append(pool.apply(digest_on_a_card, kwds=given))
        assert len(set(here)) == 1

    def test_a_run_that_replays_took_as_much_memory_as_the_one_that_recorded(self):
        shared = {}
        peaks = [
            trained(FULL, MIXED, "cuda:0", shared=shared, seed=seed).result.cost.peak_bytes
            for seed in (0, 1, 2)
        ]
        assert peaks[1:] == pytest.approx([peaks[0]] * 2, rel=0.1)

    def test_dropout_draws_the_same_numbers_recorded_or_not(self):
        given = {"backbone": ToyVgg(), "seed": 3}
        found = trained(FULL, RECORDED, "cuda:0", **given)
        assert_same(found, reference(FULL, PLAIN, "cuda:0", **given))

    def test_mixed_precision_stays_within_a_point_over_five_seeds(self):
        numeric = MIXED
        images = toy_images((240, 240, 480))
        off = []
        for seed in range(5):
            given = {"images": images, "seed": seed, "epochs": 12, "checkpoint": "best"}
            mixed = trained(FULL, numeric, "cuda:0", **given)
            exact = reference(FULL, FLOAT32, "cuda:0", **given)
            values = [o.result.metrics["balanced-accuracy"].value for o in (mixed, exact)]
            off.append(values[0] - values[1])
        half = 2.132 * np.std(off, ddof=1) / math.sqrt(5)  # 90 %, t with four degrees of freedom
        assert abs(np.mean(off)) + half <= 0.01


def test_head_only_phases_are_recorded_too():
    assert_same(trained(HEAD, RECORDED, "cpu"), reference(HEAD, PLAIN, "cpu"))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_frozen_norms_go_back_as_torchs_do(layout):
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(5, dtype=torch.float64)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2)
    norm.eval().requires_grad_(False)
    x = torch.randn(4, 5, 3, 3, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    wanted = norm(x)
    (slope,) = torch.autograd.grad(wanted.square().sum(), x)
    with fixed_norms(torch.nn.Sequential(norm)):
        found = norm(x)
    (quick,) = torch.autograd.grad(found.square().sum(), x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    torch.testing.assert_close(quick, slope, rtol=1e-12, atol=1e-12)
    assert "forward" not in vars(norm)


def test_norms_that_learn_or_use_the_batch_are_left_alone():
    learning, training = torch.nn.BatchNorm2d(2).eval(), torch.nn.BatchNorm2d(2)
    training.requires_grad_(False)
    with fixed_norms(torch.nn.Sequential(learning, training)):
        assert "forward" not in vars(learning)
        assert "forward" not in vars(training)


HALF = NumericMode(precision="fp16", layout="channels-last", deterministic=False)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_fp16_learns_what_float32_learns_and_leaves_no_step_out(optimizer):
    """The scale of the loss is a power of two: but for narrower products nothing differs."""
    given = {"optimizer": optimizer, "images": toy_images((96, 48, 200))}
    names = ("stem.conv.weight", "layer1.conv.weight")
    pull = Distance("l2", 0.5, names, towards="zero")  # a gradient that nobody scales
    chosen = strategy(Phase("ft", 4, {"*": 1.0}, penalties=(pull,)))
    wide, narrow = (trained(chosen, numeric, "cpu", **given) for numeric in (FLOAT32, HALF))
    recorded = trained(chosen, HALF.model_copy(update={"compile": "graph"}), "cpu", **given)

    assert not any("left out" in note for p in narrow.result.phases for note in p.notes)
    begun = toy_run(FULL)[1].start.state
    moved = {n: t for n, t in wide.state.items() if n in begun and n.endswith("conv.weight")}
    for name, tensor in moved.items():
        way = float((tensor - begun[name]).norm())
        assert float((narrow.state[name] - tensor).norm()) < 0.1 * way
        assert float((recorded.state[name] - narrow.state[name]).norm()) < 0.01 * way


def test_steps_with_gradients_beyond_fp16_are_left_out_and_told(monkeypatch):
    """A scale of 2^24 is too much; it is halved at each step that is left out, in every run anew."""
    monkeypatch.setattr(model, "LOSS_SCALE", 2.0**24)
    shared, counts = {}, []
    shrinking = (Distance("l1", 0.5, ("stem.conv.weight",), towards="zero", proximal=True),)
    for chosen in (FULL, strategy(Phase("ft", 1, {"*": 1.0}, penalties=shrinking))):
        found = trained(chosen, HALF, "cpu", shared=shared)
        (phase,) = found.result.phases
        (note,) = phase.notes
        counts.append(int(note.removesuffix(" steps left out: a gradient was not finite in fp16")))
        assert all(tensor.isfinite().all() for tensor in found.state.values())
    assert phase.steps == counts[1] == 4 < counts[0] < 16
    begun = toy_run(FULL)[1].start.state
    still = [n for n in begun if n.endswith(("weight", "bias"))]
    assert len(still) > 5
    assert all(torch.equal(found.state[name].contiguous(), begun[name]) for name in still)


@pytest.mark.parametrize("wanted", [1, 2, 3, 7, (2, 5), (None, 3)])
@pytest.mark.parametrize("shape", [(7, 7), (8, 6), (5, 14)])
def test_pooling_by_products_is_torchs(shape, wanted):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    pooled = torch.nn.functional.adaptive_avg_pool2d(x, wanted)
    weights = torch.randn_like(pooled)
    (slope,) = torch.autograd.grad((pooled * weights).sum(), x)
    found = PooledByProducts(wanted)(x)
    (quick,) = torch.autograd.grad((found * weights).sum(), x)
    torch.testing.assert_close(found, pooled, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(quick, slope, rtol=1e-12, atol=1e-12)

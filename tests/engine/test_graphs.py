"""Recordings: what they hold and let go, what is compiled, what a broken one says."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from toys import FULL, ToyBackbone, strategy, toy_images, toy_run

from harness import Phase, Strategy
from harness.engine import graphs, run, shared, steps, training
from harness.engine.devices import RunClock
from harness.engine.state import RunState

IMAGES = toy_images((24, 12, 12))


@pytest.fixture
def networks(monkeypatch):
    """Weak references to all networks that are built; nothing but counting lets go of them."""
    built, original = [], shared.new_network

    def build(*args):
        network = original(*args)
        built.append(weakref.ref(network.model))
        return network

    monkeypatch.setattr(shared, "new_network", build)
    gc.collect()
    gc.disable()
    yield built
    gc.enable()


def mode(numeric, compiling):
    return numeric.model_copy(update={"compile": compiling})


def eager(monkeypatch):
    """`torch.compile` with a compiler that changes nothing; returns what it was given to compile."""
    given, original = [], torch.compile

    def compiler(graph, _):
        given.append(graph)
        return graph.forward

    monkeypatch.setattr(
        torch, "compile", lambda one, **more: original(one, backend=compiler, **more)
    )
    return given


class Adapting(Strategy):
    name = "adapting"

    def adapt(self, model, rng):
        return model

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": 1.0})


class OwnLoss:
    capturable = True

    def __call__(self, model, batch):
        return torch.nn.functional.cross_entropy(model(batch.inputs), batch.targets)


@pytest.mark.slow
@pytest.mark.parametrize("compiling", ["none", "graph", "compile"])
@pytest.mark.parametrize("chosen", [FULL, Adapting()], ids=["seeds", "adapting"])
def test_networks_that_were_replaced_are_freed_at_once(networks, monkeypatch, chosen, compiling):
    eager(monkeypatch)
    kept, alive = {}, []
    for seed in range(8):
        spec, resources = toy_run(chosen, seed=seed, images=IMAGES, start=None, shared=kept)
        spec = spec.model_copy(update={"numeric": mode(spec.numeric, compiling)})
        run(spec, replace(resources, keep_state=False))
        alive.append(sum(one() is not None for one in networks))
    assert len(networks) == 8
    assert max(alive) <= 2


def test_what_the_cache_drops_is_freed_at_once(monkeypatch):
    cache = graphs.GraphCache("cpu")
    cache.limit = 0

    class Held:
        def __init__(self):
            self.once = graphs.CapturableWork(cache.pool)
            self.once(self.work, RunClock("cpu"))

        def work(self):
            pass

        def bytes(self):
            return 1

    gc.collect()
    gc.disable()
    try:
        first = weakref.ref(cache.keep("a", Held))
        cache.keep("b", Held)
        assert first() is None
    finally:
        gc.enable()


@pytest.mark.slow
def test_every_network_is_compiled_once_however_many_there_are(monkeypatch):
    """14 of (backbone, classes), each with a last batch that is not whole."""
    given, counts = eager(monkeypatch), []
    torch._dynamo.reset()
    for classes in range(3, 17):
        images = toy_images((3 * 16 + 2 * classes % 16 + 2, 34, 34), classes=classes)
        spec, resources = toy_run(
            FULL, images=images, backbone=ToyBackbone(), start=None, keep_state=False
        )
        before = len(given)
        run(spec.model_copy(update={"numeric": mode(spec.numeric, "compile")}), resources)
        counts.append(len(given) - before)
    assert counts == [1] * 14


def test_the_error_of_recorded_work_is_not_hidden_by_that_of_the_recording(monkeypatch):
    class Broken:
        def capture_begin(self, **_):
            pass

        def capture_end(self):
            raise RuntimeError("operation failed due to a previous error during capture")

    class Stream:
        def synchronize(self):
            pass

    pool = graphs.GraphPool("cpu")
    pool.records = True
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Broken)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream())
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    work = graphs.CapturableWork(pool)
    work(lambda: None, RunClock("cpu"))
    assert not work.steady

    def plugin():
        raise ZeroDivisionError("a plugin's own")

    with pytest.raises(ZeroDivisionError, match="a plugin's own"):
        work(plugin, RunClock("cpu"))
    assert gc.isenabled()
    assert pool.recordings == 0
    with pytest.raises(RuntimeError, match="during capture"):  # its own error is told, too
        work(lambda: None, RunClock("cpu"))


def test_memory_of_recordings_is_what_their_pool_holds_and_nobody_uses(monkeypatch):
    pool = graphs.GraphPool("cpu")
    assert pool.idle_bytes() == 0
    pool.records, pool.handle = True, (0, 7)
    segments = [
        {"segment_pool_id": (0, 7), "total_size": 1000, "allocated_size": 250},
        {"segment_pool_id": [0, 7], "total_size": 64, "allocated_size": 0},
        {"segment_pool_id": (0, 0), "total_size": 5000, "allocated_size": 10},
        {"segment_pool_id": (0, 8), "total_size": 300, "allocated_size": 0},
    ]
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: segments)
    assert pool.idle_bytes() == 750 + 64


def test_steps_of_another_kind_or_size_are_not_compiled(monkeypatch):
    """The seconds of compiling are paid once a network: for whole batches in which all learns."""
    given = eager(monkeypatch)
    plan = strategy(
        Phase("head", 1, {"head": 1.0}),
        Phase("still", 1, {"*": 1.0}, norm="eval"),
        Phase("own loss", 0.5, {"*": 1.0}, objective=OwnLoss()),
        Phase("all", 0.5, {"*": 1.0}),
        Phase("again", 1, {"*": 0.5}),
    )
    spec, resources = toy_run(plan, images=toy_images((52, 12, 12)))
    sizes, original = [], steps.StepGraph.__init__

    def noted(self, state, inputs, size, *, compiles):
        sizes.append((size, compiles))
        original(self, state, inputs, size, compiles=compiles)

    monkeypatch.setattr(steps.StepGraph, "__init__", noted)
    run(spec.model_copy(update={"numeric": mode(spec.numeric, "compile")}), resources)
    assert len(given) == 1
    whole = spec.protocol.batch_size
    last = (52 % whole, False)  # half an epoch is two steps, of whole batches
    assert sizes == [(whole, False), last] * 2 + [(whole, False)] + [(whole, True), last]


@pytest.mark.parametrize(
    ("recorded_here", "peak"),
    # Before: 1000 at most, 700 now, and 400 more in the recordings, which a replay counts nowhere;
    # while it recorded, the allocator counted them.
    [(False, 1000 + 400), (True, 700 + 400)],
)
def test_peak_memory_counts_what_a_replay_works_in(monkeypatch, recorded_here, peak):
    spec, resources = toy_run(FULL)
    state = RunState(spec, resources)
    pool = state.network.graphs.pool
    pool.recordings = state.recordings + recorded_here
    state.resources = replace(resources, device="cuda:0")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 1000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 700)
    monkeypatch.setattr(pool, "idle_bytes", lambda: 400)
    assert training._peak_bytes(state) == peak
    state.resources = resources
    assert training._peak_bytes(state) is None

"""Runs side by side: scheduling, failures, and that nothing depends on the neighbours."""

import multiprocessing
from dataclasses import replace

import pytest
from command import TOY
from toys import toy_run

from harness.api.execution import Observer, Outcome
from harness.benchmark import workers
from harness.benchmark.events import RunListener
from harness.plugins.registry import load_plugins

STRATEGIES = load_plugins().strategies


class Heard(RunListener):
    def __init__(self):
        self.started, self.ended, self.epochs = [], {}, 0

    def run_start(self, spec):
        self.started.append(spec.run_id)

    def epoch_end(self, spec, record):
        self.epochs += 1

    def run_end(self, spec, outcome):
        assert spec.run_id not in self.ended
        self.ended[spec.run_id] = outcome


class Straight:
    """An executor that calls the engine on toys; `told` sees what it was given."""

    def __init__(self, setup, loaded):
        self.told, self.setup = [], setup

    def run(self, spec, observer, siblings=(), beside=()):
        from harness.engine import run

        self.told.append((spec.run_id, [one.seed for one in siblings], list(beside)))
        return self.setup(spec, lambda: run(spec, self.resources(spec, observer)))

    def resources(self, spec, observer):
        _, made = toy_run(STRATEGIES[spec.strategy]())
        return replace(made, observer=observer)


class Plain:
    """Stands for a setup: what is done about a run."""

    device = "cpu"

    def __call__(self, spec, work):
        return work()


plain = Plain()


def specs(*names, seeds=(0, 1)):
    return [toy_run(STRATEGIES[n](), seed=seed)[0] for n in names for seed in seeds]


@pytest.fixture
def straight(monkeypatch):
    monkeypatch.setattr(workers, "RunExecutor", Straight)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_every_run_is_carried_out_once_and_as_alone(straight, count):
    wanted, heard = specs("full-ft", "linear-probe", "auto-rgn"), Heard()
    workers.execute_in_threads(wanted, plain, None, heard, count)
    assert sorted(heard.started) == sorted(spec.run_id for spec in wanted)
    assert heard.epochs == 4 * len(wanted)
    alone = Straight(plain, None)
    for spec in wanted:
        outcome = heard.ended[spec.run_id]
        expected = alone.run(spec, Observer())
        assert all((outcome.state[n] == t).all() for n, t in expected.state.items())


def test_what_lacked_memory_beside_others_is_done_again_alone(straight):
    tries, heard = [], Heard()
    wanted = specs("full-ft", "linear-probe")

    class Short(Plain):
        def __call__(self, spec, work):
            tries.append(spec.run_id)
            outcome = work()
            if tries.count(spec.run_id) == 1 and spec.run_id == wanted[0].run_id:
                return Outcome(outcome.result.model_copy(update={"status": "oom"}))
            return outcome

    workers.execute_in_threads(wanted, Short(), None, heard, 2)
    assert tries.count(wanted[0].run_id) == 2
    assert {outcome.result.status for outcome in heard.ended.values()} == {"ok"}
    assert len(heard.ended) == len(wanted)


def test_a_listener_that_raises_ends_the_call(straight):
    class Full(Heard):
        def run_end(self, spec, outcome):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        workers.execute_in_threads(specs("full-ft", "linear-probe"), plain, None, Full(), 2)


def test_siblings_are_told_and_stay_in_one_slot(straight, monkeypatch):
    executors = []
    original = Straight.__init__

    def remember(self, *given):
        original(self, *given)
        executors.append(self)

    monkeypatch.setattr(Straight, "__init__", remember)
    workers.execute_in_threads(specs("linear-probe", seeds=(0, 1, 2)), plain, None, Heard(), 1)
    assert [told[1] for told in executors[0].told] == [[1, 2], [2], []]


# -- processes ------------------------------------------------------------------------------------


class Killing(Heard):
    """Kills the worker that is about to be given the run of this number."""

    def __init__(self, *numbers):
        super().__init__()
        self.numbers = numbers

    def run_start(self, spec):
        super().run_start(spec)
        if len(self.started) in self.numbers:
            for process in multiprocessing.active_children():
                process.kill()
                process.join()

    def run_end(self, spec, outcome):
        super().run_end(spec, outcome)
        if -len(self.ended) in self.numbers:
            for process in multiprocessing.active_children():
                process.kill()
                process.join()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, -3])
def test_a_worker_that_is_killed_before_it_is_given_a_run_costs_that_run_alone(number):
    """At its start, between two runs, and after the last one."""
    spec, made = toy_run(STRATEGIES["full-ft"]())
    setup = workers.WorkerSetup(
        suite="toy",
        images={spec.dataset: made.images},
        weights={spec.backbone: None},
        plugins=(TOY,),
    )
    loaded, wanted = load_plugins((TOY,)), specs("full-ft", seeds=(0, 1, 2))
    heard = Killing(number)
    workers.ProcessWorkers(wanted, setup, loaded, heard).work(1)

    bad = [heard.started[number - 1]] if number > 0 else []
    assert [i for i, one in heard.ended.items() if one.result.status != "ok"] == bad
    assert list(heard.ended) == heard.started == [spec.run_id for spec in wanted]
    for run in bad:
        assert "ended with exit code -9; it was killed" in heard.ended[run].result.error.message

"""Processes that carry runs out: one that dies costs the run it was given."""

import multiprocessing

import pytest
from command import TOY
from toys import toy_run

from harness.benchmark import workers
from harness.benchmark.listeners.events import Group, RunListener
from harness.plugins.registry import load_plugins


class Killing(RunListener):
    """Kills the worker that is about to be given a run, or (-number) has just ended one."""

    def __init__(self, number):
        self.number, self.started, self.ended = number, [], {}

    def run_start(self, spec):
        self.started.append(spec.run_id)
        if len(self.started) == self.number:
            self.kill()

    def run_end(self, spec, outcome):
        assert spec.run_id not in self.ended
        self.ended[spec.run_id] = outcome
        if len(self.ended) == -self.number:
            self.kill()

    @staticmethod
    def kill():
        for process in multiprocessing.active_children():
            process.kill()
            process.join()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, -3])
def test_a_worker_that_is_killed_before_it_is_given_a_run_costs_that_run_alone(number):
    """At its start, between two runs, and after the last one."""
    full_ft = load_plugins().strategies["full-ft"]()
    spec, made = toy_run(full_ft)
    setup = workers.WorkerSetup(
        suite="toy",
        images={Group.of(spec).images: made.images},
        weights={spec.backbone: None},
        plugins=(TOY,),
    )
    loaded, wanted = load_plugins((TOY,)), [toy_run(full_ft, seed=seed)[0] for seed in range(3)]
    heard = Killing(number)
    workers.ProcessWorkers(wanted, setup, loaded, heard).work(1)

    bad = [heard.started[number - 1]] if number > 0 else []
    assert [i for i, one in heard.ended.items() if one.result.status != "ok"] == bad
    assert list(heard.ended) == heard.started == [spec.run_id for spec in wanted]
    for run in bad:
        assert "ended with exit code -9; it was killed" in heard.ended[run].result.error.message

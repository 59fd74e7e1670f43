"""Runs given to workers: one whose worker ends is tried once again, alone, and costs no other."""

import multiprocessing
import os
import time
from types import SimpleNamespace

import pytest
from card_seen import CardSeen
from command import TOY, Cli, runs
from toys import toy_run

from harness import Launcher, LaunchSetup, Message, Outcome, Task, UsageError, hookimpl
from harness.benchmark.launch.dispatch import Means, execute_runs
from harness.benchmark.launch.executor import OVER_MEMORY, WorkerSetup
from harness.benchmark.launch.means import find_launcher
from harness.benchmark.launch.workers import LocalLauncher, carry_out_aside
from harness.benchmark.listeners.events import Group, RunListener, RunQueue, StateLeft
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.run import dry_run
from harness.benchmark.sizing import visible_cards
from harness.errors import HarnessError
from harness.plugins.registry import load_plugins


def setup_for(spec, made, **given):
    return WorkerSetup(
        suite="toy",
        images={Group.of(spec).images: made.images},
        weights={spec.backbone: None},
        **{"plugins": (TOY,), **given},
    )


def wanted(count, strategy="full-ft"):
    """So many runs that differ by seed, and what they share."""
    chosen = load_plugins().strategies[strategy]()
    made = toy_run(chosen)[1]
    return [toy_run(chosen, seed=seed)[0] for seed in range(count)], made


class Heard(RunListener):
    def __init__(self):
        self.started, self.again, self.ended, self.ready = [], [], {}, 0

    def worker_ready(self, seconds):
        self.ready += 1

    def run_start(self, spec):
        self.started.append(spec.seed)

    def run_again(self, spec, reason):
        self.again.append((spec.seed, reason))

    def run_end(self, spec, outcome):
        assert spec.seed not in self.ended
        self.ended[spec.seed] = outcome.result

    @property
    def bad(self):
        return {seed: one.status for seed, one in self.ended.items() if one.status != "ok"}


# -- a launcher that is played by the test ---------------------------------------------------------


class Played(Launcher):
    """Workers of a script: `plot(worker, task)` gives the messages that follow a task."""

    def __init__(self, plot, ready=None):
        self.plot, self.ready = plot, ready
        self.workers, self.said, self.sent, self.wants, self.ended = [], [], [], [], []
        self.made, self.closed = 0, 0

    def open(self, work):
        self.work = work

    def want(self, count):
        self.wants.append(count)
        while len(self.workers) < count and (self.ready is None or self.made < self.ready):
            self.made += 1
            self.workers.append(f"w{self.made}")
            self.said.append(Message(f"w{self.made}", "ready", 0.5))

    def send(self, worker, task):
        self.sent.append((worker, task.spec.seed, task.attempt))
        assert len(self.sent) < 50, "a run goes out for ever"
        self.said += self.plot(worker, task)

    def receive(self, seconds):
        said, self.said = self.said, []
        if not said:
            assert seconds is not None, "everybody waits for ever"
            time.sleep(min(seconds, 0.02))
        self.workers = [
            one for one in self.workers
            if not any(m.worker == one and m.event in ("died", "lost") for m in said)
        ]  # fmt: skip
        return said

    def end(self, worker, *, at_once=False):
        self.ended.append((worker, at_once))
        self.workers = [one for one in self.workers if one != worker]

    def close(self):
        self.closed += 1
        self.workers.clear()


def done(worker, task, status="ok"):
    from made import made_result

    result = made_result(run_id=task.spec.run_id, status=status)
    return Message(worker, "run_end", Outcome(result.model_copy(update={"spec": task.spec})), task)


def play(plot, count=4, jobs=2, ready=None, setup=None, **means):
    specs, made = wanted(count)
    heard, played = Heard(), Played(plot, ready)
    made_setup = setup_for(specs[0], made, **(setup or {}))
    execute_runs(specs, made_setup, None, heard, Means(played, jobs, **means))
    assert played.closed == 1
    return heard, played


def test_every_run_ends_once_whatever_few_workers_come():
    heard, played = play(lambda w, t: [done(w, t)], jobs=4, ready=1)
    assert sorted(heard.ended) == [0, 1, 2, 3]
    assert {w for w, *_ in played.sent} == {"w1"}
    assert played.wants[0] == 4


def test_a_worker_has_its_next_run_before_an_outcome_is_stored_and_observers_hear_in_order():
    heard = []

    class Order(RunListener):
        def run_start(self, spec):
            heard.append(("start", spec.seed))

        def run_end(self, spec, outcome):
            heard.append(("end", spec.seed))

    def plot(worker, task):
        heard.append(("sent", task.spec.seed))
        return [done(worker, task)]

    specs, made = wanted(2)
    execute_runs(specs, setup_for(specs[0], made), None, Order(), Means(Played(plot)))
    assert heard == [
        ("sent", 0), ("start", 0), ("sent", 1), ("end", 0), ("start", 1), ("end", 1),
    ]  # fmt: skip


def test_a_run_whose_worker_died_is_tried_again_alone_when_all_else_is_done():
    def plot(worker, task):
        if task.spec.seed == 0 and task.attempt == 1:
            return [Message(worker, "died", "its process ended with exit code 3", task)]
        return [done(worker, task)]

    heard, played = play(plot)
    assert heard.bad == {}
    assert played.sent[-1][1:] == (0, 2)
    assert [w for w, *_ in played.sent].count(played.sent[-1][0]) == 1  # a fresh worker
    assert [seed for seed, _ in heard.again] == [0]
    assert heard.started == [0, 1, 2, 3, 0]


def test_a_run_that_ends_two_workers_has_failed_for_both_reasons():
    def plot(worker, task):
        if task.spec.seed == 1:
            return [Message(worker, "died", f"reason {task.attempt}", task)]
        return [done(worker, task)]

    heard, _ = play(plot)
    assert heard.bad == {1: "failed"}
    assert heard.ended[1].error.message == (
        "the worker of the run ended: reason 1; tried once again, alone, in a fresh worker: reason 2"
    )


def test_a_lost_machine_is_no_fault_of_a_run():
    """It goes on among the others; only after several of them it is tried alone."""

    def plot(worker, task):
        if task.spec.seed == 0 and task.attempt <= 3:
            return [Message(worker, "lost", "its node is gone", task)]
        return [done(worker, task)]

    heard, played = play(plot, jobs=1)
    assert heard.bad == {}
    assert [attempt for _, seed, attempt in played.sent if seed == 0] == [1, 2, 3, 4]

    heard, _ = play(lambda w, t: [Message(w, "lost", "its node is gone", t)], count=1, jobs=1)
    assert heard.bad == {0: "failed"}
    assert len(heard.started) == 5


def test_what_comes_late_of_an_earlier_attempt_is_dropped():
    late = []

    def plot(worker, task):
        if task.spec.seed == 0 and task.attempt == 1:
            late.append(done(worker, task, status="failed"))
            return [Message(worker, "lost", "its node is gone", task)]
        if task.spec.seed == 0:
            # As Ray can: a worker that was given up delivers after all, under an old or this name.
            return [late[0], late[0]._replace(worker=worker), done(worker, task)]
        return [done(worker, task)]

    heard, _ = play(plot, jobs=1)
    assert heard.bad == {}
    assert sorted(heard.ended) == [0, 1, 2, 3]


def test_a_run_that_takes_too_long_is_ended_and_no_other():
    def plot(worker, task):
        return [] if task.spec.seed == 2 else [done(worker, task)]

    heard, played = play(plot, timeout=0.05)
    assert heard.bad == {2: "timeout"}
    assert heard.ended[2].error.message == (
        "it took longer than 0 s (--timeout 0.05), and its worker was ended"
    )
    assert [one for one in played.ended if one[1]] == [(played.sent[2][0], True)]
    assert heard.again == []


def test_a_worker_over_its_memory_limit_is_ended():
    def plot(worker, task):
        if task.spec.seed == 3:
            return [
                Message(worker, OVER_MEMORY, 3 * 2**30, task),
                Message(worker, "died", "its process ended with exit code 1", task),
            ]
        return [done(worker, task)]

    heard, _ = play(plot, setup={"memory": 2**31})
    assert heard.bad == {3: "oom"}
    over = "its worker held 3.00 GiB, more than --memory-limit 2"
    assert heard.ended[3].error.message == (
        f"the worker of the run ended: {over}; tried once again, alone, in a fresh worker: {over}"
    )


def test_workers_that_are_ended_here_are_not_those_that_cannot_start():
    """Three at once: that they died is told as well, by a launcher that hears it later."""

    def plot(worker, task):
        over = Message(worker, OVER_MEMORY, 3 * 2**30, task)
        return [over, Message(worker, "died", "its process ended with exit code 1", task)]

    heard, _ = play(plot, count=3, jobs=3, setup={"memory": 2**31})
    assert heard.bad == dict.fromkeys(range(3), "oom")


def test_a_run_that_is_trained_is_not_trained_again():
    """What ended its worker is a metric: the caller keeps what was predicted."""

    def plot(worker, task):
        outcome = done(worker, task).value
        return [
            Message(worker, "predicted", outcome, task),
            Message(worker, "died", "its process ended with exit code 9", task),
        ]

    heard, played = play(plot, count=1)
    assert heard.bad == {0: "failed"}
    assert len(played.sent) == 1


def test_workers_that_die_before_they_are_ready_end_the_call():
    class Stillborn(Played):
        def want(self, count):
            self.made += 1
            assert self.made < 9, "workers are started for ever"
            self.said.append(Message(f"w{self.made}", "died", "its process ended with exit code 5"))

    specs, made = wanted(2)
    stillborn = Stillborn(None)
    with pytest.raises(HarnessError, match=r"3 workers in a row ended .* exit code 5"):
        execute_runs(specs, setup_for(specs[0], made), None, Heard(), Means(stillborn))
    assert stillborn.closed == 1


def test_a_spoiled_worker_is_left():
    def plot(worker, task):
        left = StateLeft(("a flag",), renew=True, fresh=False)
        return [Message(worker, "state_left", left, task), done(worker, task)]

    _, played = play(plot, count=3, jobs=1)
    assert [w for w, *_ in played.sent] == ["w1", "w2", "w3"]


# -- the queue -----------------------------------------------------------------------------------


def test_groups_go_out_by_their_work_and_stay_together():
    small, large = [], []
    for seed in range(2):
        spec, _ = toy_run(load_plugins().strategies["full-ft"](), seed=seed)
        small.append(spec)
        large.append(spec.model_copy(update={"dataset": "large"}))
    long = {small[0].run_id: 1.0, small[1].run_id: 1.0, large[0].run_id: 9.0, large[1].run_id: 9.0}
    queue = RunQueue([*small, *large], long)
    assert RunQueue([*small, *large], long).take(Group.of(small[0]), []) == small[0]
    first = queue.take(None, [])
    assert first == large[0]
    second = queue.take(None, [Group.of(first)])
    assert second == small[0]
    assert queue.take(Group.of(second), [Group.of(first)]) == small[1]
    assert queue.take(Group.of(second), [Group.of(first)]) == large[1]  # nothing else is left
    assert len(queue) == 0


# -- processes -----------------------------------------------------------------------------------


class Killing(Heard):
    """Kills the worker that has just been given a run, or (-number) has just ended one."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def run_start(self, spec):
        super().run_start(spec)
        if len(self.started) == self.number:
            self.kill()

    def run_end(self, spec, outcome):
        super().run_end(spec, outcome)
        if len(self.ended) == -self.number:
            self.kill()

    @staticmethod
    def kill():
        for process in multiprocessing.active_children():
            process.kill()
            process.join()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, -3])
def test_a_process_that_is_killed_costs_nothing_but_time(number):
    """As it is given a run, between two of them, and after the last."""
    specs, made = wanted(3)
    heard = Killing(number)
    execute_runs(specs, setup_for(specs[0], made), None, heard, Means(LocalLauncher("cpu")))
    assert heard.bad == {}
    killed = [number - 1] if number > 0 else []
    assert heard.started == [0, 1, 2, *killed]
    assert [seed for seed, _ in heard.again] == killed
    for _, reason in heard.again:
        assert "ended with exit code -9 (SIGKILL); it was killed, most often for lack" in reason


@pytest.mark.slow
def test_a_worker_computes_features_once_for_all_runs_on_them():
    """Its outcomes are pickled on the way, which leaves names of slots in their classes."""
    probe = load_plugins().strategies["linear-probe"]
    made = [toy_run(probe(rate=rate)) for rate in (0.1, 1.0, 3.0)]
    specs = [spec for spec, _ in made]
    heard = Seconds()
    execute_runs(specs, setup_for(specs[0], made[0][1]), None, heard, Means(LocalLauncher("cpu")))
    assert [one.alone > 0 for one in heard.features] == [True, True, True]
    assert [one.incurred > 0 for one in heard.features] == [True, False, False]


class Seconds(Heard):
    """Keeps what the features of each run took: alone, and in this call."""

    def __init__(self):
        super().__init__()
        self.features = []

    def run_end(self, spec, outcome):
        assert outcome.result.status == "ok"
        cost = outcome.result.cost
        self.features.append(
            SimpleNamespace(alone=cost.alone.features, incurred=cost.incurred.features)
        )


BAD = """
import os, time
from harness import Phase, Strategy, hookimpl

def spoil(model, batch):
    {line}

spoil.capturable = False

class Bad(Strategy):
    name = "a-bad"

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {{"*": 1.0}}, objective=spoil)

@hookimpl
def harness_strategies():
    return [Bad]
"""


def test_what_is_asked_aside_has_to_answer_in_time():
    with pytest.raises(HarnessError, match=r"time.sleep had no answer after 0.1 s"):
        carry_out_aside(time.sleep, (600,), "cuda", 1, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "options", "status", "told"),
    [
        ("os._exit(13)", (), "failed", "again, alone, in a fresh worker: its process ended with exit code 13"),
        ("while True: pass", ("--timeout", "3"), "timeout", "longer than 3 s (--timeout 3)"),
        (
            "kept = []\n    while True:\n        kept.append(b'x' * 2**24); time.sleep(0.005)",
            ("--memory-limit", "1.5"), "oom", "more than --memory-limit 1.5",
        ),
    ],
)  # fmt: skip
def test_with_one_job_too_a_run_costs_itself_alone(tmp_path, line, options, status, told):
    plugin = tmp_path / "bad.py"
    plugin.write_text(BAD.format(line=line))
    chosen = ("--strategies", "a-bad,full-ft", "--jobs", 1)
    out = tmp_path / "out"
    call = Cli((TOY, str(plugin)))
    ended = call("bench", "toy", "--out", out, *chosen, *options, exit_code=1)
    assert told in ended.stderr
    (failed,) = (out / "failed").rglob("*.json")
    assert f'"status": "{status}"' in failed.read_text()
    assert len(runs(out)) == 1


# -- cards -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_worker_sees_one_card_and_the_next_on_it_sees_the_same(monkeypatch):
    """Three cards, as the variable of the caller lists them, and four workers; on a CPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-b,7")
    with monkeypatch.context() as patch:
        patch.setattr("torch.cuda.device_count", lambda: 3)
        launcher = LocalLauncher("cpu", 1, visible_cards())
    assert (launcher.cards, launcher.jobs) == (3, 3)
    (spec,), _ = wanted(1)
    seen = {}

    def have(count):
        launcher.want(count)
        while len(seen) < count:
            for worker, event, value, _ in launcher.receive(60):
                if event == "ready":
                    launcher.send(worker, Task(spec))
                elif event == "working":
                    seen[worker] = value

    launcher.open(CardSeen())
    try:
        have(4)
        assert sorted(seen.values()) == ["4", "4", "7", "GPU-b"]
        (third,) = [worker for worker, card in seen.items() if card == "7"]
        launcher.end(third, at_once=True)
        del seen[third]
        have(4)
        assert sorted(seen.values()) == ["4", "4", "7", "GPU-b"]
    finally:
        launcher.close()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,GPU-b,7"


@pytest.mark.parametrize(
    ("cards", "asked", "device", "each", "jobs"),
    [
        (4, "cuda", "cuda", ("0", "1", "2", "3"), 4),
        (1, "cuda", "cuda:0", (), None),
        (4, "cuda:2", "cuda:2", (), None),
        (4, "auto", "cuda:0", (), None),
    ],
)
def test_all_cards_are_taken_only_by_cuda(cards, asked, device, each, jobs, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("harness.benchmark.sizing._may_have_card", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: cards)
    found = LocalLauncher.of(LaunchSetup("local", asked))
    assert (found.device, found.each, found.jobs) == (device, each, jobs)
    assert [found.packed(jobs) for jobs in (1, 2, 5)] == [found.cards < 1, found.cards < 2, True]


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"launcher": "rai"}, "--launcher rai: no plugin starts such workers"),
        ({"in_process": True, "jobs": 2}, "so --jobs 2 cannot hold"),
        ({"in_process": True, "timeout": 3.0}, "so --timeout cannot hold"),
        ({"in_process": True, "memory_limit": 3.0}, "so --memory-limit cannot hold"),
        ({"in_process": True, "launcher": "ray"}, "so --launcher ray cannot hold"),
        ({"ray_address": "here:6379"}, "--ray-address is for --launcher ray"),
    ],
)
def test_what_could_only_be_passed_over_is_refused(given, told):
    with pytest.raises(UsageError, match=told):
        find_launcher(BenchOptions(device="cpu", **given), load_plugins())


def test_a_plugin_s_launcher_is_asked_for_by_its_name():
    class Plugin:
        @staticmethod
        @hookimpl
        def harness_launch(setup):
            assert setup == LaunchSetup("mine", "cuda", 3, 2, None, live=False)
            return played if setup.name == "mine" else None

    played, loaded = Played(None), load_plugins([Plugin])
    options = BenchOptions(device="cuda", launcher="mine", jobs=3, threads=2)
    assert find_launcher(options, loaded, live=False) is played


@pytest.mark.slow
def test_a_driver_without_a_card_plans_for_cards(tmp_path, monkeypatch):
    """The kind of device is declared: no card is looked for here."""

    class Far(Played):
        device, jobs = "cuda", 5

    class Plugin:
        @staticmethod
        @hookimpl
        def harness_launch(setup):
            return Far(None) if setup.name == "far" else None

    monkeypatch.setattr("torch.cuda.mem_get_info", None)
    monkeypatch.setattr("harness.benchmark.sizing.choose_device", None)
    options = BenchOptions(out=tmp_path, device="cuda", launcher="far")
    planned = dry_run(BenchRequest("toy"), options, load_plugins([TOY, Plugin]))
    assert (planned.plan.device, planned.plan.jobs) == ("cuda", 3)  # three runs
    assert {spec.numeric.precision for spec in planned.plan.specs} == {"bf16"}

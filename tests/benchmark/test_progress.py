"""The line that says how far the runs of a call are, and what it tells while they go on."""

import pytest
from made import made_result, made_spec

from harness.api.execution import Outcome
from harness.api.records import EpochRecord
from harness.benchmark.forecast.work import Pace, PhaseWork, RunWork
from harness.benchmark.listeners import events
from harness.benchmark.listeners.events import RunObserver, Working
from harness.benchmark.listeners.progress import ProgressReporter
from harness.benchmark.listeners.remaining import RemainingTime
from harness.plugins.registry import load_plugins

EPOCH = EpochRecord(phase="ft", epoch=2.0, train_loss=0.5, score=0.75, lr=1e-3, seconds=1.0)


class Clock:
    """Stands for `time.monotonic`."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def specs():
    return [made_spec(seed=seed) for seed in range(4)]


ENDING = 0.7  # seconds from the last run to the end of the call


def reporter(specs, work, jobs=1, beside=0.0, basis="assumed"):
    """Of runs of so many operations in ten steps an epoch."""
    steps = round(10 * specs[0].protocol.epochs)
    given = {
        spec.run_id: RunWork((PhaseWork("ft", 0, steps, 0.0, 0.0, total / steps, 0.0, 0),), 10, 0.0)
        for spec, total in zip(specs, work, strict=True)
    }
    return ProgressReporter(
        load_plugins(environ={}),
        specs,
        lambda outcome: outcome.result,
        RemainingTime(specs, given, jobs, Pace(1.0, beside, basis)),
    )


def ended(spec, **given):
    return Outcome(made_result(seed=spec.seed, **given))


def test_the_line_says_work_left_step_and_score(clock, specs):
    """A run of 100 s and three of 300: after all of the first and half of the second, 250 of 1,000.

    They took 500 s; with a fiftieth of all at the pace that was expected, 520 for 270, the other 750
    take 1,444.
    """
    with reporter(specs, [100, 300, 300, 300]) as said:
        said.run_start(specs[0])
        assert said.describe().startswith("0%, about 17 min left, 0/4 runs; starting, ")
        clock.now += 200
        said.run_end(specs[0], ended(specs[0]))
        said.run_start(specs[1])
        said.working(specs[1], Working("features", 64, 1200))
        assert "; features of frozen stages, 64 of 1,200 images, demo-xray/" in said.describe()
        said.epoch_end(specs[1], EPOCH)
        clock.now += 300
        said.working(specs[1], Working("train", 750, 1500))

        assert said.describe() == (
            "25%, about 24 min left, 1/4 runs; step 750 of 1,500, "
            "demo-xray/resnet50-mini/full-ft; ft, epoch 2: balanced-accuracy 0.750"
        )


def test_runs_side_by_side_share_the_time_but_for_the_longest(clock, specs):
    with reporter(specs, [100, 100, 100, 100], jobs=2) as said:
        for spec in specs[:2]:
            said.run_start(spec)
            said.working(spec, Working("train", 0.5, 1.0))
        clock.now += 50
        share, left = said.remaining.look()
        assert (share, left) == (0.25, 150 + ENDING)
        assert "; 50%, demo-xray/" in said.describe()
        assert said.describe().endswith("(+1 more)")
    with reporter(specs[:3], [10, 10, 1000], jobs=2) as said:
        assert said.remaining.look() == (0, 1000 + ENDING)


def test_runs_that_stop_early_tell_what_the_others_will_take(clock, specs):
    """Half of the epochs, in half of the time: the other three take as much."""
    most = specs[0].protocol.epochs
    with reporter(specs, [100] * 4) as said:
        said.run_start(specs[0])
        clock.now += 50
        said.run_end(specs[0], ended(specs[0], epochs=most / 2))
        assert said.remaining.look() == pytest.approx((0.25, 150 + ENDING))


def test_a_pace_that_was_measured_weighs_more_than_first_steps(clock, specs):
    """A tenth of 400 s of work took 120 s: with a tenth more at a second each, 160 for 80."""
    with reporter(specs, [100] * 4, basis="probe") as said:
        said.run_start(specs[0])
        clock.now += 120
        said.working(specs[0], Working("train", 0.4, 1.0))
        assert said.remaining.look() == pytest.approx((0.1, 2 * 360 + ENDING))


def test_what_a_run_takes_beside_its_work_is_no_pace(clock, specs):
    """Runs of 100 s that begin with 20 more: after 20 s of work of the first, 380 and 60 are left."""
    with reporter(specs, [100] * 4, beside=20.0) as said:
        said.run_start(specs[0])
        clock.now += 40
        said.working(specs[0], Working("train", 0.2, 1.0))
        assert said.remaining.look() == pytest.approx((0.05, 380 + 60 + ENDING))
        clock.now += 80
        said.run_end(specs[0], ended(specs[0]))
        assert said.remaining.look() == pytest.approx((0.25, 300 + 60 + ENDING))


def test_after_the_last_run_the_board_is_still_to_come(clock, specs):
    with reporter(specs[:1], [100]) as said:
        said.run_start(specs[0])
        clock.now += 100
        said.working(specs[0], Working("train", 1, 1))
        assert said.describe().startswith("100%, about 1 s left, 0/1 runs; ")


def test_a_run_that_is_tried_again_waits_once_more(clock, specs, capsys):
    with reporter(specs, [100] * 4) as said:
        said.run_start(specs[0])
        clock.now += 40
        said.run_again(specs[0], "its process ended")
        assert said.describe().endswith("0/4 runs; starting workers")
        said.run_start(specs[0])
        clock.now += 100
        said.run_end(specs[0], ended(specs[0]))
        assert said.remaining.look()[1] == pytest.approx(300 + ENDING)
    told = "tried once more: demo-xray / resnet50-mini / full-ft (seed 0): its process ended"
    assert told in capsys.readouterr().err


def test_a_failed_run_is_named_at_once(specs, capsys):
    with reporter(specs, [1] * 4) as said:
        said.run_start(specs[0])
        said.run_end(specs[0], Outcome(made_result(status="failed", run_id=specs[0].run_id)))
    assert "failed: demo-xray / resnet50-mini / full-ft (seed 0): " in capsys.readouterr().err


def test_signs_of_a_run_are_few(clock, specs):
    """A thousand steps of 10 ms are ten signs, and the first of them comes at once."""
    sent = []
    observer = RunObserver(specs[0], lambda *event: sent.append(event))
    for step in range(1000):
        observer.working("train", step + 1, 1000)
        clock.now += 0.01
    assert events.SECONDS_BETWEEN_SIGNS == 1
    assert len(sent) in {10, 11}
    assert sent[0] == (specs[0], "working", ("train", 1, 1000))
    clock.now += 1
    observer.progress("ft", 0.25)  # an engine that counts no steps
    assert sent[-1] == (specs[0], "working", ("train", 0.25, 1))

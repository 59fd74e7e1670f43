"""Lines of a call while it goes on, in its own process and from others, and at an interrupt."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from command import bench, runs
from places import TOY
from toys import HEAD, toy_run

from harness.api.execution import Observer
from harness.api.records import NumericMode
from harness.benchmark import run as line
from harness.benchmark.launch.dispatch import Means, execute_runs
from harness.benchmark.launch.executor import WorkerSetup
from harness.benchmark.launch.workers import LocalLauncher
from harness.benchmark.listeners.events import Group, RunListener
from harness.data.table import read_table
from harness.engine import run
from harness.plugins.registry import load_plugins
from harness.utils import locks, signs


class Ear(Observer):
    def __init__(self):
        self.told = []

    def working(self, part, done, total):
        self.told.append((part, done, total))


@pytest.mark.parametrize("steps", ["none", "graph"])
def test_the_engine_counts_steps_and_images(steps):
    """48 images for training in batches of 16, four epochs; 24 for validation and for the test."""
    ear = Ear()
    numeric = NumericMode(compile=steps)
    spec, resources = toy_run(HEAD, numeric=numeric)
    run(spec, replace(resources, observer=ear))

    trained = [(done, total) for part, done, total in ear.told if part == "train"]
    assert trained == [(number, 12) for number in range(1, 13)]
    features = [at[1:] for at in ear.told if at[0] == "features"]
    passes = [[(16, 48), (32, 48), (48, 48)], [(16, 24), (24, 24)], [(16, 24), (24, 24)]]
    assert features == [at for one in passes for at in one]  # train, validation, test
    tested = [at[1:] for at in ear.told if at[0] == "evaluate"]
    assert tested == [(16, 24), (24, 24)] * 5  # an epoch each, and the test


class Listener(RunListener):
    def __init__(self):
        self.signs, self.ended = {}, []

    def working(self, spec, at):
        self.signs.setdefault(spec.run_id, []).append(at)

    def run_end(self, spec, outcome):
        self.ended.append(outcome.result.status)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_signs_of_a_run_come_from_every_process(jobs):
    full_ft = load_plugins().strategies["full-ft"]()
    spec, made = toy_run(full_ft)
    setup = WorkerSetup(
        suite="toy",
        images={Group.of(spec).images: made.images},
        weights={spec.backbone: None},
        plugins=(TOY,),
    )
    wanted = [toy_run(full_ft, seed=seed)[0] for seed in range(2)]
    heard = Listener()
    means = None if jobs == 1 else Means(LocalLauncher("cpu"), jobs)
    execute_runs(wanted, setup, load_plugins((TOY,)), heard, means)

    assert heard.ended == ["ok", "ok"]
    for spec in wanted:
        first = heard.signs[spec.run_id][0]
        assert first == ("train", 1, 12)
    assert type(first).__name__ == "Working"


def test_who_waits_for_a_lock_says_so(tmp_path):
    seen = threading.Event()

    def wait():
        with locks.locked(tmp_path):
            pass

    with locks.locked(tmp_path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        limit = time.monotonic() + 30  # of a test that fails
        while time.monotonic() < limit and not seen.is_set():
            if f", which writes {tmp_path}" in signs.under_way():
                seen.set()
    waiting.join()
    assert seen.is_set()
    assert signs.under_way() == ""


def test_files_of_a_dataset_are_counted_while_they_are_read(monkeypatch):
    from harness import Access

    told = []
    before = signs.Work.__call__

    def tell(work, done, total):
        before(work, done, total)
        told.append(signs.under_way())

    monkeypatch.setattr(signs.Work, "__call__", tell)
    monkeypatch.setattr("harness.data.table.BATCH", 32)
    read_table(load_plugins((TOY,)).datasets["toy-data"], Access())
    assert told == [f"reading toy-data: {done} of 48 files" for done in (32, 48)]


@pytest.mark.slow
def test_an_interrupt_says_what_is_kept_and_how_to_go_on(tmp_path, monkeypatch):
    execute = line.execute_runs

    def stopped(specs, *given, **more):
        execute(specs[:2], *given, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(line, "execute_runs", stopped)
        done = bench(tmp_path, exit_code=130)
    assert done.stderr.splitlines()[-1] == (
        f"harness: interrupted: 2 of 3 runs are kept in {tmp_path}; the same call makes the other 1"
    )
    assert len(runs(tmp_path)) == 2
    assert "1 runs made, 2 were there already" in bench(tmp_path).stdout

    def unready(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(line, "refresh_board", unready)
    assert "interrupted: 3 of 3 runs are kept in " in bench(tmp_path, exit_code=130).stderr
    monkeypatch.setattr(line, "make_plan", unready)
    done = bench(tmp_path, exit_code=130)
    assert done.stderr.endswith("interrupted: no run had begun; the same call starts anew\n")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ps of procps lists the processes of a session")
def test_an_interrupt_while_workers_import_is_one_line(tmp_path):
    """As a terminal does: to every process of the call, while those to come import torch."""
    command = [
        sys.executable,
        "-m",
        "harness",
        "-p",
        TOY,
        "bench",
        "toy",
        "--out",
        tmp_path / "out",
    ]
    # Tests that a shell runs in the background ignore it, and so would what they start.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        called = subprocess.Popen(
            [*command, "--jobs", "2", "--seeds", "0,1"],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ
            | {"HARNESS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(Path(TOY).parent)},
        )
    finally:
        signal.signal(signal.SIGINT, ours)
    server = re.compile(r"multiprocessing.forkserver")
    while called.poll() is None and not any(server.search(one) for one in commands(called.pid)):
        pass
    os.killpg(called.pid, signal.SIGINT)
    told = called.communicate(timeout=120)[1]
    assert called.returncode in {130, -signal.SIGINT}
    lines = [one for one in told.splitlines() if not re.match(r"\d+ s: ", one)]
    assert len(lines) == 1, told
    assert lines[0].startswith("harness: interrupted: ")


def commands(session):
    """Command lines of the processes of a session."""
    listed = subprocess.run(
        ["ps", "-o", "args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return listed.stdout.splitlines()

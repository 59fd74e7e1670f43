"""Data made ready while the runs of other data go on."""

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from test_bench import TOY

from harness import DataError
from harness.benchmark import plan
from harness.benchmark.prefetch import Ahead, Halted, Peeking
from harness.benchmark.sizing import Sizing
from harness.benchmark.suite import Request, resolve
from harness.cli import cli
from harness.data import preparation as data_module
from harness.engine import batches, state
from harness.plugins.registry import load

PATIENCE = 30.0  # seconds after which a test gives up

# -- the thread ---------------------------------------------------------------------------------


def test_the_first_part_is_made_here_and_the_others_in_order_elsewhere():
    here, made = threading.get_ident(), []

    def work(part):
        made.append((part, threading.get_ident() == here))
        return part.upper()

    with Ahead(work, ["a", "b", "c"]) as ahead:
        assert list(ahead) == ["A", "B", "C"]
    assert made == [("a", True), ("b", False), ("c", False)]


def test_later_parts_are_made_while_the_first_is_used():
    begun = threading.Event()
    with Ahead(lambda part: begun.set() if part else None, [0, 1]) as ahead:
        parts = iter(ahead)
        next(parts)
        assert begun.wait(PATIENCE)


def test_what_goes_wrong_is_told_before_its_turn():
    def work(part):
        if part:
            raise DataError("broken")

    with Ahead(work, [0, 1]) as ahead:
        parts = iter(ahead)
        next(parts)
        assert ahead.waiting[0].exception(PATIENCE) is not None
        with pytest.raises(DataError, match="broken"):
            ahead.check()
        with pytest.raises(DataError, match="broken"):
            next(parts)


def test_work_nobody_waits_for_is_given_up():
    halted = []

    def work(part):
        try:
            while part:
                ahead.halt()
                time.sleep(0.001)
        except Halted:
            halted.append(part)
            raise

    with Ahead(work, [0, 1, 2]) as ahead:
        next(iter(ahead))
    assert halted == [1]  # and the last was not begun


def test_a_part_is_ready_when_nobody_would_wait_for_it():
    goes_on = threading.Event()
    with Ahead(lambda part: part == 0 or goes_on.wait(PATIENCE), [0, 1]) as ahead:
        parts = iter(ahead)
        assert not ahead.ready()  # nothing has begun
        next(parts)
        assert not ahead.ready()
        goes_on.set()
        ahead.waiting[0].result(PATIENCE)
        assert ahead.ready()
        next(parts)
        assert not ahead.ready()  # there is none


def test_the_next_item_is_seen_only_where_it_is_ready_and_comes_all_the_same():
    ready = False
    items = Peeking(iter("ab"), lambda: ready)
    assert items.peek() is None
    assert next(items) == "a"
    ready = True
    assert items.peek() == items.peek() == "b"
    ready = False
    assert list(items) == ["b"]


# -- which data wait ----------------------------------------------------------------------------


def folder(place, seed, each=10):
    """Two classes of noise: no image is like another."""
    rng = np.random.default_rng(seed)
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
        for number in range(each):
            pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / name / f"{number}.png")
    return place


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Options for two folders, `one` and `two`, with a cache of their own."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    places = {name: folder(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))}
    return [part for name, place in places.items() for part in ("--data", f"{name}={place}")]


def test_on_a_card_the_first_folder_starts_alone(two):
    loaded = load((TOY,), environ={})
    request = Request(suite="toy", data=tuple(two[1::2]))
    chosen = resolve(request, loaded)

    def stages(device, jobs=1, chosen=chosen, **given):
        return plan.stages(chosen, replace(request, **given), device, jobs)

    every = ("toy-data", "one", "two")
    assert stages("cpu") == [every]
    # What is drawn by a program costs nothing and comes first.
    assert stages("cuda:0") == [("toy-data", "one"), ("two",)]
    assert stages("cuda:0", chosen=chosen.only(["toy-data"])) == [("toy-data",)]
    # Side by side, which small images are unless one says otherwise, all are needed at once.
    assert stages("cuda:0", jobs=2) == stages("cuda:0", jobs=None) == [every]
    large = chosen.suite.protocol.model_copy(update={"resize": 256, "crop": 224})
    large = replace(chosen, suite=chosen.suite.model_copy(update={"protocol": large}))
    assert stages("cuda:0", jobs=None, chosen=large) == [("toy-data", "one"), ("two",)]
    assert stages("cuda:0", shard=(1, 2)) == [every]


# -- the whole line -----------------------------------------------------------------------------


@pytest.fixture
def in_turn(monkeypatch):
    """As on a card: one dataset after another."""
    monkeypatch.setattr(plan, "stages", lambda chosen, *_: [(n,) for n in chosen.datasets])


def bench(out, *given, jobs=1):
    args = ["-p", TOY, "bench", "toy", "--datasets", "one,two", "--strategies", "full-ft,moody"]
    return CliRunner().invoke(cli, [*args, "--out", str(out), "--jobs", str(jobs), *given])


def records(out):
    return {path.stem: json.loads(path.read_text()) for path in (out / "runs").rglob("*.json")}


def planned(out):
    runs = json.loads((out / "plan.json").read_text())["runs"]
    return {(run["dataset"], run["strategy"]): run["run_id"] for run in runs}


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_same_runs_and_plan_as_all_at_once(two, tmp_path, monkeypatch, jobs):
    assert bench(tmp_path / "whole", *two).exit_code == 0
    monkeypatch.setattr(plan, "stages", lambda chosen, *_: [(n,) for n in chosen.datasets])
    done = bench(tmp_path / "turns", *two, jobs=jobs)

    assert done.exit_code == 0, done.output
    assert "4 runs made, 0 were there already" in done.stdout
    assert planned(tmp_path / "turns") == planned(tmp_path / "whole")
    for whole in (tmp_path / "whole" / "runs").rglob("*.safetensors"):
        same = tmp_path / "turns" / whole.relative_to(tmp_path / "whole")
        assert same.read_bytes() == whole.read_bytes()
    again = bench(tmp_path / "turns", *two)
    assert "0 runs made, 4 were there already" in again.stdout


def test_a_dataset_is_made_ready_while_another_is_trained_on(two, in_turn, tmp_path, monkeypatch):
    """Each waits for the other: one after another, they would wait for ever."""
    trained, prepared = threading.Event(), threading.Event()
    original = data_module.prepare

    def prepare(dataset, *args, **given):
        if dataset.name == "two":
            assert trained.wait(PATIENCE), "nothing was trained meanwhile"
            prepared.set()
        return original(dataset, *args, **given)

    def start(self, spec):
        if spec.dataset == "one":
            trained.set()
            assert prepared.wait(PATIENCE), "nothing was made ready meanwhile"

    monkeypatch.setattr(data_module, "prepare", prepare)
    monkeypatch.setattr("harness.benchmark.progress.Reporter.run_start", start)
    monkeypatch.setattr("harness.results.profile.Profile.run_end", lambda self, spec: None)
    done = bench(tmp_path / "out", *two)

    assert done.exit_code == 0, done.output
    assert len(records(tmp_path / "out")) == 4


def test_a_broken_image_ahead_ends_the_call_and_nothing_is_lost(two, in_turn, tmp_path):
    victim = tmp_path / "two" / "a" / "3.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:60])
    done = bench(tmp_path / "out", *two)

    assert done.exit_code == 2
    assert "dataset 'two': 1 of 20 images cannot be used: a/3.png" in done.stderr
    kept = records(tmp_path / "out")
    assert kept
    assert {one["spec"]["dataset"] for one in kept.values()} == {"one"}
    assert set(planned(tmp_path / "out")) == {
        (name, strategy) for name in ("one", "two") for strategy in ("full-ft", "moody")
    }
    board = CliRunner().invoke(cli, ["-p", TOY, "board", str(tmp_path / "out")])
    assert board.exit_code == 0, board.output
    assert board.stdout.count(" of 2") >= 2  # strategies: each was asked for on two datasets

    victim.write_bytes(whole)
    again = bench(tmp_path / "out", *two)
    assert f"{4 - len(kept)} runs made, {len(kept)} were there already" in again.stdout
    assert set(planned(tmp_path / "out").values()) == set(records(tmp_path / "out"))


def test_provisional_lines_take_nobodys_place(two, in_turn, tmp_path, monkeypatch):
    assert bench(tmp_path / "out", *two).exit_code == 0
    before = planned(tmp_path / "out")

    def interrupted(dataset, *args, **given):
        if dataset.name == "two":
            raise DataError("not today")
        return original(dataset, *args, **given)

    original = data_module.prepare
    monkeypatch.setattr(data_module, "prepare", interrupted)
    assert bench(tmp_path / "out", *two).exit_code == 2
    assert planned(tmp_path / "out") == before


def test_progress_counts_the_whole_call(two, in_turn, tmp_path):
    done = bench(tmp_path / "out", *two)

    assert "4/4 runs" in done.stderr
    assert "2/2 runs" not in done.stderr


# -- what is sent to a card ---------------------------------------------------------------------


@pytest.fixture
def sent(monkeypatch):
    """(dataset, split, whether a thread of its own did it) of all that went to the device."""
    found, here = [], threading.get_ident()

    def make(spec, images, split, device):
        found.append((spec.dataset, split, threading.get_ident() != here))
        return original(spec, images, split, device)

    original = batches.make_pixels
    for module in (batches, state):
        monkeypatch.setattr(module, "make_pixels", make)
    return found


def roomy(monkeypatch, room):
    """As on a card with so many bytes to spare."""
    sizing = Sizing(1, room=room)
    monkeypatch.setattr("harness.benchmark.plan.size", lambda *_: sizing)


SPLITS = ("train", "validation", "test")
ONE = [("one", split, False) for split in SPLITS]


def same_predictions(one, other):
    ours, theirs = ({p.name: p for p in (o / "runs").rglob("*.safetensors")} for o in (one, other))
    assert ours
    assert {n: p.read_bytes() for n, p in ours.items()} == {
        n: p.read_bytes() for n, p in theirs.items()
    }


@pytest.mark.parametrize("stages", ["in turn", "all at once"])
def test_the_next_images_are_sent_while_the_last_run_goes_on(
    two, tmp_path, monkeypatch, sent, stages
):
    assert bench(tmp_path / "plain", *two).exit_code == 0
    assert {(name, aside) for name, _, aside in sent} == {("one", False), ("two", False)}
    sent.clear()
    roomy(monkeypatch, 2**20)
    if stages == "in turn":
        monkeypatch.setattr(plan, "stages", lambda chosen, *_: [(n,) for n in chosen.datasets])
        monkeypatch.setattr(Ahead, "ready", lambda ahead: ahead.taken < len(ahead.parts))
    done = bench(tmp_path / "ahead", *two)

    assert done.exit_code == 0, done.output
    assert sorted(sent) == sorted(ONE + [("two", split, True) for split in SPLITS])
    same_predictions(tmp_path / "plain", tmp_path / "ahead")


def test_nothing_is_sent_ahead_where_it_does_not_fit(two, tmp_path, monkeypatch, sent):
    roomy(monkeypatch, 100)
    assert bench(tmp_path / "out", *two).exit_code == 0
    assert sorted(sent) == sorted(ONE + [("two", split, False) for split in SPLITS])


def test_what_could_not_be_sent_ahead_is_sent_by_the_run_that_needs_it(
    two, tmp_path, monkeypatch, sent
):
    tried = []

    def full(spec, images, device):
        tried.append(spec.dataset)
        raise MemoryError("the card is full")

    roomy(monkeypatch, 2**20)
    monkeypatch.setattr(batches, "upload", full)
    done = bench(tmp_path / "out", *two)

    assert done.exit_code == 0, done.output
    assert tried == ["two"]
    assert sorted(sent) == sorted(ONE + [("two", split, False) for split in SPLITS])


def test_images_of_runs_that_are_done_are_not_sent(two, tmp_path, monkeypatch, sent, in_turn):
    assert bench(tmp_path / "out", *two, "--datasets", "two").exit_code == 0
    sent.clear()
    roomy(monkeypatch, 2**20)
    monkeypatch.setattr(Ahead, "ready", lambda ahead: ahead.taken < len(ahead.parts))
    assert bench(tmp_path / "out", *two).exit_code == 0
    assert sorted(sent) == sorted(ONE)


def test_an_upload_nobody_waits_for_is_let_go(two, tmp_path, monkeypatch):
    """The call ends in the last run of the first dataset: no thread outlives it."""
    begun, ended = threading.Event(), threading.Event()

    def send(spec, images, device):
        begun.set()
        assert ended.wait(PATIENCE)
        return {}

    def end(self, spec, outcome):
        assert begun.wait(PATIENCE), "nothing was sent meanwhile"
        ended.set()
        raise KeyboardInterrupt

    roomy(monkeypatch, 2**20)
    monkeypatch.setattr(batches, "upload", send)
    monkeypatch.setattr("harness.benchmark.progress.Reporter.run_end", end)
    assert bench(tmp_path / "out", *two, "--strategies", "full-ft").exit_code != 0
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("upload")]

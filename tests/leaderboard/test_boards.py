"""Boards that are made at once in one folder: of one moment, never mixed, never older."""

import csv
import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from made import made_failure, made_plan, made_result

from harness import Outcome, Predictions, StoreError
from harness.leaderboard import boards, statistics
from harness.plugins.registry import load_plugins
from harness.results.merge import MergedStore
from harness.results.store import Store
from harness.utils import locks

LOADED = load_plugins()
STRATEGIES = ("full-ft", "linear-probe", "lp-ft", "auto-rgn")


def predictions():
    splits = ("validation", "test")
    return Predictions(
        logits={s: np.array([[1.0, 0.0], [0.0, 1.0]], np.float32) for s in splits},
        targets={s: np.arange(2) for s in splits},
        rows={s: np.arange(2, dtype=np.int32) for s in splits},
    )


def add(folder, *results):
    store = Store(folder)
    samples = [{"id": f"s{i}", "label": "ab"[i], "group": f"g{i}", "split": "test"} for i in (0, 1)]
    store.write_split("demo-xray", json.dumps({"samples": samples}))
    for result in results:
        store.add(Outcome(result, predictions() if result.status == "ok" else None))
    store.extend_plan(made_plan(results))
    return store


def shown(folder):
    """The strategies that each format of the board shows."""

    def text(end):
        return (folder / f"leaderboard.{end}").read_text(encoding="utf-8")

    page, table = text("html"), text("md")
    return [
        {row["strategy"] for row in csv.DictReader(text("csv").splitlines())},
        {run["row"].split(" ")[0] for run in json.loads(text("json"))["runs"]},
        {name for name in STRATEGIES if re.search(rf"\b{name}\b", table)},
        {name for name in STRATEGIES if f'"{name}' in page},
    ]


def in_threads(*works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.slow
def test_a_board_of_fewer_runs_never_takes_the_place_of_one_of_more(tmp_path, monkeypatch):
    """The first is held up between reading and writing; meanwhile runs come, and another board."""
    store = add(tmp_path, made_result(strategy=STRATEGIES[0]))
    reading, done, slow = threading.Event(), threading.Event(), statistics.add_statistics

    def held_up(board, whole):
        if not reading.is_set():
            reading.set()
            done.wait(2)  # longer than the other takes, which must not be done by then
        return slow(board, whole)

    def late():
        reading.wait(60)
        add(tmp_path, *(made_result(strategy=name) for name in STRATEGIES[1:]))
        boards.refresh_board(Store(tmp_path), LOADED)
        done.set()

    monkeypatch.setattr(statistics, "add_statistics", held_up)
    in_threads(lambda: boards.refresh_board(store, LOADED), late)
    assert shown(tmp_path) == [set(STRATEGIES)] * 4


@pytest.mark.slow
def test_formats_are_of_one_board(tmp_path, monkeypatch):
    """The first is held up at its third file; meanwhile runs come, and another board."""
    add(tmp_path, made_result(strategy=STRATEGIES[0]))
    sync, halfway, done, mine = os.fsync, threading.Event(), threading.Event(), []

    def held_up(handle):
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        if threading.current_thread().name == "first" and name.startswith(".leaderboard."):
            mine.append(name)
            if len(mine) == 3:
                halfway.set()
                done.wait(2)  # longer than the other takes, which must not be done by then
        sync(handle)

    def first():
        threading.current_thread().name = "first"
        boards.refresh_board(Store(tmp_path), LOADED)

    def second():
        halfway.wait(60)
        add(tmp_path, *(made_result(strategy=name) for name in STRATEGIES[1:]))
        boards.refresh_board(Store(tmp_path), LOADED)
        done.set()

    monkeypatch.setattr(os, "fsync", held_up)
    in_threads(first, second)
    assert shown(tmp_path) == [set(STRATEGIES)] * 4


def test_a_folder_is_read_as_it_was_at_one_moment(tmp_path, monkeypatch):
    """A failed run finishes while the folder is read: it is either, never both, never neither."""
    run = made_result(seed=1)
    store = add(tmp_path, made_result(seed=0), made_failure(seed=1))
    plan, adding = Store.plan, []

    def meanwhile(self):
        work = threading.Thread(target=lambda: Store(tmp_path).add(Outcome(run, predictions())))
        adding.append(work)
        work.start()
        work.join(0.5)
        return plan(self)

    monkeypatch.setattr(Store, "plan", meanwhile)
    whole = MergedStore([store])
    adding[0].join()
    assert [one.spec.seed for one in whole.results()] == [0]
    assert [one.spec.seed for one in whole.failures()] == [1]
    monkeypatch.undo()
    later = MergedStore([store])
    assert [one.spec.seed for one in later.results()] == [0, 1]
    assert later.failures() == ()


KILLED = """
import os, sys
from pathlib import Path
from harness.leaderboard import boards
from harness.plugins.registry import load_plugins
from harness.results.store import Store

replace, left = Path.replace, [int(sys.argv[2])]

def counted(self, target):
    if Path(target).name.startswith("leaderboard.") and "unfinished" not in Path(target).name:
        left[0] -= 1
    replaced = replace(self, target)
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    return replaced

Path.replace = counted
boards.refresh_board(Store(sys.argv[1]), load_plugins())
"""


@pytest.mark.slow
@pytest.mark.parametrize("renamed", [1, 6])
def test_a_board_whose_making_was_killed_says_so_until_the_next(tmp_path, harness_cli, renamed):
    """Another process is killed after so many of the six files have their names."""
    store = add(tmp_path, made_result(strategy=STRATEGIES[0]))
    boards.refresh_board(store, LOADED)
    mark = tmp_path / "leaderboard.unfinished"
    assert not mark.exists()
    before = {path: path.read_bytes() for path in tmp_path.glob("leaderboard.*")}
    add(tmp_path, made_result(strategy=STRATEGIES[1]))
    call = [sys.executable, "-c", KILLED, str(tmp_path), str(renamed)]
    assert subprocess.run(call, check=False).returncode == -9
    moved = [path for path, content in before.items() if path.read_bytes() != content]
    assert len(moved) == renamed - (renamed > 2)  # claims.csv: there are none
    assert "some may be those of" in mark.read_text()
    told = harness_cli("verify", tmp_path, exit_code=1).stdout
    assert "leaderboard.unfinished: board: the board's files may be of two moments" in told

    boards.refresh_board(Store(tmp_path), LOADED)
    assert not mark.exists()
    assert shown(tmp_path) == [set(STRATEGIES[:2])] * 4
    assert "of two moments" not in harness_cli("verify", tmp_path, exit_code=None).stdout


@pytest.mark.parametrize("step", [1, 2, 6, 7])
def test_a_disk_that_is_full_at_any_file_leaves_the_board_as_it_was(tmp_path, monkeypatch, step):
    store = add(tmp_path, made_result(strategy=STRATEGIES[0]))
    boards.refresh_board(store, LOADED)
    before = {path: path.read_bytes() for path in tmp_path.glob("leaderboard.*")}
    add(tmp_path, made_result(strategy=STRATEGIES[1]))
    sync, count = os.fsync, []

    def full(handle):
        count.append(handle)
        if len(count) == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"no space left for .*leaderboard\."):
            boards.refresh_board(store, LOADED)
    assert {path: path.read_bytes() for path in tmp_path.glob("leaderboard.*")} == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_folder_without_runs_gets_no_board_and_is_not_made(tmp_path, harness_cli):
    done = harness_cli("board", tmp_path / "none", exit_code=2)
    assert "holds no runs" in done.stderr
    harness_cli("board", tmp_path / "none.zip", "--out", tmp_path / "new", exit_code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_another_user_made_is_used(tmp_path, monkeypatch):
    """In a folder that several may write: his lock cannot be opened for writing, and need not be."""
    with locks.locked(tmp_path):
        pass
    opened = os.open

    def only_read(path, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", only_read)
    with locks.locked(tmp_path):
        pass
    (tmp_path / locks.LOCK).unlink()
    with pytest.raises(StoreError, match="no permission to write"), locks.locked(tmp_path):
        pass

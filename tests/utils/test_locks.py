"""Locks of a folder: one writer at a time, whatever the file system offers, and whose turn it is."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest
from command import bench
from made import made_plan

from harness.errors import StoreError
from harness.results.store import Store
from harness.utils import locks, pulse, signs

HELD = f"{locks.LOCK}{locks.MARKER}"


def failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture(params=["flock", "a marker"])
def offered(request, monkeypatch):
    """Locks that the file system offers."""
    if request.param == "a marker":
        monkeypatch.setattr("fcntl.flock", failing(errno.ENOTSUP))
    return request.param


@pytest.mark.usefixtures("offered")
def test_one_writer_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(10):
            with locks.locked(tmp_path):
                inside.append(1)
                time.sleep(0.001)  # lets the others in, if they can get in
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 40
    assert max(most) == 1


@pytest.mark.usefixtures("offered")
def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.locked(tmp_path):
        _ = 1 / 0
    with locks.locked(tmp_path):
        pass


def test_the_marker_is_there_while_it_is_held_and_gone_afterwards(tmp_path, monkeypatch):
    for number in (errno.ENOSYS, errno.ENOLCK, errno.EINVAL):
        monkeypatch.setattr("fcntl.flock", failing(number))
        with locks.locked(tmp_path):
            assert (tmp_path / HELD).read_text().split("\n")[0] == str(os.getpid())
        assert not (tmp_path / HELD).exists()


def test_another_fault_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", failing(errno.EIO))
    with pytest.raises(StoreError, match="cannot write"), locks.locked(tmp_path):
        pass


@pytest.mark.usefixtures("offered")
def test_a_reader_waits_for_a_writer_and_says_for_whom(tmp_path, offered):
    """Both wait: who reads, and who writes."""
    with locks.locked(tmp_path):
        pass
    for wait in (locks.shared, locks.locked):
        done = []

        def work(wait=wait, done=done):
            with wait(tmp_path):
                done.append(1)

        said = set()
        with locks.locked(tmp_path):
            waiting = threading.Thread(target=work)
            waiting.start()
            limit = time.monotonic() + 0.4
            while time.monotonic() < limit:
                said.add(signs.under_way())
                time.sleep(0.01)
            assert done == []
        waiting.join()
        assert done == [1]
        if (offered, wait) == ("flock", locks.shared):  # the kernel's queue, without words
            continue
        (line,) = (one for one in said if one)
        assert line.startswith(f"waiting for process {os.getpid()} on ")
        assert f"UTC, which writes {tmp_path}" in line
        assert ("--break-lock" in line) == (offered == "a marker")


def test_a_line_is_shown_without_being_asked_for(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(pulse, "FIRST", 0.05)
    with locks.locked(tmp_path):
        waiting = threading.Thread(target=lambda: locks.locked(tmp_path).__enter__())
        waiting.start()
        time.sleep(0.5)
    waiting.join()
    assert f"waiting for process {os.getpid()}" in capfd.readouterr().err


def test_readers_share_where_a_lock_can_be_shared(tmp_path):
    with locks.locked(tmp_path):
        pass
    with locks.shared(tmp_path), locks.shared(tmp_path):
        pass


def test_who_was_killed_holds_nothing(tmp_path):
    for patch in ("", "import errno, fcntl\n" + FLOCKLESS):
        code = (
            f"{patch}\nfrom pathlib import Path\nfrom harness.utils.locks import locked\nimport os\n"
            f"with locked(Path({str(tmp_path)!r})): os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False)
        assert done.returncode == -9
    assert (tmp_path / HELD).exists()
    with locks.locked(tmp_path):
        pass
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("fcntl.flock", failing(errno.ENOTSUP))
        with locks.locked(tmp_path):  # by the marker, whose owner is dead
            pass


FLOCKLESS = """
def flock(*_):
    raise OSError(errno.ENOTSUP, "no locks")
fcntl.flock = flock
"""


def test_a_lost_owner_is_named_and_its_lock_broken(tmp_path, monkeypatch):
    assert locks.break_locks(tmp_path) == []
    with locks.locked(tmp_path):
        pass
    assert locks.break_locks(tmp_path) == []  # nobody holds it
    (tmp_path / HELD).write_text("4711\nelsewhere\n")
    (told,) = locks.break_locks(tmp_path)
    assert told.startswith(
        f"{tmp_path / locks.LOCK} is broken, which was held by process 4711 on elsewhere"
    )
    assert not (tmp_path / HELD).exists()
    held = locks.locked(tmp_path)
    with held:
        (told,) = locks.break_locks(tmp_path)
        assert f"process {os.getpid()} on " in told
        with locks.locked(tmp_path):
            pass


def test_without_flock_and_its_module_a_folder_is_read_and_written(tmp_path, monkeypatch):
    """As on Windows, but for what `filelock` does there."""
    monkeypatch.setattr("fcntl.flock", failing(errno.ENOSYS))
    monkeypatch.setitem(sys.modules, "fcntl", None)
    store = Store(tmp_path)
    with locks.shared(tmp_path):
        pass
    store.extend_plan(made_plan([]))
    with locks.shared(tmp_path):
        assert store.plan() == made_plan([])


def test_a_call_takes_the_lock_of_one_that_was_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", failing(errno.ENOLCK))
    monkeypatch.setattr(pulse, "FIRST", 0.05)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / HELD).write_text("4711\nelsewhere\n")
    told = f"{tmp_path / 'out' / locks.LOCK} is broken, which was held by process 4711 on elsewhere, since 20"
    assert told in bench(tmp_path / "out", "--break-lock").stderr
    assert not (tmp_path / "out" / HELD).exists()
    assert "is broken" not in bench(tmp_path / "out", "--break-lock").stderr


WRITERS = 8
EXTEND = """
import os, sys
from pathlib import Path
{patch}
from made import made_plan, made_spec
from harness.results.store import Store

folder, writers, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for writer in range(writers):
    if os.fork() == 0:
        for turn in range(rounds):
            Store(folder).extend_plan(made_plan([made_spec(seed=rounds * writer + turn)]))
        os._exit(0)
sys.exit(any(os.wait()[1] for _ in range(writers)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    "patch", ["", f"import errno, fcntl\n{FLOCKLESS}"], ids=["flock", "marker"]
)
def test_eight_writers_of_a_plan_lose_nothing(tmp_path, patch, rounds):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    code = EXTEND.format(patch=patch)
    call = [sys.executable, "-c", code, str(tmp_path), str(WRITERS), str(rounds)]
    subprocess.run(call, env=env, check=True)
    seeds = sorted(run.seed for run in Store(tmp_path).plan().runs)
    assert seeds == list(range(WRITERS * rounds))

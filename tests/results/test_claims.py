"""Two calls on one folder make no run twice: who has it in hand, and what becomes of it."""

import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from command import bench, runs
from made import made_failure, made_result, made_spec
from places import TOY

from harness import Outcome
from harness.results.claims import Claims, OtherCall
from harness.results.package import contents
from harness.results.store import Store
from harness.utils import locks, signs

SPECS = [made_spec(seed=seed) for seed in range(3)]
OTHER = """
import sys
from pathlib import Path
{patch}
from harness.results.claims import Claims
from harness.results.store import Store

with Claims(Store(Path(sys.argv[1]))) as claims:
    claims.runs[:] = sys.argv[2:]
    claims._write()
    print("here", flush=True)
    sys.stdin.readline()
"""
FLOCKLESS = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOTSUP, "no locks")
fcntl.flock = flock
"""


def other_call(folder, *ids, patch=""):
    """A call in a process of its own that has runs in hand until a line comes, or it is killed."""
    call = [sys.executable, "-c", OTHER.format(patch=patch), str(folder), *ids]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout.readline() == "here\n"
    return process


def hidden(folder):
    return sorted(path.name for path in folder.glob(f"{locks.CALL}*"))


@pytest.mark.slow
@pytest.mark.parametrize("patch", ["", FLOCKLESS], ids=["flock", "marker"])
def test_a_run_that_another_call_has_in_hand_is_not_taken_until_that_call_is_gone(
    tmp_path, patch, monkeypatch
):
    if patch:

        def flock(*_):
            raise OSError(errno.ENOTSUP, "no locks")

        monkeypatch.setattr("fcntl.flock", flock)
    other = other_call(tmp_path, SPECS[0].run_id, patch=patch)
    with Claims(Store(tmp_path)) as claims:
        assert [claims.take(spec) for spec in SPECS] == ["theirs", "mine", "mine"]
        assert claims.take(SPECS[1]) == "mine"
        (seen,) = claims.others()
        assert seen == OtherCall(seen.owner, frozenset({SPECS[0].run_id}))
        assert seen.owner.startswith(f"process {other.pid} on ")
        assert contents(tmp_path) == []  # nothing of it goes into a package
        other.kill()
        other.communicate()
        assert claims.take(SPECS[0]) == "mine"
        assert claims.others() == []
        listed = list(tmp_path.glob(f"{locks.CALL}*.json"))
        assert [json.loads(path.read_text()) for path in listed] == [claims.runs]
        claims.release(SPECS[1])
        assert claims.runs == [SPECS[2].run_id, SPECS[0].run_id]
    assert hidden(tmp_path) == []


def test_what_was_made_or_failed_meanwhile_is_not_made_again(tmp_path):
    store = Store(tmp_path)
    made, lost, new = SPECS
    path = store.place(made_result(seed=0))
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    store.add(Outcome(made_failure(seed=1)))
    with Claims(store) as claims:
        assert [claims.take(one) for one in (made, lost, new)] == ["made", "made", "mine"]
    with Claims(store, {lost.run_id, made.run_id}) as claims:
        assert [claims.take(one) for one in (made, lost)] == ["mine", "mine"]


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    """The runs of the toy suite."""
    out = tmp_path_factory.mktemp("whole")
    bench(out)
    return [path.stem for path in runs(out)]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.nightly), 2])
def test_a_call_leaves_to_another_what_that_has_in_hand(tmp_path, ids, jobs):
    other = other_call(tmp_path, ids[0])
    done = bench(tmp_path, "--others", "leave", jobs=jobs)
    other.communicate("go\n")

    assert "2 runs made, 0 were there already, 1 left to another call" in done.stdout
    assert done.stderr.count("left to another call that makes it: toy-data / toy / ") == 1
    assert {path.stem for path in runs(tmp_path)} == set(ids[1:])


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_a_call_waits_for_another_and_makes_what_that_has_left(tmp_path, ids, jobs):
    other = other_call(tmp_path, ids[0])
    said = []

    def end():
        limit = time.monotonic() + 120  # of a test that fails
        while time.monotonic() < limit and not said:
            said.extend({signs.under_way()} & {"waiting for 1 run that another call makes"})
            time.sleep(0.02)
        other.kill()

    ending = threading.Thread(target=end)
    ending.start()
    done = bench(tmp_path, jobs=jobs)
    ending.join()
    other.communicate()

    assert said
    assert "3 runs made" in done.stdout
    assert {path.stem for path in runs(tmp_path)} == set(ids)


@pytest.mark.slow
@pytest.mark.nightly
def test_two_calls_at_once_make_every_run_once(tmp_path):
    call = [sys.executable, "-m", "harness", "-p", str(TOY), "bench", "toy", "--seeds", "0,1,2,3"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pair = [
        subprocess.Popen(
            [*call, "--in-process", "--out", str(tmp_path / "r")],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [one.communicate()[0] for one in pair]

    made = [int(text.partition(" runs made")[0].split()[-1]) for text in said]
    assert sum(made) == 12
    assert len(runs(tmp_path / "r")) == 12
    assert hidden(tmp_path / "r") == []

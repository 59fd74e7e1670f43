"""Work in a copy of the process: what it hands back, and what happens where it cannot."""

from __future__ import annotations

import multiprocessing
import os
import struct
import subprocess
import sys
import textwrap
import threading

import pytest

from harness.utils import fork
from harness.utils.fork import Aside


def run(code, **settings):
    """What the code prints in a fresh process of one thread that may use two cores."""
    start = (
        "import os, signal, threading, time; from harness.utils import fork as aside; aside.cores = lambda: 2\n"
        # What a shell starts in the background is to ignore Ctrl-C, and so is all that it starts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        **settings,
    )


def printed(code):
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_process_of_one_thread_is_copied_and_the_copy_knows_what_it_knew():
    same, value = printed(
        """
        known = {"a": [1, 2]}
        work = aside.Aside(lambda: (os.getpid(), known["a"]))
        known["a"] = None  # too late for the copy
        pid, value = work.value()
        print(pid == os.getpid())
        print(value)
        """
    )
    assert (same, value) == ("False", "[1, 2]")


@pytest.mark.parametrize(
    "reason",
    [
        "aside.cores = lambda: 1",
        "threading.Thread(target=time.sleep, args=(30,), daemon=True).start()",
        "aside.threads = lambda: 0",
    ],
)
def test_where_no_copy_may_be_made_the_work_is_done_here(reason):
    lines = printed(
        f"""
        {reason}
        print(aside.Aside(os.getpid).value() == os.getpid())
        """
    )
    assert lines == ["True"]


def test_threads_of_this_process_are_counted():
    before = fork.threads()
    if before == 0:
        pytest.skip("this system does not say")
    held = threading.Event()
    thread = threading.Thread(target=held.wait)
    thread.start()
    try:
        assert fork.threads() == before + 1
    finally:
        held.set()
        thread.join()


def test_what_goes_wrong_is_raised_where_the_value_is_asked_for():
    def work():
        raise ValueError("no such figure")

    with pytest.raises(ValueError, match="no such figure"):
        Aside(work).value()
    lines = printed(
        """
        def work():
            raise ValueError("no such figure")
        found = aside.Aside(work)
        print("begun")
        try:
            found.value()
        except ValueError as error:
            print(error)
        """
    )
    assert lines == ["begun", "no such figure"]


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_copy_that_dies_costs_nothing_but_time(end):
    lines = printed(
        f"""
        here = os.getpid()
        def work():
            if os.getpid() != here:
                {end}
            return "done"
        print(aside.Aside(work).value())
        """
    )
    assert lines == ["done"]


def test_half_a_value_is_none():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    os.write(sender.fileno(), struct.pack("!i", 1000) + b"half of it")
    sender.close()
    found = Aside(lambda: "whole")
    found._found = receiver
    assert found.value() == "whole"


def test_where_there_are_no_more_processes_the_work_is_done_here():
    lines = printed(
        """
        def full():
            raise BlockingIOError(11, "Resource temporarily unavailable")
        here, os.fork = os.getpid(), full
        print(aside.Aside(os.getpid).value() == here)
        """
    )
    assert lines == ["True"]


def test_an_interrupt_ends_the_copy_without_a_word():
    done = run(
        """
        found = aside.Aside(lambda: time.sleep(50))
        try:
            os.killpg(0, signal.SIGINT)
            time.sleep(50)
        except KeyboardInterrupt:
            print("interrupted")
        """,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_a_large_value_passes():
    (length,) = printed("print(len(aside.Aside(lambda: bytes(3_000_000)).value()))")
    assert int(length) == 3_000_000


def test_an_interrupt_still_reaches_the_process_itself():
    lines = printed(
        """
        aside.Aside(lambda: 1).value()
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(50)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert lines == ["interrupted"]

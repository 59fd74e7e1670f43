"""Signs of life: lines of a log, or one line of a terminal, while the caller's thread is busy."""

import io
import os
import re
import sys
import threading
from contextlib import redirect_stderr

import pytest
from command import python

from harness.utils import pulse, signs

LONG = 60.0  # seconds after which a thread that should have written never will


class Log(io.StringIO):
    """A stream that is waited for."""

    def __init__(self, *, tty=False):
        super().__init__()
        self.tty, self.wrote = tty, threading.Condition()

    def isatty(self):
        return self.tty

    def write(self, text):
        with self.wrote:
            self.wrote.notify_all()
            return super().write(text)

    def until(self, text):
        """Wait for a text in it."""
        with self.wrote:
            assert self.wrote.wait_for(lambda: text in self.getvalue(), LONG), self.getvalue()


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(pulse, "FIRST", 0.01)
    monkeypatch.setattr(pulse, "EVERY", 0.01)
    return Log()


def test_a_log_gets_lines_while_the_caller_is_busy(log):
    with (
        redirect_stderr(log),
        pulse.shown(live=False),
        signs.doing("reading ward", "files") as read,
    ):
        log.until("0 s: reading ward\n")
        read(512, 5856)
        with signs.doing("importing torch"):
            log.until("importing torch\n")
        log.until("0 s: reading ward: 512 of 5,856 files\n")
    there = log.getvalue()
    with signs.doing("what nobody sees"):
        assert not [one for one in threading.enumerate() if one.name == "signs"]
    assert log.getvalue() == there


def test_the_first_line_comes_within_two_seconds_and_the_next_ten_later():
    waited = []

    class Stop:
        def wait(self, seconds):
            waited.append(seconds)
            return len(waited) == 4

        def set(self): ...

    shown = pulse.Signs(live=False)
    shown._stop = Stop()
    shown._write_lines()
    assert waited[0] <= 1.5  # Python and the command itself take part of the two seconds
    assert waited[1:] == [10, 10, 10]


def test_a_line_of_a_log_is_plain_and_at_most_80_columns(log):
    with (
        redirect_stderr(log),
        pulse.shown(live=False),
        signs.doing(f"loading \x1b[31m{'w' * 100}\r\n::error x"),
    ):
        log.until("\n")
    line = log.getvalue().splitlines()[0]
    assert len(line) == 80
    assert line.startswith("0 s: loading ?[31mww")
    assert line.endswith("w...")


def test_signs_are_shown_once(log):
    """The command begins before the function that it calls does."""
    with redirect_stderr(log), pulse.shown(live=False):
        with pulse.shown(live=True), signs.doing("inside"):
            log.until("inside\n")
        with signs.doing("still"):
            log.until("still\n")
    assert "\x1b" not in log.getvalue()


def test_a_log_that_nobody_reads_ends_nothing(monkeypatch, log):
    tried = threading.Event()

    def broken(_):
        tried.set()
        raise BrokenPipeError

    monkeypatch.setattr(log, "write", broken)
    with redirect_stderr(log), pulse.shown(live=False), signs.doing("working"):
        assert tried.wait(LONG)
        tried.clear()
        assert tried.wait(LONG)


@pytest.mark.parametrize("columns", [60, 120])
def test_a_terminal_has_one_line_in_its_own_width(monkeypatch, columns):
    stream = Log(tty=True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with redirect_stderr(stream), pulse.shown(), signs.doing(f"step {'w' * 300}"):
        stream.until("...")
        sys.stderr.write("a warning\n")
        stream.until("a warning")
    # What erases the line stands before whatever else is written.
    drawn = re.split(r"\r?\x1b\[(?:2K|\?25[lh]|1A)|\n", stream.getvalue())
    assert {len(line) for line in drawn if re.match(r"\d s: ", line)} == {columns - 1}
    assert "a warning" in drawn


@pytest.mark.parametrize(
    ("tty", "term", "live"),
    [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)],
)
def test_a_line_is_drawn_again_only_where_that_works(monkeypatch, tty, term, live):
    monkeypatch.setenv("TERM", term)
    with redirect_stderr(Log(tty=tty)):
        assert pulse.on_terminal() is live


def test_an_import_that_takes_long_is_no_silence(tmp_path):
    """In a process of its own: the module that it imports waits for the line about it."""
    (tmp_path / "slow.py").write_text(
        "import sys, time\n"
        "limit = time.monotonic() + 60\n"
        "while 'importing slow' not in ''.join(told) and time.monotonic() < limit: time.sleep(.01)\n".replace(
            "told", "sys.stderr.told"
        )
    )
    done = python(
        "-c",
        "import sys\n"
        "from harness.utils import pulse, signs\n"
        "class Told:\n"
        "    told = []\n"
        "    def write(self, text): self.told.append(text)\n"
        "    def flush(self): pass\n"
        "    def isatty(self): return False\n"
        "sys.stderr = Told()\n"
        "pulse.FIRST = 0.01\n"
        "with pulse.shown(), signs.doing('importing slow'):\n"
        "    import slow\n"
        "print(sys.stderr.told[0], 'torch' in sys.modules, 'rich' in sys.modules)\n",
        PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
    )
    assert done.stdout == "0 s: importing slow\n False False\n"

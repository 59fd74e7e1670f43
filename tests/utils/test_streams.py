"""Streams on which text is only text."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.utils.streams import Guarded, guarded, unguarded


class Terminal(io.StringIO):
    def isatty(self):
        return True


def written(*parts, into=io.StringIO):
    stream = into()
    guard = Guarded(stream)
    for part in parts:
        guard.write(part)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00e9 \u4e2d\n\tnext\n", "plain \u00e9 \u4e2d\n\tnext\n"),
        ("\x1b]0;owned\x07\x1b[2J", "?]0;owned??[2J"),
        ("a\x9b31mb\x00", "a?31mb?"),
        ("a\u202eb\u2066c\u200b\ufeff", "a?b?c??"),
        ("a\rb", "a?b"),
        ("a\u2028b\x85c", "a?b?c"),
        ("\ud800", "?"),
        ("x\n::error::injected\n", "x\n: :error::injected\n"),
        ("  ::set-output name=a::b", "  : :set-output name=a::b"),
        ("\u00a0::error::a", "\u00a0: :error::a"),
        ("a::b", "a::b"),
        ("see ##[error]x", "see # #[error]x"),
        ("##vso[task.setvariable]", "# #vso[task.setvariable]"),
        ("## Heading", "## Heading"),
    ],
)
def test_what_stands_for_what(text, shown):
    assert written(text) == shown


def test_a_command_in_parts_is_none():
    assert written("a\n", ":", ":error::x\n") == "a\n: :error::x\n"
    assert written("a", "::b\n") == "a: :b\n"  # a harmless space more than needed
    assert written("see #", "#[error]\n", "##v", "so[x]") == "see # #[error]\n##v so[x]"


def test_a_bar_on_a_terminal_moves():
    assert written("\r 5%|##", "\n", "\x1b[A", into=Terminal) == "\r 5%|##\n\x1b[A"
    assert written("\r 5%|##", "\x1b[A") == "? 5%|##?[A"
    assert written("\rx\n", "\x1b[2J", "\r\x1b[2J", into=Terminal) == "?x\n?[2J\r?[2J"


def test_what_an_encoding_lacks_is_an_escape():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    guard = Guarded(stream)
    guard.write("caf\u00e9\n")
    guard.flush()
    assert raw.getvalue() == b"caf\\xe9\n"
    assert guard.encoding == "utf-8"


def test_the_streams_are_put_back():
    out, err = sys.stdout, sys.stderr
    with guarded():
        assert unguarded(sys.stdout) is out
        with guarded():
            assert unguarded(sys.stderr) is err
    assert (sys.stdout, sys.stderr) == (out, err)


@given(st.lists(st.text(st.characters() | st.sampled_from(":#[ \n\r\x1b")), max_size=4))
def test_nothing_ever_acts(parts):
    shown = written(*parts)
    shown.encode()  # no half of a pair
    for line in shown.split("\n"):
        assert not line.strip().startswith("::")
        assert not set(line) & {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))} - {"\t"}
        assert "##[" not in line

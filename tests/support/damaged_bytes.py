"""Damage to any file: bytes changed, odd values in its text, an archive's directory."""

import re

from hypothesis import strategies as st

JSON_VALUES = [
    "Infinity", "-Infinity", "NaN", "1e999", "-1e400", "1" * 400, "1" * 5000, "-1", "0", "1", "1.5",
    "1e308", "5e-324", "9007199254740993", "18446744073709551616", "null", "true", "[]", "{}", '""',
    '"x"', '"\\u0000"', '"\\ud800"', '"../../x"', '"/etc/passwd"', '"a/b"', '"\\u001b[2J\\n::error::x"',
    "[" * 300 + "]" * 300, "[" * 100_000, '{"a":' * 50_000, '"' + "x" * 10_000 + '"', '["a", 1, null]',
    '{"a": {"b": [1]}}', '"NaN"', "[[1, 2], [3]]",
]  # fmt: skip


@st.composite
def bytes_damaged(draw, content):
    """Bytes flipped, cut, put in, or all others."""
    kind = draw(st.sampled_from(["flip", "cut", "put", "all", "nul", "utf-16"]))
    at = draw(st.integers(0, max(0, len(content) - 1)))
    if kind == "flip":
        places = draw(
            st.lists(
                st.tuples(st.integers(0, len(content) - 1), st.integers(1, 255)),
                min_size=1,
                max_size=8,
            )
        )
        found = bytearray(content)
        for place, bits in places:
            found[place] ^= bits
        return bytes(found)
    if kind == "cut":
        return content[:at]
    if kind == "all":
        return draw(st.binary(max_size=64))
    if kind == "utf-16":
        return content.decode("latin-1").encode("utf-16")
    put = b"\0" * 8 if kind == "nul" else draw(st.binary(min_size=1, max_size=8))
    return content[:at] + put + content[at:]


def directory_damaged(content, kind, number):
    """One entry of the directory at the end, changed in a field."""
    found = bytearray(content)
    starts = [match.start() for match in re.finditer(rb"PK\x01\x02", content)]
    at = starts[number % len(starts)]
    if kind == "encrypted":
        found[at + 8] |= 1
    elif kind == "method":
        found[at + 10] = (1, 9, 12, 14, 93, 99)[number % 6]
    else:
        found[at + 24 : at + 28] = (0xFFFFFFF0, 1, 1 << 30)[number % 3].to_bytes(4, "little")
    return bytes(found)

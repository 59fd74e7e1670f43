"""Data tables, damaged: lists beside images in every form that is read, and arrays of images."""

import csv
import io
import json
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from damaged_bytes import JSON_VALUES, bytes_damaged, directory_damaged
from hypothesis import strategies as st

from harness.data.arrays import ArrayDataset

HEADER = ["file", "label", "split", "group"]
ROWS = [
    [f"{'ab'[n % 2]}/{n}.png", "ab"[n % 2], ("train", "train", "validation", "test")[n // 2], f"p{n}"]
    for n in range(8)
]  # fmt: skip
CELLS = [
    "", " ", "\0", "NA", "nan", "None", "#N/A", "a|b", "1", "1.0", "-1", "1e999", "x" * 10_000, "x" * 200_000,
    "../x.png", "/etc/passwd", "C:\\x.png", "a/0.png", "\u202ex", "\x1b[2J", "\n::error::x", '"', "'", ",", ";", "\t",
    "\r", "\n", "\x0b", "\x1c", "\x85", "\u2028", "e\u0301", "\ufeff", "\ufffe", "[1, 2]", "{}", "fold 1", "holdout",
    "=1+1", "9" * 5000,
]  # fmt: skip
NAMES = [
    "",
    " ",
    "file",
    "File ",
    "file_name",
    "label",
    "labels",
    "patient",
    "Unnamed: 0",
    "x",
    "\0",
    "x" * 200_000,
]


def text_of(rows, separator):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, lineterminator="\n").writerows(rows)
    return file.getvalue()


def edit_rows(draw, kind, rows, place):
    """Rows with a cell, a name or a row of another kind."""
    row, column = place
    if kind == "name":
        rows[0][column] = draw(st.sampled_from(NAMES))
    elif kind == "row":
        del rows[draw(st.integers(0, len(rows) - 1))]
    elif kind == "twice":
        rows.insert(row, rows[draw(st.integers(0, len(rows) - 1))])
    elif kind == "wide":
        rows[row] *= draw(st.sampled_from([2, 300]))
    elif kind == "column":
        name = draw(st.sampled_from(NAMES))
        for number, cells in enumerate(rows):
            cells.append(str(number) if number else name)
    else:
        rows[row][column] = draw(st.sampled_from(CELLS))


def text_damaged(separator):
    """Of a text with separators: cells, names, rows and quotes of another kind, or bytes damaged."""

    @st.composite
    def damaged(draw, content):
        kind = draw(st.sampled_from(
            ["cell", "cell", "raw", "name", "row", "twice", "wide", "column", "note", "bytes", "bytes"]
        ))  # fmt: skip
        if kind == "bytes":
            return draw(bytes_damaged(content))
        rows = list(csv.reader(io.StringIO(content.decode()), delimiter=separator))
        row, column = draw(st.integers(1, len(rows) - 1)), draw(st.integers(0, len(rows[0]) - 1))
        if kind == "raw":  # a cell that is not quoted as it should be
            rows[row][column] = "@damaged@"
            plain = text_of(rows, separator)
            return plain.replace("@damaged@", draw(st.sampled_from(CELLS))).encode()
        if kind == "note":
            return f"sep={draw(st.sampled_from(CELLS))}\n".encode() + content
        edit_rows(draw, kind, rows, (row, column))
        return text_of(rows, separator).encode()

    return damaged


@st.composite
def lines_damaged(draw, content):
    """Of JSON lines: values, names and lines of another kind, or bytes damaged."""
    kind = draw(st.sampled_from(["value", "value", "value", "name", "line", "bytes", "bytes"]))
    if kind == "bytes":
        return draw(bytes_damaged(content))
    lines = content.decode().splitlines()
    at = draw(st.integers(0, len(lines) - 1))
    name, raw = draw(st.sampled_from(HEADER)), draw(st.sampled_from(JSON_VALUES))
    if kind == "line":
        lines[at] = draw(st.sampled_from([raw, lines[at] * 2, lines[at - 1], ""]))
    elif kind == "name":
        other = json.dumps(draw(st.sampled_from(NAMES)))
        lines[at] = lines[at].replace(f'"{name}"', other)
    else:
        row = json.loads(lines[at])
        row[name] = "@damaged@"
        lines[at] = json.dumps(row).replace('"@damaged@"', raw)
    return "\n".join(lines).encode()


def column_of(values, kind):
    """A column of a parquet file; `values` are tried first."""
    count = len(values)
    made = {
        "numbers": lambda: pa.array(range(count), pa.int64()),
        "floats": lambda: pa.array([float("nan"), float("inf"), *range(count - 2)], pa.float64()),
        "nothing": lambda: pa.nulls(count),
        "gaps": lambda: pa.array([None, *values[1:]]),
        "bytes": lambda: pa.array([b"\xff\xfe" * 3] * count, pa.binary()),
        "no utf-8": lambda: pa.array([b"\xff\xfe\x80"] * count, pa.binary()).view(pa.string()),
        "lists": lambda: pa.array([[value, None] for value in values]),
        "structs": lambda: pa.array([{"path": value, "bytes": b"\xff"} for value in values]),
        "maps": lambda: pa.array(
            [[(value, 1)] for value in values], pa.map_(pa.string(), pa.int64())
        ),
        "late": lambda: pa.array([2**31 - 1] * count, pa.int32()).cast(pa.date32()),
        "early": lambda: pa.array([-(2**63) + 1] * count, pa.int64()).cast(pa.timestamp("ms")),
        "nanoseconds": lambda: pa.array([1] * count, pa.int64()).cast(pa.timestamp("ns")),
        "nowhere": lambda: pa.array([0] * count, pa.int64()).cast(pa.timestamp("us", "No/Where")),
        "long": lambda: pa.array([2**62] * count, pa.int64()).cast(pa.duration("s")),
        "days": lambda: pa.array([date(2020, 1, 1)] * count),
        "moments": lambda: pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * count),
        "decimals": lambda: pa.array([Decimal("1.50")] * count),
        "dictionary": lambda: pa.array(values).dictionary_encode(),
        "truth": lambda: pa.array([True, False] * (count // 2)),
    }
    return made[kind]()


COLUMN_KINDS = (
    "numbers", "floats", "nothing", "gaps", "bytes", "no utf-8", "lists", "structs", "maps", "late",
    "early", "nanoseconds", "nowhere", "long", "days", "moments", "decimals", "dictionary", "truth",
)  # fmt: skip


def parquet_of(columns, names):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, names=names), file)
    return file.getvalue()


@st.composite
def parquet_damaged(draw, content):
    """A column of another kind or name, none, twice; or bytes damaged."""
    kind = draw(
        st.sampled_from(["kind", "kind", "name", "gone", "twice", "empty", "bytes", "bytes"])
    )
    if kind == "bytes":
        return draw(bytes_damaged(content))
    columns, names = [list(column) for column in zip(*ROWS, strict=True)], list(HEADER)
    at = draw(st.integers(0, len(names) - 1))
    if kind == "kind":
        columns[at] = column_of(columns[at], draw(st.sampled_from(COLUMN_KINDS)))
    elif kind == "name":
        names[at] = draw(st.sampled_from(NAMES))
    elif kind == "twice":
        columns, names = [*columns, columns[at]], [*names, names[at]]
    elif kind == "gone":
        del columns[at], names[at]
    else:
        columns = [column[:0] for column in columns] if at else []
        names = names if at else []
    return parquet_of([pa.array(one) if isinstance(one, list) else one for one in columns], names)


# -- arrays ----------------------------------------------------------------------------------------


def array_set(place):
    return ArrayDataset(name="own", modality="xray", path=place, files=(place.name,))


def npz_of(members):
    """An archive of these arrays, or of bytes that are said to be one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            archive.writestr(f"{name}.npy", value if isinstance(value, bytes) else npy_of(value))
    return file.getvalue()


def npy_of(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def sound_arrays():
    rng = np.random.default_rng(0)
    members = {}
    for part in ("train", "val", "test"):
        members[f"{part}_images"] = rng.integers(0, 255, (4, 5, 6, 3)).astype(np.uint8)
        members[f"{part}_labels"] = np.array([[0], [1], [0], [1]])
    return members


CHANGED = {
    "float": lambda a: a.astype(np.float32),
    "half": lambda a: a.astype(np.float16),
    "long double": lambda a: a.astype(np.longdouble),
    "complex": lambda a: a.astype(np.complex64),
    "int8": lambda a: a.astype(np.int8),
    "uint64": lambda a: a.astype(np.uint64) + np.uint64(2**63),
    "big-endian": lambda a: a.astype(">i4"),
    "text": lambda a: a.astype(str),
    "bytes": lambda a: np.full(a.shape, b"\xff\xfe"),
    "moments": lambda a: a.astype("datetime64[s]"),
    "objects": lambda a: a.astype(object),
    "records": lambda a: np.zeros(a.shape, [("a", "u1"), ("b", "<f4")]),
    "void": lambda a: np.zeros(a.shape, "V3"),
    "no size": lambda a: np.zeros(a.shape, "U0"),
    "nan": lambda a: np.full(a.shape, np.nan),
    "inf": lambda a: np.full(a.shape, -np.inf, np.float32),
    "negative": lambda a: -1 - a.astype(np.int64),
    "fractions": lambda a: a + 0.5,
    "huge": lambda a: np.full(a.shape, 1e308),
    "shorter": lambda a: a[:-1],
    "none": lambda a: a[:0],
    "no pixels": lambda a: a[:, :0],
    "flat": lambda a: a.reshape(-1),
    "scalar": lambda a: a.reshape(-1)[0],
    "deeper": lambda a: a[..., None],
    "much deeper": lambda a: a.reshape(a.shape + (1,) * 25),
    "by column": np.asfortranarray,
    "turned": lambda a: a.T,
}
HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 5, 6, 3)",
    "{'descr': '|u1', 'fortran_order': 1, 'shape': (4, 5, 6, 3)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 5, 6, 3)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4.0, 5, 6, 3)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (%s, 5, 6, 3)}" % ("9" * 400),
    "{'descr': '|u1', 'fortran_order': False, 'shape': (1 << 62, 5, 6, 3)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 5, 6, 3)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (4, 5, 6, 3)}",
    "{'descr': 'x', 'fortran_order': False, 'shape': (4, 5, 6, 3)}",
    "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (4, 5, 6, 3)}",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (4, 5, 6, 3)}",
    "(" * 3000, "[" * 9000 + "]" * 9000, "", "\0" * 40, "x" * 70_000, "__import__('os')._exit(3)",
]  # fmt: skip


def forged(header, body, version=1):
    """An array file with any text for its header."""
    width = 2 if version == 1 else 4
    return (
        b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(width, "little") + header + body
    )


@st.composite
def arrays_damaged(draw, content):
    """An array of another kind, shape or header, gone, renamed; a damaged directory or bytes."""
    kind = draw(st.sampled_from(
        ["array", "array", "array", "header", "claim", "gone", "name", "directory", "bytes", "bytes"]
    ))  # fmt: skip
    if kind == "bytes":
        return draw(bytes_damaged(content))
    if kind == "directory":
        which = draw(st.sampled_from(["encrypted", "method", "size"]))
        return directory_damaged(content, which, draw(st.integers(0, 10_000)))
    members = sound_arrays()
    name = draw(st.sampled_from(sorted(members)))
    if kind == "array":
        members[name] = CHANGED[draw(st.sampled_from(sorted(CHANGED)))](members[name])
    elif kind == "header":
        version, text = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from(HEADERS)).encode()
        text = text[: 2**16 - 1] if version == 1 else text
        members[name] = forged(text, members[name].tobytes(), version)
    elif kind == "claim":
        return claiming(members, name, draw(st.sampled_from([1 << 30, (1 << 32) - 2])))
    elif kind == "gone":
        del members[name]
    else:
        members[draw(st.sampled_from(["x", "", "../x", "train_image", "a" * 300]))] = members.pop(
            name
        )
    return npz_of(members)


def claiming(members, name, size):
    """An array that says it has `size` bytes, in its header and in the directory: it has a few."""
    shape = (size // 90, 5, 6, 3) if name.endswith("images") else (size,)
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    members[name] = forged(text, bytes(64))
    found = bytearray(npz_of(members))
    at = found.rindex(f"{name}.npy".encode()) - 46
    claimed = len(forged(text, b"")) + int(np.prod(shape))
    found[at + 24 : at + 28] = min(claimed, (1 << 32) - 2).to_bytes(4, "little")
    return bytes(found)


JSON_LINES, PARQUET, ARRAYS_NPZ = "list, JSON lines", "list, parquet", "arrays, npz"
TABLES = {
    "list, commas": ("manifest.csv", text_damaged(",")),
    "list, semicolons": ("metadata.csv", text_damaged(";")),
    "list, tabs": ("manifest.tsv", text_damaged("\t")),
    JSON_LINES: ("metadata.jsonl", lines_damaged),
    PARQUET: ("metadata.parquet", parquet_damaged),
}
SOUND_TABLES = {
    "list, commas": text_of([HEADER, *ROWS], ",").encode(),
    "list, semicolons": text_of([HEADER, *ROWS], ";").encode(),
    "list, tabs": text_of([HEADER, *ROWS], "\t").encode(),
    JSON_LINES: "".join(
        json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS
    ).encode(),
    PARQUET: parquet_of([pa.array(column) for column in zip(*ROWS, strict=True)], HEADER),
    ARRAYS_NPZ: npz_of(sound_arrays()),
}

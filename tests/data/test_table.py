"""Tables of a dataset: what they may hold, and what is refused."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Features, List, Value
from PIL import Image

from harness import Access, DataError, Dataset
from harness.data import images
from harness.data.division.stratify import Sample
from harness.data.rows import Row, make_table
from harness.data.table import read_table, reading_once

ACCESS = Access(cache=Path("unused"))
TEXT = Value("string")


class Given(Dataset):
    """A set of whatever tables a test gives."""

    tables: object

    def load(self, access):
        return self.tables


def png(number):
    buffer = io.BytesIO()
    Image.new("L", (3, 2), number).save(buffer, "PNG")
    return buffer.getvalue()


def table(first=0, count=4, *, label=TEXT, labels=("a", "b"), kind=None, **changes):
    numbers = range(first, first + count)
    columns = {
        "image": [{"bytes": png(n), "path": None} for n in numbers],
        "label": [labels[n % len(labels)] for n in numbers],
        "group": [f"g{n // 2}" for n in numbers],
        "id": [f"s{n:02}" for n in numbers],
    } | changes
    features = Features(
        {"image": kind or datasets.Image(decode=False), "label": label, "group": TEXT, "id": TEXT}
    )
    kept = {name: values for name, values in columns.items() if values is not None}
    return datasets.Dataset.from_dict(kept, features=Features({k: features[k] for k in kept}))


def read(tables, **declared):
    return read_table(Given(name="toy", modality="m", tables=tables, **declared), ACCESS)


def sha(number):
    return hashlib.sha256(png(number)).hexdigest()


def test_samples_of_all_splits_sorted_with_the_hash_of_their_bytes():
    found = read({"test": table(0, 2), "train": table(2, 2)})
    assert found.classes == ("a", "b")
    assert found.samples == (
        Sample("s00", 0, "g0", "test", sha(0)),
        Sample("s01", 1, "g0", "test", sha(1)),
        Sample("s02", 0, "g1", "train", sha(2)),
        Sample("s03", 1, "g1", "train", sha(3)),
    )
    assert found.sources(["s03", "s00"]) == [png(3), png(0)]
    assert found.contents(["s03", "s00"]) == [sha(3), sha(0)]
    assert found.unreadable == {}


def test_more_rows_than_a_batch_keep_their_hashes():
    found = read({"train": table(0, 150)})
    assert [sample.content for sample in found.samples] == [
        sha(int(sample.id[1:])) for sample in found.samples
    ]


def test_files_are_read_and_those_that_cannot_be_are_noted(tmp_path):
    (tmp_path / "0.png").write_bytes(png(0))
    paths = [str(tmp_path / name) for name in ("0.png", "gone.png")]
    found = read({"train": table(0, 2, image=paths)})
    assert found.unreadable == {"s01": "cannot be read: No such file or directory"}
    assert [sample.content for sample in found.samples] == [sha(0), ""]
    assert found.sources(["s00"]) == [tmp_path / "0.png"]


def test_labels_may_be_names_class_labels_or_numbers_of_declared_classes():
    declared = ("b", "a")
    by_name = read({"train": table()}, classes=declared)
    by_class = read(
        {"train": table(label=ClassLabel(names=["a", "b"]), labels=(0, 1))}, classes=declared
    )
    by_number = read({"train": table(label=Value("int64"), labels=(1, 0))}, classes=declared)
    assert by_name.classes == by_class.classes == by_number.classes == declared
    assert by_name.samples == by_class.samples == by_number.samples
    undeclared = read({"train": table(label=ClassLabel(names=["z", "b"]), labels=(0, 1))})
    assert undeclared.classes == ("b", "z")


def test_decoding_columns_and_formats_are_put_aside():
    plain = read({"train": table()})
    decoding = table(kind=datasets.Image())
    assert read({"train": decoding}).samples == plain.samples
    assert read({"train": table().with_format("numpy")}).samples == plain.samples
    more = table().add_column("age", np.arange(4))
    assert read({"train": more}).samples == plain.samples


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([], r"load\(\) gave no mapping"),
        ({}, "holds no table"),
        ({"train": table(), "dev": table(4)}, "a split named dev; the names are train, val"),
        ({"train": [1, 2]}, "train: list is no table"),
        ({"train": table(label=TEXT, group=None)}, r"no column group; there are: image, label, id"),
        (
            {"train": table().rename_column("image", "img")},
            r"no column image; there are: img, .*Has the source renamed it\?",
        ),
        ({"train": table(kind=TEXT, image=["x"] * 4)}, "column image holds Value"),
        ({"train": table(id=["a", "b", "a", "c"])}, "1 ids name more than one sample: a"),
        ({"train": table(), "test": table()}, "4 ids name more than one sample: s00"),
        ({"train": table(id=["a", None, "c", "d"])}, "a sample without id"),
        ({"train": table(group=["a", "", "c", "d"])}, "a sample without group"),
        ({"train": table(labels=("a", None))}, "sample 's01' has no label"),
        (
            {"train": table(label=ClassLabel(names=["a"]), labels=(0, -1))},
            "sample 's01' has no label",
        ),
        ({"train": table(label=List(TEXT), labels=(["a"], ["a", "b"]))}, "multi-label sets cannot"),
        (
            {"train": table(label=Value("float32"), labels=(0.0, 1.0))},
            "it takes one label an image",
        ),
        ({"train": table(label=Value("int64"), labels=(0, 1))}, "a number into declared classes"),
        ({"train": table(labels=("a",))}, "needs two or more classes, each named once; it has: a"),
    ],
)
def test_what_is_no_dataset_is_told(tables, message):
    with pytest.raises(DataError, match=message):
        read(tables)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("a", "c"), r"labels are not its 2 classes \(a, c\): b not declared; c absent"),
        (("a", "b", "c"), "c absent"),
        (("a", "b", "b"), "each named once"),
    ],
)
def test_labels_against_declared_classes(classes, message):
    with pytest.raises(DataError, match=message):
        read({"train": table()}, classes=classes)


def test_numbers_beyond_the_declared_classes():
    with pytest.raises(DataError, match="label numbers run from 0 to 2, but 2 classes"):
        read({"train": table(label=Value("int8"), labels=(0, 1, 2))}, classes=("a", "b"))


# -- more than eight bits: one range for a set ------------------------------------------------------


def deep(values):
    buffer = io.BytesIO()
    Image.fromarray(np.array(values)).save(buffer, "TIFF")
    return buffer.getvalue()


def table_of(sources):
    rows = [Row(data, "ab"[n % 2], str(n), str(n)) for n, data in enumerate(sources)]
    return read_table(Given(name="x", modality="y", tables={"train": make_table(rows)}), ACCESS)


def first_rows(table):
    return [images.read(source)[0, 0].tolist() for source in table.sources(list(table.row_of))]


def plain(table):
    return [len(sample.content) == 64 for sample in table.samples]


@pytest.mark.parametrize(
    ("kind", "rows", "expected"),
    [
        (np.uint16, [[0, 100], [0, 4095]], [[0, 6], [0, 255]]),  # 12 bits, scaled alike
        (np.float32, [[0, 1.0], [0, 1.0000002]], [[0, 255], [0, 255]]),  # overshoot
        (np.float32, [[0, 1.0], [-0.1, 1.1]], [[21, 234], [0, 255]]),
        (np.int32, [[-1000, 0], [0, 3000]], [[0, 64], [64, 255]]),
    ],
)
def test_deep_files_of_a_set_have_one_range(kind, rows, expected):
    table = table_of([deep(np.array([row, row], kind)) for row in rows])
    assert first_rows(table) == expected
    assert not all(plain(table))  # version 0.1 decoded some to other pixels


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (np.uint8, [[0, 100], [0, 255]]),
        (np.uint16, [[0, 100], [0, 65535]]),
        (np.float32, [[0, 0.5], [0, 1.0]]),
        (np.float32, [[0, 20], [0, 255]]),
        (np.int32, [[0, 20], [0, 65535]]),
    ],
)
def test_files_that_were_decoded_right_keep_their_content(kind, rows):
    files = [deep(np.array([row, row], kind)) for row in rows]
    table = table_of(files)
    assert [sample.content for sample in table.samples] == [
        hashlib.sha256(file).hexdigest() for file in files
    ]


def test_colours_of_twelve_bits_keep_them():
    import tifffile

    values = np.random.default_rng(0).integers(0, 4096, (5, 6, 3)).astype(np.uint16)
    values[0, 0] = 4095
    table = table_of([png16(values), png16(values // 2)])
    found = [images.read(source) for source in table.sources(["0", "1"])]
    assert np.array_equal(found[0], np.rint(values / 4095 * 255).transpose(2, 0, 1))
    assert np.array_equal(found[1], np.rint((values // 2) / 4095 * 255).transpose(2, 0, 1))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="rgb")
    table = table_of([buffer.getvalue(), png16(values)])
    with pytest.raises(DataError, match="TIFF of 16-bit colours in a set that uses fewer bits"):
        images.read(table.sources(["0"])[0])


def png16(values):
    """A 16-bit colour PNG, written by hand."""
    height, width = values.shape[:2]

    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def on_disk(tmp_path):
    """A dataset of two files, and their paths."""
    paths = [tmp_path / f"{n}.png" for n in range(2)]
    for n, path in enumerate(paths):
        path.write_bytes(png(n))
    rows = [Row(path, "ab"[n], f"g{n}", f"s{n}") for n, path in enumerate(paths)]
    return Given(name="toy", modality="m", tables={"train": make_table(rows)}), paths


def test_a_file_that_changes_after_it_was_hashed_is_not_decoded_under_its_old_hash(tmp_path):
    dataset, paths = on_disk(tmp_path)
    found = read_table(dataset, ACCESS)
    assert found.sources(["s0", "s1"]) == paths

    paths[1].write_bytes(png(1) + b"more")
    assert found.sources(["s0"]) == paths[:1]
    with pytest.raises(DataError, match="the file of s1 was changed while the dataset was read"):
        found.sources(["s0", "s1"])
    paths[1].unlink()
    with pytest.raises(DataError, match="the file of s1 was changed"):
        found.fetch(["s0", "s1"])(range(2))


def test_a_dataset_is_read_once_inside_and_anew_outside(tmp_path):
    dataset, paths = on_disk(tmp_path)
    with reading_once():
        first = read_table(dataset, ACCESS)
        paths[1].write_bytes(png(5))
        same = read_table(dataset.model_copy(), ACCESS)
        declared = read_table(dataset.model_copy(update={"classes": ("b", "a")}), ACCESS)
        tested = read_table(dataset, ACCESS, first)
    assert same is first
    assert (declared.classes, tested is first) == (("b", "a"), False)
    assert [one.content for one in first.samples] == [sha(0), sha(1)]
    assert [one.content for one in read_table(dataset, ACCESS).samples] == [sha(0), sha(5)]

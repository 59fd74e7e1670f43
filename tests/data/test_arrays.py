"""npz files in every form that people write, and every way they can be wrong."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from harness import Access, ArrayDataset, DataError
from harness.data.table import read_table

RNG = np.random.default_rng(0)
PARTS = {"train": 6, "val": 4, "test": 4}


@pytest.fixture
def access(tmp_path):
    return Access(cache=tmp_path / "cache", offline=True)


def arrays(shape=(6, 5), kind=np.uint8, top=256):
    found = {}
    for part, count in PARTS.items():
        found[f"{part}_images"] = RNG.integers(0, top, (count, *shape)).astype(kind)
        found[f"{part}_labels"] = np.arange(count) % 2
    return found


def at(path):
    return ArrayDataset(name="tiles", modality="histology", classes=("a", "b"), path=path)


def saved(tmp_path, changed=None, **options):
    np.savez_compressed(tmp_path / "tiles.npz", **(arrays(**options) | (changed or {})))
    return at(tmp_path / "tiles.npz")


def pixels(dataset, access, split="train"):
    cells = dataset.load(access)[split][:]["image"]
    return [np.asarray(Image.open(io.BytesIO(cell["bytes"]))) for cell in cells]


# -- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("first", [False, True])
def test_channels_are_the_last_axis_or_the_second(channels, first, tmp_path, access):
    given = arrays((channels, 6, 5) if first else (6, 5, channels))
    expected = given["train_images"]
    expected = expected.transpose(0, 2, 3, 1) if first else expected
    expected = expected[..., 0] if channels == 1 else expected
    found = pixels(saved(tmp_path, given), access)
    assert np.array_equal(np.stack(found), expected)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (bool, [False, True, True], [0, 255, 255]),
        (np.int64, [0, 7, 255], [0, 7, 255]),
        (np.uint16, [0, 2048, 4095], [0, 128, 255]),  # 12 bits
        (np.dtype(">u2"), [0, 257, 65535], [0, 1, 255]),
        (np.int16, [-1000, 1000, 3000], [0, 128, 255]),  # Hounsfield units: the set's own range
        (np.float32, [0.0, 0.5, 1.0], [0, 128, 255]),
        (np.float64, [0.0, 0.5, 1.0000002], [0, 127, 255]),  # resizing overshoots
        (np.float16, [0.0, 10.0, 200.0], [0, 10, 200]),
        (np.float32, [-1.0, 0.0, 1.0], [0, 128, 255]),
    ],
)
def test_other_numbers_are_scaled_by_one_range_for_the_whole_file(
    kind, values, expected, tmp_path, access
):
    given = arrays(kind=kind, top=2)
    for part, count in PARTS.items():
        given[f"{part}_images"] = np.zeros((count, 6, 5), kind)
    given["test_images"][3, 0, :3] = values  # one image of one part decides for all
    given["train_images"][0, 0, :3] = values
    dataset = saved(tmp_path, given)
    for split, row in (("train", 0), ("test", 3)):
        assert pixels(dataset, access, split)[row][0, :3].tolist() == expected


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["b", "a"])[np.arange(6) % 2],
        np.array([b"b", b"a"])[np.arange(6) % 2],
        (1 - np.arange(6) % 2)[:, None],
        1.0 - np.arange(6) % 2,
        np.arange(6) % 2 == 0,
    ],
)
def test_labels_are_numbers_or_class_names(labels, tmp_path, access):
    table = read_table(saved(tmp_path, {"train_labels": labels}), access)
    found = {sample.id: sample.label for sample in table.samples if sample.split == "train"}
    assert list(found.values()) == [1, 0] * 3


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_images": np.zeros((6, 30), np.uint8)}, r"shape \[6, 30\]: images in rows; resh"),
        ({"val_images": np.zeros((4, 6, 5, 7), np.uint8)}, r"val_images has the shape \[4, 6, 5,"),
        ({"val_images": np.zeros((4, 2, 6, 5, 3), np.uint8)}, "of volumes and videos, save single"),
        ({"val_images": np.zeros((4, 3, 5, 3), np.uint8)}, "which axis holds the channels"),
        ({"val_images": np.zeros((4, 0, 5), np.uint8)}, "images without pixels"),
        ({"val_images": np.uint8(3)}, r"shape \[\]"),
        ({"val_images": np.zeros((0, 6, 5), np.uint8), "val_labels": np.zeros(0)}, "no image"),
        ({"val_images": np.zeros((4, 6, 5), complex)}, "holds complex128; images are numbers"),
        ({"val_images": np.full((4, 6, 5), "a")}, "images are numbers"),
        ({"val_images": np.array([None] * 4)}, r"Python objects, .*np\.stack"),
        ({"val_labels": np.array(["a", None, 1, 2], object)}, r"Python objects, .*astype\(str\)"),
        ({"val_images": np.zeros((4, 6, 5), np.float32)}, "val_images holds float32, train_images"),
        ({"val_images": np.asfortranarray(np.zeros((4, 6, 5), np.uint8))}, "column by column"),
        ({"test_labels": np.arange(5) % 2}, "4 test_images but 5 test_labels"),
        ({"test_labels": np.arange(3) % 2}, "4 test_images but 3 test_labels"),
        ({"test_labels": np.zeros((4, 2), int)}, r"has 2 labels an image .*argmax\(1\)"),
        ({"test_labels": np.int64(1)}, "only one can be used"),
        ({"test_labels": np.array([0, 1, 0.9, 1])}, r"holds 0\.9 in row 2 \(1 such rows\)"),
        ({"test_labels": np.array([0, 1, np.nan, np.nan])}, r"nan in row 2 \(2 such rows\)"),
        ({"test_labels": np.array([0, np.inf, 1, 1])}, "inf in row 1"),
        ({"test_labels": np.array([0, 1, -1, 1])}, "-1 in row 2"),
        ({"test_labels": np.array([0, 1, 2**63, 1], np.uint64)}, "9223372036854775808 in row 2"),
        ({"test_labels": np.array([0, 1, 0, 1], "M8[D]")}, "labels are class numbers or class"),
        ({"test_labels": np.array([b"a", b"\xe9"] * 2)}, "no UTF-8"),
    ],
)
def test_arrays_that_are_no_images_with_one_label_are_refused(changed, message, tmp_path, access):
    dataset = saved(tmp_path, changed)
    with pytest.raises(DataError, match=message) as raised:
        dataset.load(access)
    assert str(tmp_path / "tiles.npz") in str(raised.value)
    assert not (tmp_path / "cache").exists()  # before anything is written


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused(bad, tmp_path, access):
    given = arrays(kind=np.float32)
    given["test_images"][2, 1, 1] = bad
    with pytest.raises(DataError, match=r"test_images holds values that are not finite .* image 2"):
        saved(tmp_path, given).load(access)


def test_a_missing_array_is_named_with_the_nearest(tmp_path, access):
    given = arrays()
    given["valid_images"] = given.pop("val_images")
    np.savez(tmp_path / "tiles.npz", **given)
    with pytest.raises(DataError, match="no val_images; did you mean 'valid_images'"):
        at(tmp_path / "tiles.npz").load(access)


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data[:-7],
            r"says it has the shape \[4\] of int64, 32 bytes, but there are 25",
        ),
        (
            lambda data: b"\x93NUMPY\x01\x00\x10\x00{'descr': nonsen",
            "has no header of a numpy array",
        ),
        (lambda data: b"", "has no header of a numpy array"),
        (lambda data: data[:6] + b"\x09\x00" + data[8:], "has no header of a numpy array"),
    ],
)
def test_damaged_arrays_are_named(change, message, tmp_path, access):
    dataset = saved(tmp_path)
    inside = members(dataset.path)
    inside["val_labels.npy"] = change(inside["val_labels.npy"])
    with zipfile.ZipFile(dataset.path, "w") as archive:
        for name, data in inside.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match=f"val_labels {message}"):
        dataset.load(access)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_file_with_lost_bits_is_named(kind, tmp_path, access):
    dataset = saved(tmp_path, kind=kind, shape=(40, 40))
    with zipfile.ZipFile(dataset.path) as archive:
        member = archive.getinfo("test_images.npy")
    data = bytearray(dataset.path.read_bytes())
    place = member.header_offset + member.compress_size // 2
    data[place : place + 40] = bytes(40)
    dataset.path.write_bytes(data)
    with pytest.raises(DataError, match=r"tiles\.npz"):
        dataset.load(access)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("val_labels", np.uint8), ("val_images", np.uint8), ("val_images", np.float32)],
)
def test_an_array_that_the_directory_calls_longer_than_it_is(name, kind, tmp_path, access):
    """Header and directory agree on a shape, and the bytes end before it."""
    dataset = saved(tmp_path, kind=kind)
    inside = members(dataset.path)
    whole = inside[f"{name}.npy"]
    inside[f"{name}.npy"] = whole[:-9]
    with zipfile.ZipFile(dataset.path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in inside.items():
            archive.writestr(member, data)
    content = bytearray(dataset.path.read_bytes())
    at_entry = content.rindex(f"{name}.npy".encode()) - 46  # of the directory, at the end
    content[at_entry + 24 : at_entry + 28] = len(whole).to_bytes(4, "little")
    dataset.path.write_bytes(content)
    with pytest.raises(DataError, match=rf"tiles\.npz: .*{name} was not written to the end"):
        dataset.load(access)

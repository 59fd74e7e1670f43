"""Datasets that people have on disk: BreakHis, Cholec80, CholecSeg8k, MedMNIST."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from hub_server import picture
from PIL import Image

from harness import Access, DataError, PatternDataset, Protocol
from harness.data.preparation.prepare import prepare_dataset
from harness.data.table import read_table
from harness.plugins.registry import load_plugins

PROTOCOL = Protocol(name="test", resize=16, crop=16)
OFFERED = load_plugins().datasets


@pytest.fixture
def access(tmp_path):
    return Access(cache=tmp_path / "cache", offline=True)


def at(name, path):
    return OFFERED[name].model_copy(update={"path": path})


def write(folder, files):
    for number, (name, label) in enumerate(files.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(label, number, "PNG"))
    return folder


def groups_of(splits):
    found = {}
    for sample in splits.samples:
        found.setdefault(sample.group, set()).add(sample.split)
    return found


# -- paths that say what they are -------------------------------------------------------------


def ward(place, **changes):
    declared = {
        "name": "ward-7",
        "modality": "xray",
        "pattern": r"(?P<group>p\d+)/\d+_(?P<label>[NP])\.png$",
        "path": place,
    }
    return PatternDataset(**declared | changes)


@pytest.fixture
def wards(tmp_path):
    files = {f"p{p:02d}/{n}_{'NP'[p % 2]}.png": p % 2 for p in range(6) for n in range(2)}
    return write(tmp_path / "wards", files)


def test_label_and_group_are_read_off_the_path(wards, access):
    (wards / "notes.txt").write_text("passed over")
    (table,) = ward(wards).load(access).values()
    assert list(table["id"]) == [
        f"p{p:02d}/{n}_{'NP'[p % 2]}.png" for p in range(6) for n in (0, 1)
    ]
    assert list(table["label"]) == [one for p in range(6) for one in 2 * ["NP"[p % 2]]]
    assert list(table["group"]) == [f"p{p:02d}" for p in range(6) for _ in range(2)]


def test_labels_are_given_names_and_parts_are_chosen(wards, access):
    pattern = r"(?P<group>p\d+)/(?P<view>\d)_(?P<label>[NP])\.png$"
    made = ward(
        wards, pattern=pattern, only={"view": "1"}, labels={"N": "normal", "P": "pneumonia"}
    )
    (table,) = made.load(access).values()
    assert set(table["label"]) == {"normal", "pneumonia"}
    assert len(table) == 6
    with pytest.raises(DataError, match=r"p01/0_P\.png has no label"):
        ward(wards, labels={"N": "normal"}).load(access)


def test_a_file_that_ought_to_match_is_named(wards, access):
    write(wards, {"p07/x.png": 0})
    assert len(ward(wards).load(access)["train"]) == 12
    with pytest.raises(DataError, match=r"p07/x\.png is not named as its images are: p00/0_N\.png"):
        ward(wards, every="*.png", example="p00/0_N.png").load(access)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "(?P<group>"}, "is no regular expression"),
        ({"pattern": r"(?P<group>p)/x"}, r"names no part label: write \(\?P<label>"),
        ({"only": {"view": "1"}}, "names no part view"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_where_it_is_declared(wards, changes, message):
    with pytest.raises(ValueError, match=message):
        ward(wards, **changes)


# -- BreakHis ---------------------------------------------------------------------------------


@pytest.fixture
def breakhis(tmp_path):
    files = {}
    for slide in range(16):
        side = "BM"[slide % 2]
        for zoom in (40, 100):
            for number in (1, 2):
                name = f"SOB_{side}_{'A' if side == 'B' else 'DC'}-14-2254{slide}G-{zoom}-00{number}.png"
                files[f"{'bm'[slide % 2]}/SOB/{zoom}X/{name}"] = slide % 2
    return write(tmp_path / "breakhis", files)


def test_breakhis_is_split_by_slide_at_one_magnification(breakhis, access):
    made = prepare_dataset(at("breakhis-40x", breakhis), PROTOCOL, access).splits

    assert made.classes == ("benign", "malignant")
    assert len(made.samples) == 32
    assert all("-40-" in sample.id for sample in made.samples)
    assert set(groups_of(made)) == {f"14-2254{slide}G" for slide in range(16)}
    assert all(len(splits) == 1 for splits in groups_of(made).values())
    labels = {sample.id: sample.label for sample in made.samples}
    assert labels["SOB_B_A-14-22540G-40-001.png"] == "benign"
    assert labels["SOB_M_DC-14-22541G-40-001.png"] == "malignant"


def test_a_slide_filed_under_two_tumours_is_one_group(breakhis, access):
    write(breakhis, {"m/SOB_M_LC-14-13412-40-001.png": 1, "m/SOB_M_DC-14-13412-40-001.png": 1})
    table = read_table(at("breakhis-40x", breakhis), access)

    assert sum(sample.group == "14-13412" for sample in table.samples) == 2


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("breakhis-400x", {}, "no image of magnification 400"),
        ("breakhis-40x", {"SOB_X_A-1.png": 0}, "is not named as its images are: SOB_B_A"),
    ],
)
def test_another_folder_is_refused(breakhis, access, name, files, message):
    write(breakhis, files)
    with pytest.raises(DataError, match=message):
        at(name, breakhis).load(access)


# -- Cholec -----------------------------------------------------------------------------------


def phases(folder, videos, frames=100):
    (folder / "phase_annotations").mkdir(parents=True)
    for video in videos:
        lines = [
            f"{n}\t{'Preparation' if n < frames // 2 else 'ClippingCutting'}" for n in range(frames)
        ]
        text = "Frame\tPhase\n" + "\n".join(lines) + "\n"
        (folder / "phase_annotations" / f"video{video:02d}-phase.txt").write_text(text)


def test_cholec80_keeps_its_forty_training_videos(tmp_path, access):
    videos = (1, 2, 3, 4, 39, 40, 41, 80)
    phases(tmp_path / "c", videos)
    place = write(
        tmp_path / "c",
        {
            f"frames/video{v:02d}/video{v:02d}_{n:06d}.png": n >= 50
            for v in videos
            for n in (0, 25, 50, 75)
        },
    )
    made = prepare_dataset(at("cholec80", place), PROTOCOL, access).splits

    by_group = groups_of(made)
    assert {name for name, splits in by_group.items() if splits == {"test"}} == {
        "video41",
        "video80",
    }
    assert all(len(splits) == 1 for splits in by_group.values())
    labels = {sample.id: sample.label for sample in made.samples}
    assert labels["frames/video01/video01_000025.png"] == "Preparation"
    assert labels["frames/video01/video01_000050.png"] == "ClippingCutting"


def test_cholecseg8k_takes_frames_and_leaves_masks(tmp_path, access):
    videos = range(1, 9)
    phases(tmp_path / "c", videos)
    place = write(
        tmp_path / "c",
        {
            f"video{v:02d}/video{v:02d}_00080/frame_{n}_endo{kind}.png": n >= 50
            for v in videos
            for n in (48, 49, 50, 51)
            for kind in ("", "_mask", "_color_mask", "_watershed_mask")
        },
    )
    made = prepare_dataset(at("cholecseg8k", place), PROTOCOL, access).splits

    assert len(made.samples) == 32
    assert made.classes == ("ClippingCutting", "Preparation")
    assert set(groups_of(made)) == {f"video{v:02d}" for v in videos}


def test_labels_may_come_from_a_list(tmp_path, access):
    names = [f"video{v:02d}/clip/frame_{n}_endo.png" for v in range(1, 7) for n in range(2)]
    place = write(tmp_path / "c", {name: n % 2 for n, name in enumerate(names)})
    rows = "".join(f"{name},{'ab'[n % 2]}\n" for n, name in enumerate(names))
    (place / "labels.csv").write_text("file,label\n" + rows)
    table = read_table(at("cholecseg8k", place), access)

    assert table.classes == ("a", "b")
    assert Counter(sample.group for sample in table.samples)["video01"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "phase_annotations/video01-phase.txt is missing"),
        ("file,tool\nx,y\n", "needs the columns file and label"),
        ("file,label\nx,y\n", "frame_1_endo.png has no label"),
    ],
)
def test_frames_without_labels_are_refused(tmp_path, access, text, message):
    place = write(tmp_path / "c", {"video01/clip/frame_1_endo.png": 0})
    if text:
        (place / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        at("cholecseg8k", place).load(access)


def test_a_folder_without_frames_is_refused(tmp_path, access):
    (tmp_path / "c").mkdir()
    with pytest.raises(
        DataError, match=r"no image below .*; paths look like video01/video01_000025\.png"
    ):
        at("cholec80", tmp_path / "c").load(access)


# -- MedMNIST ---------------------------------------------------------------------------------


def npz(path, *, shape=(8, 8, 3), classes=7, labels=None, kind=np.uint8):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 3 * classes), ("val", classes), ("test", classes)):
        arrays[f"{part}_images"] = rng.integers(0, 255, (count, *shape)).astype(kind)
        numbers = (np.arange(count) % classes)[:, None]
        arrays[f"{part}_labels"] = numbers if labels is None else np.tile(numbers, (1, labels))
    np.savez_compressed(path, **arrays)
    return arrays


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("dermamnist", (8, 8, 3), 7), ("octmnist", (8, 8), 4)]
)
def test_medmnist_gives_the_pixels_of_its_arrays(tmp_path, access, name, shape, classes):
    arrays = npz(tmp_path / f"{name}_224.npz", shape=shape, classes=classes)
    tables = at(name, tmp_path).load(access)

    assert {s: len(t) for s, t in tables.items()} == {
        "train": 3 * classes, "validation": classes, "test": classes,
    }  # fmt: skip
    for row in (0, 3 * classes - 1):
        pixels = np.asarray(Image.open(io.BytesIO(tables["train"][row]["image"]["bytes"])))
        np.testing.assert_array_equal(pixels, arrays["train_images"][row])
    table = read_table(at(name, tmp_path), access)
    assert table.classes == OFFERED[name].classes
    found = {sample.id: sample.label for sample in table.samples}
    assert [found[f"val-{n:06d}"] for n in range(classes)] == list(range(classes))


def test_the_largest_size_in_a_folder_is_taken_and_a_file_may_be_named(tmp_path, access):
    npz(tmp_path / "octmnist.npz", shape=(4, 4), classes=4)
    npz(tmp_path / "octmnist_64.npz", shape=(6, 6), classes=4)

    def width(path):
        cell = at("octmnist", path).load(access)["train"][0]["image"]
        return Image.open(io.BytesIO(cell["bytes"])).width

    assert width(tmp_path) == 6
    assert width(tmp_path / "octmnist.npz") == 4


def test_a_changed_file_is_read_again(tmp_path, access):
    npz(tmp_path / "octmnist.npz", shape=(4, 4), classes=4)
    assert len(at("octmnist", tmp_path).load(access)["train"]) == 12
    npz(tmp_path / "octmnist.npz", shape=(5, 5), classes=4)

    cell = at("octmnist", tmp_path).load(access)["train"][0]["image"]
    assert Image.open(io.BytesIO(cell["bytes"])).width == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": 14}, "has 14 labels an image"),
        ({"kind": np.complex64}, "train_images holds complex64; images are numbers"),
    ],
)
def test_what_is_no_single_label_set_of_bytes_is_refused(tmp_path, access, given, message):
    npz(tmp_path / "octmnist.npz", classes=4, **given)
    with pytest.raises(DataError, match=message):
        at("octmnist", tmp_path).load(access)


def test_what_is_no_npz_of_medmnist_is_refused(tmp_path, access):
    np.savez(tmp_path / "octmnist.npz", x=np.zeros(3))
    with pytest.raises(
        DataError, match="is no npz file with the arrays train_images and train_labels"
    ):
        at("octmnist", tmp_path).load(access)
    (tmp_path / "octmnist.npz").write_bytes(b"x")
    with pytest.raises(
        DataError, match="is no npz file with the arrays train_images and train_labels"
    ):
        at("octmnist", tmp_path).load(access)


def test_a_folder_without_the_file_is_refused(tmp_path, access):
    with pytest.raises(DataError, match=r"holds no octmnist_224\.npz or .*octmnist\.npz"):
        at("octmnist", tmp_path).load(access)
    nameless = at("octmnist", tmp_path).model_copy(update={"files": ()})
    with pytest.raises(DataError, match=r"is no npz file; give the file with --data octmnist=FILE"):
        nameless.load(access)


# -- on the command line ----------------------------------------------------------------------


def test_a_place_is_given_by_data(breakhis, tmp_path, harness_cli):
    harness_cli(
        *("bench", "demo", "--datasets", "breakhis-40x", "--data", f"breakhis-40x={breakhis}"),
        *("--backbones", "vgg19-mini", "--strategies", "linear-probe", "--epochs", "1"),
        *("--in-process", "--out", tmp_path / "out"),
    )
    (path,) = (tmp_path / "out" / "runs").rglob("*.json")
    record = json.loads(path.read_text())["data"]
    assert record["modality"] == "histology"
    assert record["source"].startswith("https://web.inf.ufpr.br")


def test_a_place_that_is_not_there_is_named(access, tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        at("cholec80", tmp_path / "nowhere").load(access)
    with pytest.raises(DataError, match="--data cholec80=PATH"):
        OFFERED["cholec80"].load(access)
    assert not OFFERED["cholec80"].at_hand(access)

"""The reference board's suite, and the five sets of images that are known by their bytes."""

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import run_ids
from places import ROOT

import harness_real_small
from harness import Access, DataError
from harness.benchmark.identity import divisions
from harness.data.preparation.prepare import prepare_dataset
from harness.plugins.registry import load_plugins

LOADED = load_plugins()
# Images, groups and test images, counted in the folders that the lists were made from; cases of
# histology that differ in case alone are one.
COUNTS = {
    "real-xray": (902, 808, 180),
    "real-mri": (1384, 71, 280),
    "real-histology": (924, 184, 185),
    "real-dermoscopy": (1437, 1062, 288),
    "real-endoscopy": (1000, 1000, 200),
}
FILES = {
    "train/a/one.jpg": b"1",
    "train/b/two.jpg": b"2",
    "validation/a/three.jpg": b"3",
    "test/b/four.jpg": b"4",
}


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A folder of four files, and a dataset whose list names them."""
    lines = ["file,group,sha256"]
    for name, content in FILES.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
        lines.append(f"{name},{Path(name).stem},{hashlib.sha256(content).hexdigest()}")
    (tmp_path / "tiny.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(harness_real_small, "LISTS", tmp_path)
    return harness_real_small.ListedImages(
        name="tiny", modality="xray", listed="tiny", path=tmp_path / "set"
    )


def test_files_are_split_labelled_and_grouped_as_listed(listed):
    tables = listed.load(Access())

    rows = {
        split: list(zip(t["id"], t["label"], t["group"], strict=True))
        for split, t in tables.items()
    }
    assert rows == {
        "train": [("train/a/one.jpg", "a", "one"), ("train/b/two.jpg", "b", "two")],
        "validation": [("validation/a/three.jpg", "a", "three")],
        "test": [("test/b/four.jpg", "b", "four")],
    }
    assert Path(tables["test"][0]["image"]["path"]).read_bytes() == b"4"


def test_a_missing_a_changed_and_a_further_file_are_named(listed):
    (listed.path / "train/a/one.jpg").unlink()
    (listed.path / "train/b/two.jpg").write_bytes(b"other")
    (listed.path / "test/b/more.jpg").write_bytes(b"5")
    (listed.path / "manifest.csv").write_text("beside the images: nobody's business")

    with pytest.raises(DataError) as caught:
        listed.load(Access())

    assert re.search(r"1 file is missing \(train/a/one\.jpg\)", str(caught.value))
    assert re.search(r"1 file is of other bytes .* \(train/b/two\.jpg\)", str(caught.value))
    assert re.search(r"1 file is not in the list \(test/b/more\.jpg\)", str(caught.value))


def test_bad_images_may_be_skipped_but_not_other_ones(listed):
    (listed.path / "train/b/two.jpg").write_bytes(b"other")
    with pytest.raises(DataError, match="other bytes"):
        listed.load(Access(skip_bad_images=True))


def test_a_place_must_be_given():
    with pytest.raises(DataError, match="--data real-mri=PATH"):
        LOADED.datasets["real-mri"].load(Access())


@pytest.mark.parametrize("name", COUNTS)
def test_the_lists_are_whole(name):
    dataset = LOADED.datasets[name]
    files = dataset.list_files()
    images, groups, tested = COUNTS[name]

    assert len({one.file for one in files}) == len({one.sha256 for one in files}) == images
    assert len({one.group for one in files}) == groups
    assert {one.file.split("/")[1] for one in files} == set(dataset.classes)
    assert Counter(one.file.split("/")[0] for one in files)["test"] == tested
    assert all(re.fullmatch("[0-9a-f]{64}", one.sha256) for one in files)
    assert "unknown" not in dataset.licence
    assert dataset.source.startswith("https://")
    assert not dataset.mirrors


def test_no_group_is_in_test_and_elsewhere_but_two_cases_of_histology():
    for name in COUNTS:
        groups = {True: set(), False: set()}
        for one in LOADED.datasets[name].list_files():
            groups[one.file.startswith("test/")].add(one.group)
        shared = groups[True] & groups[False]
        assert shared == ({"GTXC2012436", "GTXC2014144"} if name == "real-histology" else set())


def test_the_suite_is_the_one_decided():
    suite = LOADED.suites["real-small"]
    p = suite.protocol

    assert set(suite.datasets) == set(COUNTS)
    assert suite.backbones == ("resnet50",)
    assert suite.strategies == LOADED.suites["paper-2024"].strategies
    assert (suite.seeds, suite.splits, suite.labels) == ((0, 1, 2), "paired", ("200",))
    assert suite.tuning.grid == (0.1, 0.3, 1.0, 3.0)
    assert not suite.tuning.knobs
    assert (suite.claims, suite.settings) == ((), {})
    assert (p.optimizer, p.lr, p.batch_size, p.epochs, p.patience) == ("adam", 1e-3, 16, 8, None)
    assert (p.schedule.kind, p.schedule.horizon) == ("cosine", None)
    assert (p.resize, p.crop, p.validation_share) == (146, 128, 0.25)
    assert "72.2 %" in suite.notes[0]
    assert "cannot be passed on" in suite.notes[0]


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif("HARNESS_REALDATA" not in os.environ, reason="HARNESS_REALDATA is not set")
@pytest.mark.parametrize("name", COUNTS)
def test_the_real_sets_are_those_of_the_lists(name, tmp_path):
    suite = LOADED.suites["real-small"]
    place = Path(os.environ["HARNESS_REALDATA"]) / name.removeprefix("real-")
    dataset = LOADED.datasets[name].model_copy(update={"path": place})
    wanted = tuple(divisions(suite))
    made = prepare_dataset(dataset, suite.protocol, Access(cache=tmp_path), divisions=wanted).info
    found = [made.divided(one) for one in wanted]

    assert {one.counts["test"] for one in found} == {COUNTS[name][2]}
    trained = [one.counts["train"] for one in found]
    assert all(195 <= count <= 205 for count in trained), trained
    # The run ids of the golden file are made of these.
    kept = json.loads(run_ids.REAL_SMALL.read_text())["data"][name]
    assert [one.fingerprint for one in found] == kept


def test_the_published_runs_are_those_of_the_golden_file():
    plan = ROOT / "benchmarks" / "results" / "real-small" / "plan.json"
    kept = set(json.loads(run_ids.GOLDEN.read_text())["real-small"].values())
    assert len(kept) == 480
    if plan.is_file():  # no board before its first run
        assert {line["run_id"] for line in json.loads(plan.read_text())["runs"]} <= kept

"""The audit: everything planted is found, nothing else is, and the splits a run uses have none."""

import csv
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import hub_server
import numpy as np
import pytest
from cases import nightly
from command import Cli
from PIL import Image
from scenes import encoded, half, scene
from sklearn.metrics import balanced_accuracy_score

from harness import Access, DataError, FolderDataset, Protocol
from harness.data.audit import page, shortcuts, terminal
from harness.data.audit.audit import audit
from harness.data.audit.survey import ImageFacts
from harness.data.division.stratify import Sample
from harness.data.fetch import fetch_dataset
from harness.data.preparation.prepare import prepare_dataset
from harness.utils.progress import Meter
from harness_ham10000 import HAM10000

pytestmark = pytest.mark.slow

CLASSES = ("nv", "mel", "bkl")
PLACES = {"train": 8, "validation": 3, "test": 4}  # clean images of each class and split


class Folder:
    """A folder of images with a manifest, and what was planted in it."""

    def __init__(self, path):
        self.path, self.rows = path, []
        self.pictures = iter(range(10_000))

    def add(self, split, label, *, data=None, group=None, name=None):
        """An image of its own, or these bytes; returns its id."""
        number = next(self.pictures)
        data = encoded(scene(number), quality=92) if data is None else data
        file = f"{split}/{label}/{name or f'ISIC_{number:04}'}.jpg"
        place = self.path / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        self.rows.append((file, split, label, group or f"HAM_{number:04}"))
        return file

    def bytes_of(self, file):
        return (self.path / file).read_bytes()

    def done(self, **changes):
        with (self.path / "manifest.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "split", "label", "group"), *self.rows])
        return FolderDataset(
            **({"name": "skin", "modality": "dermoscopy", "path": self.path} | changes)
        )


def clean(path, places=PLACES):
    folder = Folder(path)
    for split, count in places.items():
        for label in CLASSES:
            for _ in range(count):
                folder.add(split, label)
    return folder


@pytest.fixture
def skin(tmp_path):
    """The situation of HAM10000 on the Hub: rows twice, ids in two splits, lesions in two splits."""
    folder = clean(tmp_path / "skin")
    planted = {"exact": [], "groups": {}, "near": set()}
    # The same image in train and in test, under the same name: an id shared between splits.
    for number, label in enumerate(CLASSES * 2):
        one = folder.add("train", label, group=f"L{number}")
        name = Path(one).stem
        other = folder.add("test", label, data=folder.bytes_of(one), group=f"L{number}", name=name)
        planted["exact"].append({"train": (one,), "test": (other,)})
        planted["groups"][f"L{number}"] = {"train": (one,), "test": (other,)}
    # A row that is there three times, twice in train; the lesion is not known.
    one = folder.add("train", "mel")
    two = folder.add("train", "mel", data=folder.bytes_of(one))
    three = folder.add("validation", "mel", data=folder.bytes_of(one))
    planted["exact"].append({"train": (one, two), "validation": (three,)})
    # Another photograph of a lesion, in another split.
    for number, (split, other) in enumerate((("train", "test"), ("validation", "test"))):
        ids = {place: (folder.add(place, "bkl", group=f"P{number}"),) for place in (split, other)}
        planted["groups"][f"P{number}"] = ids
    # A duplicated row and a second photograph within train: they cross nothing.
    one = folder.add("train", "nv", group="Q")
    folder.add("train", "nv", data=folder.bytes_of(one), group="Q")
    folder.add("train", "nv", group="Q")
    # Encoded anew, smaller, mirrored: no byte is the same.
    changes = (
        ("test", lambda p: encoded(p, quality=40), ""),
        ("test", lambda p: encoded(half(p)), ""),
        ("validation", lambda p: encoded(p.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), "mirrored"),
        ("train", lambda p: encoded(p, quality=50), None),
    )
    for number, (split, change, orientation) in enumerate(changes):
        one = folder.add("train", "nv", data=encoded(scene(5000 + number), quality=92))
        other = folder.add(split, "nv", data=change(scene(5000 + number)))
        if orientation is not None:
            planted["near"].add((*sorted([(one, "train"), (other, split)]), orientation))
    return folder.done(), planted


@pytest.fixture
def access(tmp_path):
    return Access(cache=tmp_path / "cache", lock=tmp_path / "harness.lock")


def found_near(crossings):
    return {
        (*sorted(zip((p.one, p.other), p.splits, strict=True)), p.orientation)
        for p in crossings.near_pairs
    }


# -- the situation of HAM10000 --------------------------------------------------------------------


def test_every_crossing_that_was_planted_is_found_and_no_other(skin, access):
    dataset, planted = skin
    found = audit(dataset, access).report.source.crossings
    assert {one.name: one.ids for one in found.shared_groups} == planted["groups"]
    assert sorted((one.ids for one in found.copies), key=str) == sorted(planted["exact"], key=str)
    assert found_near(found) == planted["near"]
    assert (found.groups, found.exact, found.near) == (8, 7, 3)


def test_the_images_of_test_that_train_knows_are_counted(skin, access):
    leaks = audit(skin[0], access).report.source.crossings.leaks
    test, validation = leaks["test"], leaks["validation"]
    assert test.model_dump() == {"images": 22, "groups": 7, "exact": 6, "near": 2, "any": 9}
    assert validation.model_dump() == {"images": 12, "groups": 0, "exact": 1, "near": 1, "any": 2}


@pytest.mark.parametrize("rule", ["official", "official-test", "grouped"])
def test_nothing_crosses_the_splits_that_a_run_uses(rule, skin, access):
    dataset = skin[0].model_copy(update={"splits": rule})
    report = audit(dataset, access).report
    assert not report.made.crossings.any
    assert report.crosses, "the source's splits are judged as they are"
    used = prepare_dataset(dataset, Protocol(name="p", resize=16, crop=16), access).splits
    counts = Counter(sample.split for sample in used.samples)
    assert {split: facts.images for split, facts in report.made.splits.items()} == counts
    assert report.made.left_out == len(used.left_out)
    assert report.made.rule == used.rule


def test_copies_within_a_split_are_counted_and_cross_nothing(skin, access):
    copies = audit(skin[0], access).report.copies
    assert copies.exact == 6 + 2 + 1
    assert copies.near == 4
    assert copies.disagreeing == ()


def test_duplicates_with_different_labels_are_named(tmp_path, access):
    folder = clean(tmp_path / "set")
    one = folder.add("train", "nv", name="0-first")
    two = folder.add("train", "mel", data=folder.bytes_of(one), name="1-second")
    picture = scene(6000)
    three = folder.add("train", "nv", data=encoded(picture), name="2-third")
    four = folder.add("train", "bkl", data=encoded(picture, quality=40), name="3-fourth")
    found = {frozenset(pair) for pair in audit(folder.done(), access).report.copies.disagreeing}
    assert found == {frozenset((one, two)), frozenset((three, four))}


def test_a_clean_set_has_no_crossing(tmp_path, access):
    report = audit(clean(tmp_path / "set").done(), access).report
    assert not report.crosses
    assert report.kept
    assert report.made.crossings == report.source.crossings
    assert not report.source.crossings.leaks["test"].any


def test_a_copy_between_validation_and_test_crosses_though_train_has_no_part(tmp_path, access):
    folder = clean(tmp_path / "set")
    one = folder.add("validation", "nv")
    folder.add("test", "nv", data=folder.bytes_of(one))
    found = audit(folder.done(), access).report.source.crossings
    assert (found.groups, found.exact, found.near) == (0, 1, 0)
    assert found.leaks["test"].any == 0


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = hub_server.running()
    hub.reset(hub_server.tiny_repos())
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    return hub


def test_ham10000_is_audited_as_its_source_has_it_and_split_without_a_leak(hub, access):
    fetch_dataset(HAM10000, access, Meter(live=False))
    report = audit(HAM10000, access).report
    assert report.images == 51, "every row of the source, also those that the adapter drops"
    crossing = [one for one in report.source.crossings.copies if {"train", "test"} <= set(one.ids)]
    assert len(crossing) == 7
    assert report.source.crossings.leaks["test"].exact == 7
    assert not report.made.crossings.any
    assert sum(facts.images for facts in report.made.splits.values()) == 42
    assert report.problems == HAM10000.problems
    assert report.group == "lesion"


# -- facts ----------------------------------------------------------------------------------------


def test_facts_of_a_split_are_those_of_its_files(tmp_path, access):
    folder = clean(tmp_path / "set", {"train": 2, "test": 2})
    folder.add("test", "nv", data=encoded(scene(9000, (40, 30)).convert("L")))
    folder.add("test", "nv", data=encoded(scene(9001, (40, 30)), "PNG"))
    report = audit(folder.done(), access).report
    test = report.source.splits["test"]
    assert test.images == 8
    assert test.classes == {"bkl": 2, "mel": 2, "nv": 4}
    assert test.sizes == ((120, 90, 6), (40, 30, 2))
    assert (test.widths, test.heights, test.different_sizes) == ((40, 120), (30, 90), 2)
    assert test.modes == {"RGB": 7, "L": 1}
    assert test.formats == {"JPEG": 7, "PNG": 1}
    assert test.bytes == sum(path.stat().st_size for path in (folder.path / "test").rglob("*.jpg"))
    assert (report.images, report.grouped) == (14, 14)


def test_bad_files_are_named_with_their_reason_and_left_out_of_a_run(tmp_path, access):
    folder = clean(tmp_path / "set")
    cut = folder.add("test", "nv", data=encoded(scene(1))[:700])
    gone = folder.add("train", "mel")
    (folder.path / gone).unlink()
    (folder.path / gone).symlink_to("nowhere")
    report = audit(folder.done(), access).report
    assert {one.id: one.split for one in report.bad} == {cut: "test", gone: "train"}
    reasons = {one.id: one.reason for one in report.bad}
    assert reasons[cut].startswith("cannot be decoded")
    assert reasons[gone] == "cannot be read: No such file or directory"
    assert report.made.splits["test"].images == report.source.splits["test"].images - 1
    assert report.made.left_out == 0


def test_a_class_that_train_lacks_is_named_and_no_run_can_use_it(tmp_path, access):
    folder = clean(tmp_path / "set")
    folder.add("test", "akiec")
    folder.add("test", "akiec")
    report = audit(folder.done(), access).report
    assert report.source.lacking == {"test": ("akiec",)}
    assert report.made is None
    assert "train has no sample of 'akiec'" in report.refused
    assert "no run can use it: dataset 'skin': train has no" in " ".join(
        terminal.render(report).split()
    )


def test_a_source_without_splits_has_no_crossing(tmp_path, access):
    folder = clean(tmp_path / "set", {"train": 12})
    one = folder.add("train", "nv")
    folder.add("train", "nv", data=folder.bytes_of(one))
    report = audit(folder.done(), access).report
    assert list(report.source.splits) == ["train"]
    assert not report.crosses
    assert report.copies.exact == 1
    assert set(report.made.splits) == {"train", "validation", "test"}
    assert report.source.shortcuts[0].reason == "there is no test split"
    assert report.made.shortcuts[0].score is not None


# -- shortcuts ------------------------------------------------------------------------------------


def looks_of(labels, colour, size):
    """Looks whose histogram and size say the label as far as `colour` and `size` do."""
    rng = np.random.default_rng(0)
    samples, looks = [], {}
    for number, label in enumerate(labels):
        histogram = rng.dirichlet(np.ones(48)) * 3
        histogram[label] += 3 * colour
        width = int(rng.integers(100, 200) + 1000 * label * size)
        looks[f"c{number}"] = ImageFacts(
            width, 100, "RGB", "JPEG", 5000, histogram.astype(np.float32)
        )
        samples.append(Sample(f"s{number}", label, f"s{number}", "train", f"c{number}"))
    return samples, looks


@pytest.mark.parametrize(("colour", "size"), [(0, 0), (1, 0), (0, 1)])
def test_a_shortcut_is_found_where_it_was_planted_and_only_there(colour, size):
    samples, looks = looks_of([n % 3 for n in range(300)], colour, size)
    placed = {s.id: "train" if n < 200 else "test" for n, s in enumerate(samples)}
    by_colour, by_size = shortcuts.try_shortcuts(samples, placed, looks)
    assert (by_colour.name, by_size.name) == ("colour histogram", "image size")
    for one, planted in ((by_colour, colour), (by_size, size)):
        assert one.score > 0.95 if planted else one.score < 0.5
        assert one.telling == bool(planted)
        assert one.chance == pytest.approx(1 / 3)
        assert one.chance < one.luck < 0.5
        assert (one.trained_on, one.tested_on) == (200, 100)


def test_balanced_accuracy_is_scikit_learns():
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    ours = shortcuts.balanced_accuracy(labels, predicted)
    assert ours == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-12)


def test_a_class_that_test_lacks_does_not_count():
    labels, predicted = np.array([0, 0, 2, 2]), np.array([0, 1, 2, 2])
    assert shortcuts.balanced_accuracy(labels, predicted) == pytest.approx(0.75)


# -- the command ----------------------------------------------------------------------------------


def audited(*args, exit_code=0):
    return Cli()("data", "audit", *args, exit_code=exit_code, HARNESS_NO_AUTOLOAD="1")


def test_the_command_ends_with_1_where_something_crosses(skin, tmp_path):
    done = audited("--data", f"dermoscopy:skin={skin[0].path}", exit_code=1)
    text = " ".join(done.stdout.split())
    assert (
        "LEAK in the source's splits: 8 groups, 7 exact duplicates, 3 near-duplicate pairs; nothing "
        "crosses those a run uses"
    ) in text
    assert "9 of 22 test images (40.9%) are related to train: 7 by group, 6 as exact" in text
    for one, other, _ in skin[1]["near"]:
        assert f"{one[0]} ({one[1]}) ~ {other[0]} ({other[1]})" in done.stdout or (
            f"{other[0]} ({other[1]}) ~ {one[0]} ({one[1]})" in done.stdout
        )
    assert str(tmp_path) not in done.stdout


def test_the_command_ends_with_0_where_nothing_crosses(tmp_path):
    done = audited("--data", f"skin={clean(tmp_path / 'set').done().path}")
    assert "found nothing that crosses the source's splits" in done.stdout
    assert "they are the source's, sample by sample" in done.stdout


def test_json_page_and_folder_say_the_same(skin, tmp_path):
    option = f"dermoscopy:skin={skin[0].path}"
    out = tmp_path / "out"
    done = audited(
        "--data", option, "--json", "--html", tmp_path / "a.html", "--out", out, exit_code=1
    )
    said = json.loads(done.stdout)
    assert said == json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert said["crosses"] is True
    assert said["audits"][0]["source"]["crossings"]["near"] == 3
    text = (out / "audit.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "a.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in text + done.stdout


def test_several_sets_are_audited_and_a_broken_one_stops_no_other(skin, tmp_path):
    good = clean(tmp_path / "good").done().path
    (tmp_path / "empty").mkdir()
    done = audited(
        *("--data", f"broken={tmp_path / 'empty'}"),
        *("--data", f"good={good}"),
        "--json",
        exit_code=2,
    )
    assert [one["dataset"] for one in json.loads(done.stdout)["audits"]] == ["good"]
    assert "holds no image" in done.stderr


def test_names_are_those_of_datasets(tmp_path):
    assert "name datasets" in audited(exit_code=2).stderr
    done = audited("skn", "--data", f"skin={tmp_path}", exit_code=2)
    assert "unknown dataset 'skn'; did you mean 'skin'?" in done.stderr


def test_a_second_audit_does_not_look_for_twins_again(skin, access, monkeypatch):
    first = audit(skin[0], access).report

    def refuse(*_):
        raise AssertionError("searched again")

    monkeypatch.setattr("harness.data.duplicates._search", refuse)
    assert audit(skin[0], access).report == first


def test_a_set_that_contradicts_itself_is_an_error(tmp_path, access):
    shutil.copytree(clean(tmp_path / "set").done().path, tmp_path / "other")
    (tmp_path / "other" / "train" / "nv" / "more.jpg").write_bytes(encoded(scene(1)))
    with pytest.raises(DataError, match="1 images are not listed"):
        audit(FolderDataset(name="o", modality="m", path=tmp_path / "other"), access)


# -- the page -------------------------------------------------------------------------------------


def test_the_page_shows_each_class_and_every_crossing_and_fetches_nothing(skin, access):
    found = audit(skin[0], access)
    text = page.render([found])
    assert text == page.render([audit(skin[0], access)])
    pictures = re.findall(r'<img src="([^"]*)"', text)
    assert all(one.startswith("data:image/jpeg;base64,") for one in pictures)
    # Six of each class; two of each near pair; at most two a split of copies and of groups.
    assert len(pictures) == 3 * 6 + 3 * 2 + (6 * 2 + 3) + 8 * 2
    assert not re.search(r"<script|https?:|url\(|@import", text)
    for kind in ("near duplicates", "exact duplicates", "groups"):
        assert f"<h3>{kind} that cross the source's splits</h3>" in text
    for one, other, _ in skin[1]["near"]:
        assert one[0] in text
        assert other[0] in text


def test_names_are_escaped_and_broken_pictures_are_said(tmp_path, access):
    folder = clean(tmp_path / "set")
    for _ in range(2):
        folder.add("train", "<script>alert(1)</script>".replace("/", "_"), group='"><img src=x>')
    folder.add("test", "nv", group='"><img src=x>')
    folder.add("train", "nv", data=b"no image")
    dataset = folder.done(title="<b>bold</b>", problems=("<i>known</i>",))
    text = page.render([audit(dataset, access)])
    for evil in ("<script", "<b>", "<i>", "<img src=x"):
        assert evil not in text
    assert "&lt;script&gt;alert(1)&lt;_script&gt;" in text
    assert "&quot;&gt;&lt;img src=x&gt;" in text


# -- real images ----------------------------------------------------------------------------------


def real(name):
    root = os.environ.get("HARNESS_REALDATA")
    if not root:
        pytest.skip("HARNESS_REALDATA is not set")
    return FolderDataset(name=name, modality="m", path=Path(root) / name)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "xray",
        *map(nightly, ("dermoscopy", "mri", "histology", "endoscopy-patches")),
    ],
)
def test_real_sets_without_a_crossing(name, access):
    report = audit(real(name), access).report
    assert not report.crosses
    assert report.kept
    assert report.grouped < report.images
    assert not report.bad


@pytest.mark.slow
@pytest.mark.realdata
def test_the_three_pairs_of_frames_that_cross_in_endoscopy(access):
    report = audit(real("endoscopy"), access).report
    stems = {
        frozenset((Path(p.one).stem, Path(p.other).stem))
        for p in report.source.crossings.near_pairs
    }
    assert stems == {
        frozenset(("cju8amfdtqi4x09871tygrgqe", "cju886ryxnsl50801r93jai7q")),
        frozenset(("cju30bmab08bi0835mvlr6e0r", "cju77k828z46w0871r0avuoo9")),
        frozenset(("cju5fydrud94708507vo6oy21", "cju7avvi51iox0817ym55y6tt")),
    }
    assert not report.made.crossings.any
    assert report.made.left_out == 3

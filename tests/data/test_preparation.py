"""A dataset made ready: against the images it was made from, whatever the order of its rows."""

import errno
import hashlib
import json
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
from cases import nightly
from datasets import Features, Value
from images_by_hand import jpeg
from PIL import Image
from transformed import transformed

from harness import Access, DataError, Dataset, Protocol, StoreError
from harness.api.dataset import SPLITS
from harness.data import images, table
from harness.data.cache import cache
from harness.data.division.split import Splits
from harness.data.folder import FolderDataset
from harness.data.preparation.prepare import prepare_dataset
from harness.data.preparation.survey import survey_dataset

PROTOCOL = Protocol(name="p", resize=18, crop=16)
FEATURES = Features(
    {
        "image": datasets.Image(decode=False),
        "label": Value("string"),
        "group": Value("string"),
        "id": Value("string"),
    }
)
DECLARED = {"licence": "CC0", "source": "here", "revision": "f" * 40, "problems": ("small",)}


class Toy(Dataset):
    """24 images of each of three classes, two a group, in `order`; some files may be damaged."""

    order: tuple[int, ...] = tuple(range(72))
    damaged: tuple[int, ...] = ()
    places: dict[int, str] = {}  # noqa: RUF012 - pydantic copies it
    same: dict[int, int] = {}  # noqa: RUF012 - number -> the number whose file it is

    def load(self, access):
        tables = {}
        for split in SPLITS:
            rows = [n for n in self.order if self.places.get(n, "train") == split]
            if rows:
                tables[split] = datasets.Dataset.from_dict(
                    {
                        "image": [{"bytes": self.file(n), "path": f"{n}.jpg"} for n in rows],
                        "label": ["abc"[n % 3] for n in rows],
                        "group": [f"g{n % 3}-{n // 6}" for n in rows],
                        "id": [f"s{n:02}" for n in rows],
                    },
                    features=FEATURES,
                )
        return tables

    def file(self, number):
        found = jpeg(self.same.get(number, number))
        return found[: len(found) // 2] if number in self.damaged else found


def toy(**changes):
    return Toy(
        **({"name": "toy", "modality": "m", "classes": ("c", "a", "b")} | DECLARED | changes)
    )


def prepare(folder, dataset=None, *, skip=False, lacking=False, **options):
    access = Access(cache=folder, skip_bad_images=skip, allow_missing_classes=lacking)
    return prepare_dataset(dataset or toy(), PROTOCOL, access, **options)


def test_images_labels_rows_and_record_agree(tmp_path):
    prepared = prepare(tmp_path)
    found, splits = prepared.images, prepared.splits
    assert found.classes == ("c", "a", "b")
    seen = []
    for split in SPLITS:
        for row, label, pixels in zip(
            found.rows[split], found.labels[split], found.images[split], strict=True
        ):
            sample = splits.samples[row]
            number = int(sample.id[1:])
            assert sample.split == split
            assert sample.label == "abc"[number % 3] == found.classes[label]
            assert np.array_equal(pixels, transformed(jpeg(number), 18, 16))
            seen.append(number)
    assert sorted(seen) == list(range(72))
    assert found.rows["train"].dtype == np.int32
    assert found.labels["train"].dtype == np.int64
    assert found.images["test"].shape[1:] == (3, 16, 16)
    record = found.record.model_dump()
    assert {name: record[name] for name in DECLARED} == DECLARED
    assert record["modality"] == "m"
    assert record["split_file"] == "splits/toy.json"
    assert record["split_sha256"] == splits.sha256
    assert record["rule"] == splits.rule
    assert record["fingerprint"] == prepared.fingerprint == splits.fingerprint
    assert record["counts"]["test"] == {"a": 4, "b": 4, "c": 4}
    assert record["skipped"] == ()


def test_the_split_file_is_its_own_witness(tmp_path):
    splits = prepare(tmp_path).splits
    again = Splits.model_validate_json(splits.model_dump_json(indent=1))
    content = again.model_dump(mode="json", exclude={"sha256"})
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert again.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_rows_makes_no_difference(tmp_path):
    one = prepare(tmp_path / "one")
    other = prepare(tmp_path / "other", toy(order=tuple(np.random.default_rng(1).permutation(72))))
    assert one.splits == other.splits
    for split in SPLITS:
        assert np.array_equal(one.images.images[split], other.images.images[split])
        assert np.array_equal(one.images.rows[split], other.images.rows[split])
        assert np.array_equal(one.images.labels[split], other.images.labels[split])


def test_a_second_call_decodes_nothing_and_maps_the_same_file(tmp_path):
    first = prepare(tmp_path)

    def refuse(done, everything):
        raise AssertionError("decoded again")

    second = prepare(tmp_path, progress=refuse)
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.images.images["train"], first.images.images["train"])
    files = {Path(second.images.images[split].filename) for split in SPLITS}
    assert len(files) == 1
    whole = np.load(files.pop())  # train, then validation, then test
    assert np.array_equal(whole, np.concatenate([second.images.images[s] for s in SPLITS]))


@pytest.fixture
def decodings(monkeypatch):
    """The bytes of every image that is decoded."""
    decode, seen = images.decode, []
    monkeypatch.setattr(images, "decode", lambda file: seen.append(file) or decode(file))
    return seen


def test_the_first_call_decodes_each_image_once(tmp_path, decodings):
    """One decoding serves the search for near duplicates and the training; pixels are the same."""
    found = prepare(tmp_path).images
    assert sorted(decodings) == sorted(jpeg(n) for n in range(72))
    (twins,) = (tmp_path / "twins").iterdir()
    apart = tmp_path / "apart"
    (apart / "twins").mkdir(parents=True)
    (apart / "twins" / twins.name).write_bytes(twins.read_bytes())
    separate = prepare(apart).images  # nothing to look for: decoded in the order of the splits
    for split in SPLITS:
        assert np.array_equal(found.images[split], separate.images[split])
    names = {path.name[0] for path in (tmp_path / "decoded").iterdir()}
    assert names == {"t"}, "nothing that was begun is left"


def test_a_file_that_is_there_twice_is_in_both_places(tmp_path):
    again = toy(same={70: 1})
    found = prepare(tmp_path, again)
    rows = {sample.id: row for row, sample in enumerate(found.splits.samples)}
    of_row = {
        row: pixels
        for split in SPLITS
        for row, pixels in zip(found.images.rows[split], found.images.images[split], strict=True)
    }
    assert len(of_row) == 72
    assert np.array_equal(of_row[rows["s70"]], of_row[rows["s01"]])
    expected = transformed(jpeg(1), 18, 16)
    assert np.array_equal(of_row[rows["s70"]], expected)


def test_a_disk_that_is_full_while_images_are_put_in_order_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "reorder", full)
    with pytest.raises(StoreError, match="No space left on device"):
        prepare(tmp_path)
    assert list((tmp_path / "decoded").iterdir()) == []


def test_a_cache_below_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file cannot be written: .*set HARNESS_CACHE"):
        prepare(tmp_path / "file")


def test_progress_is_told(tmp_path):
    seen = []
    prepare(tmp_path, progress=lambda *at: seen.append(at))
    assert seen[-1] == (72, 72)


def test_a_limit_uses_fewer_images_of_the_same_splits(tmp_path):
    whole, some = prepare(tmp_path), prepare(tmp_path, limit=6)
    assert some.splits == whole.splits
    assert some.images.record.counts == {s: {"a": 2, "b": 2, "c": 2} for s in SPLITS}
    for split in SPLITS:
        positions = np.searchsorted(whole.images.rows[split], some.images.rows[split])
        assert np.array_equal(whole.images.rows[split][positions], some.images.rows[split])
        assert np.array_equal(whole.images.images[split][positions], some.images.images[split])


def test_the_fingerprint_sees_the_bytes_and_not_the_transform(tmp_path):
    base = prepare(tmp_path).fingerprint
    assert prepare(tmp_path, skip=True).fingerprint == base
    changed = prepare_dataset(
        toy(), PROTOCOL.model_copy(update={"crop": 12}), Access(cache=tmp_path)
    )
    assert changed.fingerprint == base
    fewer = prepare(tmp_path, toy(order=tuple(range(1, 72))))
    assert fewer.fingerprint != base
    relabelled = prepare(tmp_path, toy(classes=("a", "b", "c")))
    assert relabelled.fingerprint != base


# -- bad images ---------------------------------------------------------------------------------


def test_all_bad_images_are_in_one_message(tmp_path):
    dataset = toy(damaged=(3, 20, 41))
    for _ in range(2):  # the second time from memory
        with pytest.raises(DataError) as error:
            prepare(tmp_path, dataset)
        message = str(error.value)
        assert message.startswith(
            "dataset 'toy': 3 of 72 images cannot be used: s03 (cannot be dec"
        )
        assert "s20 (" in message
        assert "s41 (" in message
        assert message.endswith("leave them out with --skip-bad-images")


def test_skipped_images_are_as_if_they_were_not_there(tmp_path):
    damaged = (3, 20, 41)
    skipped = prepare(tmp_path, toy(damaged=damaged), skip=True)
    without = prepare(tmp_path, toy(order=tuple(n for n in range(72) if n not in damaged)))
    assert skipped.images.record.skipped == ("s03", "s20", "s41")
    assert without.images.record.skipped == ()
    assert skipped.splits == without.splits
    for split in SPLITS:
        assert np.array_equal(skipped.images.images[split], without.images.images[split])


def test_with_a_limit_only_bad_images_that_are_used_are_skipped(tmp_path):
    damaged = tuple(range(0, 72, 4))
    found = prepare(tmp_path, toy(damaged=damaged), skip=True, limit=6)
    assert all(sum(counts.values()) == 6 for counts in found.images.record.counts.values())
    used = {found.splits.samples[row].id for s in SPLITS for row in found.images.rows[s]}
    assert not used & {f"s{n:02}" for n in damaged}
    assert set(found.images.record.skipped) <= {f"s{n:02}" for n in damaged}
    assert found.images.record.skipped


def test_a_class_of_bad_images_only_is_an_error(tmp_path):
    with pytest.raises(DataError, match="train has no sample of 'b'"):
        prepare(tmp_path, toy(damaged=tuple(range(1, 72, 3))), skip=True, lacking=True)


def in_splits(*without):
    """The places of the 72 images, with which these splits have no image of class 'b'."""
    cut = {n: SPLITS[n // 6 % 3] for n in range(72)}
    return {n: "train" if n % 3 == 1 and split in without else split for n, split in cut.items()}


@pytest.mark.parametrize("without", [("test",), ("validation",), ("validation", "test")])
def test_a_class_that_validation_or_test_lacks(without, tmp_path):
    dataset = toy(places=in_splits(*without), classes=())
    message = " and ".join(f"{split} has no sample of 'b'" for split in without)
    for call in (survey_dataset, prepare_dataset):
        with pytest.raises(DataError, match=f"{message} .*go on with --allow-missing-classes"):
            call(dataset, PROTOCOL, Access(cache=tmp_path))
    found = prepare(tmp_path, dataset, lacking=True)
    assert found.info.lacking == dict.fromkeys(without, ("b",))
    assert prepare(tmp_path).info.lacking == {}


def test_train_lacks_no_class_whatever_is_allowed(tmp_path):
    places = {n: "test" if n % 3 == 1 else SPLITS[n // 6 % 3] for n in range(72)}
    with pytest.raises(DataError, match="train has no sample of 'b'"):
        prepare(tmp_path, toy(places=places), lacking=True)


def test_copies_with_contradicting_labels_are_counted_and_named(tmp_path):
    found = prepare(tmp_path, toy(same={1: 0, 2: 0, 7: 4}))  # 7 and 4 have the same label
    assert found.images.record.contradicting == 3
    assert any("3 images have a copy with another label: s00 ~ s01" in n for n in found.notes)
    clean = prepare(tmp_path / "clean")
    assert clean.images.record.contradicting == 0
    assert "contradicting" not in clean.images.record.model_dump_json()


def test_a_file_that_cannot_be_read_is_a_bad_image(tmp_path):
    folder = write_folder(tmp_path / "set", "ab", 8)
    gone = folder / "a" / "3.jpg"
    gone.unlink()
    gone.symlink_to(folder / "nowhere.jpg")
    dataset = FolderDataset(name="own", modality="m", path=folder)
    with pytest.raises(DataError, match=r"1 of 16 .*: a/3\.jpg \(cannot be read: No such file"):
        prepare(tmp_path / "cache", dataset)
    assert prepare(tmp_path / "cache", dataset, skip=True).images.record.skipped == ("a/3.jpg",)


# -- folders ------------------------------------------------------------------------------------


def write_folder(folder, classes, count, split=""):
    for label, name in enumerate(classes):
        (folder / split / name).mkdir(parents=True)
        for number in range(count):
            path = folder / split / name / f"{number}.jpg"
            path.write_bytes(jpeg(number + 1000 * label + 10 * len(split)))
    return folder


def test_a_folder_goes_all_the_way_and_keeps_its_place_to_itself(tmp_path):
    folder = write_folder(tmp_path / "set", ("cat", "dog"), 20)
    found = prepare(tmp_path / "cache", FolderDataset(name="own", modality="xray", path=folder))
    assert found.images.record.counts == {
        "train": {"cat": 13, "dog": 13},
        "validation": {"cat": 3, "dog": 3},
        "test": {"cat": 4, "dog": 4},
    }
    assert (
        str(tmp_path) not in found.splits.model_dump_json() + found.images.record.model_dump_json()
    )


def test_a_class_in_test_that_train_lacks_is_an_error(tmp_path):
    folder = write_folder(tmp_path / "set", "ab", 8, "train")
    write_folder(folder, "abc", 4, "test")
    with pytest.raises(DataError, match=r"'own': train has no sample of 'c' \(official test"):
        prepare(tmp_path / "cache", FolderDataset(name="own", modality="m", path=folder))


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "pairs", "left_out"),
    [
        nightly("xray", "none", 0),
        ("mri", "1 pair", 0),
        nightly("histology", "none", 0),
        nightly("dermoscopy", "none", 0),
        ("endoscopy", "4 pairs", 3),
    ],
)
def test_real_folders(name, pairs, left_out, tmp_path):
    root = os.environ.get("HARNESS_REALDATA")
    if not root:
        pytest.skip("HARNESS_REALDATA is not set")
    folder = Path(root) / name
    found = prepare(tmp_path, FolderDataset(name=name, modality=name, path=folder), limit=20)
    rule = (
        "official train, validation and test; near duplicates stay together "
        f"({pairs} across groups)"
    )
    if left_out:
        rule += f"; {left_out} samples left out: {left_out} twins of validation or test samples, "
        rule += "0 more of their groups"
    assert found.splits.rule == rule
    assert len(found.splits.samples) == sum(1 for _ in folder.rglob("*.jpg")) - left_out
    assert all(len(found.images.images[split]) == 20 for split in SPLITS)


# -- files that version 0.1 decoded to other pixels --------------------------------------------------


@pytest.mark.parametrize(("top", "moved"), [(255, False), (4095, True), (65535, False)])
def test_only_sets_that_were_decoded_wrongly_have_a_new_fingerprint(
    top, moved, tmp_path, monkeypatch
):
    """Twelve bits in sixteen came out as sixteen grey levels; their results are not taken again."""
    kind = np.uint8 if top == 255 else np.uint16
    for number in range(12):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, top + 1, (20, 20)).astype(kind)
        values[0, 0] = top
        Image.fromarray(values).save(path)
    dataset = FolderDataset(name="own", modality="xray", path=tmp_path / "images")

    def prepared():
        access = Access(cache=tmp_path / "cache")
        found = prepare_dataset(dataset, PROTOCOL, access)
        survey = survey_dataset(dataset, PROTOCOL, access)
        assert survey.fingerprint == found.fingerprint
        return found, {entry.path.name for entry in cache.entries(tmp_path / "cache")}

    monkeypatch.setattr(table, "_content", lambda found, span: found.sha256)
    monkeypatch.setattr(table, "find_depth", lambda data: None)
    before, old_entries = prepared()
    monkeypatch.undo()
    after, entries = prepared()
    assert (after.fingerprint != before.fingerprint) == moved
    assert (entries != old_entries) == moved  # the cache serves no pixels of then

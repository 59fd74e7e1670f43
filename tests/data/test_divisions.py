"""One dataset divided in several ways: each as if it had been prepared alone, on the same pixels."""

import copy
import pickle

import datasets
import numpy as np
import pytest
from datasets import Features, Value
from images_by_hand import jpeg
from transformed import transformed

from harness import Access, Dataset, Protocol, UsageError
from harness.api.dataset import SPLITS
from harness.api.execution import PickedImages
from harness.api.images import PickedRows
from harness.data.cache import cache
from harness.data.division.split import Division, labelled
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
RULES = ("grouped", "official-test", "official")


class Toy(Dataset):
    """24 images of each of three classes, two a group; every fourth group lies in the test split."""

    name: str = "toy"
    modality: str = "m"
    classes: tuple[str, ...] = ("c", "a", "b")
    damaged: tuple[int, ...] = ()

    def load(self, access):
        tables = {"train": [], "test": []}
        for n in range(72):
            content = jpeg(n)
            row = {
                "image": {"bytes": content[: len(content) // 2] if n in self.damaged else content,
                          "path": f"{n}.jpg"},
                "label": "abc"[n % 3],
                "group": f"g{n % 3}-{n // 6}",
                "id": f"s{n:02}",
            }  # fmt: skip
            tables["test" if n // 6 % 4 == 0 else "train"].append(row)
        return {
            split: datasets.Dataset.from_list(rows, features=FEATURES)
            for split, rows in tables.items()
        }


def toy(rule="grouped", **changes):
    return Toy(splits=rule, **changes)


def prepare(folder, dataset, split=0, *, skip=False, **options):
    protocol = PROTOCOL.model_copy(update={"split_seed": split})
    access = Access(cache=folder, skip_bad_images=skip)
    return prepare_dataset(dataset, protocol, access, **options)


def same(one, other):
    """Images, labels, rows and record of two image sets."""
    assert one.classes == other.classes
    for split in SPLITS:
        assert np.array_equal(one.images[split], other.images[split])
        assert np.array_equal(one.rows[split], other.rows[split])
        assert np.array_equal(one.labels[split], other.labels[split])
        assert one.rows[split].dtype == np.int32
        assert one.labels[split].dtype == np.int64
    assert one.record == other.record


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize("rule", RULES)
def test_a_division_is_what_a_preparation_of_its_own_would_be(rule, limit, tmp_path):
    """Pixels, order, labels, rows, record, splits; here, and in another process."""
    dataset = toy(rule)
    wanted = [Division(split) for split in (1, 2, 5)]
    prepared = prepare(tmp_path / "all", dataset, limit=limit, divisions=wanted)
    alone = prepare(tmp_path / "0", dataset, limit=limit)
    assert prepared.divided(Division(0)) is prepared
    same(prepared.images, alone.images)
    fingerprints = {prepared.fingerprint}
    for division in wanted:
        found = prepared.divided(division)
        # Of official splits only the test stays in a further one.
        again = toy("official-test") if rule == "official" else dataset
        alone = prepare(tmp_path / str(division.split), again, division.split, limit=limit)
        assert found.splits == alone.splits
        assert found.fingerprint == alone.fingerprint
        assert found.info.counts == alone.info.counts
        same(found.images, alone.images)
        same(pickle.loads(pickle.dumps(found.images)), alone.images)
        fingerprints.add(found.fingerprint)
    # With test fixed, validation still moves.
    assert len(fingerprints) == 4


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 12])
def test_a_label_budget_cuts_training_only(limit, tmp_path):
    wanted = [Division(1), Division(1, "50%"), Division(1, "6"), Division(0, "50%")]
    prepared = prepare(tmp_path, toy("official-test"), limit=limit, divisions=wanted)
    for whole, few in ((Division(1), wanted[1:3]), (Division(0), wanted[3:])):
        base = prepared.divided(whole)
        everything = base.images
        for division in few:
            found = prepared.divided(division)
            assert found.splits == base.splits
            for split in ("validation", "test"):
                assert np.array_equal(found.images.rows[split], everything.rows[split])
                assert np.array_equal(found.images.images[split], everything.images[split])
            rows = found.images.rows["train"]
            assert set(rows) < set(everything.rows["train"])
            given = everything.rows["train"].tolist()
            assert rows.tolist() == labelled(found.splits, given, division.labels, division.split)
            train = len(everything.rows["train"])
            assert abs(len(rows) - (6 if division.labels == "6" else train / 2)) <= 1
            for row, pixels, label in zip(
                rows, found.images.images["train"], found.images.labels["train"], strict=True
            ):
                number = int(found.splits.samples[row].id[1:])
                assert np.array_equal(pixels, transformed(jpeg(number), 18, 16))
                assert found.images.classes[label] == "abc"[number % 3]
            counts = found.images.record.counts["train"]
            assert sum(counts.values()) == len(rows) == found.info.counts["train"]
            assert found.images.record.counts["test"] == everything.record.counts["test"]
            assert found.fingerprint == base.fingerprint  # of all samples, as with a limit
    assert set(prepared.divided(Division(1, "6")).images.rows["train"]) <= set(
        prepared.divided(Division(1, "50%")).images.rows["train"]
    )


def test_pixels_are_decoded_once_and_shared(tmp_path):
    wanted = [Division(split, labels) for split in (0, 1, 2) for labels in (None, "50%")][1:]
    prepared = prepare(tmp_path, toy(), divisions=wanted)
    assert len(cache.entries(tmp_path)) == 1
    wholes = {id(prepared.divided(one).images.images.whole) for one in wanted}
    assert len(wholes) == 1
    for one in wanted:
        images = prepared.divided(one).images
        assert len(pickle.dumps(images)) < images.images["train"].nbytes / 2


def test_a_plan_without_decoding_foretells_every_division(tmp_path):
    wanted = [Division(1), Division(2, "50%"), Division(0, "7")]
    access = Access(cache=tmp_path)
    prepared = prepare(tmp_path, toy(), divisions=wanted)
    survey = survey_dataset(toy(), PROTOCOL, access, divisions=wanted)
    for one in (Division(0), *wanted):
        assert survey.divided(one).counts == prepared.divided(one).info.counts
        assert survey.divided(one).fingerprint == prepared.divided(one).fingerprint


@pytest.mark.slow
def test_bad_images_are_left_out_of_every_division(tmp_path):
    damaged = (3, 20, 41)
    wanted = [Division(1), Division(2, "50%")]
    prepared = prepare(tmp_path / "all", toy(damaged=damaged), skip=True, divisions=wanted)
    for one in wanted[:1]:
        alone = prepare(tmp_path / "alone", toy(damaged=damaged), one.split, skip=True)
        same(prepared.divided(one).images, alone.images)
        assert prepared.divided(one).splits == alone.splits
    for one in wanted:
        record = prepared.divided(one).images.record
        assert record.skipped == ("s03", "s20", "s41")


def test_more_labels_than_images_are_told_with_the_dataset(tmp_path):
    with pytest.raises(UsageError, match=r"--labels 500: dataset 'toy' has \d+ training images"):
        prepare(tmp_path, toy(), divisions=[Division(0, "500")])
    with pytest.raises(UsageError, match=r"--labels 500: dataset 'toy'"):
        survey_dataset(toy(), PROTOCOL, Access(cache=tmp_path), divisions=[Division(0, "500")])


# -- picked rows --------------------------------------------------------------------------------


def test_picked_rows_are_what_indexing_gives():
    whole = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)
    rows = np.array([7, 2, 2, 9, 0])
    picked = PickedRows(whole, rows)
    expected = np.stack([whole[7], whole[2], whole[2], whole[9], whole[0]])
    assert len(picked) == 5
    assert picked.shape == expected.shape
    assert picked.nbytes == expected.nbytes
    for part in (slice(None), slice(1, 3), slice(3, 99), slice(0, 0)):
        assert np.array_equal(picked[part], expected[part])


def test_picked_images_are_a_mapping_of_copies():
    whole = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    images = PickedImages(whole, {"train": np.array([5, 1]), "test": np.array([0])})
    assert list(images) == ["train", "test"]
    assert len(images) == 2
    found = images["train"]
    found[:] = 0
    assert images["train"].ravel().tolist() == [5, 1]
    again = copy.deepcopy(images)
    assert again["test"].ravel().tolist() == [0]

"""Further test sets: what they may hold, what they must not share, and what they leave as it was."""

import json
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image
from scenes import encoded, scene
from toy_plugin import ToyDataset
from wards import ward

from harness import Access, DataError, Protocol, UsageError
from harness.api.dataset import Dataset, LocalDataset
from harness.data.division.split import Division
from harness.data.folder import ExternalFolder, FolderDataset, parse_external_option
from harness.data.preparation.external import MARK, with_external
from harness.data.preparation.prepare import prepare_dataset
from harness.data.preparation.survey import survey_dataset

PROTOCOL = Protocol(name="p", resize=8, crop=8)


def access(tmp_path, **options):
    return Access(cache=tmp_path / "cache", lock=tmp_path / "lock", **options)


def prepared(dataset, tmp_path, *, limit=None, divisions=(), **options):
    return prepare_dataset(
        dataset, PROTOCOL, access(tmp_path, **options), limit=limit, divisions=divisions
    )


def folder(path, name="ward"):
    return ExternalFolder(name=name, modality="unknown", path=path)


def toy(**external):
    return ToyDataset(external=external)


def listed(tmp_path, rows, header="file,label,group,split"):
    """A folder with a manifest and an image for each row."""
    place = tmp_path / "listed"
    place.mkdir()
    for number, row in enumerate(rows):
        (place / row.split(",")[0]).write_bytes(encoded(scene(number, (40, 30)), "PNG"))
    (place / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    return FolderDataset(name="listed", modality="xray", path=place)


def rows(parts, label="ab", each=6):
    """`each` images of both classes in each part; every image is a group."""
    return [
        f"{part.partition(':')[2] or part}{n}.png,{label[n % 2]},{part}-g{n},{part}"
        for part in parts
        for n in range(2 * each)
    ]


# -- from a folder -----------------------------------------------------------------------------


@pytest.mark.slow
def test_every_image_of_a_folder_is_tested_on(tmp_path):
    found = prepared(toy(ward=folder(ward(tmp_path / "ward"))), tmp_path)

    part = found.images.external["ward"]
    names = [sample.id for sample in found.external["ward"].splits.samples]
    assert names == sorted(f"{['left', 'middle', 'right'][n % 3]}/{n:02}.png" for n in range(15))
    assert part.rows.tolist() == list(range(15))
    assert part.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    for row, name in enumerate(names):
        pixels = np.asarray(Image.open(tmp_path / "ward" / name)).transpose(2, 0, 1)
        assert (part.images[row] == pixels).all()
    assert part.record.counts == {"test": {"left": 5, "middle": 5, "right": 5}}
    assert part.record.metrics == {}
    assert part.record.split_sha256 == found.external["ward"].splits.sha256
    assert found.external["ward"].splits.dataset == f"toy-data{MARK}ward"


def test_the_dataset_itself_is_as_without(tmp_path):
    alone = prepared(toy(), tmp_path)
    beside = prepared(toy(ward=folder(ward(tmp_path / "ward"))), tmp_path)

    assert beside.splits == alone.splits
    assert beside.images.record == alone.images.record
    for split in ("train", "validation", "test"):
        assert (beside.images.images[split] == alone.images.images[split]).all()


@pytest.mark.slow
def test_its_own_splits_are_not_used_and_that_is_said(tmp_path):
    ward(tmp_path / "ward" / "train", seed=1)
    ward(tmp_path / "ward" / "test", seed=2)
    found = prepared(toy(ward=folder(tmp_path / "ward")), tmp_path)

    assert len(found.images.external["ward"].labels) == 30
    assert any("whatever split" in note for note in found.notes)
    plain = prepared(toy(ward=folder(ward(tmp_path / "plain", seed=3))), tmp_path)
    assert not any("whatever split" in note for note in plain.notes)


def test_every_division_tests_on_it(tmp_path):
    divisions = [Division(1), Division(0, "50%")]
    found = prepared(toy(ward=folder(ward(tmp_path / "ward"))), tmp_path, divisions=divisions)
    for division in divisions:
        assert len(found.divided(division).images.external["ward"].labels) == 15


def test_a_limit_takes_some_of_it_classes_in_proportion(tmp_path):
    found = prepared(toy(ward=folder(ward(tmp_path / "ward"))), tmp_path, limit=6)

    part = found.images.external["ward"]
    assert np.bincount(part.labels).tolist() == [2, 2, 2]
    assert len(found.external["ward"].splits.samples) == 15
    assert part.images.shape[0] == 6


def test_another_process_is_sent_the_name_of_the_file(tmp_path):
    images = prepared(toy(ward=folder(ward(tmp_path / "ward"))), tmp_path).images
    sent = pickle.dumps(images)
    again = pickle.loads(sent)

    assert images.external["ward"].images.tobytes() not in sent
    assert (again.external["ward"].images == images.external["ward"].images).all()
    assert again.external["ward"].record == images.external["ward"].record
    assert again.external["ward"].rows.tolist() == list(range(15))


def test_another_class_is_refused_with_the_nearest_name(tmp_path):
    ward(tmp_path / "ward")
    (tmp_path / "ward" / "left").rename(tmp_path / "ward" / "lefd")
    with pytest.raises(DataError, match=r"'lefd' is no class of what is trained.*did you mean"):
        prepared(toy(ward=folder(tmp_path / "ward")), tmp_path)


def test_a_class_that_is_lacking_is_an_error_unless_allowed(tmp_path):
    dataset = toy(ward=folder(ward(tmp_path / "ward", classes=("left", "right"))))
    with pytest.raises(DataError, match=r"no image of 'middle'.*--allow-missing-classes"):
        prepared(dataset, tmp_path)

    found = prepared(dataset, tmp_path, allow_missing_classes=True)
    record = found.images.external["ward"].record
    assert record.counts == {"test": {"left": 5, "middle": 0, "right": 5}}
    assert record.present_only
    assert not found.info.lacking  # of the dataset itself: its runs keep their ids


def test_a_class_of_one_image_can_be_tested_on(tmp_path):
    found = prepared(toy(ward=folder(ward(tmp_path / "ward", each=1))), tmp_path)
    assert len(found.images.external["ward"].labels) == 3


@pytest.mark.slow
def test_bad_images_are_named_or_left_out(tmp_path):
    ward(tmp_path / "ward")
    broken = tmp_path / "ward" / "left" / "00.png"
    broken.write_bytes(broken.read_bytes()[:60])
    dataset = toy(ward=folder(tmp_path / "ward"))
    with pytest.raises(DataError, match=r"1 of 15 images cannot be used.*left/00.png"):
        prepared(dataset, tmp_path)

    found = prepared(dataset, tmp_path, skip_bad_images=True)
    assert found.images.external["ward"].record.skipped == ("left/00.png",)
    assert len(found.images.external["ward"].labels) == 14


# -- what must not be in both ------------------------------------------------------------------


def both(tmp_path, copied, how=shutil.copy):
    """A folder in splits, and a further test set with a copy of one of its images."""
    own, further = tmp_path / "own", tmp_path / "further"
    for number in range(24):
        split = ("train", "validation", "test")[number % 3]
        for place, n in ((own / split, number), (further, 100 + number)):
            (place / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
            file = place / "ab"[number % 2] / f"{number:02}.png"
            file.write_bytes(encoded(scene(n, (40, 30)), "PNG"))
    how(own / copied, further / "a" / "copy.png")
    return FolderDataset(name="own", modality="xray", path=own, external={"ward": folder(further)})


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train/a/00.png", "validation/a/04.png"])
def test_an_image_that_is_trained_or_chosen_on_is_named(tmp_path, split):
    dataset = both(tmp_path, split)
    with pytest.raises(DataError, match=rf"1 of its images.*a/copy.png \(as {split}\)"):
        prepared(dataset, tmp_path)
    with pytest.raises(DataError, match=r"a/copy.png"):
        survey_dataset(dataset, PROTOCOL, access(tmp_path))


def smaller(source, target):
    Image.open(source).resize((30, 22)).save(target)


@pytest.mark.slow
def test_a_copy_that_looks_alike_is_named_too(tmp_path):
    dataset = both(tmp_path, "train/a/00.png", smaller)
    with pytest.raises(DataError, match=r"a/copy.png \(as train/a/00.png\)"):
        prepared(dataset, tmp_path)
    # What was found once is known to a plan, which decodes nothing.
    with pytest.raises(DataError, match=r"a/copy.png"):
        survey_dataset(dataset, PROTOCOL, access(tmp_path))


@pytest.mark.slow
def test_an_image_of_the_test_split_is_told(tmp_path):
    found = prepared(both(tmp_path, "test/a/02.png"), tmp_path)
    assert any("1 images are in the test split" in note for note in found.notes)


@pytest.mark.slow
def test_a_test_image_that_another_split_trains_on_is_an_error(tmp_path):
    place = tmp_path / "own"
    for number in range(24):
        (place / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        image = encoded(scene(number, (40, 30)), "PNG")
        (place / "ab"[number % 2] / f"{number:02}.png").write_bytes(image)
    plain = FolderDataset(name="own", modality="xray", path=place)
    one, other = (
        prepare_dataset(
            plain, PROTOCOL.model_copy(update={"split_seed": k}), access(tmp_path)
        ).splits
        for k in (0, 1)
    )
    tested = {sample.id for sample in one.samples if sample.split == "test"}
    trained = {sample.id for sample in other.samples if sample.split == "train"}
    shared = min(name for name in tested & trained if name.startswith("a/"))
    for label in "ab":
        (tmp_path / "further" / label).mkdir(parents=True)
        image = encoded(scene(ord(label), (40, 30)), "PNG")
        (tmp_path / "further" / label / "x.png").write_bytes(image)
    shutil.copy(place / shared, tmp_path / "further" / "a" / "copy.png")
    dataset = plain.model_copy(update={"external": {"ward": folder(tmp_path / "further")}})

    prepared(dataset, tmp_path)
    with pytest.raises(DataError, match=rf"a/copy.png \(as {shared}\)"):
        prepared(dataset, tmp_path, divisions=[Division(1)])


# -- by a list ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_list_names_further_test_sets(tmp_path):
    splits = ["train", "validation", "test", "external:ward-b", "external:ward-c"]
    found = prepared(listed(tmp_path, rows(splits)), tmp_path)

    assert sorted(found.images.external) == ["ward-b", "ward-c"]
    ids = {name: [s.id for s in one.splits.samples] for name, one in found.external.items()}
    assert ids["ward-b"] == sorted(f"ward-b{n}.png" for n in range(12))
    own = {sample.id: sample.split for sample in found.splits.samples}
    assert {name.rstrip("0123456789.png") for name in own} == {"trai", "validatio", "test"}
    assert all(name.startswith(split[:4]) for name, split in own.items())
    assert any("12 images are of external:ward-b" in note for note in found.notes)
    assert (
        found.external["ward-b"].splits.fingerprint != found.external["ward-c"].splits.fingerprint
    )


def test_the_rest_of_a_list_may_leave_splits_to_the_harness(tmp_path):
    given = [row.removesuffix("pool") for row in rows(["pool"], each=12)]
    found = prepared(listed(tmp_path, [*given, *rows(["external:ward-b"])]), tmp_path)

    counts = found.images.record.counts
    assert sum(sum(each.values()) for each in counts.values()) == 24
    assert len(found.images.external["ward-b"].labels) == 12


@pytest.mark.slow
def test_the_dataset_is_the_same_with_the_rows_of_others_in_its_list(tmp_path):
    splits = ["train", "validation", "test"]
    (tmp_path / "x").mkdir()
    alone = prepared(listed(tmp_path / "x", rows(splits)), tmp_path)
    with_more = prepared(listed(tmp_path, rows([*splits, "external:b"])), tmp_path)
    assert with_more.fingerprint == alone.fingerprint


def test_a_group_on_both_sides_is_an_error(tmp_path):
    given = rows(["train", "validation", "test", "external:b"])
    given[0] = given[0].replace("train-g0", "external:b-g3")
    with pytest.raises(DataError, match=r"'external:b-g3' is in external:b.*outside of it"):
        prepared(listed(tmp_path, given), tmp_path)


@pytest.mark.slow
def test_two_further_sets_may_share_a_group(tmp_path):
    given = rows(["train", "validation", "test", "external:b", "external:c"])
    given = [row.replace("external:c-g", "external:b-g") for row in given]
    assert sorted(prepared(listed(tmp_path, given), tmp_path).external) == ["b", "c"]


@pytest.mark.parametrize("word", ["external", "external:", "external:Ward B", "External :_x"])
def test_a_name_that_is_none_is_told(tmp_path, word):
    given = rows(["train", "validation", "test"])
    given[-1] = given[-1].rpartition(",")[0] + f",{word}"
    with pytest.raises(DataError, match="a further test set is external:NAME"):
        prepared(listed(tmp_path, given), tmp_path)


def test_a_folder_that_says_otherwise_is_told(tmp_path):
    dataset = listed(tmp_path, rows(["train", "validation", "test", "external:b"]))
    (dataset.path / "test").mkdir()
    (dataset.path / "b0.png").rename(dataset.path / "test" / "b0.png")
    text = (dataset.path / "manifest.csv").read_text().replace("b0.png", "test/b0.png")
    (dataset.path / "manifest.csv").write_text(text)
    with pytest.raises(DataError, match="lies in 'test' but is listed as 'external:b'"):
        prepared(dataset, tmp_path)


def test_a_name_that_is_taken_is_told(tmp_path):
    dataset = listed(tmp_path, rows(["train", "validation", "test", "external:b"]))
    more = {"b": folder(ward(tmp_path / "ward"))}
    with pytest.raises(DataError, match="a further test set 'b', and another of this name"):
        prepared(dataset.model_copy(update={"external": more}), tmp_path)


# -- from the command line ---------------------------------------------------------------------


def test_the_option_names_dataset_set_and_folder(tmp_path):
    of, found = parse_external_option(f"xray:ward-a={tmp_path}")
    assert (of, found.name, found.path) == ("xray", "ward-a", tmp_path)
    assert parse_external_option(f"ward-a={tmp_path}")[0] == ""


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("ward", "write NAME=FOLDER"),
        ("=x", "write NAME=FOLDER"),
        (":a=x", "write NAME=FOLDER"),
        ("Ward A=/", "'Ward A' is no id"),
        ("a=/not/there", "/not/there does not exist"),
    ],
)
def test_another_form_of_the_option_is_told(option, told):
    with pytest.raises(UsageError, match=told):
        parse_external_option(option)


def test_an_option_belongs_to_one_dataset(tmp_path):
    sets = {"x": toy(), "y": toy()}
    more = folder(tmp_path)
    assert with_external({"x": toy()}, [("", more)])["x"].external == {"ward": more}
    found = with_external(sets, [("y", more)])
    assert (found["x"].external, found["y"].external) == ({}, {"ward": more})
    with pytest.raises(UsageError, match=r"say of which dataset.*x, y"):
        with_external(sets, [("", more)])
    with pytest.raises(UsageError, match="no dataset 'z'"):
        with_external(sets, [("z", more)])
    with pytest.raises(UsageError, match="has a further test set of this name"):
        with_external(sets, [("x", more), ("x", more)])


# -- by a plugin -------------------------------------------------------------------------------


class Elsewhere(LocalDataset):
    """A set that people get themselves."""

    def load(self, access):
        return folder(self.place()).load(access)


def test_a_declared_set_that_is_not_here_is_left_out_and_told(tmp_path):
    declared = Elsewhere(name="ward-b", modality="m", source="a registry")
    found = prepared(toy(**{"ward-b": declared}), tmp_path)

    assert found.external == {}
    (note,) = (note for note in found.notes if "ward-b" in note)
    assert "a registry" in note
    assert "--external toy-data:ward-b=FOLDER" in note
    place = folder(ward(tmp_path / "ward"), "ward-b")
    whole = with_external({"toy-data": toy(**{"ward-b": declared})}, [("", place)])
    assert len(prepared(whole["toy-data"], tmp_path).images.external["ward-b"].labels) == 15


def test_a_field_of_an_older_plugin_keeps_its_meaning(tmp_path):
    class Older(ToyDataset):
        external: bool = True

    assert Older().external_sets(access(tmp_path)) == {}
    assert prepared(Older(), tmp_path).external == {}


def test_the_declaration_is_empty_by_default():
    assert Dataset.model_fields["external"].get_default(call_default_factory=True) == {}
    assert json.loads(toy().model_dump_json())["external"] == {}


@pytest.mark.slow
def test_values_of_many_bits_mean_the_same_grey(tmp_path):
    """Values up to 4095 are 12 bits; a further set that stays below 1024 is not stretched."""

    def deep(place, number, top):
        place.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, top, (30, 40), dtype=np.uint16)
        values[:8, :8] = number * 30 % top  # no two look alike
        values[0, 0] = top
        Image.fromarray(values).save(place)

    for n in range(24):
        deep(tmp_path / "own" / "ab"[n % 2] / f"{n}.png", n, 4095)
        deep(tmp_path / "further" / "ab"[n % 2] / f"{n}.png", 100 + n, 1000)
    own = FolderDataset(
        name="own", modality="m", path=tmp_path / "own",
        external={"ward": folder(tmp_path / "further")},
    )  # fmt: skip
    found = prepared(own, tmp_path)
    assert found.images.external["ward"].images.max() <= round(1000 / 4095 * 255)
    assert not any("wider scale" in note for note in found.notes)

    deep(tmp_path / "further" / "a" / "bright.png", 999, 60000)
    found = prepared(own, tmp_path)
    assert any("wider scale" in note for note in found.notes)

"""Near duplicates: found against plain loops and planted copies, and never torn apart."""

import os
from pathlib import Path

import datasets
import numpy as np
import pytest
from cases import nightly
from datasets import Features, Value
from PIL import Image, ImageEnhance
from scenes import TURNS, encoded, half, scene
from scipy.fft import dctn

from harness import Access, Dataset, FolderDataset, Protocol, StoreError
from harness.api.dataset import SPLITS
from harness.data import duplicates
from harness.data.preparation.prepare import prepare_dataset
from harness.data.preparation.survey import survey_dataset
from harness.data.table import read_table

TEXT = Value("string")
FEATURES = Features(image=datasets.Image(decode=False), label=TEXT, group=TEXT, id=TEXT)
PROTOCOL = Protocol(name="p", resize=18, crop=16)


class Toy(Dataset):
    """Files by id; the label is the first letter of the id, the group what `places` says."""

    files: dict[str, bytes]
    places: dict[str, tuple[str, str]] = {}  # noqa: RUF012 - id -> (split, group)

    def load(self, access):
        tables = {}
        for split in SPLITS:
            ids = [name for name in self.files if self.place(name)[0] == split]
            if ids:
                columns = {
                    "image": [{"bytes": self.files[name], "path": None} for name in ids],
                    "label": [name[0] for name in ids],
                    "group": [self.place(name)[1] for name in ids],
                    "id": ids,
                }
                tables[split] = datasets.Dataset.from_dict(columns, features=FEATURES)
        return tables

    def place(self, name):
        return self.places.get(name, ("train", name))


def toy(files, **changes):
    return Toy(**({"name": "toy", "modality": "m", "files": files} | changes))


def scenes(count=20):
    """Ids a00, b01, a02, ... and pictures that have nothing to do with each other."""
    return {f"{'ab'[n % 2]}{n:02}": encoded(scene(n), quality=90) for n in range(count)}


def find(folder, dataset, **options):
    return duplicates.find_duplicates(read_table(dataset, Access(cache=folder)), folder, **options)


def pairs_of(found, table):
    """{(id, id): orientation} of the confirmed pairs."""
    ids = table.first_ids()
    return {
        tuple(ids[found.contents[row[side]]] for side in ("one", "other")): duplicates.ORIENTATIONS[
            row["orientation"]
        ]
        for row in found.confirmed
    }


def found_in(folder, files):
    dataset = toy(files)
    table = read_table(dataset, Access(cache=folder))
    return pairs_of(duplicates.find_duplicates(table, folder), table)


# -- the numbers ----------------------------------------------------------------------------------


def copies_of(count, levels=256, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, levels, (count, 4, 4)).astype(np.uint8)
    return np.kron(coarse, np.ones((16, 16), np.uint8))


def bits(copy):
    """The hash by scipy, from the definition."""
    small = copy.reshape(32, 2, 32, 2).mean((1, 3))
    low = np.round(dctn(small, type=2) / 4, 3)[:8, :8].ravel()  # scipy doubles along each axis
    above = low > np.median(low[1:])
    above[0] = False
    return above


TURNED = [  # what each orientation is, written out by numpy's names
    lambda x: x,
    np.fliplr,
    np.flipud,
    lambda x: np.rot90(x, 2),
    np.transpose,
    lambda x: np.rot90(x, -1),
    lambda x: np.rot90(x, 1),
    lambda x: np.rot90(np.transpose(x), 2),
]


@pytest.mark.parametrize("orientation", range(8))
def test_the_hash_is_that_of_the_definition_in_every_orientation(orientation):
    copies = np.random.default_rng(3).integers(0, 256, (40, 64, 64)).astype(np.uint8)
    turned = np.stack([TURNED[orientation](copy) for copy in copies])
    assert np.array_equal(duplicates.orient(copies, orientation), turned)
    spectra, shown = duplicates._spectra(copies)
    hashes = duplicates._hashes(duplicates._turned(spectra, orientation))
    assert shown.all()
    for value, copy in zip(hashes, turned, strict=True):
        ours = np.unpackbits(np.array([value]).view(np.uint8)).astype(bool)
        assert np.array_equal(ours, bits(copy))


@pytest.mark.slow
def test_candidates_and_correlations_are_those_of_plain_loops(monkeypatch):
    monkeypatch.setattr(duplicates, "COLUMNS", 16)  # several chunks in a block, several blocks
    copies = copies_of(60, levels=3)
    copies[40:60] = copies[:20] // 2 + 30
    found = {
        (row["one"], row["other"]): row
        for row in np.concatenate([*duplicates.candidate_pairs(copies)])
    }
    expected = {}
    for one in range(60):
        for other in range(one + 1, 60):
            options = [turn(copies[other]) for turn in TURNED]
            close = [x for x in options if (bits(copies[one]) != bits(x)).sum() <= 8]
            if close and copies[one].std() and copies[other].std():
                expected[one, other] = max(
                    np.corrcoef(copies[one].ravel(), x.ravel())[0, 1] for x in close
                )
    assert len(expected) > 20
    assert found.keys() == expected.keys()
    for pair, row in found.items():
        assert row["correlation"] == pytest.approx(expected[pair], abs=1e-12)
        turned = TURNED[row["orientation"]](copies[pair[1]])
        assert row["bits"] == (bits(copies[pair[0]]) != bits(turned)).sum()


def test_the_grey_copy_is_small_whatever_the_image():
    for size in ((300, 40), (40, 300), (10, 7), (64, 64)):
        image = np.asarray(scene(1, size)).transpose(2, 0, 1).copy()
        copy = duplicates.grey_thumbnail(image)
        assert (copy.shape, copy.dtype) == ((1, 64, 64), np.uint8)
        expected = Image.fromarray(image.transpose(1, 2, 0)).convert("L")
        expected = expected.resize((64, 64), Image.Resampling.BILINEAR)
        assert np.abs(copy[0].astype(int) - np.asarray(expected)).max() <= 2


# -- what is found --------------------------------------------------------------------------------

COPIES = {
    "poor JPEG": lambda p: encoded(p, quality=30),
    "PNG": lambda p: encoded(p, "PNG"),
    "half the size": lambda p: encoded(half(p)),
    "square": lambda p: encoded(p.resize((100, 100))),
    "darker": lambda p: encoded(ImageEnhance.Brightness(p).enhance(0.7)),
    "grey": lambda p: encoded(p.convert("L")),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_nothing_else(name, tmp_path):
    files = scenes()
    planted = {}
    for number in (3, 8, 13):
        original = f"{'ab'[number % 2]}{number:02}"
        files[f"z{number:02}"] = COPIES[name](scene(number))
        planted[original, f"z{number:02}"] = ""
    assert found_in(tmp_path, files) == planted


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.name)
def test_turned_copies_are_found_and_it_is_said_how(turn, tmp_path):
    files = scenes(12) | {"z": encoded(scene(5).transpose(turn), quality=60)}
    assert found_in(tmp_path, files) == {("b05", "z"): TURNS[turn]}


def test_unlike_images_are_no_twins(tmp_path):
    found = find(tmp_path, toy(scenes(80)))
    assert len(found.contents) == 80
    assert len(found.confirmed) == 0


def test_what_looks_alike_by_its_hash_alone_is_a_suspect(tmp_path):
    rng = np.random.default_rng(0)
    base = np.asarray(scene(1, (128, 128))).astype(float)
    # Detail far above the frequencies that the hash knows.
    fine = np.kron(rng.choice([-40.0, 40.0], (64, 64, 1)), np.ones((2, 2, 3)))
    like = Image.fromarray(np.clip(base * 0.5 + 64 + fine, 0, 255).astype(np.uint8))
    files = {"a": encoded(scene(1, (128, 128)), "PNG"), "b": encoded(like, "PNG")}
    found = find(tmp_path, toy(files))
    assert len(found.confirmed) == 0
    assert found.suspected == len(found.suspects) == 1
    assert found.suspects["bits"][0] <= 8
    assert 0.5 < found.suspects["correlation"][0] < 0.98


def test_only_the_most_alike_of_many_suspects_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "LISTED", 3)
    monkeypatch.setattr(duplicates, "CONFIRMED", 2.0)
    files = {f"{'ab'[n % 2]}{n}": encoded(scene(1), quality=20 + 9 * n) for n in range(7)}
    found = find(tmp_path, toy(files))
    assert found.suspected == 21
    correlations = found.suspects["correlation"]
    assert len(correlations) == 3
    monkeypatch.setattr(duplicates, "LISTED", 100)
    everything = find(tmp_path / "other", toy(files)).suspects["correlation"]
    assert list(correlations) == sorted(everything, reverse=True)[:3]


def test_blank_and_broken_images_are_nobodys_twins(tmp_path):
    files = scenes(6)
    blank = {f"a-{n}": encoded(Image.new("RGB", (60 + n, 60), "white"), "PNG") for n in range(3)}
    broken = {f"b-{n}": encoded(scene(n))[: 900 + n] for n in range(2)}
    found = find(tmp_path, toy(files | blank | broken | {"a-no": b"", "b-no": b"x"}))
    assert len(found.contents) == 13
    assert len(found.confirmed) == found.suspected == 0


def test_there_may_be_nothing_to_compare(tmp_path):
    folder = tmp_path / "set"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(2):
            (folder / label / f"{number}.jpg").symlink_to("nowhere")
    found = find(tmp_path, FolderDataset(name="own", modality="m", path=folder))
    assert (found.contents, len(found.confirmed)) == ((), 0)


# -- what is remembered ---------------------------------------------------------------------------


def refuse(*_):
    raise AssertionError("decoded again")


def test_a_second_call_decodes_nothing(tmp_path):
    files = scenes() | {"z": encoded(scene(5), quality=40)}
    told = []
    first = find(tmp_path, toy(files), progress=lambda *at: told.append(at))
    assert told[-1] == (21, 21)
    second = find(tmp_path, toy(files), progress=refuse)
    assert np.array_equal(first.confirmed, second.confirmed)
    assert np.array_equal(first.suspects, second.suspects)
    assert (first.contents, first.suspected) == (second.contents, second.suspected)
    backwards = toy(dict(reversed(files.items())), places=dict.fromkeys(files, ("test", "g")))
    again = find(tmp_path, backwards, progress=refuse)  # neither order nor splits nor groups count
    assert np.array_equal(first.confirmed, again.confirmed)
    assert not list((tmp_path / "decoded").iterdir()), "the grey copies are not kept"


def test_other_bytes_are_looked_at_anew(tmp_path):
    files = scenes()
    assert found_in(tmp_path, files) == {}
    assert found_in(tmp_path, files | {"z": encoded(scene(5), quality=40)}) == {("b05", "z"): ""}


def test_known_says_what_was_found_and_looks_at_nothing(tmp_path):
    files = scenes() | {"z": encoded(scene(5), quality=40)}
    table = read_table(toy(files), Access(cache=tmp_path))
    assert duplicates.known_duplicates(table, tmp_path) is None
    found = duplicates.find_duplicates(table, tmp_path)
    assert np.array_equal(duplicates.known_duplicates(table, tmp_path).confirmed, found.confirmed)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"not a zip at all"])
def test_a_damaged_memory_is_made_anew(content, tmp_path):
    files = scenes() | {"z": encoded(scene(5), quality=40)}
    first = find(tmp_path, toy(files))
    (place,) = (tmp_path / "twins").iterdir()
    place.write_bytes(content)
    assert np.array_equal(find(tmp_path, toy(files)).confirmed, first.confirmed)
    assert np.array_equal(find(tmp_path, toy(files), progress=refuse).confirmed, first.confirmed)


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "twins").write_text("a file")
    with pytest.raises(StoreError, match=r"near duplicates cannot be kept at .*set HARNESS_CACHE"):
        find(tmp_path, toy(scenes(4)))
    assert not list((tmp_path / "decoded").iterdir())


# -- what becomes of them in splits ---------------------------------------------------------------


def test_links_join_groups_and_leave_out_what_a_group_says_already(tmp_path):
    files = scenes(8) | {
        "a-copy": encoded(scene(2), quality=40),
        "a-twice": encoded(scene(2), quality=90),  # the bytes of a02
        "b-same-group": encoded(scene(3), quality=40),
    }
    places = {"b03": ("train", "patient"), "b-same-group": ("train", "patient")}
    table = read_table(toy(files, places=places), Access(cache=tmp_path))
    links = duplicates.confirmed_pairs(duplicates.find_duplicates(table, tmp_path), table.samples)
    assert {tuple(sorted(pair)) for pair in links} == {("a-copy", "a02"), ("a-copy", "a-twice")}


def prepared(folder, dataset, **options):
    return prepare_dataset(dataset, PROTOCOL, Access(cache=folder), **options)


def places_of(splits):
    return {sample.id: sample.split for sample in splits.samples}


def with_copies(count=60, copied=20):
    """Scenes, and poor copies of some, mirrored every second time."""
    files = scenes(count)
    for number in range(copied):
        picture = scene(number)
        if number % 2:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        files[f"{'ab'[number % 2]}{number:02}-copy"] = encoded(picture, quality=50)
    return files


def test_twins_never_cross_made_splits(tmp_path):
    found = prepared(tmp_path, toy(with_copies(), splits="grouped")).splits
    places = places_of(found)
    assert len(places) == 80
    assert all(places[name] == places[name[:3]] for name in places if name.endswith("-copy"))
    assert found.rule.endswith("; near duplicates stay together (20 pairs across groups)")
    without = prepared(tmp_path, toy(scenes(60), splits="grouped")).splits
    assert without.rule.endswith("; near duplicates stay together (none across groups)")


def test_an_official_test_stays_and_its_twins_leave_train(tmp_path):
    files = with_copies()
    places = {name: ("test", name) for name in ("a00", "b01", "a02", "b31", "a40")}
    found = prepared(tmp_path, toy(files, places=places, splits="official-test")).splits
    assert {n for n, split in places_of(found).items() if split == "test"} == set(places)
    assert found.left_out == ("a00-copy", "a02-copy", "b01-copy")
    assert found.rule.endswith(
        "; near duplicates stay together (20 pairs across groups); 3 samples left out: 3 twins of "
        "validation or test samples, 0 more of their groups"
    )


def test_with_a_limit_the_splits_are_the_same(tmp_path):
    dataset = toy(with_copies(), splits="grouped")
    limited = prepared(tmp_path / "limited", dataset, limit=4).splits
    assert limited == prepared(tmp_path / "whole", dataset).splits


def test_a_plan_knows_the_identity_once_twins_were_looked_for(tmp_path):
    dataset = toy(with_copies(), splits="grouped")
    found = prepared(tmp_path, dataset)
    planned = survey_dataset(dataset, PROTOCOL, Access(cache=tmp_path))
    assert planned.fingerprint == found.fingerprint


def test_what_a_program_draws_is_not_searched(tmp_path):
    found = prepared(tmp_path, toy(with_copies(), splits="grouped", procedural=True)).splits
    assert "near duplicates" not in found.rule
    assert not (tmp_path / "twins").exists()


@pytest.mark.slow
def test_a_bad_image_that_is_skipped_takes_no_twin_along(tmp_path):
    files = with_copies()
    files["a99"] = files["a00"][:900]
    access = Access(cache=tmp_path, skip_bad_images=True)
    found = prepare_dataset(toy(files, splits="grouped"), PROTOCOL, access)
    assert found.images.record.skipped == ("a99",)
    assert found.splits == prepared(tmp_path, toy(with_copies(), splits="grouped")).splits


# -- real images ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "confirmed"),
    [
        nightly("xray", 0),
        ("mri", 9),
        nightly("histology", 2),
        nightly("dermoscopy", 0),
        ("endoscopy", 4),
        nightly("endoscopy-patches", 1),
    ],
)
def test_the_hash_misses_nothing_that_a_correlation_of_all_pairs_finds(name, confirmed, tmp_path):
    root = os.environ.get("HARNESS_REALDATA")
    if not root:
        pytest.skip("HARNESS_REALDATA is not set")
    folder = Path(root) / name
    table = read_table(FolderDataset(name=name, modality="m", path=folder), Access(cache=tmp_path))
    found = duplicates.find_duplicates(table, tmp_path)
    assert len(found.confirmed) == confirmed
    copies = np.stack(
        [
            np.asarray(Image.open(folder / sample.id).convert("L").resize((64, 64), 2)).ravel()
            for sample in table.samples
        ]
    ).astype(np.float32)
    copies -= copies.mean(1, keepdims=True)
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    above = np.argwhere(np.triu(copies @ copies.T, 1) >= duplicates.CONFIRMED)
    names = {(table.samples[one].id, table.samples[other].id) for one, other in above}
    assert pairs_of(found, table).keys() == names

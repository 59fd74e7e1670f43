"""Hub datasets: what a declaration yields, and everything that can contradict it.

The Hub is `hub_server`: tiny repositories in the layouts of the real ones.
"""

import io
import textwrap
from collections import Counter
from pathlib import Path

import hub_server
import pytest
from command import python
from hub_server import Repo, archive, parquet, picture
from pydantic import ValidationError

from harness import Access, DataError, HubDataset, Protocol, Row, make_table
from harness.data.fetch import fetch_dataset
from harness.data.lock import LockedDataset, LockedFile, read, update
from harness.data.preparation.prepare import prepare_dataset
from harness.data.table import read_table
from harness.utils.progress import Meter
from harness_brain_tumor import BRAIN_TUMOR
from harness_chest_xray import CHEST_XRAY
from harness_ham10000 import HAM10000
from harness_hyper_kvasir import HYPER_KVASIR
from harness_nct_crc_he import NCT_CRC_HE

SPLITS = ("train", "validation", "test")
ALL = (CHEST_XRAY, BRAIN_TUMOR, NCT_CRC_HE, HAM10000, HYPER_KVASIR)
PROTOCOL = Protocol(name="test", resize=16, crop=16)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = hub_server.running()
    hub.reset(hub_server.tiny_repos())
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    return hub


@pytest.fixture
def access(tmp_path):
    return Access(cache=tmp_path / "cache", lock=tmp_path / "harness.lock")


def fetched(dataset, access):
    fetch_dataset(dataset, access, Meter(live=False))
    return dataset


def declared(*globs, **more):
    """A dataset of the repository `made/up`; two classes, unpinned."""
    return HubDataset(
        **{
            "name": "made-up",
            "modality": "xray",
            "classes": ("a", "b"),
            "repo": "made/up",
            "files": {"train": globs or ("data/*",)},
            **more,
        }
    )


def rows(count=6, **columns):
    """Parquet rows: an image each, and what `columns` say, as functions of the row number."""
    return [
        {
            "image": {"bytes": picture(n % 2, n, "PNG"), "path": f"case{n // 2}_{n}.png"},
            **{name: value(n) for name, value in columns.items()},
        }
        for n in range(count)
    ]


def text():
    import datasets

    return datasets.Value("string")


def labelled(count=6):
    """A parquet file with class names."""
    return parquet(rows(count, label=lambda n: "ab"[n % 2]), label=text())


def loaded(hub, access, files, *globs, **more):
    hub.repos["made/up"] = Repo.of(files)
    return fetched(declared(*globs, **more), access).load(access)


# -- the five datasets of paper-2024 ----------------------------------------------------------


@pytest.mark.parametrize("dataset", ALL, ids=lambda one: one.name)
def test_every_adapter_gives_the_standard_table(dataset, hub, access):
    import datasets

    tables = fetched(dataset, access).load(access)

    for table in tables.values():
        assert {"image", "label", "group", "id"} == set(table.column_names)
        assert table.features["image"] == datasets.Image(decode=False)
    table = read_table(dataset, access)
    assert table.classes == dataset.classes
    assert not table.unreadable
    assert len(dataset.licence) > 2
    assert dataset.citation
    assert dataset.problems
    assert dataset.source == f"https://huggingface.co/datasets/{dataset.repo}"


def test_chest_xray_keeps_test_and_groups_patients_within_it(hub, access):
    tables = fetched(CHEST_XRAY, access).load(access)

    assert {split: len(table) for split, table in tables.items()} == {"train": 30, "test": 10}
    groups = dict(zip(tables["train"]["id"], tables["train"]["group"], strict=True))
    assert groups["train/PNEUMONIA/person1_virus_0.jpeg"] == "train/person1"
    assert groups["train/PNEUMONIA/person1_bacteria_1.jpeg"] == "train/person1"
    assert groups["train/NORMAL/IM-0100-0002.jpeg"] == "train/IM-0100"
    assert groups["train/NORMAL/NORMAL2-IM-0100-0001.jpeg"] == "train/NORMAL2-IM-0100"
    assert "test/person1" in tables["test"]["group"]
    made = prepare_dataset(CHEST_XRAY, PROTOCOL, access).splits
    of_split = {s: {x.group for x in made.samples if x.split == s} for s in ("train", "validation")}
    assert not of_split["train"] & of_split["validation"]
    assert {x.id for x in made.samples if x.split == "test"} == set(tables["test"]["id"])


def test_ham10000_uses_each_image_once_and_no_lesion_crosses(hub, access):
    tables = fetched(HAM10000, access).load(access)

    ids = [name for table in tables.values() for name in table["id"]]
    assert len(ids) == 42
    assert max(Counter(ids).values()) == 1
    split_of = {}
    for sample in prepare_dataset(HAM10000, PROTOCOL, access).splits.samples:
        split_of.setdefault(sample.group, set()).add(sample.split)
    assert len(split_of) == 35
    assert all(len(splits) == 1 for splits in split_of.values())


def test_the_source_of_ham10000_leaks_as_planted(hub, access):
    """A repository with the same images in two of the source's splits."""
    import pyarrow.parquet as pq

    files = hub.repos[HAM10000.repo].revisions[HAM10000.revision]
    ids = {
        name: {
            value
            for path, data in files.items()
            if path.startswith(f"data/{name}-")
            for value in pq.read_table(io.BytesIO(data))["image_id"].to_pylist()
        }
        for name in ("train", "test")
    }
    assert len(ids["train"] & ids["test"]) == 7
    assert len(ids["test"]) == 14


def test_nct_crc_he_fetches_only_what_it_declares(hub, access):
    tables = fetched(NCT_CRC_HE, access).load(access)

    assert not [path for path in hub.fetched() if "100K-0" in path]
    assert {split: len(table) for split, table in tables.items()} == {"train": 27, "test": 9}
    assert set(tables["train"]["group"]) == set(tables["train"]["id"])
    assert tables["test"]["id"][0] == "test/ADI/ADI-200.tif"


def test_brain_tumor_reads_archives(hub, access):
    tables = fetched(BRAIN_TUMOR, access).load(access)

    assert {split: len(table) for split, table in tables.items()} == {"train": 24, "test": 8}
    assert "train/no_tumor/image (3).jpg" in tables["train"]["id"]
    cell = tables["train"]["image"][0]
    assert Path(cell["path"]).read_bytes() == picture(0, 0)


def test_hyper_kvasir_keeps_its_three_splits(hub, access):
    made = prepare_dataset(fetched(HYPER_KVASIR, access), PROTOCOL, access).splits

    assert Counter(sample.split for sample in made.samples) == dict.fromkeys(
        ("train", "validation", "test"), 23
    )
    assert made.rule.startswith("official train, validation and test")


def test_an_unpinned_dataset_is_recorded_at_the_revision_that_was_read(hub, access):
    record = prepare_dataset(fetched(BRAIN_TUMOR, access), PROTOCOL, access).images.record

    assert BRAIN_TUMOR.revision is None
    assert record.revision == hub.repos[BRAIN_TUMOR.repo].revision


def test_the_files_of_one_revision_are_the_same_fingerprint_everywhere(hub, access, tmp_path):
    other = Access(cache=tmp_path / "elsewhere", lock=tmp_path / "other.lock")
    one, two = (
        prepare_dataset(fetched(HAM10000, a), PROTOCOL, a).fingerprint for a in (access, other)
    )

    assert one == two


# -- what a declaration can say ---------------------------------------------------------------


def test_class_numbers_are_into_the_declared_classes(hub, access):
    import datasets

    data = parquet(rows(label=lambda n: 1 - n % 2), label=datasets.Value("int64"))
    assert loaded(hub, access, {"data/x.parquet": data})["train"]["label"] == list("bababa")


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_patients_that_are_whole_in_one_split_and_floats_in_another(hub, access, missing):
    """As pandas writes a column that lacks a value somewhere: 6 in train, 6.0 in test."""
    import datasets

    def shard(first, kind, *, gap=False):
        values = [kind(first + number // 3) for number in range(12)]
        values[:1] = [missing] if gap else values[:1]
        named = {"label": lambda n: "ab"[n % 2], "patient": values.__getitem__}
        whole = datasets.Value("int64" if kind is int else "float64")
        found = rows(12, **named)
        for number, row in enumerate(found):
            row["image"]["path"] = f"{first}-{number}.png"
        return parquet(found, label=text(), patient=whole)

    def given(*, gap):
        hub.repos["made/up"] = Repo.of(
            {
                "data/train.parquet": shard(0, int),
                f"data/test{gap}.parquet": shard(2, float, gap=gap),
            }
        )
        files = {"train": ("data/train*",), "test": ("data/test*",)}
        named = f"patients-{gap}".lower()  # one set is locked to one revision
        return fetched(declared(name=named, files=files, group_column="patient"), access)

    table = read_table(given(gap=False), access)
    groups = {split: Counter() for split in ("train", "test")}
    for sample in table.samples:
        groups[sample.split][sample.group] += 1
    assert groups["train"] == {"0": 3, "1": 3, "2": 3, "3": 3}
    assert {name.removesuffix(".0") for name in groups["test"]} == {"2", "3", "4", "5"}
    assert groups["test"]["2"] == groups["test"]["3"] == 3  # the same patients as in train
    with pytest.raises(DataError, match=r"has the group .nan.|have no group"):
        read_table(given(gap=True), access)


def test_images_in_plain_folders_and_small_files(hub, access):
    files = {f"train/{'ab'[n % 2]}/{n}.jpeg": picture(n % 2, n) for n in range(6)}
    table = loaded(hub, access, files | {"README.md": b"x"}, "train/*")["train"]

    assert sorted(table["id"]) == sorted(f"train/{path[6:]}" for path in files)
    assert Path(table["image"][0]["path"]).read_bytes() == files["train/a/0.jpeg"]


def test_what_computers_leave_in_archives_is_passed_over(hub, access):
    files = {f"top/{'ab'[n % 2]}/{n}.jpg": picture(n % 2, n) for n in range(6)}
    rubbish = {"__MACOSX/top/a/._0.jpg": b"x", "top/a/.DS_Store": b"x", "top/Thumbs.db": b"x"}
    data = archive(files | rubbish | {"notes.txt": b"x"})

    assert len(loaded(hub, access, {"data/x.zip": data})["train"]) == 6


def test_several_files_make_one_split_in_the_order_of_their_names(hub, access):
    files = {"data/1.parquet": labelled(2), "data/0.parquet": labelled(4)}
    table = loaded(hub, access, files, id_column="", unique_column="")["train"]

    assert table["id"][:2] == ["train/a/case0_0.png", "train/b/case0_1.png"]
    assert len(table) == 6


def test_ids_fall_back_on_the_row_where_images_have_no_name(hub, access):
    data = parquet(
        [{"image": {"bytes": picture(0, n), "path": None}, "label": "ab"[n % 2]} for n in range(4)],
        label=text(),
    )
    table = loaded(hub, access, {"data/x.parquet": data})["train"]

    assert table["id"] == [f"train/{'ab'[n % 2]}/{n:06d}" for n in range(4)]


def test_group_of_may_be_written_as_code(hub, access):
    class Coded(HubDataset):
        def group_of(self, file):
            return file[4:5].upper() + "!"

    hub.repos["made/up"] = Repo.of({"data/x.parquet": labelled()})
    dataset = Coded(**declared().model_dump())
    table = fetched(dataset, access).load(access)["train"]

    assert table["group"] == ["0!", "0!", "1!", "1!", "2!", "2!"]


def test_a_pattern_without_a_group_takes_the_whole_match(hub, access):
    table = loaded(hub, access, {"data/x.parquet": labelled()}, group_pattern=r"case\d+")["train"]
    assert table["group"] == ["case0", "case0", "case1", "case1", "case2", "case2"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("repo", "no-slash"), ("revision", "main"), ("revision", "C1" * 20), ("files", {})],
)
def test_a_declaration_that_cannot_be_is_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        HubDataset(**(declared().model_dump() | {field: value}))


# -- a source that is not as declared ---------------------------------------------------------


def refused(hub, access, files, **more):
    with pytest.raises(DataError) as caught:
        loaded(hub, access, files, **more)
    message = str(caught.value)
    assert "'made-up'" in message
    assert "\n" not in message
    return message


def test_a_renamed_column_is_named_with_those_that_are_there(hub, access):
    data = parquet(rows(diagnosis=lambda n: "ab"[n % 2]), diagnosis=text())
    message = refused(hub, access, {"data/x.parquet": data})

    assert "data/x.parquet has no column label" in message
    assert "it has image, diagnosis" in message
    assert f"revision {hub.repos['made/up'].revision}" in message


def test_an_unknown_label_is_named(hub, access):
    data = parquet(rows(label=lambda n: "abc"[n % 3]), label=text())
    message = refused(hub, access, {"data/x.parquet": data})

    assert "train has the label 'c', which is none of the 2 declared (a, b)" in message


def test_a_label_number_beyond_the_classes_is_named(hub, access):
    import datasets

    data = parquet(rows(label=lambda n: n % 3), label=datasets.Value("int64"))
    assert "the label '2'" in refused(hub, access, {"data/x.parquet": data})


def test_a_row_without_a_label_is_refused(hub, access):
    data = parquet(rows(label=lambda n: "a" if n else None), label=text())
    assert "the label 'None'" in refused(hub, access, {"data/x.parquet": data})


def test_a_file_name_that_the_pattern_does_not_know_is_refused(hub, access):
    message = refused(
        hub, access, {"data/x.parquet": labelled()}, group_pattern=r"^person(\d+)", classes=()
    )
    assert "no group in file name 'case0_0.png' by the pattern '^person" in message


def test_duplicates_that_disagree_are_refused(hub, access):
    data = parquet(
        rows(label=lambda n: "ab"[n % 2], key=lambda n: str(n // 2)), label=text(), key=text()
    )
    message = refused(hub, access, {"data/x.parquet": data}, unique_column="key")

    assert "rows of '0' disagree: a / train/a/case0_0.png against b / " in message


def test_what_is_no_parquet_is_refused(hub, access):
    assert "x.parquet is no parquet file" in refused(hub, access, {"data/x.parquet": b"abc"})


def test_parquet_mixed_with_images_is_refused(hub, access):
    files = {"data/x.parquet": labelled(), "data/a/x.jpg": picture(0, 0)}
    assert "train mixes parquet files with others: .jpg, .parquet" in refused(hub, access, files)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "holds no image"),
        ({"a/scan.dcm": b"x"}, "a/scan.dcm, which is no image known here"),
        ({"loose.jpg": b"x"}, "loose.jpg, which lies in no class folder"),
        ({"a/../../x.jpg": b"x"}, "which lies in no class folder"),
    ],
)
def test_an_archive_that_is_no_image_folder_is_refused(hub, access, members, message):
    assert message in refused(hub, access, {"data/x.zip": archive(members)})


def test_what_is_no_archive_is_refused(hub, access):
    assert "x.zip cannot be unpacked" in refused(hub, access, {"data/x.zip": b"abc"})


def test_a_disk_that_is_full_while_the_copy_is_made_is_one_message(hub, access, monkeypatch):
    import datasets

    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets.Dataset, "from_parquet", full)
    message = refused(hub, access, {"data/x.parquet": labelled()})
    assert "cannot be copied to" in message
    assert "No space left on device" in message


def test_two_that_unpack_at_once_do_no_harm(hub, access, monkeypatch):
    fetched(BRAIN_TUMOR, access)
    rename = Path.rename

    def late(self, target):
        """Somebody else was first."""
        rename(self, target)
        self.mkdir()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert len(BRAIN_TUMOR.load(access)["train"]) == 24
    names = [path.name for path in (access.cache / "hub" / "unpacked").iterdir()]
    assert not [name for name in names if name.startswith(".")]


def test_a_table_takes_bytes_and_paths():
    table = make_table([Row(b"x", "a", "g", "1"), Row(Path("/y.png"), "b", "g", "2")])

    assert table[0]["image"] == {"bytes": b"x", "path": None}
    assert table[1] == {
        "image": {"bytes": None, "path": "/y.png"}, "label": "b", "group": "g", "id": "2",
    }  # fmt: skip


# -- what was fetched, and what became of it --------------------------------------------------


def test_nothing_fetched_is_one_message_with_the_command(access):
    with pytest.raises(DataError) as caught:
        HAM10000.load(access)

    assert not HAM10000.at_hand(access)
    assert str(caught.value) == (
        "dataset 'ham10000': revision bdd59e10860746202dfdc452e0ac3a9eaa25268d was not fetched: run "
        "'harness data fetch ham10000'"
    )


def test_an_unpinned_dataset_without_a_lock_is_refused_even_if_its_files_are_here(hub, access):
    fetched(BRAIN_TUMOR, access)
    access.lock.unlink()

    assert not BRAIN_TUMOR.at_hand(access)
    with pytest.raises(
        DataError, match=r"its revision is not pinned, and .*harness\.lock does not"
    ):
        BRAIN_TUMOR.load(access)


def test_a_pinned_dataset_needs_no_lock(hub, access):
    fetched(HAM10000, access)
    access.lock.unlink()

    assert HAM10000.at_hand(access)
    assert len(HAM10000.load(access)["train"]) > 30


def test_a_lock_of_another_revision_or_repository_does_not_count(hub, access):
    fetched(HAM10000, access)
    entry = read(access.lock).datasets["ham10000"]
    for changed in ({"revision": "0" * 40}, {"repo": "other/one"}, {"files": entry.files[:1]}):
        update(access.lock, datasets={"ham10000": entry.model_copy(update=changed)})
        assert not HAM10000.at_hand(access)
        with pytest.raises(DataError, match="was not fetched"):
            HAM10000.load(access)


def changed_file(access, change):
    folder = HAM10000.folder(access, HAM10000.revision)
    place = folder / "data/train-00001-of-00002-bbbb.parquet"
    place.write_bytes(change(place.read_bytes()))
    return place


@pytest.mark.parametrize("drop_lock", [True, False])
def test_a_changed_byte_is_refused_with_the_files_name(hub, access, drop_lock):
    fetched(HAM10000, access).load(access)  # a prepared copy must not hide it
    if drop_lock:
        access.lock.unlink()
    place = changed_file(access, lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:])

    with pytest.raises(DataError, match="sha256") as caught:
        HAM10000.load(access)
    assert str(place) in str(caught.value)
    assert "'harness data fetch ham10000' fetches it again" in str(caught.value)


def test_a_file_cut_short_is_neither_at_hand_nor_loaded(hub, access):
    fetched(HAM10000, access)
    changed_file(access, lambda data: data[:-1])

    assert not HAM10000.at_hand(access)
    with pytest.raises(DataError, match="bytes, not"):
        HAM10000.load(access)


def test_unpacked_images_that_were_lost_are_unpacked_again(hub, access):
    before = fetched(BRAIN_TUMOR, access).load(access)["train"]["image"]
    Path(before[3]["path"]).unlink()

    after = BRAIN_TUMOR.load(access)["train"]["image"]
    assert after == before
    assert Path(after[3]["path"]).is_file()


def test_another_declaration_of_the_same_files_shares_them(hub, access):
    fetched(HAM10000, access)
    before = len(hub.fetched())
    smaller = HAM10000.model_copy(update={"name": "ham-test", "files": {"train": ("data/test-*",)}})

    assert smaller.at_hand(access)
    assert len(fetched(smaller, access).load(access)["train"]) == 14
    assert len(hub.fetched()) == before


# -- no network -------------------------------------------------------------------------------

OFFLINE = """
    import sys

    def forbid(event, args):
        if event in {"socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"}:
            print("SOCKET", event, args)

    sys.addaudithook(forbid)
    from pathlib import Path
    from harness import Access
    from harness.plugins.registry import load_plugins

    root = Path(sys.argv[1])
    access = Access(cache=root / "cache", lock=root / "harness.lock", offline=True)
    for name in sys.argv[2:]:
        tables = load_plugins().datasets[name].load(access)
        print(name, sum(len(table) for table in tables.values()))
"""


def carried_out(code, *args, **env):
    alone = {"HARNESS_NO_AUTOLOAD": "1", "HARNESS_PLUGINS": ""}
    return python("-c", textwrap.dedent(code), *args, **alone, **env).stdout


@pytest.mark.slow
def test_loading_opens_no_socket_even_with_nothing_prepared(hub, access, tmp_path):
    fetched(HAM10000, access)
    fetched(BRAIN_TUMOR, access)
    # An address that would be seen if anything looked it up.
    said = carried_out(
        OFFLINE, tmp_path, "ham10000", BRAIN_TUMOR.name, HF_ENDPOINT="http://hub.invalid"
    )

    assert said.splitlines() == ["ham10000 42", f"{BRAIN_TUMOR.name} 32"]


UNCHANGED = """
    import sys

    from datasets import load_dataset
    from huggingface_hub import snapshot_download

    sha = sys.argv[1]
    table = load_dataset("marmal88/skin_cancer", revision=sha)
    print({name: len(split) for name, split in table.items()}, sorted(table["train"].features))
    folder = load_dataset("im/ages", revision="main")
    print({name: split.features["label"].names for name, split in folder.items()})
    path = snapshot_download("marmal88/skin_cancer", repo_type="dataset", revision=sha)
    print(path.rpartition("/")[2] == sha)
    for repo, revision in (("marmal88/skin_cancer", "0" * 40), ("un/known", None), ("ga/ted", None)):
        try:
            load_dataset(repo, revision=revision)
        except Exception as error:
            words = ("Revision", "gated", "doesn't exist on the Hub")
            print(type(error).__name__, [word for word in words if word in str(error)])
"""


@pytest.mark.slow
def test_the_hubs_own_clients_run_against_the_server_unchanged(hub, tmp_path):
    hub.repos["ga/ted"] = Repo.of({"data/x.parquet": labelled()}, gated=True)
    images = {f"{s}/{'ab'[n % 2]}/{n}.jpg": picture(n % 2, n) for s in SPLITS for n in range(4)}
    hub.repos["im/ages"] = Repo.of(images)
    said = carried_out(UNCHANGED, HAM10000.revision, HF_HOME=str(tmp_path / "home")).splitlines()

    assert said[0] == (
        "{'train': 35, 'validation': 2, 'test': 14} "
        "['age', 'dx', 'dx_type', 'image', 'image_id', 'lesion_id', 'localization', 'sex']"
    )
    assert said[1] == str({split: ["a", "b"] for split in SPLITS})
    assert said[2:] == [
        "True",
        "DatasetNotFoundError ['Revision']",
        """DatasetNotFoundError ["doesn't exist on the Hub"]""",
        "DatasetNotFoundError ['gated']",
    ]


def test_a_manifest_that_is_no_record_is_nothing_fetched(hub, access):
    fetched(HAM10000, access)
    access.lock.unlink()
    (HAM10000.folder(access, HAM10000.revision) / "fetched.json").write_text("{")

    assert HAM10000.locked(access) is None


def test_what_is_locked_can_be_told(hub, access):
    fetched(HAM10000, access)
    entry = HAM10000.locked(access)

    assert isinstance(entry, LockedDataset)
    assert all(isinstance(file, LockedFile) for file in entry.files)
    files = hub.repos[HAM10000.repo].revisions[HAM10000.revision]
    assert entry.bytes == sum(len(data) for path, data in files.items() if path != "README.md")
    assert HAM10000.pinned(access).revision == HAM10000.revision

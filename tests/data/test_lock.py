"""The lock file: read, added to, and held against the files on disk."""

import errno
import hashlib
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import DataError
from harness.data.lock import Lock, LockedDataset, LockedFile, LockedWeights, read, update, verify

COMMIT = "c1a67c18df1a52ec332ffc00418f4eaa61a9f2bc"


def sha(data):
    return hashlib.sha256(data).hexdigest()


def locked(path="data/a.parquet", data=b"abc"):
    return LockedFile(path=path, sha256=sha(data), bytes=len(data))


def entry(*files, repo="org/name", revision=COMMIT):
    return LockedDataset(repo=repo, revision=revision, files=files or (locked(),))


def test_no_file_is_an_empty_lock(tmp_path):
    assert read(tmp_path / "harness.lock") == Lock()


def test_what_is_added_is_read_again_and_the_rest_stays(tmp_path):
    path = tmp_path / "harness.lock"
    weights = LockedWeights(file="resnet50-11ad3fa6.pth", sha256=sha(b"w"), bytes=1)
    update(path, datasets={"b": entry()})
    update(path, weights={"resnet50": weights})
    update(path, datasets={"a": entry(repo="org/other")})

    assert read(path) == Lock(
        datasets={"a": entry(repo="org/other"), "b": entry()}, weights={"resnet50": weights}
    )
    plain = json.loads(path.read_text())
    assert plain["schema_version"] == 1
    assert list(plain["datasets"]) == ["a", "b"]
    assert plain["datasets"]["b"]["files"] == [
        {"path": "data/a.parquet", "sha256": sha(b"abc"), "bytes": 3}
    ]


def test_nothing_new_does_not_touch_the_file(tmp_path):
    path = tmp_path / "harness.lock"
    update(path, datasets={"a": entry()})
    before = path.stat().st_mtime_ns
    update(path, datasets={"a": entry()})

    assert path.stat().st_mtime_ns == before


@settings(deadline=None, max_examples=10)
@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_fetching_leaves_no_trace(tmp_path_factory, order):
    path = tmp_path_factory.mktemp("lock") / "harness.lock"
    for name in order:
        update(path, datasets={name: entry(repo=f"org/{name}")})
    other = path.with_name("other")
    update(other, datasets={name: entry(repo=f"org/{name}") for name in "abcd"})

    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"schema_version": 2}', "schema_version"),
        ('{"dataset": {}}', "dataset: Extra inputs are not permitted"),
        ('{"datasets": {"a": {"repo": "o/n", "revision": "main", "files": []}}}', "revision"),
    ],
)
def test_a_file_that_does_not_hold_is_refused(tmp_path, text, message):
    path = tmp_path / "harness.lock"
    path.write_text(text)

    with pytest.raises(DataError, match=r"harness\.lock") as caught:
        read(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", ["/etc/passwd", "../../up", "a/../../b", "a\\b"])
def test_a_path_that_leads_out_of_its_folder_is_refused(path):
    with pytest.raises(ValueError, match="leads out of its folder"):
        locked(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.*--lock FILE"):
        update(tmp_path / "harness.lock", datasets={"a": entry()})
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "harness.lock").mkdir()

    with pytest.raises(DataError, match="Is a directory"):
        read(tmp_path / "harness.lock")


# -- against the files ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for name, data in {"a": b"abc", "deep/b": b"def", "c": b"ghi"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


FILES = (locked("a", b"abc"), locked("deep/b", b"def"), locked("c", b"ghi"))


def test_files_as_locked_are_sound(folder):
    assert verify(folder, FILES) == ""


def test_a_changed_byte_is_found_by_name(folder):
    (folder / "deep/b").write_bytes(b"deg")
    found = verify(folder, FILES)

    assert str(folder / "deep/b") in found
    assert sha(b"deg") in found
    assert sha(b"def") in found


def test_a_file_cut_short_is_found_by_its_size(folder):
    (folder / "c").write_bytes(b"gh")
    assert verify(folder, FILES) == f"{folder / 'c'} has 2 bytes, not 3"


def test_a_missing_file_is_found(folder):
    (folder / "a").unlink()
    assert "a cannot be read: No such file" in verify(folder, FILES)

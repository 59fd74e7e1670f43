"""Readers of files that anybody may have written: whatever bytes they meet, a message or a result."""

import json
import os
import re
import time
import zipfile

import pytest
from damage import FOLDER, READERS, SUITE, Bench, add_entry, directory_damaged
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from small_folder import records

from harness.benchmark.suite.file import read_suite
from harness.data import lock
from harness.errors import DataError, StoreError, UsageError
from harness.plugins.registry import load_plugins
from harness.results import package

CASES = 100
SLOW = 20.0  # seconds for one file, on a machine with other work


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("damage"), load_plugins([]))


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_refused_or_read(bench, reader):
    @seed(0)
    @settings(
        max_examples=CASES, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(READERS[reader](bench.sound_bytes(reader)), st.sampled_from(sorted(FOLDER)))
    def check(content, command):
        started = time.monotonic()
        bench.read(reader, content, command)
        assert time.monotonic() - started < SLOW

    check()


@pytest.mark.slow
def test_sound_files_are_read(bench):
    for reader in READERS:
        assert set(bench.read(reader, bench.sound_bytes(reader)).values()) == {"read"}, reader


BROKEN_RECORDS = {
    "infinite": lambda text: re.sub('"lr": [0-9.]+,', '"lr": Infinity,', text),
    "beyond all numbers": lambda text: re.sub('"lr": [0-9.]+,', '"lr": 1e999,', text),
    "deep": lambda _: "[" * 200_000,
    "null byte": lambda text: text.replace('"splits/demo-mri.json"', '"splits/\\u0000"'),
    "elsewhere": lambda text: text.replace('"splits/demo-mri.json"', '"../../../etc/passwd"'),
    "latin-1": lambda text: text.replace("demo", "d\xe9mo").encode("latin-1"),
    "empty": lambda _: "",
    "a list": lambda _: "[]",
    "twice": lambda text: text.replace('"seed": 0', '"seed": 0, "seed": 0', 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN_RECORDS)
def test_a_broken_record_is_named(bench, harness_cli, kind):
    bench.read("record", bench.sound_bytes("record"), "ranks")
    path = bench.folder / bench.files["record"]
    text = json.dumps(json.loads(path.read_text()))
    changed = BROKEN_RECORDS[kind](text)
    assert changed != text
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    done = harness_cli("verify", bench.folder, exit_code=1)
    assert path.stem in done.output
    done = harness_cli("board", bench.folder, exit_code=None)
    assert isinstance(done.exception, SystemExit | None)
    if kind not in {"twice", "null byte", "elsewhere"}:  # what the board does not look at
        assert done.exit_code == 2
        assert path.stem in done.output
    done = harness_cli("check", bench.folder, bench.folder, exit_code=None)
    assert isinstance(done.exception, SystemExit | None)
    assert kind == "twice" or (done.exit_code == 2 and path.stem in done.output)


@pytest.mark.parametrize("what", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(bench, tmp_path, what):
    path = tmp_path / "x.json"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    (tmp_path / "suite.toml").symlink_to(path)
    (tmp_path / "x.zip").symlink_to(path)
    with pytest.raises(UsageError, match=r"suite\.toml"):
        read_suite(tmp_path / "suite.toml", bench.loaded)
    with pytest.raises(DataError, match=r"x\.json"):
        lock.read(path)
    with pytest.raises(StoreError, match=r"x\.zip"), package.unpacked(tmp_path / "x.zip"):
        pass


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('extends = "demo"', "extends = 5", "extends must be a text"),
        ('own = "images"', "own = 5", "data.own must be a text"),
        ('[data]\nown = "images"', "", None),
        ('\n[data]\nown = "images"', "data = 5", "data must be a table"),
        ("lr = 0.001", "lr = inf", "protocol.lr: inf is not a finite number"),
        ("alpha = 0.1", "alpha = nan", "settings.l2-sp.alpha: nan"),
        ("alpha = 0.1", "alpha = 1979-05-27", "a date is no value here"),
        ("seeds = [0, 1]", "seeds = " + "[" * 50_000, "nested far too deep"),
        ("lr = 0.001", "lr = " + "1" * 5000, "not valid TOML"),
        ("title", "t\xe9tle", "not valid TOML"),
    ],
)
def test_suites(bench, old, new, said):
    path = bench.root / "suite.toml"
    assert old in SUITE
    path.write_bytes(SUITE.replace(old, new, 1).encode("latin-1"))
    if said is None:
        read_suite(path, bench.loaded)
        return
    with pytest.raises(UsageError) as error:
        read_suite(path, bench.loaded)
    assert said in str(error.value)
    assert "suite.toml" in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bomb", "would unpack to far more than results do"),
        ("out", "leads out of its folder"),
        ("absolute", "leads out of its folder"),
        ("directory", "leads out of its folder"),
        ("link", "is a link or a device"),
        ("twice", "is in it twice"),
        ("encrypted", "is encrypted"),
        ("method", "is packed in a way"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_are_refused_by_their_directory(bench, tmp_path, monkeypatch, kind, said):
    path = tmp_path / "sent.zip"
    content = bench.sound_bytes("archive")
    if kind in {"encrypted", "method"}:
        path.write_bytes(directory_damaged(content, kind, 1))
    else:
        path.write_bytes(content)
        with zipfile.ZipFile(path, "a") as archive:
            add_entry(archive, kind)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)  # nothing is unpacked
    with pytest.raises(StoreError) as error, package.unpacked(path):
        pass
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert not (tmp_path / "out.txt").exists()


def test_an_archive_that_understates_its_parts(bench, tmp_path):
    """160 times its size, spread over entries of which each claims to be packed less."""
    path = tmp_path / "sent.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}", bytes(range(256)) * 2000)
    assert (
        sum(one.file_size for one in zipfile.ZipFile(path).infolist()) > 160 * path.stat().st_size
    )
    with pytest.raises(StoreError, match="far more"), package.unpacked(path):
        pass


def test_a_file_that_is_no_folder(bench, harness_cli, tmp_path):
    (tmp_path / "x.tar").write_bytes(b"x")
    done = harness_cli("board", tmp_path / "x.tar", "--format", "csv", exit_code=2)
    assert "is a file: give a results folder, or a .zip that `harness submit` wrote" in done.output


@pytest.mark.slow
def test_logits_of_other_classes(bench, harness_cli):
    """The hash in the record is that of the damaged file, as after a forger's change."""
    from safetensors.numpy import load, save

    tensors = load(bench.sound_bytes("logits"))
    tensors["test.logits"] = tensors["test.logits"][:, :2].copy()
    run = bench.files["logits"].stem
    for command, found in bench.read("logits", save(tensors, metadata={"run_id": run})).items():
        assert found in {"refused", "not held", "read"}
        assert found != "read" or command == "ranks"
    done = harness_cli("board", bench.folder, "--format", "md", exit_code=2)
    assert f"{run}.safetensors does not hold" in done.output
    assert records(bench.folder)

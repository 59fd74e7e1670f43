"""A plan, and a call that is refused, leave the disk as it was: results, caches, home, locks."""

import hashlib

import pytest
from command import bench
from small_folder import small_folder
from wards import ward

from harness.utils import files


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a home, a cache and two folders of images, from which commands are called."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for name in ("home", "cache", "empty"):
        (tmp_path / name).mkdir()
    ward(tmp_path / "ward", each=12)
    ward(tmp_path / "few", each=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(place):
    """Every folder and file, the hidden ones too, with its content."""
    return {
        path.relative_to(place).as_posix(): path.is_file()
        and hashlib.sha256(path.read_bytes()).hexdigest()
        for path in place.rglob("*")
    }


REFUSED = {
    "a strategy that is not there": ["--strategies", "full-fit"],
    "a device that is not there": ["--device", "cuda:7"],
    "compiling on a CPU, after auto is settled": ["--precision", "auto", "--compile", "compile"],
    "a tracker that is not there": ["--track", "paper"],
    "weights that are not there": ["--weights", "empty"],
    "weights that are not there, where some are kept": ["--weights", "empty", "--save-weights"],
    "more labels than images": ["--labels", "500"],
    "a folder that is not there": ["--data", "xray:ward=nowhere"],
    "a name that is taken": ["--data", "xray:toy-data=ward"],
    "trials of a suite that does not tune": ["--trials", "2"],
}


@pytest.mark.parametrize("args", REFUSED.values(), ids=REFUSED)
def test_a_refused_call_writes_nothing(args, place):
    refused(args, "results/new", place)


@pytest.mark.slow
def test_a_refused_call_leaves_a_folder_as_it_was(place):
    small_folder(place / "old")
    for what in ("compiling on a CPU, after auto is settled", "more labels than images"):
        refused(REFUSED[what], "old", place)


def refused(args, out, place):
    before = tree(place)
    done = bench(out, *args, exit_code=None)
    assert done.exit_code in (1, 2), done.output
    assert "Traceback" not in done.output
    assert tree(place) == before


def test_a_second_dataset_that_is_refused_leaves_the_first_undecoded(place):
    for name in ("left", "right"):
        ward(place / "lost" / "train", each=6, classes=(name,))
    ward(place / "lost" / "test", each=6, seed=8, classes=("left", "middle", "right"))
    own = ["--data", "xray:ward=ward", "--data", "xray:lost=lost", "--datasets", "ward,lost"]
    refused(own, "results/new", place)


def test_results_that_are_damaged_are_told_before_an_image_is_decoded(place):
    small_folder(place / "old")
    next((place / "old" / "runs").rglob("*.json")).write_text("{}")
    refused(["--data", "xray:ward=ward", "--datasets", "ward"], "old", place)


def test_data_that_are_not_here_leave_no_folder(place, harness_cli):
    before = tree(place)
    done = harness_cli("bench", "paper-2024", "--offline", exit_code=None)
    assert done.exit_code in (1, 2)
    assert tree(place) == before


PLANNED = {
    "what a plugin brings": [],
    "own images": ["--data", "xray:ward=ward", "--datasets", "ward"],
    "own images, in many ways": [
        "--data", "xray:ward=ward", "--datasets", "ward", "--save-weights", "--splits", "3",
        "--precision", "auto", "--seeds", "0,1,2",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "out"),
    list(zip(PLANNED.values(), ("old", "new", "results/new"), strict=True)),
    ids=PLANNED,
)
def test_a_plan_writes_nothing(args, out, place):
    if out == "old":
        small_folder(place / "old")
    before = tree(place)
    assert "estimated time: " in bench(out, *args, "--dry-run").stdout
    assert tree(place) == before


def test_a_folder_that_is_refused_keeps_what_others_put_there(place):
    def call():
        with files.unmade_on_error(place / "a" / "b", ".lock"):
            (place / "a" / "b").mkdir(parents=True)
            (place / "a" / "theirs").touch()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        call()
    assert [path.name for path in (place / "a").iterdir()] == ["theirs"]

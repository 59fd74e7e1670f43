"""`harness bench --external`: predicted by every run, changing none, and added later."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from command import Cli, bench, runs
from places import TOY
from safetensors.numpy import load_file, save_file
from wards import CLASSES, ward

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return ward(tmp_path_factory.mktemp("wards") / "ward", each=6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, place):
    """The same runs: without a further test set, with their weights; and with one."""
    out = tmp_path_factory.mktemp("made")
    bench(out / "plain", "--seeds", "0,1", "--save-weights")
    bench(out / "beside", "--seeds", "0,1", "--external", f"ward-a={place}")
    return out


@pytest.fixture
def plain(finished, tmp_path):
    """A copy that may be changed."""
    shutil.copytree(finished / "plain", tmp_path / "plain")
    return tmp_path / "plain"


def predictions(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("runs/**/*.safetensors")}


def records(folder):
    return {p.name: json.loads(p.read_text()) for p in runs(folder)}


def without_times(record):
    """A run without the seconds and the day that it took."""
    dropped = {"cost", "finished", "history", "phases", "external"}
    return {name: value for name, value in record.items() if name not in dropped}


def test_a_run_is_the_same_with_and_without(finished):
    plain, beside = predictions(finished / "plain"), predictions(finished / "beside")
    assert len(plain) == 6
    assert {name: beside[name] for name in plain} == plain
    assert sorted(str(name) for name in beside.keys() - plain.keys()) == sorted(
        str(name).replace(".safetensors", ".external-ward-a.safetensors") for name in plain
    )
    ours, theirs = records(finished / "plain"), records(finished / "beside")
    assert {n: without_times(r) for n, r in ours.items()} == {
        n: without_times(r) for n, r in theirs.items()
    }
    assert all("external" not in record for record in ours.values())


def test_the_figures_are_those_of_the_images_in_the_folder(finished, place):
    splits = json.loads((finished / "beside/splits/toy-data.external-ward-a.json").read_text())
    names = [sample["id"] for sample in splits["samples"]]
    assert names == sorted(p.relative_to(place).as_posix() for p in place.rglob("*.png"))
    for path in runs(finished / "beside"):
        external = json.loads(path.read_text())["external"]["ward-a"]
        given = load_file(path.with_name(external["predictions"]["file"]))
        labels = [CLASSES.index(names[row].split("/")[0]) for row in given["test.rows"]]
        assert given["test.targets"].tolist() == labels
        right = given["test.logits"].argmax(1) == np.array(labels)
        recalls = [right[np.array(labels) == label].mean() for label in range(3)]
        figure = external["metrics"]["balanced-accuracy"]["value"]
        assert figure == pytest.approx(np.mean(recalls), abs=1e-12)
        assert external["counts"] == {"test": dict.fromkeys(CLASSES, 6)}
        assert "from_weights" not in external


def test_several_processes_predict_the_same_bits(finished, tmp_path, place):
    bench(tmp_path, "--seeds", "0,1", "--external", f"ward-a={place}", jobs=2)
    assert predictions(tmp_path) == predictions(finished / "beside")


def test_added_later_it_is_predicted_from_the_weights(finished, plain, place):
    before = records(plain)
    done = bench(plain, "--seeds", "0,1", "--external", f"ward-a={place}")

    assert "6 finished runs without: predicted from saved weights" in done.stderr
    assert "0 runs made, 6 were there already (6 got further test sets)" in done.stdout
    assert predictions(plain) == predictions(finished / "beside")
    for name, record in records(plain).items():
        external = record.pop("external")
        assert record == before[name]
        assert external["ward-a"]["from_weights"]
        made = records(finished / "beside")[name]["external"]["ward-a"]
        assert external["ward-a"]["metrics"] == made["metrics"]
    assert "without" not in bench(plain, "--seeds", "0,1", "--external", f"ward-a={place}").stderr


def test_a_second_set_stands_beside_the_first(plain, place, tmp_path):
    bench(plain, "--seeds", "0,1", "--external", f"ward-a={place}")
    other = ward(tmp_path / "other", seed=3)
    bench(plain, "--seeds", "0,1", "--external", f"ward-b={other}")
    assert all(sorted(one["external"]) == ["ward-a", "ward-b"] for one in records(plain).values())


def test_runs_without_weights_are_named_and_left_as_they_are(plain, place):
    shutil.rmtree(plain / "weights")
    before = {p: p.read_bytes() for p in runs(plain)}
    given = ("--seeds", "0,1", "--external", f"ward-a={place}")
    planned = bench(plain, *given, "--dry-run").stdout
    done = bench(plain, *given, exit_code=1)

    for text in (planned, done.stderr):
        assert "would be trained again: --retrain-for-external does so" in text
        assert "  toy-data / toy / full-ft, seed 1" in text
    assert "6 finished runs without a further test set" in done.stderr
    assert {p: p.read_bytes() for p in runs(plain)} == before


def test_they_are_trained_again_when_that_is_said(finished, plain, place):
    shutil.rmtree(plain / "weights")
    before = records(plain)
    given = ("--seeds", "0,1", "--external", f"ward-a={place}", "--retrain-for-external")
    assert "are trained again" in bench(plain, *given, "--dry-run").stdout
    bench(plain, *given)

    assert predictions(plain) == predictions(finished / "beside")
    for name, record in records(plain).items():
        assert sorted(record.pop("external")) == ["ward-a"]
        assert record == before[name]


def test_a_run_that_comes_out_differently_takes_the_old_ones_place(finished, plain, place):
    """As on a card, where two trainings differ: the record is never of two networks."""
    shutil.rmtree(plain / "weights")
    for path in runs(plain)[:1]:
        file = path.with_suffix(".safetensors")
        changed = load_file(file)
        changed["test.logits"] += 1
        save_file(changed, file, metadata={"run_id": path.stem})
        record = json.loads(path.read_text())
        record["predictions"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        path.write_text(json.dumps(record))
    given = ("--seeds", "0,1", "--external", f"ward-a={place}", "--retrain-for-external")
    done = bench(plain, *given)

    assert done.stderr.count("came out differently when it was trained again") == 1
    assert predictions(plain) == predictions(finished / "beside")


def test_weights_of_another_run_are_refused(plain, place):
    one, other = sorted((plain / "weights").iterdir())[:2]
    shutil.copy(one, other)
    done = bench(plain, "--seeds", "0,1", "--external", f"ward-a={place}", exit_code=1)
    assert f"holds the weights of run {one.stem}" in done.stderr
    assert "1 finished run without a further test set" in done.stderr
    assert sum("external" in one for one in records(plain).values()) == 5


def test_weights_that_predict_the_test_split_otherwise_are_refused(plain, place):
    file = min((plain / "weights").iterdir())
    tensors = load_file(file)
    tensors = {
        name: -values if values.dtype.kind == "f" else values for name, values in tensors.items()
    }
    save_file(tensors, file, metadata={"run_id": file.stem})
    done = bench(plain, "--seeds", "0,1", "--external", f"ward-a={place}", exit_code=1)
    assert "they are not those that it tested" in done.stderr
    assert "external" not in records(plain)[f"{file.stem}.json"]


def test_other_images_under_a_name_are_refused(finished, tmp_path):
    shutil.copytree(finished / "beside", tmp_path / "beside")
    other = ward(tmp_path / "other", seed=3)
    before = predictions(tmp_path / "beside")
    done = bench(
        tmp_path / "beside", "--seeds", "0,1", "--external", f"ward-a={other}", exit_code=2
    )
    assert "there it was other images; give these another name" in done.stderr
    assert predictions(tmp_path / "beside") == before


def test_a_metric_that_is_added_is_added_there_too(plain, place):
    bench(plain, "--seeds", "0,1", "--external", f"ward-a={place}")
    for path in runs(plain):
        record = json.loads(path.read_text())
        del record["external"]["ward-a"]["metrics"]["brier"]
        path.write_text(json.dumps(record))
    done = Cli((TOY,))("score", plain, "--metric", "brier,ece")
    assert "6 runs scored, 0 had everything already" in done.stdout
    assert all("brier" in one["external"]["ward-a"]["metrics"] for one in records(plain).values())
    assert "0 runs scored" in Cli((TOY,))("score", plain, "--metric", "brier,ece").stdout


def test_a_class_that_is_lacking_marks_its_own_figures_alone(tmp_path):
    some = ward(tmp_path / "some", classes=("left", "right"))
    bench(tmp_path / "r", "--external", f"ward-a={some}", "--allow-missing-classes")
    for record in records(tmp_path / "r").values():
        assert "present_only" not in record["spec"]
        figure = record["external"]["ward-a"]["metrics"]["balanced-accuracy"]
        assert "without 'middle'" in figure["reason"]
        assert record["metrics"]["balanced-accuracy"].get("reason") is None
    text = (tmp_path / "r" / "leaderboard.md").read_text()
    assert "has no image of middle" in text


ELSEWHERE = """
from dataclasses import replace
from harness import hookimpl

@hookimpl(tryfirst=True)
def harness_execute(spec, resources):
    from harness.engine import run
    return run(spec, replace(resources, images=replace(resources.images, external={})))
"""


def test_a_plugin_that_carries_runs_out_without_is_told(tmp_path, place):
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    given = ("-p", tmp_path / "elsewhere.py", "--external", f"ward-a={place}")
    done = bench(tmp_path / "r", *given, exit_code=1)
    assert "3 finished runs without a further test set" in done.stderr
    assert "whatever carries runs out here predicts no further test set" in done.stderr
    assert "3 runs made" in done.stdout

"""Predictions by a finished run's weights: the run's own logits, and refusals."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
from command import Cli, bench
from PIL import Image
from places import TOY
from winner import PLUGIN, record_of, write_images

import harness
from harness.inference.predictions import predict
from harness.inference.sources import list_files
from harness.inference.tested import find_tested
from harness.plugins.registry import load_plugins

pytestmark = pytest.mark.slow
LIMITS = ("--epochs", "1", "--seeds", "0,1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A results folder of own images: two strategies, two seeds, weights kept."""
    place = tmp_path_factory.mktemp("winner")
    images = write_images(place / "images")
    options = ("--data", f"own={images}", "--datasets", "own", "--save-weights", *LIMITS)
    bench(place / "out", *options, "--strategies", "full-ft,linear-probe")
    return place


def test_files_of(place, run, images):
    """The test images of a run, in its own order."""
    split = json.loads((place / "out" / run.data.split_file).read_text())
    rows = stored(place / "out", run)["test.rows"]
    return [str(images / split["samples"][row]["id"]) for row in rows]


test_files_of.__test__ = False


def stored(folder, run):
    spec = run.spec
    path = folder / "runs" / spec.dataset / spec.backbone / spec.strategy
    return safetensors.numpy.load_file(path / f"{run.run_id}.safetensors")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("strategy", ["full-ft", "linear-probe"])
def test_predictions_of_the_test_images_are_the_stored_logits_bit_for_bit(made, strategy):
    path, run = record_of(made / "out", strategy, 1)
    files = list_files(test_files_of(made, run, made / "images"))
    found = predict(find_tested(str(path)), files, load_plugins([TOY]))
    logits = stored(made / "out", run)["test.logits"]
    assert len(logits) >= 6
    assert found.logits[run.run_id].tobytes() == logits.tobytes()


def test_a_cell_is_the_mean_over_its_seeds_and_a_seed_is_one_run(made, tmp_path):
    cli, images = Cli((TOY,)), str(made / "images")
    given = ("own/toy/full-ft", images, "--results", made / "out")
    done = cli("predict", *given, "--out", tmp_path / "both.csv")
    assert (
        "36 images by own / toy / full-ft, mean of the probabilities of seeds 0, 1" in done.output
    )
    cli("predict", *given, "--seed", 0, "--out", tmp_path / "0.csv")
    cli("predict", *given, "--seed", 1, "--out", tmp_path / "1.csv")
    both, *single = (rows_of(tmp_path / f"{name}.csv") for name in ("both", "0", "1"))
    ids = [record_of(made / "out", "full-ft", seed)[1].run_id for seed in (0, 1)]
    assert list(both[0]) == ["file", "predicted", "p:bright", "p:dark", "runs"]
    assert both[0]["runs"] == " ".join(ids)
    assert [one[0]["runs"] for one in single] == ids
    for row, first, second in zip(both, *single, strict=True):
        for name in ("p:bright", "p:dark"):
            assert float(row[name]) == pytest.approx((float(first[name]) + float(second[name])) / 2)
        assert float(row["p:bright"]) + float(row["p:dark"]) == pytest.approx(1)
        likelier = "bright" if float(row["p:bright"]) > float(row["p:dark"]) else "dark"
        assert row["predicted"] == likelier
    assert [row["file"] for row in both] == sorted(str(p) for p in (made / "images").rglob("*.*"))


def test_from_python_it_returns_what_the_command_writes(made, tmp_path, capsys):
    asked = {"results": made / "out", "plugins": TOY, "seed": 0}
    found = harness.predict("own/toy/full-ft", [made / "images"], **asked)
    given = ("own/toy/full-ft", made / "images", "--results", made / "out", "--seed", 0)
    Cli((TOY,))("predict", *given, "--out", tmp_path / "0.csv")

    rows = rows_of(tmp_path / "0.csv")
    assert list(found.files) == [row["file"] for row in rows]
    assert found.predicted == [row["predicted"] for row in rows]
    shares = [[float(row["p:bright"]), float(row["p:dark"])] for row in rows]
    np.testing.assert_allclose(found.probabilities, shares)
    assert (found.cell, found.seeds) == ("own / toy / full-ft", (0,))
    assert capsys.readouterr().out == ""


def test_a_name_is_a_run_a_record_or_a_cell_and_the_nearest_is_told(made, tmp_path):
    cli, image = Cli((TOY,)), str(made / "images/bright/00.jpg")
    path, run = record_of(made / "out", "full-ft", 0)
    ends = (image, "--results", made / "out", "--out", tmp_path / "x.csv")
    for name in (run.run_id, run.run_id[:9], path):
        cli("predict", name, *ends)
        assert rows_of(tmp_path / "x.csv")[0]["runs"] == run.run_id
    for name in (run.run_id, path):  # a record is found without the folder, which was given still
        given = (name, image, "--results", tmp_path / "none", "--out", tmp_path / "y.csv")
        assert "holds no runs" in cli("predict", *given, exit_code=2).output
    done = cli("predict", "own/toy/ful-ft", *ends, exit_code=2)
    assert "did you mean 'own/toy/full-ft'" in done.output
    assert "no run" in cli("predict", "ffffffff", *ends, exit_code=2).output
    done = cli("predict", "what", *ends, exit_code=2)
    assert "DATASET/BACKBONE/STRATEGY" in done.output
    done = cli("predict", "own/toy/full-ft", *ends, "--seed", 7, exit_code=2)
    assert "--seed 7: no finished run" in done.output
    done = cli("predict", run.run_id, *ends, "--seed", 1, exit_code=2)
    assert f"run {run.run_id} has seed 0" in done.output


def test_runs_of_a_cell_that_differ_in_more_than_seeds_are_not_averaged(made, tmp_path):
    shutil.copytree(made / "out", tmp_path / "out")
    options = ("--data", f"own={made / 'images'}", "--datasets", "own", "--save-weights")
    bench(tmp_path / "out", *options, "--strategies", "full-ft", "--epochs", 2, "--seeds", 2)
    given = ("own/toy/full-ft", made / "images", "--results", tmp_path / "out")
    done = Cli((TOY,))("predict", *given, "--out", tmp_path / "x.csv", exit_code=2)
    assert "differ in more than their seeds: protocol.epochs is " in done.output
    assert not (tmp_path / "x.csv").exists()


def test_weights_of_another_run_or_network_are_refused(made, tmp_path):
    cli, image = Cli((TOY,)), str(made / "images/bright/00.jpg")
    _, run = record_of(made / "out", "full-ft", 0)
    _, other = record_of(made / "out", "full-ft", 1)
    weights = made / "out" / "weights"
    mine, theirs = (weights / f"{one.run_id}.safetensors" for one in (run, other))
    ends = (image, "--results", made / "out", "--weights", tmp_path, "--out", tmp_path / "x.csv")

    def refused():
        done = cli("predict", run.run_id, *ends, exit_code=2)
        assert not (tmp_path / "x.csv").exists()
        return " ".join(done.output.split())

    assert "has no weights at" in refused()
    copy = tmp_path / mine.name
    shutil.copy(theirs, copy)
    assert f"holds the weights of run {other.run_id}, not of run {run.run_id}" in refused()
    copy.write_bytes(mine.read_bytes()[:-40])
    assert "cut short or damaged" in refused()
    tensors = safetensors.torch.load_file(mine)
    told = {"run_id": run.run_id}
    name = next(n for n, t in tensors.items() if n.startswith("head") and t.dim() > 1)
    wider = tensors | {name: tensors[name].new_zeros(5, tensors[name].shape[1])}
    safetensors.torch.save_file(wider, copy, metadata=told)
    assert f"{name} is float32 [5, " in refused()
    fewer = {n: t for n, t in tensors.items() if n != name}
    safetensors.torch.save_file(fewer | {"stranger": tensors[name]}, copy, metadata=told)
    assert f"it lacks {name}; it has besides stranger" in refused()


def test_unreadable_images_are_all_named_unless_they_are_left_out(made, tmp_path):
    folder = tmp_path / "new"
    shutil.copytree(made / "images" / "dark", folder)
    good = sorted(str(path) for path in folder.iterdir())
    (folder / "0.png").write_bytes(b"no image")
    (folder / "b.jpg").write_bytes((made / "images/bright/00.jpg").read_bytes()[:99])
    (folder / "odd.bin").write_bytes(b"\x00\x01")
    (folder / "notes.txt").write_text("of the ward")
    cli, out = Cli((TOY,)), tmp_path / "x.csv"
    given = ("own/toy/full-ft", folder, "--results", made / "out", "--out", out)
    done = cli("predict", *given, exit_code=2)
    assert "3 of 21 images cannot be used" in done.output
    for name in ("0.png", "b.jpg", "odd.bin"):
        assert f"{folder / name}: " in done.output
    assert f"passed over: {folder / 'notes.txt'}" in done.output
    assert not out.exists()
    done = cli("predict", *given, "--skip-bad-images")
    assert done.output.count("left out: ") == 3
    assert [row["file"] for row in rows_of(out)] == good
    # A bad image before others moves none of their rows.
    cli("predict", "own/toy/full-ft", *good, "--results", made / "out", "--out", tmp_path / "y.csv")
    assert rows_of(out) == rows_of(tmp_path / "y.csv")


def test_places_that_are_not_there_and_other_endings_are_refused(made, tmp_path):
    cli, image = Cli((TOY,)), str(made / "images/bright/00.jpg")
    ends = ("--results", made / "out")
    done = cli("predict", "own/toy/full-ft", image, "nowhere", *ends, "--out", "x.csv", exit_code=2)
    assert "not there: nowhere" in done.output
    done = cli("predict", "own/toy/full-ft", image, *ends, "--out", image, exit_code=2)
    assert "must end in .csv" in done.output
    (tmp_path / "empty").mkdir()
    done = cli(
        "predict", "own/toy/full-ft", tmp_path / "empty", *ends, "--out", "x.csv", exit_code=2
    )
    assert "no image in" in done.output


def test_names_and_classes_that_look_like_formulas_get_an_apostrophe(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(made / "images/bright/00.jpg", "=1.jpg")
    given = ("own/toy/full-ft", "=1.jpg", "--results", made / "out", "--out", "x.csv")
    Cli((TOY,))("predict", *given)
    assert rows_of(tmp_path / "x.csv")[0]["file"] == "'=1.jpg"


def test_deep_images_are_read_in_the_range_of_the_training_images(tmp_path):
    """A darker file alone would fill its own range; those of the run span 0 to 4095."""
    rng = np.random.default_rng(1)
    for number in range(36):
        name = ("bright", "dark")[number % 2]
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        top = 4000 if name == "bright" else 900
        pixels = rng.integers(0, top, (10, 10), dtype=np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"images/{name}/{number}.png")
    options = ("--data", f"own={tmp_path / 'images'}", "--datasets", "own", "--save-weights")
    bench(tmp_path / "out", *options, "--strategies", "full-ft", "--epochs", 1)
    path, run = record_of(tmp_path / "out", "full-ft", 0)
    assert run.data.ranges == {"whole": (0.0, 4095.0)}
    files = list_files(test_files_of(tmp_path, run, tmp_path / "images"))
    found = predict(find_tested(str(path)), files, load_plugins([TOY]))
    assert (
        found.logits[run.run_id].tobytes() == stored(tmp_path / "out", run)["test.logits"].tobytes()
    )
    Image.fromarray(np.full((10, 10), 60000, np.uint16)).save(tmp_path / "beyond.png")
    cli, ends = Cli((TOY,)), ("--results", tmp_path / "out", "--out", tmp_path / "x.csv")
    done = cli("predict", run.run_id, tmp_path / "beyond.png", *ends, exit_code=2)
    assert "values run beyond 0 to 4095" in done.output


def test_deep_images_are_refused_where_the_run_knew_none(made, tmp_path):
    Image.fromarray(np.full((10, 10), 600, np.uint16)).save(tmp_path / "deep.png")
    given = ("own/toy/full-ft", tmp_path / "deep.png", "--results", made / "out")
    done = Cli((TOY,))("predict", *given, "--out", tmp_path / "x.csv", exit_code=2)
    assert "has more than eight bits" in done.output


@pytest.mark.parametrize("strategy", ["low-rank", "longer"])
def test_networks_that_a_strategy_adapts_are_built_again(made, tmp_path, strategy):
    images, plugin = made / "images", str(PLUGIN)
    options = ("-p", plugin, "--data", f"own={images}", "--datasets", "own", "--epochs", 1)
    bench(tmp_path / "out", *options, "--save-weights", "--strategies", strategy)
    path, run = record_of(tmp_path / "out", strategy, 0)
    files = list_files(test_files_of(tmp_path, run, images))
    found = predict(find_tested(str(path)), files, load_plugins([TOY, plugin]))
    logits = stored(tmp_path / "out", run)["test.logits"]
    assert found.logits[run.run_id].tobytes() == logits.tobytes()


def test_code_that_did_not_make_the_run_is_told(made, tmp_path):
    """The network may be another one under the same names: it is said, not refused."""
    own = tmp_path / "own_toy.py"
    own.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(TOY).parent)!r})\n" + Path(TOY).read_text()
    )
    given = ("own/toy/full-ft", made / "images/bright/00.jpg", "--results", made / "out")
    done = Cli((TOY,))("predict", *given, "--seed", 0, "--out", tmp_path / "x.csv")
    assert "is not the code that made it" not in done.output
    done = Cli((str(own),))("predict", *given, "--seed", 0, "--out", tmp_path / "x.csv")
    assert "the code of backbone 'toy' is not the code that made it" in done.output
    assert "other epochs than its suite asks for" in done.output

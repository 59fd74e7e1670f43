"""The scripts beside the reference board: grey rows, and the plain loop that is held against it."""

import argparse
import ast
import hashlib
import json
import math
import re
import runpy
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torchvision
from command import Cli
from PIL import Image
from places import DOCS, ROOT
from safetensors.torch import save_file

import harness_real_small
from harness.api.records import Protocol

SCRIPTS = ROOT / "benchmarks" / "reference"


@pytest.fixture(scope="module")
def simple():
    return runpy.run_path(str(SCRIPTS / "simple.py"))


@pytest.fixture(scope="module")
def anchor():
    return runpy.run_path(str(SCRIPTS / "anchor.py"))


@pytest.fixture(scope="module")
def again():
    return runpy.run_path(str(SCRIPTS / "again.py"))


def test_brightness_is_that_of_the_middle_after_resizing(simple, tmp_path):
    """A black frame, which the crop cuts off, around two halves that differ in red."""
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[4:20, 4:12], pixels[4:20, 12:20] = (100, 50, 7), (200, 50, 7)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = simple["brightness"](tmp_path / "a.png", Protocol(name="p", resize=24, crop=16))
    assert found == pytest.approx([150, 50, 7, 50, 0, 0])

    wide = Image.new("RGB", (48, 24), (10, 20, 30))
    wide.paste((90, 90, 90), (40, 0, 48, 24))
    wide.save(tmp_path / "b.png")
    found = simple["brightness"](tmp_path / "b.png", Protocol(name="p", resize=12, crop=12))
    assert found == pytest.approx([10, 20, 30, 0, 0, 0])


def test_balanced_accuracy_is_the_mean_recall(simple, anchor):
    targets, predicted = np.array([0, 0, 0, 0, 2]), np.array([0, 0, 0, 1, 2])
    assert simple["balanced_accuracy"](targets, predicted) == pytest.approx((0.75 + 1) / 2)
    import torch

    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    found = anchor["balanced_accuracy"](logits, torch.tensor(targets))
    assert found == pytest.approx((0.75 + 1) / 2)


def test_the_plain_loop_imports_nothing_of_the_harness():
    tree = ast.parse((SCRIPTS / "anchor.py").read_text(encoding="utf-8"))
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    assert names
    assert not [name for name in names if name.startswith("harness")]


def test_differences_are_held_against_what_seeds_do(anchor):
    def stored_runs(*values):
        return {
            seed: {"metrics": {"balanced-accuracy": {"value": value}}}
            for seed, value in enumerate(values)
        }

    def cell(strategy, rate, *values, dataset="a"):
        runs = [{"seed": seed, "test": value} for seed, value in enumerate(values)]
        return {"dataset": dataset, "strategy": strategy, "rate": rate, "runs": runs}

    stored = {
        ("a", "linear-probe"): {0.3: stored_runs(0.5, 0.52, 0.54), 1.0: stored_runs(0.6, 0.6)},
        ("a", "full-ft"): {1.0: stored_runs(0.7)},
    }
    known = [
        cell("linear-probe", 0.3, 0.51),
        cell("linear-probe", 1.0, *[0.56, 0.58] * 5),
        cell("full-ft", 1.0, 0.7),
        cell("linear-probe", 1.0, 0.9, 0.8, dataset="b"),
    ]
    found = anchor["differences"](known, stored)
    assert [one["difference"] for one in found[:3]] == pytest.approx([1.0, -3.0, 0.0])
    # Squares about the mean: 2 x .02^2 of three stored seeds, none of two equal ones, 10 x .01^2 of the
    # ten runs, 2 x .05^2 of the two; 2 + 1 + 9 + 1 degrees of freedom.
    pooled = math.sqrt((0.0008 + 0 + 0.001 + 0.005) / 13)
    assert found[0]["noise"] == pytest.approx(100 * pooled * math.sqrt(2))
    # Ten runs speak for themselves; their mean is nearer to the truth than one run.
    assert found[1]["noise"] == pytest.approx(100 * math.sqrt(0.001 / 9) * math.sqrt(1.1))
    assert [one["noise_by"] for one in found[:2]] == ["runs of its strategy", "own runs"]
    assert found[2]["noise"] is None  # one run, one seed
    unknown = found[3]  # no run is stored
    assert (unknown["stored"], unknown["difference"], unknown["noise"]) == (None, None, None)
    assert unknown["test"] == pytest.approx(0.85)


def test_what_stands_there_is_not_trained_again(anchor, tmp_path, monkeypatch):
    shared, trained = anchor["add"].__globals__, []

    def train(data, run, rate, seed):
        trained.append((data, run, rate, seed))
        return {"test": seed / 10}

    monkeypatch.setitem(shared, "train", train)
    monkeypatch.setitem(shared, "read_images", lambda given, run: "images")
    record = {"metrics": {"balanced-accuracy": {"value": 0.5}}}
    name = ("real-mri", "linear-probe")
    stored = {name: {rate: {0: record} for rate in (0.1, 0.3, 1.0)}}
    kept = {"seed": 0, "test": 0.9}
    known = [{"dataset": "real-mri", "strategy": "linear-probe", "rate": 0.3, "runs": [kept]}]
    given = argparse.Namespace(folder=tmp_path, rates=[0.3, 1.0], repeats=2)
    found = anchor["add"](given, known, stored, name)

    assert [one[2:] for one in trained] == [(0.3, 1), (1.0, 0), (1.0, 1)]
    assert [[run["test"] for run in cell["runs"]] for cell in found] == [[0.9, 0.1], [0.0, 0.1]]
    written = json.loads((tmp_path / "anchor.json").read_text())
    assert [cell["runs"] for cell in written] == [cell["runs"] for cell in found]


def made_run(dataset, images, **spec):
    given = {"dataset": dataset, "strategy": "linear-probe", "seed": 0} | spec
    counts = {"test": {"yes": images, "no": 10}, "train": {"yes": 10, "no": 10}}
    return SimpleNamespace(spec=SimpleNamespace(**given), data=SimpleNamespace(counts=counts))


def test_the_smallest_sets_that_are_here_are_made_again(again, tmp_path):
    for name in ("xray", "mri", "histology"):
        (tmp_path / name).mkdir()
    runs = (
        made_run("real-xray", 90),
        made_run("real-mri", 80),
        made_run("real-endoscopy", 5),  # its images are not here
        made_run("real-histology", 5, strategy="full-ft"),
        made_run("real-histology", 5, seed=1),
    )
    assert list(again["smallest"](runs, tmp_path)) == ["real-mri", "real-xray"]


def test_without_images_no_run_is_made_and_that_is_said(again):
    assert "is not set" in again["why_not"]("images", None)
    assert "is not set" in again["why_not"]("", "weights")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A suite of this shape, much smaller: drawn images that stand for a real set; and its runs."""
    place = tmp_path_factory.mktemp("reference")
    draw_images(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness_real_small, "LISTS", place)
        Cli()("bench", *asked(place, "linear-probe"), "--out", place / "out")
        yield place


@pytest.fixture
def results(made, tmp_path):
    """Runs that may be changed, and the images they were made on."""
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path / "out", made / "data"


def draw_images(folder):
    """Dark and light ones, their list, and a suite of them."""
    rng = np.random.default_rng(0)
    lines = ["file,group,sha256"]
    for label, base in (("polyp_large", 60), ("polyp_small", 190)):
        for number in range(24):
            file = f"{'test' if number >= 16 else 'train'}/{label}/{number}.png"
            place = folder / "data" / "endoscopy" / file
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(base - 50, base + 50, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place)
            digest = hashlib.sha256(place.read_bytes()).hexdigest()
            lines.append(f"{file},{label}-{number},{digest}")
    (folder / "endoscopy.csv").write_text("\n".join(lines) + "\n")
    (folder / "tiny.toml").write_text(
        'extends = "real-small"\ndatasets = ["real-endoscopy"]\nbackbones = ["resnet50-mini"]\n'
        'strategies = ["full-ft", "linear-probe"]\nlabels = ["12"]\ntuning = {grid = [0.3, 1.0]}\n'
        "[protocol]\nepochs = 2\nbatch_size = 4\nresize = 32\ncrop = 32\n"
    )


def asked(folder, strategies):
    """The call that makes the runs of some strategies."""
    return (
        *(folder / "tiny.toml", "--data", f"real-endoscopy={folder / 'data/endoscopy'}"),
        *("--strategies", strategies, "--weights", "none", "--precision", "bf16", "--in-process"),
    )


def script(name, *args):
    done = subprocess.run(
        [sys.executable, SCRIPTS / name, *args], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_the_scripts_run_on_a_folder_of_results(results, tmp_path):
    out, data = results
    script("simple.py", out, "--data", data)
    made = json.loads((out / "simple.json").read_text())["splits"]
    assert [one["split"] for one in made] == [1, 2, 0]  # in the order of the split files' names
    assert {len(one["labelled"]) for one in made} == {12}
    assert {one["majority"] for one in made} == {0.5}
    assert {one["colour"] for one in made} == {1.0}  # dark and light are told apart

    told = script("anchor.py", out)
    assert "not run: real-endoscopy linear-probe, rates 0.3, 1" in told
    assert "not run: real-xray linear-probe (no stored run)" in told
    assert not (out / "anchor.json").exists()
    # A cell that stands there is not trained again; the other is.
    run = {"seed": 0, "test": 0.125, "seconds": 1.0}
    known = [{"dataset": "real-endoscopy", "strategy": "linear-probe", "rate": 0.3, "runs": [run]}]
    (out / "anchor.json").write_text(json.dumps(known))
    network = torchvision.models.resnet50()
    save_file(network.state_dict(), tmp_path / "start.safetensors")
    given = ("--data", data, "--weights", tmp_path / "start.safetensors", "--repeats", "2")
    told = script(
        "anchor.py", out, *given, "--rates", "1.0", "--only", "real-endoscopy/linear-probe"
    )
    assert "not run: real-endoscopy linear-probe" not in told
    first, second = json.loads((out / "anchor.json").read_text())
    assert (first["rate"], first["runs"], first["test"]) == (0.3, [run], 0.125)
    assert (second["rate"], [one["seed"] for one in second["runs"]]) == (1.0, [0, 1])
    assert 0 <= second["test"] <= 1
    runs = [json.loads(path.read_bytes()) for path in (out / "runs").rglob("*.json")]
    (stored,) = (
        run["metrics"]["balanced-accuracy"]["value"]
        for run in runs
        if run["spec"]["seed"] == 0 and run["spec"]["settings"].get("rate") == 0.3
    )
    assert first["stored"] == stored
    Cli()("verify", out)
    assert "nothing can be decided yet" in script("least_gain.py", out)


def call(again, capsys, *args):
    """Exit code and lines of `again.py`, here: the images' list is patched."""
    code = again["main"]([*map(str, args)])
    return code, capsys.readouterr().out


@pytest.mark.slow
def test_ci_verifies_the_board_and_makes_its_cheapest_runs_again(
    results, again, made, tmp_path, monkeypatch, capsys
):
    out, data = results
    monkeypatch.delenv("HARNESS_REALDATA", raising=False)
    code, told = call(again, capsys, out, "--out", tmp_path / "none")
    assert code == 0
    assert (
        "real-small: no run is made again: HARNESS_REALDATA or HARNESS_WEIGHTS is not set" in told
    )
    monkeypatch.setenv("HARNESS_REALDATA", str(data))
    monkeypatch.setenv("HARNESS_WEIGHTS", "none")
    # Whatever processor this is: on one side and the other it is the same.
    again["why_not"].__globals__["bf16_instructions"] = lambda: "avx512_bf16"
    suite = ("--jobs", 1, "--suite", made / "tiny.toml")
    code, told = call(again, capsys, out, "--out", tmp_path / "again", *suite)
    assert code == 0
    assert (
        "2 runs made again (linear-probe, seed 0: real-endoscopy), 2 with the stored predictions"
        in told
    )
    assert "the gate passes" in told

    # Runs of another protocol are none of this board: the gate cannot compare them, and fails.
    other = tmp_path / "other.toml"
    other.write_text((made / "tiny.toml").read_text() + "momentum = 0.5\n")
    code, told = call(again, capsys, out, "--out", tmp_path / "other", *suite[:3], other)
    assert (code, "the gate fails" in told) == (1, True)


@pytest.mark.slow
def test_a_damaged_record_of_the_board_fails_and_a_run_not_made_does_not(
    results, again, monkeypatch, capsys, tmp_path
):
    out, _ = results
    monkeypatch.delenv("HARNESS_REALDATA", raising=False)
    place = min((out / "runs").rglob("*.json"))
    kept = place.read_bytes()
    record = json.loads(kept)
    record["metrics"]["accuracy"]["value"] += 0.01
    place.write_text(json.dumps(record))
    code, told = call(again, capsys, out, "--out", tmp_path / "none")
    assert code == 1
    assert f"{place.name}: metrics: accuracy on test is" in told
    place.unlink()
    place.with_suffix(".safetensors").unlink()
    code, told = call(again, capsys, out, "--out", tmp_path / "none")
    assert code == 0
    assert "1 planned runs are not made: 0 faults" in told


@pytest.mark.slow
def test_the_strategy_of_the_docs_joins_the_board_by_the_commands_of_the_docs(
    results, made, tmp_path
):
    """docs/publishing.md, Your strategy on the reference board: its four commands, this small."""
    out, _ = results
    (code,) = re.findall(
        r'```python title="bias_only.py"\n(.*?)```',
        (DOCS / "write-a-strategy.md").read_text(),
        re.DOTALL,
    )
    (tmp_path / "bias_only.py").write_text(code)
    theirs, package = tmp_path / "bias-only", tmp_path / "bias-only.zip"
    cli = Cli()
    plugin = ("-p", tmp_path / "bias_only.py")
    cli(*plugin, "bench", *asked(made, "bias-only"), "--out", theirs)
    cli("submit", theirs, "--to", package, "--show", "real-*")
    # Whoever keeps the board has no such plugin.
    assert "everything holds" in cli("verify", package, "--reference", out).stdout
    cli("board", out, package, "--out", tmp_path / "together")

    board = json.loads((tmp_path / "together" / "leaderboard.json").read_text())
    assert len(board["tracks"]) == 2  # tuned, and at the protocol's rate
    for track in board["tracks"]:
        assert len(track["blocks"]) == 1  # the same images, splits and start
        ranked = {row["label"]: row["runs"] for row in track["rows"] if row["ranked"]}
        assert ranked == {"linear-probe": 3, "bias-only": 3}

"""The scripts beside the reference board: grey rows, and the plain loop that is held against it."""

import ast
import hashlib
import json
import math
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torchvision
from PIL import Image
from places import ROOT
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


def test_differences_are_held_against_those_of_two_seeds(anchor):
    def runs(*values):
        return {
            seed: {"metrics": {"balanced-accuracy": {"value": value}}}
            for seed, value in enumerate(values)
        }

    stored = {
        ("a", "linear-probe"): {0.3: runs(0.5, 0.52, 0.54), 1.0: runs(0.6, 0.6)},
        ("a", "full-ft"): {1.0: runs(0.7)},
    }
    known = [
        {"dataset": "a", "strategy": "linear-probe", "rate": 0.3, "test": 0.51},
        {"dataset": "a", "strategy": "linear-probe", "rate": 1.0, "test": 0.57},
        {"dataset": "a", "strategy": "full-ft", "rate": 1.0, "test": 0.7},
    ]
    found = anchor["differences"](known, stored)
    assert [one["difference"] for one in found] == pytest.approx([1.0, -3.0, 0.0])
    # Squares .02^2 + 0 + .02^2 of the first cell, none of the second, 3 degrees of freedom.
    pooled = 100 * math.sqrt(2 * 0.0008 / 3)
    assert [one["noise"] for one in found[:2]] == pytest.approx([pooled, pooled])
    assert found[2]["noise"] is None  # one seed


@pytest.fixture
def results(tmp_path, monkeypatch, harness_cli):
    """A suite of this shape, much smaller: drawn images that stand for a real set; and its images."""
    rng = np.random.default_rng(0)
    lines = ["file,group,sha256"]
    for label, base in (("polyp_large", 60), ("polyp_small", 190)):
        for number in range(24):
            file = f"{'test' if number >= 16 else 'train'}/{label}/{number}.png"
            place = tmp_path / "data" / "endoscopy" / file
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(base - 50, base + 50, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place)
            digest = hashlib.sha256(place.read_bytes()).hexdigest()
            lines.append(f"{file},{label}-{number},{digest}")
    (tmp_path / "endoscopy.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(harness_real_small, "LISTS", tmp_path)
    (tmp_path / "tiny.toml").write_text(
        'extends = "real-small"\ndatasets = ["real-endoscopy"]\nbackbones = ["resnet50-mini"]\n'
        'strategies = ["linear-probe"]\nlabels = ["12"]\ntuning = {grid = [0.3, 1.0]}\n'
        "[protocol]\nepochs = 2\nbatch_size = 4\nresize = 32\ncrop = 32\n"
    )
    harness_cli(
        *("bench", tmp_path / "tiny.toml", "--data", f"real-endoscopy={tmp_path / 'data/endoscopy'}"),
        *("--weights", "none", "--precision", "bf16", "--in-process", "--out", tmp_path / "out"),
    )  # fmt: skip
    return tmp_path / "out", tmp_path / "data"


def script(name, *args):
    done = subprocess.run(
        [sys.executable, SCRIPTS / name, *args], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_the_scripts_run_on_a_folder_of_results(results, tmp_path, harness_cli):
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
    known = [{"dataset": "real-endoscopy", "strategy": "linear-probe", "rate": 0.3, "test": 0.125}]
    (out / "anchor.json").write_text(json.dumps(known))
    network = torchvision.models.resnet50()
    save_file(network.state_dict(), tmp_path / "start.safetensors")
    told = script("anchor.py", out, "--data", data, "--weights", tmp_path / "start.safetensors")
    assert "not run: real-endoscopy" not in told
    first, second = json.loads((out / "anchor.json").read_text())
    assert (first["rate"], first["test"], second["rate"]) == (0.3, 0.125, 1.0)
    assert 0 <= second["test"] <= 1
    runs = [json.loads(path.read_bytes()) for path in (out / "runs").rglob("*.json")]
    (stored,) = (
        run["metrics"]["balanced-accuracy"]["value"]
        for run in runs
        if run["spec"]["seed"] == 0 and run["spec"]["settings"].get("rate") == 0.3
    )
    assert first["stored"] == stored
    harness_cli("verify", out)

"""Differences over several splits, from the files of real runs, by plain loops that share no code."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from command import bench, runs
from PIL import Image
from safetensors.numpy import load_file
from scipy import stats
from split_loops import loops

pytestmark = pytest.mark.slow

CLASSES, IMAGES = ("a", "b"), 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of two strategies on three random splits of own images, two seeds each."""
    images, out = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("out")
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (images / name).mkdir()
        for number in range(IMAGES):
            pixels = rng.integers(0, 120, (8, 8, 3), dtype=np.uint8)
            pixels[2:6, 2 + 2 * label : 4 + 2 * label] += 40
            Image.fromarray(pixels).save(images / name / f"{number}.png")
    asked = ("--strategies", "full-ft,linear-probe", "--splits", 3, "--seeds", "0,1")
    bench(out, "--data", f"own={images}", "--datasets", "own", *asked)
    return out


def shares(folder):
    """(strategy, split, seed) -> image -> what it adds to the balanced accuracy; image -> class."""
    found, classes = {}, {}
    for path in runs(folder):
        run = json.loads(path.read_text())
        stored = load_file(path.with_suffix(".safetensors"))
        samples = json.loads((folder / run["data"]["split_file"]).read_text())["samples"]
        names = [samples[row]["id"] for row in stored["test.rows"].tolist()]
        targets = [CLASSES.index(samples[row]["label"]) for row in stored["test.rows"].tolist()]
        right = stored["test.logits"].argmax(axis=1) == np.array(targets)
        spec = run["spec"]
        key = (spec["strategy"], spec["protocol"].get("split_seed", 0), spec["seed"])
        found[key] = {
            name: float(hit) / targets.count(target) / len(CLASSES)
            for name, hit, target in zip(names, right, targets, strict=True)
        }
        classes.update(zip(names, targets, strict=True))
    return found, classes


def test_the_difference_of_the_board_is_that_of_plain_loops(folder):
    found, classes = shares(folder)
    names = sorted(classes)
    pairs = sorted({key[1:] for key in found})
    assert pairs == [(split, seed) for split in (0, 1, 2) for seed in (0, 1)]
    added = [
        [
            found["linear-probe", *pair].get(name, 0.0) - found["full-ft", *pair].get(name, 0.0)
            for name in names
        ]
        for pair in pairs
    ]
    tested = [[name in found["full-ft", split, 0] for name in names] for split in (0, 1, 2)]
    assert sum(map(any, zip(*tested, strict=True))) < sum(map(sum, tested))  # some are tested twice
    gain = SimpleNamespace(
        added=np.array(added),
        strata=np.array([classes[name] for name in names]),
        splits=SimpleNamespace(
            number=np.array([split for split, _ in pairs]),
            tested=np.array(tested),
            share=sum(tested[0]) / (len(CLASSES) * IMAGES),
        ),
    )
    value, variance, df = loops(gain)
    half = stats.t.ppf(0.975, df) * variance**0.5
    board = json.loads((folder / "leaderboard.json").read_text())
    (track,) = board["tracks"]
    (told,) = board["statistics"][track["id"]]["differences"]

    assert half > 0.01
    assert told["row"] == "linear-probe"
    assert told["value"] == pytest.approx(value, abs=1e-12)
    assert told["low"] == pytest.approx(max(-1.0, value - half), abs=1e-9)
    assert told["high"] == pytest.approx(min(1.0, value + half), abs=1e-9)
    assert told["basis"] == "images, seeds and splits"

"""docs/add-data-on-disk.md, from top to bottom, on files that are made here."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command import Cli
from hub_server import picture
from places import DOCS

from harness import PatternDataset

pytestmark = pytest.mark.slow

PAGE = DOCS / "add-data-on-disk.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(*args):
    return Cli()(*args, "--epochs", "1", "--backbones", "vgg19-mini", "--in-process")


def test_images_are_told_by_their_paths(place, harness_cli):
    for patient in range(16):
        (place / "ward" / f"p{patient:04d}").mkdir(parents=True)
        for number in range(2):
            name = f"p{patient:04d}/{number}_{'NP'[patient % 2]}.png"
            (place / "ward" / name).write_bytes(picture(patient % 2, 2 * patient + number, "PNG"))
    (place / "ward_7.py").write_text(blocks("python")[0])
    audit, bench = (shlex.split(line)[1:] for line in blocks("bash")[0].splitlines())

    assert "ward-7" in harness_cli(*audit).stdout
    assert "1 runs made" in small(*bench).stdout
    (path,) = Path("results/demo/splits").glob("ward-7.json")
    samples = json.loads(path.read_text())["samples"]
    splits = {}
    for sample in samples:
        splits.setdefault(sample["group"], set()).add(sample["split"])
    assert len(samples) == 32
    assert len(splits) == 16
    assert all(len(found) == 1 for found in splits.values())


def test_arrays_are_read(place):
    rng = np.random.default_rng(0)
    counts = {"train": 12, "val": 6, "test": 6}
    images = {f"{p}_images": rng.integers(0, 255, (n, 8, 8), np.uint8) for p, n in counts.items()}
    labels = {f"{part}_labels": np.arange(count)[:, None] % 2 for part, count in counts.items()}
    np.savez_compressed(place / "tiles.npz", **images, **labels)
    (place / "tiles_plugin.py").write_text(blocks("python")[1])
    given = ("--datasets", "tiles", "--data", "tiles=tiles.npz", "--strategies", "linear-probe")

    assert "1 runs made" in small("-p", "./tiles_plugin.py", "bench", "demo", *given).stdout


def test_the_table_names_fields_that_there_are():
    fields = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert fields == set(PatternDataset.__annotations__)

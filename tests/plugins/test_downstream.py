"""Foreign packages beside the harness, as wheels, in an environment that has neither source tree."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh import Environment, pip
from PIL import Image
from places import DATA_FILES, ROOT
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

PACKAGES = sorted((DATA_FILES / "downstream").iterdir())
OFFERS = ("norm-tuning", "conv-lora", "mobilenet-v2", "csv-images", "matthews")
SUITE = """
name = "foreign"
datasets = ["csv-images"]
backbones = ["mobilenet-v2"]
strategies = ["full-ft", "norm-tuning", "conv-lora"]
primary = "matthews"
[protocol]
name = "foreign"
lr = 1e-3
batch_size = 8
epochs = 1
resize = 32
crop = 32
"""


def images(folder):
    """Sixteen patients with three images each, and the table that lists them."""
    rng = np.random.default_rng(0)
    (folder / "files").mkdir(parents=True)
    rows = []
    for number in range(48):
        label = ("cyst", "solid")[number // 3 % 2]
        pixels = rng.integers(0, 90, (40, 40), dtype=np.uint8)
        pixels[8:30, 8:30] += 120 if label == "solid" else 0
        Image.fromarray(pixels).save(folder / "files" / f"{number}.png")
        rows.append({"file": f"files/{number}.png", "label": label, "patient": f"p{number // 3}"})
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "table.csv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torchvision publishes it."""
    from torchvision.models import mobilenet_v2

    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = mobilenet_v2()
    torch.save(network.state_dict(), folder / "mobilenet-v2.pth")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("downstream")
    pip("--no-build-isolation", "-w", folder / "wheels", ROOT, *PACKAGES, command="wheel")
    made = Environment(folder)
    made.install(*sorted((folder / "wheels").glob("*.whl")))
    made.see()
    made.table = images(folder / "data")
    return made


def test_foreign_packages_keep_their_promises(environment, tmp_path):
    """In one process: what is imported comes from the wheels, and all promises are kept."""
    code = (
        "import harness, sys\n"
        "from harness.cli import cli\n"
        "print(harness.__file__)\n"
        f"cli(['--offline', '--strict-plugins', 'plugins', 'check', *{OFFERS}])\n"
    )
    done = environment.run("-c", code, cwd=tmp_path, CSV_IMAGES=environment.table)

    lines = done.stdout.splitlines()
    assert Path(lines[0]).parent == environment.site / "harness"
    assert "strategy 'conv-lora' of plugin 'conv-lora' (conv-lora 0.3.1)" in lines
    assert not [line for line in lines if line.startswith(("  broken", "  unchecked"))]


def test_the_wheel_holds_the_templates(environment, tmp_path):
    environment.run("-m", "harness", "plugins", "new", "late", "--kind", "metric", cwd=tmp_path)
    assert (tmp_path / "late" / ".github" / "workflows" / "check.yml").is_file()
    assert (tmp_path / "late" / "src" / "harness_late" / "module.py").is_file()


def test_a_board_of_foreign_packages(environment, weights, tmp_path):
    (tmp_path / "foreign.toml").write_text(SUITE)
    done = environment.run(
        "-m", "harness", "bench", "foreign.toml", "--weights", weights, "--out", "out",
        "--in-process", "--device", "cpu", "--save-weights", "--strict-plugins", "--offline",
        cwd=tmp_path, CSV_IMAGES=environment.table,
    )  # fmt: skip

    assert "3 runs made" in done.stdout
    out = tmp_path / "out"
    runs = {
        file.parent.name: json.loads(file.read_text(encoding="utf-8"))
        for file in (out / "runs").rglob("*.json")
    }
    assert set(runs) == {"full-ft", "norm-tuning", "conv-lora"}
    for name, run in runs.items():
        assert run["status"] == "ok"
        assert {"value", "reason"} >= set(run["metrics"]["matthews"]) - {"by_class"}
        plugins = {
            role: (p["distribution"], p["version"], p["dirty"])
            for role, p in run["plugins"].items()
        }
        assert plugins["dataset"] == ("csv-images", "0.1.0", False)
        assert plugins["backbone"] == ("harness-mobilenet", "2.0", False)
        expected = {"norm-tuning": "1.2.0", "conv-lora": "0.3.1"}.get(name)
        assert expected is None or plugins["strategy"] == (name, expected, False)
        assert run["weights"]["name"] == "mobilenet-v2.pth"

    board = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))
    assert board["metric"] == "matthews"
    assert "conv-lora" in (out / "leaderboard.md").read_text(encoding="utf-8")
    splits = json.loads((out / "splits" / "csv-images.json").read_text(encoding="utf-8"))
    assert len(splits["samples"]) == 48
    check_what_learned(out, runs, torch.load(weights / "mobilenet-v2.pth", weights_only=True))


def check_what_learned(out, runs, start):
    """The weights that were tested against the file they came from."""
    tested = {
        name: load_file(out / "weights" / f"{run['run_id']}.safetensors")
        for name, run in runs.items()
    }
    kernels = {
        name: start[f"features.{name.partition('.')[2]}"]
        for name, tensor in tested["full-ft"].items()
        if tensor.ndim == 4
    }
    assert len(kernels) == 52
    assert not any(torch.equal(tested["full-ft"][name], kernel) for name, kernel in kernels.items())
    assert all(torch.equal(tested["norm-tuning"][name], kernel) for name, kernel in kernels.items())
    assert tested["conv-lora"].keys() == tested["full-ft"].keys()
    for name, kernel in kernels.items():
        update = (tested["conv-lora"][name] - kernel).flatten(1)
        assert update.abs().max() > 0
        assert torch.linalg.matrix_rank(update, rtol=1e-2) <= 2
    trainable = {name: run["cost"]["trainable"] for name, run in runs.items()}
    norms = sum(
        t.numel()
        for n, t in start.items()
        if t.ndim == 1 and n.endswith(("weight", "bias")) and "classifier" not in n
    )
    head = 1280 * 2 + 2
    assert trainable["norm-tuning"] == norms + head
    assert trainable["conv-lora"] < trainable["full-ft"] / 10

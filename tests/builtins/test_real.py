"""Real images and real weights, where they are at hand: a small part of what docs/ shows."""

import json
import os
from pathlib import Path

import pytest
from command import Cli, runs

DATA, WEIGHTS = (os.environ.get(name) for name in ("HARNESS_REALDATA", "HARNESS_WEIGHTS"))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA and WEIGHTS),
        reason="set HARNESS_REALDATA and HARNESS_WEIGHTS to folders of real images and weights",
    ),
]


def probe(out, *args):
    folder = Path(DATA or "") / "mri"
    Cli()(
        "bench", "--data", f"mri:brain={folder}", "--backbones", "resnet50", "--strategies",
        "linear-probe", "--limit", "24", "--set", "protocol.lr=0.01", "--set", "protocol.resize=128",
        "--set", "protocol.crop=112", "--out", out, "--jobs", 1,
        *args,
    )  # fmt: skip
    return json.loads(runs(out)[0].read_text(encoding="utf-8"))


def test_real_weights_probe_better_than_random_ones(tmp_path):
    real = probe(tmp_path / "real", "--weights", WEIGHTS)
    random = probe(tmp_path / "random", "--weights", "none")

    assert real["weights"]["name"] == "resnet50.safetensors"
    assert real["data"]["modality"] == "mri"
    better = real["metrics"]["macro-auroc"]["value"] - random["metrics"]["macro-auroc"]["value"]
    assert better > 0

"""The suite `modern`: what it declares, what it asks for, and all of it at toy size."""

import json

import pytest
import torch
from command import Cli
from places import TOY

from harness import Access, DataError, Protocol
from harness.benchmark.request import BenchRequest
from harness.benchmark.suite.resolve import resolve_suite
from harness.data.requirements import list_requirements, require
from harness.plugins.registry import load_plugins

STRATEGIES = {"full-ft", "linear-probe", "lp-ft", "lora", "bitfit", "layer-decay", "l2-sp"}

SMALL = """
from harness import hookimpl
from harness_timm import timm_backbone


@hookimpl
def harness_backbones():
    small = {"depths": (1, 1, 1, 1), "dims": (4, 6, 8, 10)}
    tiny = {"img_size": 32, "embed_dim": 12, "depth": 2, "num_heads": 2}
    return [
        timm_backbone("convnext_tiny", name="small-convnext", **small),
        timm_backbone("vit_base_patch16_224", name="small-vit", **tiny),
    ]
"""


@pytest.fixture(scope="module")
def suite():
    return load_plugins().suites["modern"]


def test_it_is_what_was_decided(suite):
    assert suite.backbones == ("timm.convnext_tiny", "timm.vit_base_patch16_224", "resnet50")
    assert set(suite.strategies) == STRATEGIES
    loaded = load_plugins()
    assert {loaded.datasets[name].modality for name in suite.datasets} == {
        *("xray", "mri", "histology", "dermoscopy", "endoscopy")
    }
    assert suite.protocol.preprocessing == "backbone"
    assert suite.splits == "paired"
    assert len(set(suite.seeds)) == 5


def test_no_value_goes_without_its_source(suite):
    strategies = load_plugins().strategies
    declared = {
        f"{n}.{field}" for n in suite.strategies for field in getattr(strategies[n], "assumed", ())
    }
    set_here = {f"{name}.{field}" for name, values in suite.settings.items() for field in values}
    needed = (
        set(Protocol.model_fields) - {"name"}
        | declared
        | set_here
        | {"seeds", "datasets", "tuning"}
    )
    assert needed <= set(suite.assumed)
    assert all(
        source.startswith(("assumed: ", "chosen here: ")) for source in suite.assumed.values()
    )


@pytest.mark.slow
def test_it_asks_for_what_is_not_here(monkeypatch, tmp_path):
    """Without its largest network, which takes seconds to be taken apart."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    loaded = load_plugins()
    asked = BenchRequest(suite="modern", backbones=("timm:convnext_tiny", "resnet50"))
    resolved = resolve_suite(asked, loaded)
    backbones = [loaded.backbones[name] for name in resolved.suite.backbones]
    needs = list_requirements(resolved.datasets, backbones, resolved.weights, Access())
    with pytest.raises(DataError) as error:
        require("modern", needs, Access(), resolved.fetched_as)
    told = str(error.value)
    assert (
        "weights timm.convnext_tiny: apache-2.0, hf://timm/convnext_tiny.in12k_ft_in1k/model.safetensors"
        in told
    )
    assert told.splitlines()[-1].strip() == (
        f"harness data fetch {' '.join(resolved.suite.datasets)} --backbones timm.convnext_tiny,resnet50"
    )


@pytest.mark.slow
def test_all_of_it_runs_at_toy_size(tmp_path):
    (tmp_path / "small.py").write_text(SMALL)
    cli = Cli((TOY, str(tmp_path / "small.py")))
    out = tmp_path / "out"
    call = (
        "bench", "modern", "--datasets", "toy-data", "--backbones", "small-convnext,small-vit,toy",
        "--weights", "none", "--seeds", "0", "--trials", "1", "--epochs", "1", "--limit", "9",
        "--set", "protocol.crop=32", "--set", "protocol.resize=32", "--in-process", "--out", out,
    )  # fmt: skip
    done = cli(*call)
    assert f"{3 * len(STRATEGIES)} runs made" in done.output
    board = json.loads((out / "leaderboard.json").read_text())
    for track in board["tracks"]:
        assert {row["strategy"] for row in track["rows"]} == STRATEGIES
        assert {block["backbone"] for block in track["blocks"]} == {
            "small-convnext",
            "small-vit",
            "toy",
        }
    runs = [json.loads(path.read_text())["spec"] for path in (out / "runs").rglob("*.json")]
    seen = {run["backbone"]: run.get("preprocessing") for run in runs}
    assert seen["toy"] is None  # it declares none, so the protocol's counts
    assert seen["small-vit"]["mean"] == [0.5, 0.5, 0.5]
    assert seen["small-vit"]["size"] == 32
    assert seen["small-convnext"]["mean"] == [0.485, 0.456, 0.406]

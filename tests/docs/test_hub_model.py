"""docs/your-hub-model.md from top to bottom, against the local Hub; and the script of another page."""

import json
import re
import shlex

import hub_server
import pytest
import timm
import torch
from command import python
from hub_server import Repo
from places import DOCS
from safetensors.torch import load_file, save

pytestmark = pytest.mark.slow

PAGE = DOCS / "your-hub-model.md"
COMMIT, TAGGED = "1" * 40, "2" * 40
SMALL = ("--limit", "6", "--epochs", "1", "--jobs", "1")


def blocks(page, language):
    found = re.findall(rf"^```{language}([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [(re.search(r'title="(.*?)"', head), text) for head, text in found]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = hub_server.running()
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(save(timm.create_model("test_convnext", num_classes=1000).state_dict()))
    files = [{"model.safetensors": one} for one in states]
    # The tag is a revision of its own, whose commit the server names by it.
    repo = Repo(COMMIT, {COMMIT: files[0], TAGGED: files[1]}, tags={"v1": TAGGED})
    hub.reset({"example/our-net": repo})
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    return hub


def test_every_block_does_what_the_page_says(hub, tmp_path, harness_cli):
    for title, text in blocks(PAGE, "python"):
        (tmp_path / title[1]).write_text(text)
    said = []
    for _, text in blocks(PAGE, "console"):
        for line in text.splitlines():
            program, *args = shlex.split(line)
            assert program == "harness"
            said.append(harness_cli(*args, *(SMALL if "bench" in args else ())).stdout)
    fetched, begun, again, checked, bench = said
    assert f"timm.test_convnext@ours: model.safetensors, 1" in fetched
    assert f"revision {COMMIT}" in fetched
    assert "4 runs made" in begun
    assert f"our-net: model.safetensors" in again
    assert f"revision {TAGGED}" in again
    assert "our-net" in checked
    assert "2 runs made" in bench
    assert hub.fetched() == ["model.safetensors"] * 2
    (record, _) = sorted((tmp_path / "results/ours/runs").rglob("*.json"))
    run = json.loads(record.read_text())
    assert run["weights"]["source"] == f"hf://example/our-net@{TAGGED}/model.safetensors"
    assert (run["weights"]["name"], run["weights"]["licence"]) == ("ours", "MIT")
    assert {"timm", "harness_timm"} <= run["plugins"]["backbone"]["others"].keys()

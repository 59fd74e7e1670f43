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
SMALL = ("--limit", "6", "--epochs", "1", "--in-process")


def blocks(page, language):
    found = re.findall(
        rf"^```{language}([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
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
    fetched, begun, again, bench = said
    assert "timm.test_convnext@ours: model.safetensors, 1" in fetched
    assert f"revision {COMMIT}" in fetched
    assert "4 runs made" in begun
    assert "our-net: model.safetensors" in again
    assert f"revision {TAGGED}" in again
    assert "2 runs made" in bench
    assert hub.fetched() == ["model.safetensors"] * 2
    (record, _) = sorted((tmp_path / "results/ours/runs").rglob("*.json"))
    run = json.loads(record.read_text())
    assert run["weights"]["source"] == f"hf://example/our-net@{TAGGED}/model.safetensors"
    assert (run["weights"]["name"], run["weights"]["licence"]) == ("ours", "MIT")
    assert {"timm", "harness_timm"} <= run["plugins"]["backbone"]["others"].keys()


# TorchXRayVision's own code, with a file that its random network wrote, in an interpreter of its own:
# importing it silences warnings everywhere.
XRAY = """
import sys
from pathlib import Path

import torch
import torchxrayvision as xrv

torch.manual_seed(0)
name = "densenet121-res224-all"
known = xrv.models.model_urls[name]
model = xrv.models.DenseNet(num_classes=18)
grey = torch.nn.functional.interpolate(torch.rand(8, 1, 8, 8), size=64, mode="bilinear")
model.train()
model.features.norm0.momentum = None  # statistics of these images alone
with torch.no_grad():
    model.features.norm0(model.features.conv0(1024 * (2 * grey - 1)))
model.eval()
published = Path.home() / ".torchxrayvision" / "models_data" / Path(known["weights_url"]).name
published.parent.mkdir(parents=True)
torch.save(model, published)
exec(Path(sys.argv[1]).read_text())

sys.path.insert(0, sys.argv[2])
from harness.weights import find_weights, load_weights
from harness_densenet import harness_backbones

(backbone,) = (one for one in harness_backbones() if one.name == "densenet121")
start = load_weights(backbone, 3, find_weights(backbone, "weights/torchxrayvision"))
assert start.record.new == (), start.record.new
theirs = model.state_dict()
changed = {n for n, t in start.state.items() if not torch.equal(t, theirs[backbone.published_name(n)])}
assert {backbone.published_name(n) for n in changed} == {
    "features.conv0.weight", "features.norm0.running_mean", "features.norm0.running_var",
}, changed
ours = backbone.build(3)
ours.load_state_dict(start.state, strict=False)
ours.eval()
mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
with torch.no_grad():
    first = ours.stem[:2]((grey - mean) / std)
    wanted = model.features[:2](1024 * (2 * grey - 1))
inside = (..., slice(2, -2), slice(2, -2))
far = (first - wanted)[inside].abs().max() / wanted.std()
assert far < 1e-3, far
print("same", float(far))
"""


def test_torchxrayvisions_network_gives_a_file_that_fits(tmp_path):
    pytest.importorskip("torchxrayvision")
    ((_, text),) = blocks(DOCS / "starting-points.md", "python")
    (tmp_path / "from_torchxrayvision.py").write_text(text)
    plugins = DOCS.parent / "plugins"
    said = python(
        "-c", XRAY, tmp_path / "from_torchxrayvision.py", plugins, cwd=tmp_path, HOME=str(tmp_path)
    ).stdout
    assert said.splitlines()[-1].startswith("same")
    (found,) = (tmp_path / "weights").rglob("*.safetensors")
    assert load_file(found)["features.conv0.weight"].shape == (64, 3, 7, 7)

"""Exported networks: torchvision's own loads them strictly and computes the same."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
import yaml
from cases import nightly
from command import Cli, bench, runs
from PIL import Image
from places import TOY
from winner import PLUGIN, record_of, write_images

from harness.api.records import MetricValue, RunResult
from harness.inference.export import export
from harness.inference.tested import KeptRun
from harness.plugins.registry import load_plugins

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of torchvision's ResNet-50, one of a strategy that merges and one that cannot."""
    place = tmp_path_factory.mktemp("export")
    images = write_images(place / "images")
    common = ("--data", f"own={images}", "--datasets", "own", "--save-weights", "--epochs", 1)
    bench(
        place / "real",
        *common,
        "--backbones",
        "resnet50",
        "--strategies",
        "full-ft",
        "--seeds",
        "0,1",
    )
    bench(place / "adapted", "-p", PLUGIN, *common, "--strategies", "low-rank,longer")
    return place


def test_torchvision_loads_an_exported_run_and_predicts_as_the_harness_does(made, tmp_path):
    out = tmp_path / "network"
    options = ("--results", made / "real", "--seed", 1, "--out", out)
    done = Cli((TOY,))("export", "own/resnet50/full-ft", *options)
    assert "torchvision loads it strictly" in done.output
    network = torchvision.models.get_model("resnet50", num_classes=2)
    network.load_state_dict(safetensors.torch.load_file(out / "model.safetensors"), strict=True)
    config = json.loads((out / "config.json").read_text())
    assert config["classes"] == ["bright", "dark"]
    given = config["preprocessing"]
    path, run = record_of(made / "real", "full-ft", 1)
    split = json.loads((made / "real" / run.data.split_file).read_text())
    stored = safetensors.torch.load_file(path.with_suffix(".safetensors"))
    files = [made / "images" / split["samples"][row]["id"] for row in stored["test.rows"].tolist()]
    transform = torchvision.transforms.v2.functional
    to_tensor = torchvision.transforms.functional.pil_to_tensor
    pixels = [to_tensor(Image.open(file).convert("RGB")) for file in files]
    side, crop = given["resize"], given["crop"]
    pixels = [
        transform.center_crop(transform.resize(one, [side], antialias=True), crop) for one in pixels
    ]
    inputs = transform.normalize(torch.stack(pixels) / 255, given["mean"], given["std"])
    with torch.no_grad():
        logits = network.eval()(inputs)
    assert torch.allclose(logits, stored["test.logits"], rtol=0, atol=1e-4)
    assert stored["test.logits"].std() > 0.01


@pytest.mark.parametrize("name", ["resnet50", "densenet121", nightly("vgg19")])
def test_the_names_are_torchvisions(made, tmp_path, name):
    """Every network of the study, with weights of no training, 32 x 32."""
    _, run = record_of(made / "real", "full-ft", 0)
    spec = run.spec.model_copy(update={"backbone": name})
    run = run.model_copy(update={"spec": spec, "run_id": spec.run_id})
    loaded = load_plugins()
    torch.manual_seed(3)
    chain = loaded.backbones[name].build(2).eval()
    weights = tmp_path / f"{spec.run_id}.safetensors"
    safetensors.torch.save_file(chain.state_dict(), weights, metadata={"run_id": spec.run_id})
    made_of = export(KeptRun(run, tmp_path), loaded, tmp_path / "out")
    assert made_of.library == "torchvision"
    network = torchvision.models.get_model(name, num_classes=2).eval()
    tensors = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    network.load_state_dict(tensors, strict=True)
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(network(inputs), chain(inputs), rtol=0, atol=1e-5)
    assert {t.dtype for t in tensors.values()} <= {torch.float32, torch.int64}
    shutil.rmtree(tmp_path)


def test_low_rank_updates_are_merged_and_another_architecture_is_refused(made, tmp_path):
    plugins = load_plugins([TOY, str(PLUGIN)])
    _, run = record_of(made / "adapted", "low-rank", 0)
    kept = KeptRun(run, made / "adapted" / "weights")
    assert export(kept, plugins, tmp_path / "out").library == ""
    tensors = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    state = safetensors.torch.load_file(kept.weights / f"{run.run_id}.safetensors")
    names = plugins.backbones["toy"].build(2).state_dict()
    assert tensors.keys() == state.keys() == names.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in names)
    given = ("-p", PLUGIN, "own/toy/longer", "--results", made / "adapted")
    done = Cli((TOY,))("export", *given, "--out", tmp_path / "no", exit_code=2)
    assert "strategy 'longer' changed the architecture of toy" in done.output
    assert not (tmp_path / "no").exists()


def test_weights_that_were_kept_before_updates_were_merged_are_merged_now(made, tmp_path):
    plugins = load_plugins([TOY, str(PLUGIN)])
    _, run = record_of(made / "adapted", "low-rank", 0)
    adapted = plugins.strategies["low-rank"]().adapt(
        plugins.backbones["toy"].build(2), torch.Generator().manual_seed(4)
    )
    with torch.no_grad():
        for name, tensor in adapted.named_parameters():
            tensor.add_(0.1 * name.endswith(".b"))
    file = tmp_path / f"{run.run_id}.safetensors"
    state = adapted.state_dict()
    safetensors.torch.save_file(state, file, metadata={"run_id": run.run_id})
    export(KeptRun(run, tmp_path), plugins, tmp_path / "out")
    tensors = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    part = "stem.conv.parametrizations.weight"
    update = (state[f"{part}.0.b"] @ state[f"{part}.0.a"]).view_as(state[f"{part}.original"])
    assert update.abs().max() > 0
    assert torch.equal(tensors["stem.conv.weight"], state[f"{part}.original"] + update)
    assert not [name for name in tensors if "parametrizations" in name]


def test_the_card_says_what_was_measured_on_how_much(made, tmp_path):
    _, run = record_of(made / "real", "full-ft", 0)
    test = {"balanced-accuracy": MetricValue(value=0.8125)}
    test["macro-f1"] = MetricValue(value=None, reason="no sample")
    chosen = {"balanced-accuracy": MetricValue(value=0.25)}
    found = {"metrics": run.metrics | test, "validation": run.validation | chosen}
    run = run.model_copy(update=found)
    export(KeptRun(run, made / "real" / "weights"), load_plugins(), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "other"
    assert front["library_name"] == "torchvision"
    assert "| balanced-accuracy | 0.8125 | 0.2500 |" in text
    assert "| macro-f1 | undefined: no sample | " in text
    tests = sum(run.data.counts["test"].values())
    assert f"{tests} test and " in text
    for part in ("from random weights", "bright, dark", "seed 0", "torchvision.models.get_model"):
        assert part in text
    for heading in ("Use", "Data", "Licence", "Figures", "Settings", "Limits"):
        assert f"\n## {heading}\n" in text
    assert "protocol.lr | 0.01" in text
    assert str(Path.home()) not in text
    assert str(made) not in text
    assert "other epochs than its suite asks for" in text


def test_the_example_of_the_card_runs(made, tmp_path, monkeypatch):
    _, run = record_of(made / "real", "full-ft", 0)
    export(KeptRun(run, made / "real" / "weights"), load_plugins(), tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    code = (tmp_path / "out/README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {}
    exec(compile(code, "card", "exec"), names)
    assert not names["network"].training
    with torch.no_grad():
        assert names["network"](torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_several_runs_and_folders_that_hold_something_are_refused(made, tmp_path):
    given = ("own/resnet50/full-ft", "--results", made / "real")
    done = Cli((TOY,))("export", *given, "--out", tmp_path / "a", exit_code=2)
    assert "choose one with --seed (there are: 0, 1)" in done.output
    (tmp_path / "kept.txt").write_text("mine")
    done = Cli((TOY,))("export", *given, "--seed", 0, "--out", tmp_path, exit_code=2)
    assert "not empty" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_a_backbone_of_timm_gets_timms_names(made, tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed (extra `timm`)")
    from collections import OrderedDict

    from torch import nn

    from harness import Backbone, hookimpl

    class OfTimm(Backbone):
        name: str = "timm.resnet10t"
        stages: tuple[str, ...] = ("stem", "layer1", "layer2", "layer3", "layer4", "head")

        def build(self, classes):
            whole = timm.create_model("resnet10t", num_classes=classes)
            parts = {
                "stem": ("conv1", "bn1", "act1", "maxpool"),
                "head": ("global_pool", "fc"),
            }
            return nn.Sequential(
                OrderedDict(
                    (
                        stage,
                        nn.Sequential(OrderedDict((n, getattr(whole, n)) for n in parts[stage])),
                    )
                    if stage in parts
                    else (stage, getattr(whole, stage))
                    for stage in self.stages
                )
            )

        def published_name(self, name):
            return name.removeprefix("stem.").removeprefix("head.")

    class Plugin:
        @hookimpl
        def harness_backbones(self):
            return [OfTimm()]

    loaded = load_plugins([Plugin()])
    _, run = record_of(made / "real", "full-ft", 0)
    spec = run.spec.model_copy(update={"backbone": "timm.resnet10t"})
    run = run.model_copy(update={"spec": spec, "run_id": spec.run_id})
    chain = OfTimm().build(2).eval()
    weights = tmp_path / f"{spec.run_id}.safetensors"
    safetensors.torch.save_file(chain.state_dict(), weights, metadata={"run_id": spec.run_id})
    assert export(KeptRun(run, tmp_path), loaded, tmp_path / "out").library == "timm"
    network = timm.create_model("resnet10t", num_classes=2).eval()
    tensors = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    network.load_state_dict(tensors, strict=True)
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(network(inputs), chain(inputs), rtol=0, atol=1e-5)


def test_record_files_name_a_run(made, tmp_path):
    path = next(p for p in runs(made / "real") if RunResult.model_validate_json(p.read_bytes()))
    Cli((TOY,))("export", path, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["run_id"] == path.stem

"""Networks of timm at toy sizes: against timm's own forward pass, and in the hands of strategies.

The oracle is `timm.create_model` with the same seed; nothing of `harness_timm.chain` is asked.
"""

import hashlib
import json
import runpy
from functools import cache
from pathlib import Path

import hub_server
import numpy as np
import pytest
import timm
import torch
from command import Cli, python
from hub_server import Repo
from places import DOCS, TOY
from safetensors.torch import load_file, save, save_file
from winner import record_of, write_images

from harness import Access, UsageError, WeightsError
from harness.data import requirements as starting
from harness.data.fetch import fetch_weights
from harness.engine import predict_images
from harness.inference.predictions import predict
from harness.inference.sources import decode, list_files
from harness.inference.tested import find_tested
from harness.plugins.registry import load_plugins
from harness.testing import check_backbone
from harness.testing.toys import toy_images, toy_start
from harness.testing.training import _Frozen
from harness.testing.trial import StrategyCase
from harness.weights import find_weights, load_weights
from harness.weights.starts import read_starts
from harness_timm import timm_backbone

SMALL = {
    "resnet18": {"layers": (1, 1, 1, 1), "channels": (4, 6, 8, 10)},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (4, 6, 8, 10)},
    "test_efficientnet": {},
    "densenet121": {"growth_rate": 2, "block_config": (1, 2, 1, 1)},
    "vit_tiny_patch16_224": {"img_size": 32, "embed_dim": 12, "depth": 2, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {
        "img_size": 32, "embed_dim": 8, "depths": (1, 2), "num_heads": (1, 2), "window_size": 4,
    },
}  # fmt: skip
STAGES = {
    "resnet18": "stem stage1 stage2 stage3 stage4 head",
    "convnext_atto": "stem stage1 stage2 stage3 stage4 head",
    "test_efficientnet": "stem stage1 stage2 stage3 stage4 stage5 head",
    "densenet121": "stem stage1 stage2 stage3 stage4 head",
    "vit_tiny_patch16_224": "embed block1 block2 head",
    "swin_tiny_patch4_window7_224": "stem stage1 stage2 head",
}
STRATEGIES = load_plugins(environ={"HARNESS_NO_AUTOLOAD": "1"}).strategies


@cache
def made(name):
    return timm_backbone(name, **SMALL[name])


@pytest.fixture(params=SMALL)
def network(request):
    return made(request.param)


def own(backbone, classes=3, seed=5):
    """timm's network, float64, and the chain, drawn alike."""
    torch.manual_seed(seed)
    plain = timm.create_model(backbone.network, num_classes=classes, **dict(backbone.arguments))
    torch.manual_seed(seed)
    return plain.double(), backbone.build(classes).double()


def images(count=4, side=32):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, side, side, dtype=torch.float64, generator=rng)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_chain_computes_what_timm_does(network, mode):
    plain, chain = own(network)
    logits, gradients = [], []
    for model in (plain, chain):
        model.train(mode == "train")
        torch.manual_seed(2)
        logits.append(model(images()))
        logits[-1].square().sum().backward()
        gradients.append(
            {
                network.published_name(n) if model is chain else n: p.grad
                for n, p in model.named_parameters()
            }
        )
    torch.testing.assert_close(*logits, rtol=0, atol=1e-12)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=1e-12)


def test_a_network_starts_from_timms_own_file_on_the_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    torch.manual_seed(7)
    theirs = timm.create_model("test_convnext", num_classes=1000)
    hub = hub_server.running()
    commit = "c" * 40
    # As timm names it: `timm.get_pretrained_cfg("test_convnext").hf_hub_id`.
    hub.reset({
        "timm/test_convnext.r160_in1k": Repo(commit, {commit: {"model.safetensors": save(theirs.state_dict())}})
    })  # fmt: skip
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    backbone = timm_backbone("test_convnext")
    assert backbone.weights.name == "r160_in1k"
    access = Access(cache=tmp_path / "cache", lock=tmp_path / "harness.lock")
    with pytest.raises(WeightsError, match=r"data fetch --backbones timm\.test_convnext"):
        starting.find_weights([backbone], None, access)
    assert fetch_weights(backbone, access).revision == commit
    away = Access(cache=tmp_path / "cache", lock=tmp_path / "harness.lock", offline=True)
    found = starting.find_weights([backbone], None, away, read_starts(["imagenet", "none"]))
    start = load_weights(backbone, 3, found[f"{backbone.name}@imagenet"])
    assert start.record.new == ()
    assert start.record.source == f"hf://timm/test_convnext.r160_in1k@{commit}/model.safetensors"
    state = theirs.state_dict()
    assert all(torch.equal(t, state[backbone.published_name(n)]) for n, t in start.state.items())
    # What `arguments` make of a network is another one, which has no file.
    assert all(made(name).weights is None for name in SMALL if SMALL[name])


def test_published_names_are_timms(network):
    plain, chain = own(network)
    named = {network.published_name(n): t for n, t in chain.state_dict().items()}
    theirs = plain.state_dict()
    assert named.keys() == theirs.keys()
    assert all(torch.equal(named[n], theirs[n]) for n in named)


def test_weights_in_timms_names_fill_all_but_the_head(network, tmp_path):
    plain, chain = own(network, classes=1000)
    save_file(plain.float().state_dict(), tmp_path / f"{network.name}.safetensors")
    found = load_weights(network, 3, find_weights(network, tmp_path, offline=True))
    assert found.record.new == ()
    layer = network.head_layer()
    wanted = {n: t.float() for n, t in chain.state_dict().items() if not n.startswith(f"{layer}.")}
    assert found.state.keys() == wanted.keys()
    assert all(torch.equal(found.state[n].float(), wanted[n]) for n in wanted)


def test_stages_are_those_of_the_network_and_the_head_is_one_linear_layer(network):
    assert " ".join(network.stages) == STAGES[network.network]
    chain = network.build(3)
    assert [n for n, _ in chain.head.named_parameters()] == [
        f"{network.head_layer().removeprefix('head.')}.{leaf}" for leaf in ("weight", "bias")
    ]


@pytest.mark.slow
def test_it_keeps_the_promises_of_a_backbone(network):
    check_backbone(network)


# All strategies on a transformer and on a convolutional network; the other pairs are like these.
EVERYWHERE = {"full-ft", "linear-probe", "gradual-first-last", "lora", "adapter"}
PAIRS = [
    pytest.param(
        which,
        name,
        id=f"{which}-{name}",
        marks=()
        if which in {"resnet18", "vit_tiny_patch16_224"} or name in EVERYWHERE
        else pytest.mark.nightly,
    )
    for which in SMALL
    for name in STRATEGIES
]


@pytest.mark.slow
@pytest.mark.parametrize(("which", "name"), PAIRS)
def test_every_strategy_trains_it_and_what_is_frozen_stays_to_the_bit(which, name):
    """`_Frozen` holds every tensor of stages that do not learn against its value before."""
    network = made(which)
    small = toy_images((6, 6, 6))
    large = small.__class__(
        small.classes,
        {split: np.kron(pixels, np.ones((1, 1, 4, 4), np.uint8)) for split, pixels in small.images.items()},
        small.labels, small.rows, small.record,
    )  # fmt: skip
    outcome = StrategyCase(STRATEGIES[name]).run(
        _Frozen(), backbone=network, images=large, epochs=2.0, batch_size=3, resize=32, crop=32
    )
    assert outcome.result.status == "ok"
    assert all(np.isfinite(logits).all() for logits in outcome.predictions.logits.values())
    before = start(network)
    moved = {n.split(".")[0] for n, t in before.items() if not torch.equal(t, outcome.state[n])}
    assert (outcome.state.keys() == before.keys()) == (name != "adapter")
    assert "head" in moved
    if name != "wise-ft":  # which may choose the probe
        assert (len(moved) > 1) == (name != "linear-probe")


def start(network):
    found = toy_start(network).state
    layer = network.head_layer()
    return {f"{layer}.weight": torch.zeros(()), f"{layer}.bias": torch.zeros(())} | {
        name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in found.items()
    }  # fmt: skip


# -- what timm says, and what cannot be used ----------------------------------------------------


def test_preprocessing_is_what_timm_declares():
    one = timm_backbone("resnet18.a1_in1k", **SMALL["resnet18"]).preprocessing
    assert (one.size, one.resize, one.multiple, one.bounds) == (224, 235, 32, (32, None))
    assert (one.interpolation, one.mean) == ("bicubic", (0.485, 0.456, 0.406))
    fixed = timm_backbone("vit_tiny_patch16_224", depth=1).preprocessing
    assert (fixed.size, fixed.resize, fixed.bounds) == (224, 248, None)
    assert fixed.mean == (0.5, 0.5, 0.5)


@pytest.mark.slow
def test_a_network_with_functions_of_its_own_between_its_modules_is_taken_as_a_whole():
    """EVA turns positions beside its tokens; GhostNet drops features by a function."""
    small = {"img_size": 28, "embed_dim": 24, "depth": 1, "num_heads": 2}
    for one in (timm_backbone("eva02_tiny_patch14_224", **small), timm_backbone("ghostnet_050")):
        assert one.stages == ("body", "head")
        plain, chain = own(one)
        given = images(side=one.preprocessing.nearest(32))
        torch.testing.assert_close(chain.eval()(given), plain.eval()(given), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("deit_tiny_distilled_patch16_224", "its classifier is a tuple, no linear layer"),
        ("resnetv2_50x1_bit", "its classifier is a Conv2d, no linear layer"),
        ("vit_tiny_patch16_225", "has no network .*; did you mean timm:vit_tiny_patch16_224"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(name, why):
    with pytest.raises(UsageError, match=why):
        timm_backbone(name)


def test_a_chain_that_computes_something_else_is_found_out(monkeypatch):
    from harness_timm import chain

    def shortened(model):
        found = chain.groups(model)
        found["stage4"].steps.pop(0)
        return found

    monkeypatch.setattr(chain, "LAYOUTS", {"groups": shortened})
    with pytest.raises(UsageError, match="groups: "):
        timm_backbone("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))


def test_the_code_that_makes_a_network_is_named():
    file = Path(timm.models.resnet.__file__)
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    found = timm_backbone("resnet18", **SMALL["resnet18"]).sources
    assert found == (("timm", timm.__version__), ("timm.models.resnet", expected))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "levit_128", "eva02_tiny_patch14_224"])
def test_rows_of_the_page_are_what_its_script_makes(name):
    made_now = runpy.run_path(str(DOCS / "timm_table.py"))["row"](name)
    assert made_now in (DOCS / "timm.md").read_text(encoding="utf-8").splitlines()


# -- by name ------------------------------------------------------------------------------------


TAGGED = "test_resnet.r160_in1k"
WITHOUT = """
import sys
sys.modules["timm"] = None
from harness.cli import cli
for args in {calls}:
    try:
        cli(["-p", "harness_timm", *args])
    except SystemExit as end:
        print("exit", end.code, file=sys.stderr)
"""


def without_timm(folder, *calls):
    """The output of `harness` for each call, one after another, where timm is not installed."""
    listed = [[*map(str, call)] for call in calls]
    done = python("-c", WITHOUT.format(calls=listed), cwd=folder, PYTHONPATH=str(Path(TOY).parent))
    return done.stdout, done.stderr


@pytest.mark.slow
def test_a_run_of_it_is_made_kept_made_again_and_read_without_timm(tmp_path):
    cli, out = Cli((TOY, "harness_timm")), tmp_path / "out"
    cli(
        "bench", "toy", "--backbones", f"timm:{TAGGED}", "--strategies", "linear-probe", "--save-weights",
        "--set", "protocol.crop=32", "--set", "protocol.resize=32", "--epochs", 1, "--jobs", 1,
        "--out", out,
    )  # fmt: skip
    (record,) = (out / "runs" / "toy-data" / f"timm.{TAGGED}" / "linear-probe").glob("*.json")
    found = json.loads(record.read_text())
    assert found["spec"]["backbone"] == f"timm.{TAGGED}"
    assert found["plugins"]["backbone"]["others"]["timm"] == timm.__version__
    assert found["plugins"]["backbone"]["source"] == found["spec"]["sources"]["backbone"]
    assert "every logit has the same bits" in cli("verify", out, "--replay", 1).output
    assert "reused if asked for" in cli("why", record.stem, "--results", out).output
    cli("export", record.stem, "--results", out, "--out", tmp_path / "network")
    assert json.loads((tmp_path / "network" / "config.json").read_text())["library"] == "timm"
    plain = timm.create_model(TAGGED, num_classes=3)
    plain.load_state_dict(load_file(tmp_path / "network" / "model.safetensors"))
    (out / "leaderboard.json").unlink()
    _, said = without_timm(tmp_path, ["board", out], ["-p", TOY, "verify", out])
    assert said.split() == ["exit", "0", "exit", "0"]
    board = json.loads((out / "leaderboard.json").read_text())
    assert board["tracks"][0]["blocks"][0]["backbone"] == f"timm.{TAGGED}"


@pytest.mark.slow
def test_low_rank_updates_of_a_transformer_from_a_folder_of_images_to_timms_own_network(tmp_path):
    """What is exported, and predicted from the kept weights, is what was tested: W + s B A."""
    images, out = write_images(tmp_path / "images"), tmp_path / "out"
    cli, name = Cli(("harness_timm", "harness_lora")), "test_vit"
    cli(
        "bench", "--data", f"mri:brain={images}", "--backbones", f"timm:{name}", "--weights", "none",
        "--strategies", "full-ft,lora,bitfit", "--limit", 16, "--epochs", 1, "--save-weights",
        "--set", "protocol.crop=160", "--set", "protocol.resize=160", "--jobs", 1, "--out", out,
    )  # fmt: skip
    board = json.loads((out / "leaderboard.json").read_text())
    assert {run["strategy"] for run in board["runs"]} == {"full-ft", "lora", "bitfit"}
    path, run = record_of(out, "lora", 0)
    assert run.cost.trainable < 0.3 * record_of(out, "full-ft", 0)[1].cost.trainable
    wanted = load_file(path.with_suffix(".safetensors"))["test.logits"]
    split = json.loads((out / run.data.split_file).read_text())
    rows = load_file(path.with_suffix(".safetensors"))["test.rows"].tolist()
    files = [str(images / split["samples"][row]["id"]) for row in rows]
    found = predict(find_tested(run.run_id, out), list_files(files), load_plugins())
    assert np.array_equal(found.logits[run.run_id], wanted.numpy())
    cli("export", run.run_id, "--results", out, "--out", tmp_path / "network")
    plain = timm.create_model(name, num_classes=2).eval()
    plain.load_state_dict(load_file(tmp_path / "network" / "model.safetensors"))
    pixels = decode(files, run.spec.seen, run.data, tmp_path).images
    logits = predict_images(run.spec, plain, pixels, "cpu")
    np.testing.assert_allclose(logits, wanted.numpy(), rtol=0, atol=1e-5)
    kept = load_file(out / "weights" / f"{run.run_id}.safetensors")
    assert kept.keys() == timm_backbone(name).build(2).state_dict().keys()


@pytest.mark.slow
def test_without_timm_nothing_breaks_and_its_networks_are_refused_with_what_to_do(tmp_path):
    told, said = without_timm(
        tmp_path,
        ["list", "backbones"],
        ["plugins"],
        ["plugins", "check", "timm:resnet18"],
        ["bench", "demo", "--backbones", "timm:resnet18", "--dry-run"],
    )
    assert "resnet50-mini" in told
    assert [line for line in said.splitlines() if line.startswith("exit")] == [
        "exit 0", "exit 0", "exit 2", "exit 2",
    ]  # fmt: skip
    assert said.count("pip install 'finetune-harness[timm]'") == 2


def test_help_does_not_wait_for_timm(tmp_path):
    code = "import sys\nfrom harness.cli import cli\ntry:\n    cli(['-p', 'harness_timm', 'list'])\nfinally:\n"
    assert python("-c", f"{code}    print('timm' in sys.modules)", cwd=tmp_path).stdout.endswith(
        "False\n"
    )


def test_an_unknown_name_and_a_glob_are_told():
    cli = Cli((TOY, "harness_timm"))
    for name, said in (("timm:resnet81", "did you mean timm:resnet"), ("timm:*", "no network '*'")):
        done = cli("bench", "toy", "--backbones", name, "--dry-run", exit_code=2)
        assert said in done.output, done.output


def test_what_is_hung_on_one_stage_is_not_on_all():
    chain = timm_backbone("resnet18", **SMALL["resnet18"]).build(3).eval()
    seen = []
    chain.stage1.register_forward_hook(lambda *_: seen.append(1))
    chain(images().float())
    assert seen == [1]

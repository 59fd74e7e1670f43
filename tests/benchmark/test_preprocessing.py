"""Two networks with preprocessing of their own in one suite: what each sees, and what is kept."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from command import Cli
from places import TOY
from safetensors.numpy import load_file
from torchvision.transforms import v2
from toys import ToyBackbone

from harness import Access, Preprocessing, UsageError, hookimpl
from harness.benchmark.preview.dry_run import describe_plan
from harness.benchmark.request import BenchOptions, BenchRequest
from harness.benchmark.run import dry_run, run_benchmark
from harness.data import images
from harness.inference.predictions import predict
from harness.inference.sources import list_files
from harness.inference.tested import find_tested
from harness.plugins.registry import load_plugins

OWN = Preprocessing(
    mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.125), size=6, resize=7, interpolation="bicubic"
)
SEEN: list[torch.Tensor] = []


class Watched(ToyBackbone):
    """A toy network that keeps what it is given."""

    def build(self, classes):
        chain = super().build(classes)
        chain.stem.register_forward_pre_hook(lambda _, given: SEEN.append(given[0].detach()))
        return chain


class Offered:
    """A plugin of two networks; `declared`: of the first."""

    def __init__(self, declared=OWN):
        self.declared = declared

    @hookimpl
    def harness_backbones(self):
        return [
            Watched(name="own", preprocessing=self.declared),
            ToyBackbone(name="same-pixels", preprocessing=OWN.model_copy(update={"mean": None})),
        ]


REQUEST = BenchRequest(
    suite="toy", backbones=("own", "toy", "same-pixels"), strategies=("full-ft",),
    sets=("protocol.preprocessing=backbone",), epochs=1,
)  # fmt: skip
OPTIONS = BenchOptions(device="cpu", in_process=True)


def planned(request=REQUEST, declared=OWN):
    loaded = load_plugins([TOY, Offered(declared)])
    return {spec.backbone: spec for spec in dry_run(request, OPTIONS, loaded).plan.specs}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """(folder, cache) of a finished call."""
    place, cache = tmp_path_factory.mktemp("bench"), tmp_path_factory.mktemp("cache")
    loaded = load_plugins([TOY, Offered()])
    options = replace(OPTIONS, out=place, access=Access(cache=cache))
    result = run_benchmark(REQUEST, options, loaded, lambda _: None)
    assert not result.failed
    return place, cache


def by_hand(source):
    """float32 [3, 6, 6] of a file, by torchvision's own classes."""
    pixels = torch.from_numpy(np.ascontiguousarray(images.read(source)))
    cut = v2.Compose(
        [v2.Resize(7, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(6)]
    )(pixels)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OWN.mean, OWN.std))
    return (cut / 255 - mean) / std


def test_a_network_sees_the_images_that_it_declares(bench):
    dataset = load_plugins([TOY]).datasets["toy-data"]
    sources = [row["image"]["bytes"] for row in dataset.load(None)["train"]]
    expected = torch.stack([by_hand(one) for one in sources])
    batches = [one for one in SEEN if len(one) == 8 and not one.is_meta]  # not what a plan tries
    trained = torch.cat(batches[:3])  # 24 images
    assert trained.shape == expected.shape
    distance = (trained[:, None] - expected[None]).abs().flatten(2).amax(2)
    assert distance.min(1).values.max() < 1e-5
    assert sorted(distance.argmin(1).tolist()) == list(range(24))


def test_records_hold_the_resolved_values(bench):
    specs = {
        record["spec"]["backbone"]: record["spec"]
        for record in map(json.loads, (p.read_text() for p in bench[0].rglob("runs/**/*.json")))
    }
    assert "preprocessing" not in specs["toy"]
    assert specs["own"]["preprocessing"] == {
        "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.125], "size": 6, "resize": 7, "multiple": 1,
        "bounds": None, "interpolation": "bicubic", "grey": False,
    }  # fmt: skip
    assert {one["protocol"]["preprocessing"] for one in specs.values()} == {"backbone"}
    assert len({one["data"] for one in specs.values()}) == 1


def test_networks_that_differ_in_mean_alone_share_the_decoded_images(bench):
    entries = [json.loads(p.read_text()) for p in (bench[1] / "decoded").glob("*/entry.json")]
    found = sorted((one["crop"], one.get("interpolation", "bilinear")) for one in entries)
    assert found == [(6, "bicubic"), (8, "bilinear")]


def test_one_track_compares_them(bench):
    board = json.loads((bench[0] / "leaderboard.json").read_text())
    assert len(board["tracks"]) == 1
    assert {one["backbone"] for one in board["tracks"][0]["blocks"]} == {
        "own", "toy", "same-pixels",
    }  # fmt: skip


PLUGIN = """
from toys import ToyBackbone
from harness import Preprocessing, hookimpl

@hookimpl
def harness_backbones():
    own = Preprocessing(mean=(.5, .4, .3), std=(.25, .2, .125), size=6, interpolation="bicubic")
    return [ToyBackbone(name="own", preprocessing=own)]
"""


@pytest.mark.slow
def test_replay_and_predict_see_the_same_images(tmp_path):
    (tmp_path / "offered.py").write_text(PLUGIN)
    cli, out = Cli((TOY, str(tmp_path / "offered.py"))), tmp_path / "out"
    cli(
        "bench", "toy", "--backbones", "own", "--strategies", "full-ft", "--epochs", 1, "--jobs", 1,
        "--set", "protocol.preprocessing=backbone", "--save-weights", "--out", out,
    )  # fmt: skip
    assert "every logit has the same bits" in cli("verify", out, "--replay", 1).output
    (record,) = (out / "runs").rglob("*.json")
    stored = load_file(record.with_suffix(".safetensors"))["test.logits"]
    dataset = load_plugins([TOY]).datasets["toy-data"]
    for row in dataset.load(None)["test"]:
        (tmp_path / f"{row['id']}.png").write_bytes(row["image"]["bytes"])
    runs = find_tested(record.stem, out)
    found = predict(
        runs, list_files(sorted(map(str, tmp_path.glob("*.png")))), load_plugins(cli.plugins)
    )
    assert np.array_equal(found.logits[record.stem], stored)


def test_the_protocol_counts_by_default_whatever_is_declared():
    request = replace(REQUEST, sets=(), backbones=("own",))
    takes_all = OWN.model_copy(update={"bounds": (1, None)})
    with_it, without = planned(request, takes_all), planned(request, None)
    assert with_it["own"].run_id == without["own"].run_id
    assert with_it["own"].seen == with_it["own"].protocol


def test_the_plan_says_what_each_network_sees():
    text = describe_plan(dry_run(REQUEST, OPTIONS, load_plugins([TOY, Offered()])))
    assert "8 px or as each network declares" in text
    assert "  own: 6 px, cut from 7 (bicubic), mean 0.5 0.4 0.3, std 0.25 0.2 0.125\n" in text
    assert "  same-pixels: 6 px, cut from 7 (bicubic), mean 0.485 0.456 0.406, std" in text
    assert "  toy: 8 px" not in text


def test_a_backbone_that_declares_none_has_the_protocols_values():
    spec = planned(declared=None)["own"]
    assert spec.preprocessing is None
    assert spec.seen == spec.protocol
    assert spec.run_id != planned()["own"].run_id


def test_images_of_a_size_that_a_network_does_not_take_are_refused_before_anything_is_read():
    with pytest.raises(
        UsageError, match=r"own takes no images of 8 px.*nearest.*6.*preprocessing="
    ):
        planned(replace(REQUEST, sets=(), backbones=("own",)))

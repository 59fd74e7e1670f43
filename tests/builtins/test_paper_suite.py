"""The suite `paper-2024`: what it is, what it plans, and one run of it against a local Hub."""

import json
import re

import hub_server
import pytest
import torch
from command import python
from hub_server import Repo

from harness import Access, HubDataset, Protocol
from harness.data.lock import read
from harness.data.preparation.prepare import prepare_dataset
from harness.data.preparation.survey import survey_dataset
from harness.data.requirements import expected_images
from harness.plugins.registry import load_plugins
from harness_brain_tumor import BRAIN_TUMOR
from harness_chest_xray import CHEST_XRAY
from harness_ham10000 import HAM10000
from harness_hyper_kvasir import HYPER_KVASIR
from harness_nct_crc_he import NCT_CRC_HE

DATASETS = (CHEST_XRAY, BRAIN_TUMOR, NCT_CRC_HE, HAM10000, HYPER_KVASIR)
NAMES = [dataset.name for dataset in DATASETS]
BACKBONES = ("resnet50", "densenet121", "vgg19")
LIMITED = ["--limit", "8", "--epochs", "1", "--seeds", "684"]
SMALL = [*LIMITED, "--backbones", "resnet50", "--strategies", "linear-probe"]


@pytest.fixture(scope="module")
def suite():
    return load_plugins().suites["paper-2024"]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = hub_server.running()
    hub.reset(hub_server.tiny_repos())
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return hub


# -- what it is -------------------------------------------------------------------------------


def test_the_axes_are_those_of_the_study(suite):
    assert list(suite.datasets) == NAMES
    assert suite.backbones == BACKBONES
    assert len(set(suite.strategies)) == 8
    assert suite.seeds == (684, 559, 629)
    assert {load_plugins().datasets[name].modality for name in NAMES} == {
        *("xray", "mri", "histology", "dermoscopy", "endoscopy")
    }


def test_the_protocol_is_the_one_decided(suite):
    p = suite.protocol
    assert (p.optimizer, p.lr, p.weight_decay) == ("adam", 1e-3, 0.0)
    assert (p.batch_size, p.eval_batch_size, p.epochs, p.patience) == (96, 64, 30, 3)
    assert (p.schedule.kind, p.schedule.horizon, p.schedule.warmup) == ("cosine", 100, 0)
    assert (p.resize, p.crop, p.augment) == (232, 224, ())
    assert (p.metric, p.checkpoint, p.label_smoothing) == ("balanced-accuracy", "best", 0.0)
    for name in ("linear-probe", "lp-ft"):
        assert suite.settings[name] == {"head_scope": "classifier"}


def test_no_value_goes_without_its_source(suite):
    strategies = load_plugins().strategies
    declared = {
        f"{n}.{field}" for n in suite.strategies for field in getattr(strategies[n], "assumed", ())
    }
    set_here = {f"{name}.{field}" for name, values in suite.settings.items() for field in values}
    needed = set(Protocol.model_fields) - {"name"} | declared | set_here | {"seeds", "datasets"}

    assert needed <= set(suite.assumed)
    assert all(source.startswith("assumed: ") for source in suite.assumed.values())


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda one: one.name)
def test_the_datasets_are_declared_in_full(dataset):
    assert isinstance(dataset, HubDataset)
    assert dataset.classes
    assert dataset.licence != "unknown"
    assert dataset.citation
    assert dataset.problems
    assert dataset.images
    if dataset.splits == "official-test":
        assert set(dataset.files) == {"train", "test"}


# -- what it plans, with nothing here ---------------------------------------------------------


def test_a_plan_needs_no_data_and_downloads_nothing(hub, harness_cli):
    done = harness_cli("bench", "paper-2024", "--dry-run")

    assert "360 runs = 5 datasets x 3 backbones x 8 strategies x 3 seeds" in done.stdout
    assert "0 runs done, 360 to do" in done.stdout
    assert done.stdout.count(": 3 to run") == 5 * 3 * 8
    for dataset in DATASETS:
        assert f"data {dataset.name}: " in done.stdout
        assert dataset.licence in done.stdout
    size = sum(
        len(data)
        for path, data in hub.repos[HAM10000.repo].revisions[HAM10000.revision].items()
        if path.startswith("data/")
    )
    assert f"data ham10000: {size / 1000:.3g} kB, CC-BY-NC-4.0" in done.stdout
    assert "weights vgg19: 575 MB, terms of ImageNet-1k apply" in done.stdout
    assert hub.fetched() == []
    assert not (hub_folder() / "results").exists()


def test_half_of_the_training_set_is_a_variant_that_is_asked_for(hub, harness_cli):
    """As the authors' later code has it; the suite keeps all labels, and says that this is assumed."""
    suite = load_plugins().suites["paper-2024"]
    assert suite.labels == ()
    assert "--labels 50%" in suite.assumed["labels"]
    assert "not proven for the 2024 study" in suite.assumed["labels"]

    done = harness_cli("bench", "paper-2024", "--dry-run", "--offline", "--labels", "50%")

    assert "5 datasets x 3 backbones x 8 strategies x 3 seeds, 50% labels" in done.stdout


def hub_folder():
    from pathlib import Path

    return Path.cwd()


def test_offline_a_plan_asks_nothing_and_says_so(hub, harness_cli):
    done = harness_cli("bench", "paper-2024", "--dry-run", "--offline")

    assert "data ham10000: CC-BY-NC-4.0" in done.stdout
    assert "a size is missing where the Hub could not be asked" in done.stdout
    assert hub.requests == []


def test_what_is_locked_needs_no_hub_to_be_planned(hub, tmp_path, harness_cli):
    harness_cli("data", "fetch", "ham10000")
    hub.requests.clear()
    (place,) = (tmp_path / "cache").rglob("train-00000-of-00002-aaaa.parquet")
    size = place.stat().st_size
    place.unlink()
    done = harness_cli("bench", "paper-2024", "--dry-run", "--datasets", "ham10000")

    assert f"data ham10000: {size / 1000:.3g} kB, CC-BY-NC-4.0" in done.stdout
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached_is_asked_once(hub, monkeypatch, harness_cli):
    hub.files_left = 0
    done = harness_cli("bench", "paper-2024", "--dry-run")

    assert "data ham10000: CC-BY-NC-4.0" in done.stdout
    assert len(hub.requests) == 1


@pytest.mark.parametrize("backbone", BACKBONES)
def test_each_backbone_is_planned(hub, backbone, harness_cli):
    done = harness_cli(
        "bench", "paper-2024", "--dry-run", "--offline", *LIMITED, "--backbones", backbone
    )

    assert "40 runs = 5 datasets x 1 backbone x 8 strategies x 1 seed" in done.stdout
    assert f"weights {backbone}: not here" in done.stdout
    assert f"ham10000 / {backbone} / auto-rgn: 1 to run" in done.stdout


def test_the_gpu_time_is_what_the_rates_give(hub, suite, harness_cli):
    """The bound, worked out by hand for one dataset and backbone."""
    done = harness_cli(
        *("bench", "paper-2024", "--dry-run", "--offline", "--datasets", "hyper-kvasir"),
        *("--backbones", "densenet121", "--seeds", "684"),
    )
    train, validation, test = 8500, 1070, 1070
    seconds = 8 * (30 * (train + validation / 3) + test / 3) / 879
    found = re.search(r"GPU time: at most (\d+) min for 8 of 8 runs", done.stdout)

    assert float(found[1]) == pytest.approx(seconds / 60, abs=0.51)
    assert suite.rates_source in done.stdout
    assert "densenet121 879 images/s" in done.stdout


def test_expected_counts_follow_the_split_rules(suite):
    protocol = suite.protocol.model_copy(update={"validation_share": 0.15, "test_share": 0.2})

    def expected(dataset, limit=None):
        return expected_images(dataset, protocol, limit)

    assert expected(HYPER_KVASIR) == {"train": 8500, "validation": 1070, "test": 1070}
    assert expected(CHEST_XRAY) == {"train": 5232 - 785, "validation": 785, "test": 624}
    assert expected(HAM10000) == {"train": 10015 - 1502 - 2003, "validation": 1502, "test": 2003}
    assert expected(HAM10000, 8) == {"train": 8, "validation": 8, "test": 8}
    assert expected(HAM10000.model_copy(update={"images": {}})) is None
    assert expected_images(load_plugins().datasets["demo-xray"], protocol, None) is None


# -- what it refuses without data -------------------------------------------------------------


def test_one_message_names_all_that_is_missing_and_the_command(hub, harness_cli):
    done = harness_cli("bench", "paper-2024", exit_code=2)

    message = done.stderr
    assert message.count("harness: error") == 1
    for name in NAMES:
        assert f"  data {name}: " in message
    for name in BACKBONES:
        assert f"  weights {name}: " in message
    assert message.endswith("  harness data fetch --suite paper-2024\n")
    assert hub.requests == []
    assert not (hub_folder() / "results" / "paper-2024" / "plan.json").exists()


def test_a_part_of_it_is_fetched_by_name(hub, tmp_path, harness_cli):
    done = harness_cli(
        *("bench", "paper-2024", "--datasets", "ham*,chest*", "--backbones", "vgg19"),
        *("--lock", tmp_path / "my lock"),
        exit_code=2,
    )
    command = "harness data fetch ham10000 chest-xray-pneumonia --backbones vgg19"

    assert f"  {command} --lock '{tmp_path}/my lock'\n" in done.stderr


def test_with_own_weights_only_data_is_asked_for(hub, tmp_path, harness_cli):
    done = harness_cli(
        "bench", "paper-2024", "--weights", "none", "--datasets", "ham10000", exit_code=2
    )

    assert done.stderr.endswith("  harness data fetch ham10000\n")
    assert "weights" not in done.stderr


def test_weights_alone_are_asked_for_too(hub, harness_cli):
    done = harness_cli(
        "bench", "demo", "--backbones", "resnet50", "--datasets", "demo-mri", exit_code=2
    )

    assert "  weights resnet50: 103 MB, terms of ImageNet-1k apply" in done.stderr
    assert done.stderr.endswith("  harness data fetch --backbones resnet50\n")


def test_a_dataset_of_ones_own_place_says_where_it_is_from(hub, harness_cli):
    done = harness_cli(
        "bench", "demo", "--datasets", "cholec80", "--backbones", "resnet50-mini", exit_code=2
    )

    assert "data cholec80: get it from http://camma.u-strasbg.fr/datasets" in done.stderr
    assert "--data cholec80=PATH" in done.stderr
    assert "harness data fetch" not in done.stderr


def test_an_unpinned_dataset_without_a_lock_is_refused(hub, harness_cli):
    harness_cli("data", "fetch", BRAIN_TUMOR.name)
    (hub_folder() / "harness.lock").unlink()
    done = harness_cli(
        "bench", "paper-2024", "--datasets", BRAIN_TUMOR.name, "--weights", "none", exit_code=2
    )

    assert "unpinned: fetching settles harness.lock" in done.stderr


@pytest.mark.slow
def test_a_survey_is_what_preparing_gives(hub, tmp_path, harness_cli):
    harness_cli("data", "fetch", *NAMES)
    access = Access(cache=tmp_path / "cache", lock=tmp_path / "harness.lock")
    protocol = Protocol(name="test", resize=16, crop=16)
    for dataset in DATASETS:
        before = survey_dataset(dataset, protocol, access, limit=8)
        made = prepare_dataset(dataset, protocol, access, limit=8)
        after = survey_dataset(dataset, protocol, access, limit=8)

        assert before.counts == {s: len(rows) for s, rows in made.images.labels.items()}
        assert before.fingerprint == after.fingerprint == made.fingerprint
        assert (before.decoded, after.decoded) == (False, True)


# -- one run of it ----------------------------------------------------------------------------

WITHOUT_NETWORK = """
import sys

def forbid(event, args):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and args[1][0] != "/"):
        raise RuntimeError(f"the network was used: {event} {args}")

sys.addaudithook(forbid)
from harness.cli import main
main()
"""


def made_weights(folder):
    """A weights file of ResNet-50 with made-up tensors."""
    from safetensors.torch import save_file

    backbone = load_plugins().backbones["resnet50"]
    with torch.device("meta"):
        chain = backbone.build(1000)
    rng = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in chain.state_dict().items():
        if tensor.is_floating_point():
            made = torch.randn(tensor.shape, generator=rng) * 0.02
            state[backbone.published_name(name)] = made.abs() if "running_var" in name else made
    folder.mkdir()
    save_file(state, folder / "resnet50.safetensors")


@pytest.mark.slow
def test_the_suite_runs_from_end_to_end(hub, tmp_path, harness_cli):
    """Fetch from the Hub, then everything without a network: plan, run, board, plan again."""
    made_weights(tmp_path / "weights")
    harness_cli("data", "fetch", *NAMES)
    hub.requests.clear()
    call = ["bench", "paper-2024", *SMALL, "--weights", "weights", "--in-process", "--offline"]
    call += ["--set", "protocol.resize=72", "--set", "protocol.crop=64"]  # an eighth of the time
    alone = {"HARNESS_NO_AUTOLOAD": "1", "HARNESS_PLUGINS": ""}
    done = python("-c", WITHOUT_NETWORK, *call, cwd=tmp_path, **alone)

    assert hub.requests == []
    assert "5 runs made, 0 were there already" in done.stdout
    results = [
        json.loads(path.read_text())
        for path in sorted((tmp_path / "results/paper-2024/runs").rglob("*.json"))
    ]
    assert {(r["spec"]["dataset"], r["spec"]["strategy"]) for r in results} == {
        (name, "linear-probe") for name in NAMES
    }
    revisions = {
        name: one.revision for name, one in read(tmp_path / "harness.lock").datasets.items()
    }
    for result in results:
        assert result["status"] == "ok"
        assert result["metrics"]["balanced-accuracy"]["value"] is not None
        assert result["spec"]["settings"]["head_scope"] == "classifier"
        assert result["data"]["revision"] == revisions[result["spec"]["dataset"]]
    board = json.loads((tmp_path / "results/paper-2024/leaderboard.json").read_text())
    assert "Assumed values" in (tmp_path / "results/paper-2024/leaderboard.md").read_text()
    assert {value["field"] for value in board["assumed"]} >= {"lr", "seeds", "lp-ft.head_scope"}

    again = harness_cli(*call, "--dry-run")
    assert "5 runs done, 0 to do" in again.stdout
    assert again.stdout.count("; decoded") == 5
    assert "nothing to run" in again.stdout


def test_a_renamed_column_ends_the_call_before_any_training(hub, tmp_path, harness_cli):
    import datasets

    made = hub_server.parquet(
        [
            {"image": {"bytes": hub_server.picture(0, n), "path": "x.jpg"}, "diagnosis": "melanoma"}
            for n in range(3)
        ],
        diagnosis=datasets.Value("string"),
    )
    names = ("train", "validation", "test")
    files = {f"data/{name}-00000-of-00001.parquet": made for name in names}
    hub.repos[HAM10000.repo] = Repo.of(files, HAM10000.revision)
    harness_cli("data", "fetch", "ham10000")
    done = harness_cli(
        "bench", "paper-2024", "--datasets", "ham10000", "--weights", "none", exit_code=2
    )

    assert "has no column dx, image_id, lesion_id; it has image, diagnosis" in done.stderr
    assert "Traceback" not in done.output

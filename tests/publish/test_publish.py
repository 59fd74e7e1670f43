"""Files that leave the machine: everything anybody needs to check a board, and nothing private."""

import errno
import hashlib
import hmac
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import huggingface_hub
import numpy as np
import places
import pytest
import yaml
from command import Cli
from fake_hub_upload import FakeHub
from huggingface_hub import DatasetCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from hypothesis import assume, given
from hypothesis import strategies as st
from made import made_data, made_plan, made_product, made_spec
from PIL import Image
from places import DOCS
from safetensors.numpy import load_file

from harness.api.records import DataRecord, RunResult
from harness.cli.session import modules
from harness.errors import StoreError
from harness.leaderboard import build, statistics
from harness.publish import card
from harness.results.merge import opened
from harness.results.privacy import KEY_FILE, Scrubber, folder_key, hub_id, is_public

pytestmark = pytest.mark.slow

TOY = Path(places.TOY)
# What stays here: planted in ids, groups, paths, messages and settings of the runs below.
PATIENTS = ("Meier-Anna", "Schulz-Bert")
USER = "kowalskaj"
HOME = f"/home/{USER}"
SECRETS = (
    *PATIENTS,
    USER,
    "4711-0815",
    "ward 7",
    "teacher.pt",
    "scan_",
    "lesion_",
    "/home",
    "/mnt",
    'plugin.py\\", line',  # of a traceback, as JSON writes it
)

# `careless` fails and says all it knows; `taught` has a path among its settings.
PLUGIN = """
from harness import Phase, Strategy, hookimpl

class Careless(Strategy):
    name = "careless"
    teacher: str = "/mnt/ward 7/teacher.pt"

    def phases(self, model, epochs):
        raise ValueError(
            "cannot read {home}/ward 7/{patient}/scan_1.png of {user} "
            "(group 4711-0815, no/{patient}/scan_1.png)"
        )
        yield

class Taught(Strategy):
    name = "taught"
    teacher: str = "/mnt/ward 7/teacher.pt"
    others: dict[str, str] = {{"more": "~/ward 7/teacher.pt"}}

    def phases(self, model, epochs):
        yield Phase("all", epochs, {{"*": 1.0}})

@hookimpl
def harness_strategies():
    return [Careless, Taught]
"""


def images(folder):
    """Twelve images a class, two patients in each split, all in the names and in the manifest."""
    rng = np.random.default_rng(0)
    lines = ["file,group"]
    for label in ("no", "yes"):
        for number in range(12):
            patient = PATIENTS[number % 2]
            file = f"{label}/{patient}/scan_{number}.png"
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / file)
            lines.append(f"{file},4711-0815 {patient} lesion_{label}{number}")
    labels = [f"{line},{line.split('/')[0]}" for line in lines[1:]]
    (folder / "manifest.csv").write_text("\n".join(["file,group,label", *labels]) + "\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Runs on own images and on drawn ones: finished, limited, failed."""
    root = tmp_path_factory.mktemp("publish")
    images(root / "ward 7")
    text = PLUGIN.format(home=HOME, user=USER, patient=PATIENTS[0])
    (root / "plugin.py").write_text(text)
    data = ("--data", f"mri:mine={root / 'ward 7'}", "-p", root / "plugin.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGNAME", USER)
        strategies = ("--strategies", "full-ft,taught,careless")
        out = ("--out", root / "out", "--in-process")
        Cli((places.TOY,))("bench", "toy", *data, *strategies, *out, exit_code=1)
        Cli((places.TOY,))("bench", "toy", *data, "--strategies", "full-ft", "--limit", 4, *out)
    (root / "out" / "data-audit.html").write_text(f"<img> {PATIENTS[0]}")
    (root / "out" / "weights").mkdir()
    (root / "out" / "weights" / "x.safetensors").write_bytes(b"weights")
    return root


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", USER)
    shutil.copytree(finished / "out", tmp_path / "r")
    return tmp_path / "r"


@pytest.fixture
def public(folder, tmp_path, toy_cli):
    toy_cli("publish", folder, "--to", tmp_path / "public")
    return tmp_path / "public"


def key_of(folder):
    return bytes.fromhex((folder / ".key").read_text())


def pseudonym(key, dataset, name):
    """The first 64 bits of the HMAC-SHA256 of an id: what privacy promises."""
    found = hmac.new(key, f"{dataset}/{name}".encode(), hashlib.sha256).hexdigest()
    return f"anon-{found[:16]}"


def inside(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def records(folder, place="runs"):
    found = (json.loads(path.read_text()) for path in sorted((folder / place).rglob("*.json")))
    return {(r["spec"]["dataset"], r["spec"]["strategy"], r["spec"]["limit"]): r for r in found}


def test_the_secrets_are_in_the_original(folder, finished):
    """Or the tests below would find nothing whatever happened."""
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for secret in (*SECRETS, str(finished)):
        assert secret.encode() in everything, secret


def test_no_id_no_path_no_name_leaves(public, folder, finished):
    forbidden = (*SECRETS, str(finished), str(folder))
    for name in inside(public):
        content = (public / name).read_bytes()
        for secret in forbidden:
            assert secret.encode() not in content, f"{secret} in {name}"
            assert secret not in name
    key = (folder / KEY_FILE).read_text().strip()
    assert all(key.encode() not in (public / name).read_bytes() for name in inside(public))


def test_only_what_is_listed_leaves(public):
    tops = {name.split("/")[0] for name in inside(public)}

    assert tops >= {"README.md", "plan.json", "runs", "splits", "failed", "manifest.json"}
    boards = {name for name in tops if name.startswith("leaderboard.")}
    assert boards >= {"leaderboard.md", "leaderboard.csv", "leaderboard.json"}
    assert tops <= boards | {
        "README.md", "plan.json", "runs", "splits", "failed", "manifest.json",
    }  # fmt: skip
    sums = json.loads((public / "manifest.json").read_text())["files"]
    assert sums == {
        name: hashlib.sha256((public / name).read_bytes()).hexdigest()
        for name in inside(public)
        if name != "manifest.json"
    }


def test_what_was_published_holds(public, toy_cli):
    done = toy_cli("verify", public, "--json")

    report = json.loads(done.stdout)
    assert (report["runs"], report["failed"]) == (6, 2)
    assert report["figures"] == 6 * 9 * 2
    assert list(report["not_checked"].values()) == [1]
    assert "which images a limit took" in next(iter(report["not_checked"]))


def test_a_changed_logit_in_what_was_published_is_found(public, toy_cli):
    path = next((public / "runs" / "mine").rglob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))

    toy_cli("verify", public, exit_code=1)


def by_sample(folder, record, split):
    """Sample id -> (label, logits), from the files alone."""
    splits = json.loads((folder / record["data"]["split_file"]).read_text())["samples"]
    spec = record["spec"]
    place = folder / "runs" / spec["dataset"] / spec["backbone"] / spec["strategy"]
    stored = load_file(place / record["predictions"]["file"])
    rows = stored[f"{split}.rows"].tolist()
    assert rows == sorted(rows)
    return {
        splits[row]["id"]: (splits[row]["label"], logits.tolist())
        for row, logits in zip(rows, stored[f"{split}.logits"], strict=True)
    }


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("limit", [None, 4])
def test_every_prediction_is_still_that_of_its_sample(folder, public, split, limit):
    """With the key, which stays here, each sample is found again."""
    key = key_of(folder)
    was = by_sample(folder, records(folder)["mine", "full-ft", limit], split)
    now = by_sample(public, records(public)["mine", "full-ft", limit], split)

    assert {pseudonym(key, "mine", name): found for name, found in was.items()} == now
    assert list(was) != list(now)


def test_the_order_of_samples_does_not_tell_which_is_which(folder, public):
    key = key_of(folder)
    was = json.loads((folder / "splits" / "mine.json").read_text())["samples"]
    now = json.loads((public / "splits" / "mine.json").read_text())["samples"]
    new = {pseudonym(key, "mine", one["id"]): one for one in was}

    assert [one["id"] for one in now] == sorted(new)
    for one in now:
        old = new[one["id"]]
        assert (one["label"], one["split"]) == (old["label"], old["split"])
        assert one["group"] == pseudonym(key, "mine", old["group"])
    assert len({one["group"] for one in now}) == len({one["group"] for one in was})


def test_drawn_images_keep_their_ids_and_their_bytes(folder, public):
    assert (public / "splits" / "toy-data.json").read_bytes() == (
        folder / "splits" / "toy-data.json"
    ).read_bytes()
    paths = sorted((folder / "runs" / "toy-data" / "toy" / "full-ft").glob("*.safetensors"))
    assert len(paths) == 2  # a limited run and a whole one
    for path in paths:
        twin = public / path.relative_to(folder)
        assert twin.read_bytes() == path.read_bytes()


def test_figures_and_cost_are_those_of_the_original(folder, public):
    was, now = records(folder), records(public)

    assert now.keys() == was.keys()
    for key, record in now.items():
        for place in ("metrics", "validation", "cost", "history", "environment", "finished"):
            assert record[place] == was[key][place]


def test_a_path_among_settings_becomes_a_mark_and_the_run_id_follows(folder, public):
    was, now = (records(place)["mine", "taught", None] for place in (folder, public))
    settings = now["spec"]["settings"]

    assert re.fullmatch(r"<path-[0-9a-f]{16}>", settings["teacher"])
    assert re.fullmatch(r"<path-[0-9a-f]{16}>", settings["others"]["more"])
    assert settings["teacher"] != settings["others"]["more"]
    assert now["run_id"] != was["run_id"]
    assert now["run_id"] == RunResult.model_validate(now).spec.run_id
    plan = json.loads((public / "plan.json").read_text())["runs"]
    ids = {r["run_id"] for r in (*now_all(public), *records(public, "failed").values())}
    assert {line["run_id"] for line in plan} == ids


def now_all(public):
    return records(public).values()


def test_what_a_failed_run_said_is_withheld_where_images_are_private(public):
    failed = records(public, "failed")
    mine, toy = failed["mine", "careless", None], failed["toy-data", "careless", None]

    assert mine["error"]["kind"] == toy["error"]["kind"] == "ValueError"
    assert mine["error"]["traceback"] == ""
    assert mine["error"]["message"].startswith("withheld")
    assert toy["error"]["message"].startswith("cannot read <path>")
    assert "of <name>" in toy["error"]["message"]
    assert 'File "harness/' in toy["error"]["traceback"]
    assert 'File "<path>", line' in toy["error"]["traceback"]


def test_the_board_is_the_same_as_at_home(folder, public, toy_cli):
    toy_cli("board", folder)
    was, now = (json.loads((place / "leaderboard.json").read_text()) for place in (folder, public))
    rows = [[(row["value"], row["mean_rank"], row["ranked"]) for t in b["tracks"] for row in t["rows"]] for b in (was, now)]  # fmt: skip

    assert [ranked for *_, ranked in rows[0]] == [True, True, False, True]
    assert rows[0] == rows[1]


# -- the key ----------------------------------------------------------------------------------


def test_the_key_is_made_once_and_readable_by_its_owner_only(folder, public, tmp_path, toy_cli):
    path = folder / KEY_FILE
    before = path.read_bytes()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(before.decode())) == 32
    toy_cli("publish", folder, "--to", tmp_path / "again")
    assert path.read_bytes() == before
    splits = [
        (place / "splits" / "mine.json").read_bytes() for place in (public, tmp_path / "again")
    ]
    assert splits[0] == splits[1]


def test_another_folder_has_another_key(finished, folder, public, tmp_path, toy_cli):
    shutil.copytree(finished / "out", tmp_path / "other")
    toy_cli("publish", tmp_path / "other", "--to", tmp_path / "theirs")
    ids = [
        {one["id"] for one in json.loads((place / "splits" / "mine.json").read_text())["samples"]}
        for place in (public, tmp_path / "theirs")
    ]

    assert len(ids[0]) == len(ids[1]) == 24
    assert not ids[0] & ids[1]


def test_a_key_that_others_may_read_is_closed(folder, public):
    (folder / KEY_FILE).chmod(0o644)
    folder_key(folder)

    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "xyz", "00" * 31])
def test_a_damaged_key_is_refused(tmp_path, content):
    (tmp_path / KEY_FILE).write_text(content)
    with pytest.raises(StoreError, match="is damaged"):
        folder_key(tmp_path)


def test_what_was_published_is_published_again_as_it_is(public, tmp_path, toy_cli):
    toy_cli("publish", public, "--to", tmp_path / "again")

    for name in inside(public):
        if name.startswith(("runs/", "splits/", "plan")):
            assert (tmp_path / "again" / name).read_bytes() == (public / name).read_bytes()


# -- where it goes ----------------------------------------------------------------------------


def test_a_dry_run_tells_and_writes_nothing(folder, tmp_path, toy_cli):
    before = inside(folder)
    done = toy_cli("publish", folder, "--to", tmp_path / "public", "--dry-run")

    assert "6 runs, 2 failed) would go in" in done.stdout
    assert "ids replaced by keyed hashes: mine" in done.stdout
    assert "  runs/mine/toy/full-ft/" in done.stdout
    assert not (tmp_path / "public").exists()
    assert inside(folder) == before


def test_publishing_again_leaves_nothing_of_before(folder, public, toy_cli):
    shutil.rmtree(folder / "runs" / "toy-data" / "toy" / "taught")
    (public / "notes.txt").write_text("mine")
    toy_cli("publish", folder, "--to", public)

    assert len(list((public / "runs").rglob("*.json"))) == 5
    assert not list((public / "runs" / "toy-data" / "toy").rglob("taught/*"))
    assert (public / "notes.txt").exists()
    report = json.loads(toy_cli("verify", public, "--json", exit_code=1).stdout)
    assert {"completeness"} == {problem["check"] for problem in report["problems"]}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (".", "the results themselves lie there"),
        ("sub/folder", "the results themselves lie there"),
        ("..", "the results themselves lie there"),
        ("../other", "it holds something else"),
        ("../file", "it is a file"),
        ("hf://ORG/NAME", "write hf://datasets/ORG/NAME"),
        ("hf://datasets/NAME", "write hf://datasets/ORG/NAME"),
    ],
)
def test_a_target_that_cannot_be_one_is_refused(folder, target, told, toy_cli):
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "thesis.doc").write_text("precious")
    (folder.parent / "file").write_text("")
    place = target if target.startswith("hf:") else folder / target
    done = toy_cli("publish", folder, "--to", place, exit_code=2)

    assert told in done.stderr
    assert (folder.parent / "other" / "thesis.doc").read_text() == "precious"


def test_a_damaged_run_is_named_and_nothing_is_published(folder, tmp_path, toy_cli):
    path = next((folder / "runs").rglob("*.safetensors"))
    path.write_bytes(b"no")
    done = toy_cli("publish", folder, "--to", tmp_path / "public", exit_code=2)

    assert path.name in done.stderr
    assert not (tmp_path / "public").exists()


def test_public_ids_can_be_hidden_as_well(folder, tmp_path, toy_cli):
    assert "train-00" in (folder / "splits" / "toy-data.json").read_text()
    done = toy_cli("publish", folder, "--to", tmp_path / "public", "--hide", "toy-data")

    assert "ids replaced by keyed hashes: mine, toy-data" in done.stdout
    text = (tmp_path / "public" / "splits" / "toy-data.json").read_text()
    assert "train-00" not in text
    toy_cli("verify", tmp_path / "public")
    failed = records(tmp_path / "public", "failed")["toy-data", "careless", None]
    assert failed["error"]["message"].startswith("withheld")
    wrong = toy_cli("publish", folder, "--to", tmp_path / "x", "--hide", "toy-dat", exit_code=2)
    assert "did you mean 'toy-data'?" in wrong.stderr


def test_ids_that_anybody_may_know_can_be_shown(folder, tmp_path, toy_cli):
    done = toy_cli("publish", folder, "--to", tmp_path / "public", "--show", "mine")

    assert "ids replaced" not in done.stdout
    ours, theirs = (place / "splits" / "mine.json" for place in (folder, tmp_path / "public"))
    assert theirs.read_bytes() == ours.read_bytes()
    both = ("--show", "mine", "--hide", "mine")
    wrong = toy_cli("publish", folder, "--to", tmp_path / "x", *both, exit_code=2)
    assert "--hide and --show both name mine" in wrong.stderr


def test_a_contribution_is_held_against_the_split_files_of_a_board(folder, tmp_path, toy_cli):
    toy_cli("submit", folder, "--to", tmp_path / "shown.zip", "--show", "mine")
    done = toy_cli("verify", tmp_path / "shown.zip", "--reference", folder)
    assert "everything holds" in done.stdout

    toy_cli("submit", folder, "--to", tmp_path / "hashed.zip")
    done = toy_cli("verify", tmp_path / "hashed.zip", "--reference", folder, exit_code=1)
    told = [line for line in done.stdout.splitlines() if ": reference: " in line]
    assert told
    for line in told:  # drawn images, whose ids are public, are not among them
        assert line.startswith("runs/mine/")
        assert "pack it again with `harness submit --show mine`" in line

    other = tmp_path / "other"
    shutil.copytree(folder / "splits", other / "splits")
    path = other / "splits" / "mine.json"
    edited = json.loads(path.read_text()) | {"fingerprint": "0" * 64}
    path.write_text(json.dumps(edited))
    done = toy_cli("verify", tmp_path / "hashed.zip", "--reference", other, exit_code=1)
    assert "there are 1 of mine, all of other images, groups, labels or splits" in done.stdout
    (tmp_path / "empty").mkdir()
    done = toy_cli("verify", folder, "--reference", tmp_path / "empty", exit_code=2)
    assert "holds no split files" in done.stderr


def test_rows_of_a_third_party_join_a_board_and_are_compared_image_by_image(tmp_path, toy_cli):
    images(tmp_path / "ward 7")
    (tmp_path / "plugin.py").write_text(PLUGIN.format(home=HOME, user=USER, patient=PATIENTS[0]))
    own = ("--data", f"mri:mine={tmp_path / 'ward 7'}", "--datasets", "mine", "--jobs", 1)
    toy_cli("bench", "toy", *own, "--out", tmp_path / "reference")
    plugin = ("-p", tmp_path / "plugin.py", "--strategies", "taught")
    toy_cli("bench", "toy", *own, *plugin, "--out", tmp_path / "theirs")

    def differences(package):
        toy_cli("board", tmp_path / "reference", package, "--out", tmp_path / package.stem)
        board = json.loads((tmp_path / package.stem / "leaderboard.json").read_text())
        (track,) = board["tracks"]
        assert "taught" in {row["strategy"] for row in track["rows"] if row["ranked"]}
        return {one["row"].split()[0] for one in board["statistics"][track["id"]]["differences"]}

    toy_cli("submit", tmp_path / "theirs", "--to", tmp_path / "shown.zip", "--show", "mine")
    toy_cli("submit", tmp_path / "theirs", "--to", tmp_path / "hashed.zip")
    toy_cli("verify", tmp_path / "shown.zip", "--reference", tmp_path / "reference")
    assert "taught" in differences(tmp_path / "shown.zip")
    assert "taught" not in differences(tmp_path / "hashed.zip")


# -- the card ---------------------------------------------------------------------------------


def test_the_card_carries_the_hubs_metadata(public):
    loaded = DatasetCard.load(public / "README.md")
    data = loaded.data.to_dict()

    assert data["task_categories"] == ["image-classification"]
    assert data["configs"] == [{"config_name": "runs", "data_files": "leaderboard.csv"}]
    names = [model["name"] for model in data["model-index"]]
    assert names
    _, figures = model_index_to_eval_results(data["model-index"][:1])
    assert {figure.metric_type for figure in figures} == {"balanced-accuracy"}
    assert "no sample or group id of mine" in loaded.text
    assert "harness verify ." in loaded.text
    markdown = (public / "leaderboard.md").read_text().strip()
    assert markdown in loaded.text


def hub_board(**data):
    runs = made_product(["demo-mri"], ["resnet50-mini"], ["full-ft", "lp-ft"], seeds=(0, 1))
    hub = {"source": "https://huggingface.co/datasets/org/mri", "revision": "a" * 40}
    changed = [
        run.model_copy(update={"data": made_data(run.spec, procedural=False, **{**hub, **data})})
        for run in runs
    ]
    return build.build_leaderboard(changed, made_plan(changed)), changed


def test_datasets_of_the_hub_get_eval_results():
    parse = getattr(huggingface_hub, "parse_eval_result_entries", None)
    if parse is None:
        pytest.skip(f"huggingface_hub {huggingface_hub.__version__} reads no evaluation results")
    ranked, runs = hub_board()
    texts = card.write(ranked, [])
    entries = parse(yaml.safe_load(texts[".eval_results/demo-mri.yaml"]))

    mean = {
        name: np.mean(
            [r.metrics["balanced-accuracy"].value for r in runs if r.spec.strategy == name]
        )
        for name in ("full-ft", "lp-ft")
    }
    assert {entry.dataset_id for entry in entries} == {"org/mri"}
    assert {entry.dataset_revision for entry in entries} == {"a" * 40}
    found = {entry.notes.split(";")[0]: entry.value for entry in entries}
    assert found == pytest.approx(
        {f"resnet50-mini / {name}": value for name, value in mean.items()}
    )
    assert "revision: " + "a" * 40 in texts["README.md"]


@pytest.mark.parametrize("data", [{"revision": None}, {"source": ""}, {"source": "/mnt/x"}])
def test_other_datasets_get_none(data):
    ranked, _ = hub_board(**data)

    assert set(card.write(ranked, [])) == {"README.md"}


def test_limited_runs_are_no_results_of_a_dataset():
    runs = made_product(["demo-mri"], ["resnet50-mini"], ["full-ft"], spec={"limit": 4})
    text = card.write(build.build_leaderboard(runs, made_plan(runs)), [])["README.md"]

    assert DatasetCard(text).data.to_dict().get("model-index", []) == []


# -- texts ------------------------------------------------------------------------------------


def test_which_ids_are_public():
    def data(**changes):
        return DataRecord.model_validate(
            {**made_data(made_spec()).model_dump(), "procedural": False, **changes}
        )

    hub = {"source": "https://huggingface.co/datasets/org/name", "revision": "0" * 40}
    assert is_public(data(procedural=True))
    assert is_public(data(**hub))
    assert not is_public(data())
    assert not is_public(data(source=hub["source"]))
    assert not is_public(data(**{**hub, "revision": "main"}))
    assert not is_public(data(revision=hub["revision"], source="https://intranet/datasets/a/b"))
    assert hub_id(**hub) == "org/name"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("cannot read /home/u/My Data/x.png: bad", "cannot read <path> bad"),
        ("File '/home/u/My Data/x y.png'", "File '<path>'"),
        ('"C:\\Users\\u\\x.png" D:/data/x', '"<path>" <path>'),
        ("\\\\server\\share\\x ~/x ~u/y", "<path>"),
        ("file:///home/u/x", "<path>"),
        ("dir:/home/u", "dir:<path>"),
        ("/usr/lib/python3/site-packages/torch/nn/x.py", "<path>/torch/nn/x.py"),
        ("https://huggingface.co/datasets/a/b", "https://huggingface.co/datasets/a/b"),
        ("demo / resnet50 1/2 and/or n/a", "demo / resnet50 1/2 and/or n/a"),
        ("harness/engine/run.py", "harness/engine/run.py"),
        ("the patient a b/c d.png said", "the patient {a b/c d.png} said"),
        ("x/no/scan_1.png (group-77).", "x/{no/scan_1.png} ({group-77})."),
        ("no/SCAN_1.png, GROUP-77_best", "{no/scan_1.png}, {group-77}_best"),
        ("scan_1 or scan_1.png or scan_12", "{scan_1} or {scan_1.png} or scan_12"),
        ("group-777 and anna", "group-777 and <name>"),
        ("annas", "annas"),
        ("1 of p7, 4815 steps of 0.4815 at 4815.5", "1 of {p7}, {4815} steps of 0.4815 at 4815.5"),
        ("\u0130 Group-77", "\u0130 {group-77}"),
    ],
)
def test_texts_without_paths_ids_and_names(text, clean):
    ids = dict.fromkeys(("no/scan_1.png", "group-77", "a b/c d.png", "1", "p7", "4815"), "set")
    scrubber = Scrubber(b"k" * 32, ids, frozenset({"anna"}))

    def mark(found):
        return pseudonym(b"k" * 32, "set", found[1])

    assert scrubber.text(text) == re.sub(r"\{(.*?)\}", mark, clean)


ID = st.text(st.characters(categories=["L", "N", "Pd", "Zs"], include_characters="_./"), min_size=4)


@given(ID, st.sampled_from(["{}", "of {}.", "({})", "x={}", "a_{}_b", "fold {}, 2", "{}/y.png"]))
def test_no_id_survives_as_a_whole_token(name, frame):
    assume(any(map(str.isalpha, name)) and name == name.strip() and not name.startswith("/"))
    assume(name[-1].isalnum() and name[0].isalnum())
    assume(name.lower() not in {"train", "test", "valid", "validation"})
    text = Scrubber(b"k" * 32, {name: "set"}, frozenset()).text(frame.format(name))

    assert name.lower() not in text.lower()
    assert Scrubber(b"k" * 32, {name: "set"}, frozenset()).named(name) == "set"


def test_numbers_are_never_replaced():
    scrubber = Scrubber(b"k" * 32, {"4815": "set"}, frozenset())
    value = {"seed": 4815, "steps": [4815, 4815.0], "title": "of 4815"}
    mark = pseudonym(b"k" * 32, "set", "4815")

    assert scrubber.texts(value) == value | {"title": f"of {mark}"}
    assert scrubber.settings({"a": 4815, "b": {"4815": 4815}}) == {"a": 4815, "b": {mark: 4815}}


PATH = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), min_size=2, max_size=5)


@given(
    PATH, st.sampled_from(["at {} now", "'{}'", "({})", "{}", "path={}, x", 'File "{}", line 3'])
)
def test_no_absolute_path_survives(parts, frame):
    path = "/" + "/".join(parts)
    text = Scrubber(b"k" * 32).text(frame.format(path))

    assert path not in text
    assert "<path>" in text


# -- ids in every field -----------------------------------------------------------------------

PLANTED = """
from harness import Phase, Strategy, hookimpl

class Planted(Strategy):
    name = "planted"
    exclude: str = "no/Meier-Anna/scan_0.png"
    weights: dict[str, float] = {"Meier-Anna": 2.0}
    leave: tuple[str, ...] = ("4711-0815 Meier-Anna lesion_no0",)

    def phases(self, model, epochs):
        yield Phase("without_Meier-Anna", epochs, {"*": 1.0})

@hookimpl
def harness_strategies():
    return [Planted]
"""
PLANTED_SUITE = """
extends = "toy"
name = "toy-study"
title = "all but Meier-Anna"
description = "no/meier-anna/scan_0.png left out by kowalskaj"
notes = ["scan_0.png is blurred", "seen at /home/kowalskaj/ward 7"]
datasets = ["mine"]
strategies = ["planted"]

[data]
mine = "ward 7"

[assumed]
lr = "Meier-Anna's doctor"

[protocol]
name = "Meier-Anna protocol"
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    images(root / "ward 7")
    (root / "plugin.py").write_text(PLANTED)
    (root / "suite.toml").write_text(PLANTED_SUITE)
    given = ("-p", root / "plugin.py", "--out", root / "out", "--jobs", 1)
    Cli((places.TOY,))("bench", root / "suite.toml", *given)
    return root


def test_ids_in_settings_phases_and_suites_are_replaced(planted, tmp_path, toy_cli, monkeypatch):
    monkeypatch.setenv("LOGNAME", USER)
    given = ("-p", planted / "plugin.py")
    toy_cli(*given, "publish", planted / "out", "--to", tmp_path / "pub")
    toy_cli(*given, "submit", planted / "out", "--to", tmp_path / "sent.zip")
    with zipfile.ZipFile(tmp_path / "sent.zip") as archive:
        archive.extractall(tmp_path / "sent")
    for place in (tmp_path / "pub", tmp_path / "sent"):
        for path in (path for path in place.rglob("*") if path.is_file()):
            content = path.read_bytes().lower()
            for secret in (b"meier", b"4711-0815", b"scan_0", b"kowalskaj", b"ward 7"):
                assert secret not in content, path
    key = key_of(planted / "out")
    (path,) = (tmp_path / "pub" / "runs").rglob("*.json")
    spec = json.loads(path.read_text())["spec"]
    assert spec["settings"]["exclude"] == pseudonym(key, "mine", "no/Meier-Anna/scan_0.png")
    assert spec["settings"]["weights"] == {pseudonym(key, "mine", "Meier-Anna"): 2.0}
    toy_cli(*given, "verify", tmp_path / "pub")
    toy_cli(*given, "board", tmp_path / "sent.zip", "--format", "csv")


def test_an_id_that_cannot_be_replaced_stops_the_publication(planted, tmp_path, toy_cli):
    folder = tmp_path / "out"
    shutil.copytree(planted / "out", folder)
    plan = json.loads((folder / "plan.json").read_text())
    plan["suites"]["toy-study"]["strategies"] = ["no/Meier-Anna/scan_0.png"]
    (folder / "plan.json").write_text(json.dumps(plan))
    done = toy_cli("publish", folder, "--to", tmp_path / "pub", exit_code=2)

    assert "plan.json: suites.toy-study.strategies" in done.output
    assert "holds a sample or group id of dataset 'mine'" in done.output
    assert not (tmp_path / "pub").exists()


def test_ids_that_are_too_short_to_be_looked_for(planted, tmp_path, toy_cli):
    folder = tmp_path / "out"
    shutil.copytree(planted / "out", folder)
    path = folder / "splits" / "mine.json"
    splits = json.loads(path.read_text())
    splits["samples"][0]["group"] = "7"
    path.write_text(json.dumps(splits))
    done = toy_cli("publish", folder, "--to", tmp_path / "pub")

    assert "1 ids of mine are shorter than 4 characters" in done.output
    groups = [
        one["group"]
        for one in json.loads((tmp_path / "pub" / "splits" / "mine.json").read_text())["samples"]
    ]
    assert len(groups) == 24
    assert all(group.startswith("anon-") for group in groups)


# -- submitting -------------------------------------------------------------------------------


def test_packages_of_many_people_give_one_board_in_any_order(finished, folder, tmp_path, toy_cli):
    shutil.copytree(finished / "out", tmp_path / "theirs")
    shutil.rmtree(tmp_path / "theirs" / "runs" / "toy-data" / "toy" / "taught")
    packed = []
    for name, source in (("a", folder), ("b", tmp_path / "theirs")):
        packed.append(tmp_path / f"{name}.zip")
        toy_cli("submit", source, "--to", packed[-1])
    for out, order in (("one", packed), ("two", packed[::-1])):
        toy_cli("board", *order, "--out", tmp_path / out)
    for name in ("leaderboard.md", "leaderboard.json", "leaderboard.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for out, order in (("three", packed), ("four", packed[::-1])):
        folders = []
        for one in order:
            with zipfile.ZipFile(one) as archive:
                archive.extractall(tmp_path / out / one.stem)
            folders.append(tmp_path / out / one.stem)
            toy_cli("verify", folders[-1], exit_code=int(one.stem == "b"))
        toy_cli("board", *folders, "--out", tmp_path / out)
    first = (tmp_path / "one" / "leaderboard.json").read_bytes()
    assert (tmp_path / "three" / "leaderboard.json").read_bytes() == first
    assert (tmp_path / "four" / "leaderboard.json").read_bytes() == first


def test_a_package_holds_no_secret_either(folder, tmp_path, toy_cli):
    toy_cli("submit", folder, "--to", tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {"README.md", "plan.json", "manifest.json"} < set(archive.namelist())
        for name in archive.namelist():
            content = archive.read(name)
            assert not [one for one in SECRETS if one.encode() in content or one in name]


def test_equal_results_give_equal_packages(folder, tmp_path, toy_cli):
    for name in ("a.zip", "b.zip"):
        toy_cli("submit", folder, "--to", tmp_path / name)

    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_package_is_a_zip(folder, tmp_path, toy_cli):
    done = toy_cli("submit", folder, "--to", tmp_path / "a.tar", exit_code=2)

    assert "name a .zip file" in done.stderr


def full_disk(monkeypatch, place):
    """No file below a folder can be written any more."""
    sync, copy = os.fsync, shutil.copyfileobj

    def full(path):
        if Path(path).is_relative_to(place):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_sync(handle):
        full(Path(f"/proc/self/fd/{handle}").readlink())
        sync(handle)

    def no_copy(source, into, *more):
        full(getattr(into, "name", ""))
        copy(source, into, *more)

    monkeypatch.setattr(os, "fsync", no_sync)
    monkeypatch.setattr(shutil, "copyfileobj", no_copy)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.mark.parametrize("command", ["submit", "publish"])
def test_a_full_place_for_temporary_files_is_called_by_its_name(
    folder, tmp_path, temporary, monkeypatch, toy_cli, command
):
    full_disk(monkeypatch, temporary)
    done = toy_cli(command, folder, "--to", tmp_path / "a.zip", exit_code=2)
    assert f"lie in {temporary}; free some space there, or set TMPDIR" in done.stderr
    assert "--out" not in done.stderr
    assert not (tmp_path / "a.zip").exists()
    assert list(temporary.iterdir()) == []


def test_a_package_that_finds_no_space_to_be_unpacked_is_not_called_damaged(
    folder, tmp_path, temporary, monkeypatch, toy_cli
):
    toy_cli("submit", folder, "--to", tmp_path / "a.zip")
    full_disk(monkeypatch, temporary)
    done = toy_cli("board", tmp_path / "a.zip", "--format", "md", exit_code=2)
    assert "no space left" in done.stderr
    assert "set TMPDIR" in done.stderr
    assert "cannot read" not in done.stderr


@pytest.mark.parametrize(("command", "name"), [("submit", "out/a.zip"), ("publish", "out")])
def test_a_full_target_names_its_own_option(folder, tmp_path, monkeypatch, toy_cli, command, name):
    full_disk(monkeypatch, tmp_path / "out")
    done = toy_cli(command, folder, "--to", tmp_path / name, exit_code=2)
    assert "no space left" in done.stderr
    assert "with --to" in done.stderr
    assert "--out" not in done.stderr


def test_samples_that_cannot_be_paired_are_not_compared(folder, tmp_path, toy_cli):
    """Where ids were replaced, row 5 is another image than row 5 at home."""
    toy_cli("publish", folder, "--to", tmp_path / "public")
    shutil.rmtree(folder / "runs" / "mine" / "toy" / "taught")
    shutil.rmtree(tmp_path / "public" / "runs" / "mine" / "toy" / "full-ft")
    for place in (folder, tmp_path / "public"):
        (place / "plan.json").unlink()
    with opened([folder, tmp_path / "public"]) as store:
        ranked = build.build_leaderboard(store.results())
        found = statistics.add_statistics(ranked, store)
    (track,) = (one for one in ranked.tracks if one.limit is None)
    blocks = {one["block"] for one in found.statistics[track.id]["differences"]}

    assert {block.label for block in track.blocks} == {"mine / toy", "toy-data / toy"}
    assert blocks == {"toy-data / toy"}


# -- the Hub ----------------------------------------------------------------------------------


def to_hub(hub, folder, repo, token, tmp_path, *more):
    """In a process of its own: the client reads its settings when it is imported."""
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(TOY.parent),
    }
    call = [sys.executable, "-m", "harness", "-p", str(TOY), "publish", str(folder)]
    call += ["--to", f"hf://datasets/{repo}", *more]
    return subprocess.run(call, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def to_hub_here(tmp_path, monkeypatch, toy_cli):
    """The same in this process, a second each less, with the client's settings changed in place."""

    def call(hub, folder, repo, token, *more):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY"):
            monkeypatch.setattr(huggingface_hub.constants, name, True)
        env = {"HF_TOKEN": token, "NO_PROXY": "127.0.0.1"}
        target = f"hf://datasets/{repo}"
        return toy_cli("publish", folder, "--to", target, *more, exit_code=None, **env)

    huggingface_hub.close_session()  # one that was opened before knows other proxies
    yield call
    huggingface_hub.close_session()


def test_an_upload_makes_the_repository_hold_the_package(folder, public, tmp_path):
    with FakeHub({"ward/board"}) as hub:
        kept = hub.files["ward/board"]
        kept |= {"runs/old/run.json": b"old", "splits/old.json": b"old", "mine.txt": b"mine"}
        done = to_hub(hub, folder, "ward/board", "writer", tmp_path)

        assert done.returncode == 0, done.stderr
        assert "6 runs, 2 failed) are in" in done.stdout
        assert hub.url in done.stdout
        uploaded = dict(kept)
    assert uploaded.pop("mine.txt") == b"mine"
    assert uploaded.pop(".gitattributes") == b""
    assert sorted(uploaded) == inside(public)
    for name, content in uploaded.items():
        assert content == (public / name).read_bytes(), name
    assert hub.commits == [("ward/board", "6 runs, 2 failed")]


@pytest.mark.parametrize(
    ("repo", "token", "fail", "told"),
    [
        ("ward/board", "", None, "there is no token for the Hub"),
        ("ward/board", "expired", None, "the Hub does not accept the token"),
        ("ward/board", "reader", None, "the token may not write to ward/board"),
        ("ward/other", "writer", None, "there is no dataset repository ward/other"),
        (
            "ward/board",
            "writer",
            "/api/datasets/ward/board/commit",
            "the upload to ward/board failed",
        ),
    ],
)
def test_what_goes_wrong_is_one_clear_message(folder, to_hub_here, repo, token, fail, told):
    with FakeHub({"ward/board"}) as hub:
        hub.fail = fail
        done = to_hub_here(hub, folder, repo, token)

    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("harness: error: ")
    assert told in line
    assert hub.commits == []


def test_a_dead_hub_is_one_clear_message(folder, tmp_path):
    with FakeHub() as hub:
        pass
    done = to_hub(hub, folder, "ward/board", "writer", tmp_path)

    assert done.returncode == 2
    assert "the upload to ward/board failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_and_dry_nothing_is_sent(folder, to_hub_here):
    with FakeHub({"ward/board"}) as hub:
        dry = to_hub_here(hub, folder, "ward/board", "writer", "--dry-run")
        offline = to_hub_here(hub, folder, "ward/board", "writer", "--offline")

    assert dry.exit_code == 0, dry.stderr
    assert "would go in hf://datasets/ward/board" in dry.stdout
    assert offline.exit_code == 2
    assert "needs the network" in offline.stderr
    assert hub.requests == []


# -- documents --------------------------------------------------------------------------------


def test_the_workflow_runs_on_what_was_published(public, tmp_path):
    """Its `run` steps, as the host would run them, but for the installation."""
    workflow = yaml.safe_load((DOCS / "workflows" / "publish-pages.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["page"]["steps"] if "run" in step]
    commands = set(re.findall(r"^harness ([a-z]+)", "\n".join(steps), re.MULTILINE))
    shutil.copytree(public, tmp_path / "repo" / workflow["env"]["RESULTS"])
    env = {
        **os.environ,
        **workflow["env"],
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HARNESS_PLUGINS": str(TOY),
        "PYTHONPATH": str(TOY.parent),
    }
    for step in steps:
        if not step.startswith("pip install"):
            call = ["bash", "-e", "-c", step]
            subprocess.run(call, cwd=tmp_path / "repo", env=env, check=True, capture_output=True)

    assert commands == {"verify", "board"}
    assert commands <= set(modules("harness.cli.commands"))
    assert workflow["permissions"] == {"contents": "read"}
    index = (tmp_path / "repo" / "site" / "index.html").read_text()
    assert index.startswith("<!doctype html>")
    assert "full-ft" in (tmp_path / "summary.md").read_text()

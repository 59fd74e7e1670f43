"""`harness bench` as a user runs it, on a toy suite."""

import csv
import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from command import Cli, bench, runs
from PIL import Image
from places import TOY
from safetensors import SafetensorError

from harness.benchmark import datasets, numerics
from harness.benchmark.launch import executor
from harness.benchmark.request import BenchRequest
from harness.benchmark.suite.resolve import resolve_suite
from harness.plugins.registry import load_plugins
from harness.utils import files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded():
    return load_plugins()


def board(out):
    return json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))


def test_a_suite_runs_from_nothing_to_a_board(tmp_path):
    done = bench(tmp_path)

    assert len(runs(tmp_path)) == 3
    assert {p.name for p in tmp_path.glob("leaderboard.*")} >= {
        f"leaderboard.{e}" for e in ("md", "csv", "json")
    }
    assert "3 runs made, 0 were there already" in done.stdout
    assert "no result about transfer" in (tmp_path / "leaderboard.md").read_text()
    assert "No recommendation follows from this board" in done.stdout
    result = json.loads(runs(tmp_path)[0].read_text(encoding="utf-8"))
    assert result["environment"]["device"] == "cpu"
    assert result["plugins"]["strategy"]["source"] == result["spec"]["sources"]["strategy"]
    assert set(result["metrics"]) >= {"balanced-accuracy", "macro-auroc", "per-class-recall"}
    rows = csv.DictReader((tmp_path / "leaderboard.csv").read_text(encoding="utf-8").splitlines())
    assert {row["strategy"] for row in rows} == {"full-ft", "linear-probe", "moody"}


def test_a_second_call_runs_only_what_is_missing(tmp_path):
    bench(tmp_path, "--strategies", "full-ft")
    before = {p: p.read_bytes() for p in runs(tmp_path)}
    again = bench(tmp_path)

    assert "2 runs made, 1 were there already" in again.stdout
    assert all(p.read_bytes() == content for p, content in before.items())
    assert "0 runs made, 3 were there already" in bench(tmp_path).stdout


def test_several_processes_give_the_same_bits_as_one(tmp_path):
    bench(tmp_path / "one", "--seeds", "0,1")
    bench(tmp_path / "two", "--seeds", "0,1", jobs=2)

    one, two = (
        [p.with_suffix(".safetensors").read_bytes() for p in runs(tmp_path / d)]
        for d in ("one", "two")
    )
    assert one == two


@pytest.mark.slow
def test_workers_begin_to_import_where_runs_are_to_be_expected(tmp_path, monkeypatch):
    """Not where this process makes them, nor in a folder that holds a plan: most may be done there."""
    from harness.benchmark.launch.workers import LocalLauncher

    begun = []
    monkeypatch.setattr(
        LocalLauncher, "prepare", lambda self: begun.append((self.device, self.threads))
    )
    chosen = ("--strategies", "full-ft")
    bench(tmp_path / "one", *chosen, jobs=1)
    assert begun == []
    bench(tmp_path / "two", *chosen, jobs=2)
    bench(tmp_path / "two", *chosen, jobs=2)
    assert begun == [("cpu", 1)]


def probes(out, *args):
    given = ("--datasets", "demo-xray", "--backbones", "resnet50-mini", "--limit", 24)
    chosen = ("--strategies", "linear-probe,lp-ft", "--epochs", 2)
    return bench(out, *given, *chosen, *args, suite="demo")


def test_probes_have_the_same_bits_in_one_call_in_a_shard_and_resumed(tmp_path):
    horizon = ("--set", "protocol.schedule.horizon=10")
    done = [
        probes(tmp_path / "one", "--seeds", "0,1,2", *horizon),
        probes(tmp_path / "many", "--seeds", "2,1,0", "--shard", "1/2", *horizon),
        probes(tmp_path / "many", "--seeds", "0,1,2", *horizon),
    ]
    assert [one.exit_code for one in done] == [0, 0, 0], [one.output for one in done]
    assert "0 runs made" not in done[1].stdout
    assert "0 were there already" not in done[2].stdout
    one, many = (
        {p.name: p.read_bytes() for p in (tmp_path / d / "runs").rglob("*.safetensors")}
        for d in ("one", "many")
    )
    assert len(one) == 6
    assert one == many


def test_the_reference_engine_is_reached_from_the_command_line(tmp_path, monkeypatch):
    from harness.engine import shared

    def refuse(*_):
        raise AssertionError("the fast path was taken")

    monkeypatch.setattr(shared, "set_back", refuse)  # a network that is used again
    chosen = ("--strategies", "full-ft,linear-probe")
    bench(tmp_path / "fast", *chosen, exit_code=1)
    bench(tmp_path / "reference", *chosen, "--engine", "reference")


def test_a_run_that_raises_is_recorded_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_TOY", "raise")
    done = bench(tmp_path, exit_code=1)

    assert "toy-data / toy / moody, seed 0: the moody strategy" in done.stderr
    (failed,) = (tmp_path / "failed").glob("*.json")
    failure = json.loads(failed.read_text(encoding="utf-8"))
    assert failure["status"] == "failed"
    assert failure["error"]["kind"] == "ValueError"
    assert "was told to raise" in failure["error"]["traceback"]
    assert "toy_plugin.py" in failure["error"]["traceback"]
    assert len(runs(tmp_path)) == 2


def test_a_failed_run_is_run_again_only_if_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_TOY", "raise")
    bench(tmp_path, exit_code=1)
    monkeypatch.delenv("HARNESS_TOY")

    still = bench(tmp_path, exit_code=1)
    assert "0 runs made" in still.stdout
    bench(tmp_path, "--retry-failed")
    assert not list((tmp_path / "failed").glob("*.json"))


def test_a_loss_that_is_not_finite_is_a_failed_run_with_its_step(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_TOY", "nan")
    bench(tmp_path, "--strategies", "moody", exit_code=1)

    (failed,) = (tmp_path / "failed").glob("*.json")
    error = json.loads(failed.read_text(encoding="utf-8"))["error"]
    assert error["phase"] == "ft"
    assert error["step"] >= 2


def test_a_worker_that_is_killed_costs_only_its_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_TOY", "kill")
    done = bench(tmp_path, "--seeds", "0,1", jobs=2, exit_code=1)

    assert "killed, most often for lack of memory" in done.stderr
    assert len(runs(tmp_path)) == 4
    assert len(list((tmp_path / "failed").glob("*.json"))) == 2


def test_an_interrupt_loses_at_most_the_run_in_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_TOY", "interrupt")
    bench(tmp_path, exit_code=130)

    assert len(runs(tmp_path)) == 2
    monkeypatch.delenv("HARNESS_TOY")
    assert "1 runs made, 2 were there already" in bench(tmp_path).stdout


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path):
    out = tmp_path / "r"
    planned = bench(out, "--dry-run", "--seeds", "0,1")

    assert "6 runs = 1 dataset x 1 backbone x 3 strategies x 2 seeds" in planned.stdout
    assert "toy-data / toy / full-ft: 2 to run" in planned.stdout
    assert re.search(
        r"^estimated time: \d+ s\n  from a few batches tried here \(toy\)",
        planned.stdout,
        re.MULTILINE,
    )
    assert "trying how fast this machine trains toy: batches of 4" in planned.stderr
    assert not (out / "plan.json").exists()
    bench(out)
    later = bench(out, "--dry-run", "--seeds", "0,1").stdout
    assert "toy-data / toy / full-ft: 1 to run" in later
    assert "from 3 runs that such a machine made, in this folder (toy)" in later


def test_a_plan_takes_a_drawn_dataset_from_the_runs_that_record_it(tmp_path, monkeypatch):
    def surveyed(*more):
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr(
                datasets, "survey_dataset", lambda *a, **k: seen.append(a) or survey(*a, **k)
            )
            said = bench(tmp_path, "--dry-run", "--seeds", "0,1", *more).stdout
        assert said.count("; drawn by a program, as runs in this folder record") == 1 - len(seen)
        return bool(seen), said

    survey = datasets.survey_dataset
    assert surveyed()[0]
    bench(tmp_path)
    known, said = surveyed()
    assert not known
    assert "toy-data (xray, 3 classes): train 24, validation 12, test 12" in said
    assert "toy-data / toy / full-ft: 1 to run" in said  # seed 0 is found: its identity is the same
    assert surveyed("--limit", 6)[0]
    assert surveyed("--set", "protocol.split_seed=1")[0]
    assert not surveyed("--set", "protocol.lr=0.5")[0]
    monkeypatch.setattr(datasets.provenance, "source_hash", lambda _: "other code")
    assert surveyed()[0]


def test_precision_auto_is_settled_once_and_refused_by_a_worker_that_lacks_it(
    tmp_path, monkeypatch
):
    def on(instructions):
        for place in (numerics, executor):
            monkeypatch.setattr(place, "bf16_instructions", lambda: instructions)

    def held(out):
        return {json.loads(path.read_text())["spec"]["numeric"]["precision"] for path in runs(out)}

    auto, new, old = ("--precision", "auto"), tmp_path / "new", tmp_path / "old"
    on("avx512_bf16")
    assert "numbers: bf16, channels-last" in bench(new, *auto, "--dry-run").stdout
    assert not (new / "plan.json").exists()
    assert "--precision auto: bf16" in bench(new, *auto, "--strategies", "full-ft").stderr
    assert held(new) == {"bf16"}
    bench(old, "--strategies", "full-ft")
    bench(old, *auto)
    assert (held(old), len(runs(old))) == ({"float32"}, 3)

    on("")
    refused = bench(new, *auto, exit_code=1)
    assert "this processor has no instructions for it (avx512_bf16 or amx_bf16)" in refused.stderr
    assert len(runs(new)) == 1
    assert len(list((new / "failed").glob("*.json"))) == 2
    bench(new, "--precision", "bf16", "--retry-failed")  # who says so gets it
    assert (held(new), len(runs(new))) == ({"bf16"}, 3)
    bench(tmp_path / "plain", *auto, "--strategies", "full-ft")
    assert held(tmp_path / "plain") == {"float32"}


def test_a_glob_filters_what_the_suite_lists(tmp_path, harness_cli):
    def plan(*args):
        args = ("--dry-run", "--offline", "--out", tmp_path / "out", *args)
        return harness_cli("bench", "demo", *args).output

    xray = plan("--datasets", "*xray*", "--backbones", "resnet*", "--strategies", "l*")
    assert "data demo-xray" in xray
    assert "to fetch" not in xray
    assert "chest" not in xray  # registered, not listed
    assert "resnet50-mini" in xray
    assert "weights resnet50:" not in xray
    assert "data chest-xray" in plan("--datasets", "chest*")  # nothing listed matches
    args = ("--dry-run", "--set", "*-sp.alpha=0.5", "--out", tmp_path / "out")
    harness_cli("bench", "demo", *args)
    done = harness_cli("bench", "demo", "--dry-run", "--set", "l*.alpha=0.5", exit_code=2)
    assert "has no setting 'alpha'" in done.output  # every match counts, not the first
    assert "'*' matches" in harness_cli("bench", "*", "--dry-run", exit_code=2).output


def test_a_limit_marks_every_row(tmp_path):
    bench(tmp_path)
    done = bench(tmp_path, "--limit", "6")

    assert "3 runs made" in done.stdout
    assert len(board(tmp_path)["tracks"]) == 2
    limited = [json.loads(p.read_text())["spec"]["limit"] for p in runs(tmp_path)]
    assert sorted(limited, key=str) == [6, 6, 6, None, None, None]
    assert "Limited: at most 6 images of each split" in (tmp_path / "leaderboard.md").read_text()


def test_shards_share_a_product_without_gap_or_overlap(tmp_path):
    for part in (1, 2, 3):
        bench(tmp_path / str(part), "--shard", f"{part}/3", "--seeds", "0,1,2")
    ids = [p.stem for part in (1, 2, 3) for p in runs(tmp_path / str(part))]
    bench(tmp_path / "whole", "--seeds", "0,1,2")

    assert sorted(ids) == sorted(p.stem for p in runs(tmp_path / "whole"))
    assert len(ids) == 9
    lines = json.loads((tmp_path / "2" / "plan.json").read_text())["runs"]
    assert {line["shard"] for line in lines} == {"1/3", "2/3", "3/3"}
    assert {p.stem for p in runs(tmp_path / "2")} == {
        line["run_id"] for line in lines if line["shard"] == "2/3"
    }
    told = "Shards that are not here in full: 2/3 (none of 3 runs)."
    cli = Cli((TOY,))
    assert told in cli("board", tmp_path / "1", tmp_path / "3", "--format", "md").stdout
    verified = cli("verify", tmp_path / "2", "--json")
    assert json.loads(verified.stdout)["not_checked"] == {
        "shard 1/3: none of its runs is here": 3, "shard 3/3: none of its runs is here": 3,
    }  # fmt: skip
    both = [tmp_path / str(part) for part in (1, 2, 3)]
    assert "Shards" not in cli("board", *both, "--format", "md").stdout


def test_settings_change_the_run_and_the_row(tmp_path):
    bench(tmp_path)
    done = bench(tmp_path, "--set", "moody.rate=0.5")

    assert "1 runs made, 2 were there already" in done.stdout
    labels = {row["label"] for track in board(tmp_path)["tracks"] for row in track["rows"]}
    assert {"moody (rate=0.5)", "moody (rate=1)"} <= labels or {
        "moody (rate=0.5)",
        "moody (rate=1.0)",
    } <= labels


def test_protocol_changes_make_another_track(tmp_path):
    bench(tmp_path)
    done = bench(tmp_path, "--set", "protocol.lr=1e-4", "--set", "protocol.schedule.horizon=50")

    assert "3 runs made" in done.stdout
    assert len(board(tmp_path)["tracks"]) == 2
    assert "toy (lr=0.0001, schedule.horizon=50)" in (tmp_path / "leaderboard.md").read_text()


def test_a_shortened_budget_is_marked(tmp_path):
    done = bench(tmp_path, "--epochs", "1")

    assert all(json.loads(p.read_text())["shortened"] for p in runs(tmp_path))
    assert "--epochs" in done.stdout or "shortened" in done.stdout.lower()


def test_a_weights_folder_counts_though_the_suite_starts_from_random_weights(tmp_path):
    done = bench(
        tmp_path / "out", "--weights", tmp_path, "--backbones", "resnet50", "--dry-run", exit_code=2
    )

    assert f"{tmp_path} has no weights for resnet50" in done.stderr


def figures(text):
    """Label -> first figure of every line of the two tables of --profile."""
    rows = re.findall(r"^ *(\S.*?)  +(\d+\.\d+)", text.rpartition("\npart ")[2], re.MULTILINE)
    return {label: float(figure) for label, figure in rows}


def test_a_profile_tells_where_the_time_of_the_call_and_of_its_runs_went(tmp_path):
    told = figures(bench(tmp_path, "--profile").stdout)

    parts = [
        figure
        for label, figure in told.items()
        if label.startswith(("start", "prep", "runs", "board"))
    ]
    assert len(parts) == 4
    assert sum(parts) == pytest.approx(told["this call"], abs=0.03)
    costs = [json.loads(path.read_text())["cost"]["incurred"] for path in runs(tmp_path)]
    for label, kind in {
        "train": "train",
        "evaluate": "evaluate",
        "load (network, data)": "load",
    }.items():
        assert told[label] == pytest.approx(sum(cost[kind] for cost in costs), abs=0.006)
    assert sum(cost["train"] for cost in costs) > 0
    assert told["overhead of 3 made now (all but work)"] >= 0


def test_a_profile_without_new_runs_shows_what_the_old_ones_took(tmp_path):
    told = figures(bench(tmp_path, "--profile").stdout)
    again = figures(bench(tmp_path, "--profile").stdout)

    assert again["train"] == told["train"]
    assert not any(label.startswith("overhead") for label in again)


def test_weights_of_another_architecture_are_refused_before_work_starts(tmp_path):
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    save_file(
        {n: t.clone() for n, t in resnet18().state_dict().items()},
        tmp_path / "resnet50.safetensors",
    )
    done = bench(tmp_path / "out", "--weights", tmp_path, "--backbones", "resnet50", exit_code=2)

    assert "resnet50.safetensors does not fit resnet50" in done.stderr
    assert "another architecture: give a file of resnet50" in done.stderr
    assert not (tmp_path / "out" / "plan.json").exists()


def test_weights_can_be_kept(tmp_path):
    from safetensors.numpy import load_file

    bench(tmp_path, "--save-weights", "--strategies", "full-ft")
    (file,) = (tmp_path / "weights").glob("*.safetensors")
    assert file.stem == runs(tmp_path)[0].stem
    assert load_file(file)["head.fc.weight"].shape == (3, 10)


# -- suites and folders of one's own ------------------------------------------------------------


def image_folder(folder, classes=("a", "b"), each=12):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            image = Image.new("RGB", (9, 8), (40 + 3 * i, 60 * number, 90))
            image.putpixel((i % 9, 3), (255, 255, 255))
            image.save(folder / name / f"{i}.png")
    return folder


SUITE = """
extends = "toy"
title = "Mine"
strategies = ["linear-probe"]
[protocol]
epochs = 1
[data]
mine = "images"
"""


def test_a_suite_file_with_a_folder_beside_it(tmp_path):
    image_folder(tmp_path / "images")
    (tmp_path / "my.toml").write_text(SUITE)
    bench(tmp_path / "out", suite=str(tmp_path / "my.toml"))

    found = {json.loads(p.read_text())["spec"]["dataset"] for p in runs(tmp_path / "out")}
    assert found == {"toy-data", "mine"}


def test_an_own_folder_with_a_modality(tmp_path):
    folder = image_folder(tmp_path / "images")
    bench(
        tmp_path / "out",
        "--data",
        f"mri:brain={folder}",
        "--strategies",
        "full-ft",
        "--datasets",
        "brain",
    )

    (run,) = runs(tmp_path / "out")
    result = json.loads(run.read_text())
    assert result["data"]["modality"] == "mri"
    assert sum(result["data"]["counts"]["train"].values()) > 8
    split = json.loads((tmp_path / "out" / result["data"]["split_file"]).read_text())
    assert len(split["samples"]) == 24
    assert str(tmp_path) not in run.read_text() + json.dumps(split)


@pytest.mark.parametrize(
    ("args", "folder"),
    [
        (["mri:brain"], "brain"),
        (["mri:brain", "ward"], "brain+ward"),
        (["ward", "brain"], "brain+ward"),
    ],
)
def test_own_images_name_their_results_folder(tmp_path, loaded, args, folder):
    data = tuple(f"{name}={image_folder(tmp_path / name[-4:])}" for name in args)
    found = resolve_suite(BenchRequest(suite="folders", data=data), loaded)
    assert found.folder_name == folder


def test_own_images_beside_those_of_a_suite_are_in_its_folder(tmp_path, loaded):
    data = (f"own={image_folder(tmp_path / 'images')}",)
    assert resolve_suite(BenchRequest("demo", data=data), loaded).folder_name == "demo"
    only = BenchRequest("demo", data=data, datasets=("own",))
    assert resolve_suite(only, loaded).folder_name == "own"


def test_many_own_images_have_a_name_that_fits_a_file_system(tmp_path, loaded):
    names, folder = [letter * 40 for letter in "abcdefgh"], image_folder(tmp_path / "images")
    given = [tuple(f"{name}={folder}" for name in names[:count]) for count in (7, 8)]
    found = [
        resolve_suite(BenchRequest("folders", data=data), loaded).folder_name for data in given
    ]
    assert len(set(found)) == 2
    assert all(len(one) < 200 and one.startswith(names[0]) for one in found)


def test_a_second_own_dataset_leaves_the_first_ones_ranking(tmp_path, monkeypatch):
    """Without --out each has a folder of its own; in one folder the ranking stays beside."""
    folders = [image_folder(tmp_path / name) for name in ("one", "two")]
    monkeypatch.chdir(tmp_path)
    both = ("--strategies", "full-ft,linear-probe")
    for name, folder in zip(("one", "two"), folders, strict=True):
        Cli((TOY,))(
            "bench", "toy", "--jobs", 1, "--data", f"{name}={folder}", "--datasets", name, *both
        )
    assert sorted(path.name for path in Path("results").iterdir()) == ["one", "two"]

    out = tmp_path / "results" / "one"
    told = bench(out, "--data", f"two={folders[1]}", "--datasets", "two", "--strategies", "full-ft")
    assert "once all runs are made it ranks:" in told.stderr
    assert "  2 rows over one\n" in told.stderr
    assert "1 row over one, two" in told.stderr
    words = (out / "leaderboard.md").read_text()
    assert "This ranking is over one; also ranked here: 1 row over" in words


def test_missing_classes_and_contradicting_copies_are_said_on_the_board(tmp_path, toy_cli):
    rng = np.random.default_rng(0)
    counts = {"train": (8, 8, 8), "val": (4, 4, 4), "test": (5, 0, 5)}
    for split, numbers in counts.items():
        for name, count in zip("abc", numbers, strict=True):
            for number in range(count):
                path = tmp_path / "set" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    copied = tmp_path / "set" / "train"
    shutil.copy(copied / "a" / "0.png", copied / "b" / "0.png")
    args = ("toy", "--data", f"own={tmp_path / 'set'}", "--datasets", "own", "--jobs", 1)
    args = (*args, "--strategies", "full-ft", "--out", tmp_path / "out")
    for more in (["--dry-run"], []):
        output = toy_cli("bench", *args, *more, exit_code=2).output
        assert "test has no sample of 'b'" in output
        assert "--allow-missing-classes" in output
    assert not list((tmp_path / "out").rglob("*.json"))
    plan = toy_cli("bench", *args, "--allow-missing-classes", "--dry-run").output
    assert "2 images have a copy with another label: train/a/0.png ~ train/b/0.png" in plan
    toy_cli("bench", *args, "--allow-missing-classes", "--limit", 2)
    shown = toy_cli("bench", *args, "--allow-missing-classes").stdout
    assert "full-ft [classes missing]" in shown
    words = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "own: 2 images have a copy with another label; no network can get both right." in words
    assert "own: test has no image of 'b'; figures that need every class are over" in words
    records = [json.loads(path.read_text()) for path in (tmp_path / "out" / "runs").rglob("*.json")]
    for record in records:
        assert record["spec"]["present_only"]
        figure = record["metrics"]["balanced-accuracy"]
        assert figure["value"] is not None
        assert figure["reason"] == "over the classes that are there, without 'b'"
        assert record["data"]["contradicting"] == 2
    limited = next(record for record in records if record["spec"]["limit"])
    assert limited["data"]["counts"]["train"] == {"a": 1, "b": 1, "c": 1}
    toy_cli("verify", tmp_path / "out", "--replay", 1, "--data", f"own={tmp_path / 'set'}")
    toy_cli("board", tmp_path / "out", "--format", "csv")


def test_changed_images_are_other_runs_with_their_own_split_file(tmp_path):
    folder = image_folder(tmp_path / "images")
    call = ["--data", f"brain={folder}", "--strategies", "full-ft", "--datasets", "brain"]
    bench(tmp_path / "out", *call)
    (folder / "a" / "0.png").unlink()
    done = bench(tmp_path / "out", *call)

    assert "1 runs made" in done.stdout
    results = [json.loads(p.read_text()) for p in runs(tmp_path / "out")]
    assert len({r["data"]["split_file"] for r in results}) == 2
    for result in results:
        split = json.loads((tmp_path / "out" / result["data"]["split_file"]).read_text())
        assert split["sha256"] == result["data"]["split_sha256"]


def test_a_bad_image_is_named_or_left_out_and_counted(tmp_path):
    folder = image_folder(tmp_path / "images")
    (folder / "a" / "3.png").write_bytes((folder / "a" / "3.png").read_bytes()[:60])
    call = ["--data", f"brain={folder}", "--strategies", "full-ft", "--datasets", "brain"]

    refused = bench(tmp_path / "out", *call, exit_code=2)
    assert "a/3.png" in refused.stderr
    assert "--skip-bad-images" in refused.stderr
    done = bench(tmp_path / "out", *call, "--skip-bad-images")
    assert "1 bad images left out: a/3.png" in done.stderr
    assert json.loads(runs(tmp_path / "out")[0].read_text())["data"]["skipped"] == ["a/3.png"]
    assert "1 bad image was skipped" in (tmp_path / "out" / "leaderboard.md").read_text()


# -- what is refused before work starts ---------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["toyy"], "unknown suite 'toyy'; did you mean 'toy'"),
        (["toy", "--datasets", "toy-dat"], "unknown dataset 'toy-dat'; did you mean 'toy-data'"),
        (["toy", "--backbones", "resnet5"], "unknown backbone 'resnet5'; did you mean 'resnet50'"),
        (["toy", "--strategies", "lp-tf"], "unknown strategy 'lp-tf'; did you mean 'lp-ft'"),
        (["toy", "--seeds", "a"], "give whole numbers"),
        (["toy", "--shard", "3/2"], "give I/N with I from 1 to N"),
        (["toy", "--set", "lr=1"], "write STRATEGY.SETTING=VALUE"),
        (["toy", "--set", "modey.rate=1"], "did you mean 'moody'"),
        (["toy", "--set", "moody.rat=1"], "moody has no setting 'rat'; did you mean 'rate'"),
        (["toy", "--set", "moody.rate=fast"], "settings of strategy 'moody': rate"),
        (["toy", "--set", "protocol.lrr=1"], "protocol has no field 'lrr'; did you mean 'lr'"),
        (["toy", "--set", "protocol.labels=50%"], "no field 'labels'; it is an option: --labels"),
        (["toy", "--set", "protocol.lr=-1"], "greater than 0"),
        (["toy", "--set", "protocol.plan.horizon=1"], "protocol has no group 'plan'"),
        (["toy", "--set", "protocol.metric=acuracy"], "did you mean 'accuracy'"),
        (["toy", "--device", "tpu"], "must be auto, cpu, cuda or cuda:N"),
        (["toy", "--weights", "/nowhere/at/all"], "no such folder"),
        (["toy", "--data", "toy-data=."], "a dataset of this name is registered already"),
        (["folders"], "lists no dataset; give --data NAME=FOLDER"),
        (["folders", "--data", "x=/no/where"], "--data x=...: /no/where does not exist"),
        (["missing.toml"], "suite file missing.toml"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(args, message, tmp_path, toy_cli):
    if "--weights" in args:
        args = [*args, "--backbones", "resnet50"]
        (tmp_path / "s.toml").write_text('extends = "toy"\nweights = "default"\n')
        args[0] = str(tmp_path / "s.toml")
    done = toy_cli("bench", *args, "--out", tmp_path / "out", exit_code=2)

    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "toy"\nstrategys = []', "unknown key 'strategys'; did you mean 'strategies'"),
        ('extends = "toy"\n[protocol]\nlearning = 1', r"[protocol]: unknown key 'learning'"),
        ('extends = "toy"\nseeds = "x"', "seeds"),
        ("a = ", "is not valid TOML"),
        ('extends = "toi"', "did you mean 'toy'"),
    ],
)
def test_a_suite_file_is_checked(text, message, tmp_path):
    (tmp_path / "s.toml").write_text(text)
    done = bench(tmp_path / "out", suite=str(tmp_path / "s.toml"), exit_code=2)

    assert message in done.stderr


def test_an_unwritable_place_is_found_before_work_starts(tmp_path):
    (tmp_path / "file").write_text("x")
    done = bench(tmp_path / "file" / "out", exit_code=2)

    assert str(tmp_path / "file") in done.stderr


def test_a_full_disk_ends_with_one_message_and_keeps_what_is_done(tmp_path, monkeypatch):
    import errno

    bench(tmp_path, "--strategies", "full-ft")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = bench(tmp_path, exit_code=2)
    assert "no space left" in done.stderr
    monkeypatch.undo()
    assert len(runs(tmp_path)) == 1
    assert "2 runs made, 1 were there already" in bench(tmp_path).stdout


def test_results_of_a_newer_harness_are_refused(tmp_path):
    bench(tmp_path, "--strategies", "full-ft")
    (run,) = runs(tmp_path)
    run.write_text(run.read_text().replace('"schema_version": 1', '"schema_version": 99', 1))
    done = bench(tmp_path, exit_code=2)

    assert "newer" in done.stderr


def test_broken_plugins_do_not_stop_the_others(tmp_path, toy_cli):
    (tmp_path / "broken.py").write_text("raise RuntimeError('boom')\n")
    done = toy_cli(
        "bench",
        "toy",
        "--out",
        tmp_path / "out",
        "--jobs",
        1,
        "-p",
        tmp_path / "broken.py",
        "--strategies",
        "full-ft",
    )

    assert "boom" in done.stderr
    toy_cli("--strict-plugins", "bench", "toy", "-p", tmp_path / "broken.py", exit_code=2)


def test_an_observer_hears_of_everything_and_may_fail(tmp_path, toy_cli):
    (tmp_path / "ear.py").write_text(
        "from harness import hookimpl\n"
        f"LOG = {str(tmp_path / 'log')!r}\n"
        "def note(word):\n    with open(LOG, 'a') as log: print(word, file=log)\n"
        "@hookimpl\ndef harness_run_start(spec): note(f'start {spec.strategy}')\n"
        "@hookimpl\ndef harness_epoch_end(spec, epoch): note(f'epoch {epoch.epoch:g}')\n"
        "@hookimpl\ndef harness_phase_end(spec, report): note(f'phase {report.phase}')\n"
        "@hookimpl\ndef harness_run_end(spec, result):\n    note(result.status)\n    raise ValueError('deaf')\n"
    )
    toy_cli(
        "bench",
        "toy",
        "--out",
        tmp_path / "out",
        "--jobs",
        1,
        "--strategies",
        "full-ft",
        "-p",
        tmp_path / "ear.py",
    )

    assert (tmp_path / "log").read_text().split("\n") == [
        "start full-ft",
        "epoch 1",
        "epoch 2",
        "phase ft",
        "ok",
        "",
    ]


# -- damage in the cache ------------------------------------------------------------------------


def logits(out):
    return {path.name: path.read_bytes() for path in (out / "runs").rglob("*.safetensors")}


def with_cache(tmp_path, out, *args, **options):
    """A call with a cache of its own; where the pixels are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
        done = bench(tmp_path / out, *args, **options)
    (pixels,) = (tmp_path / "cache" / "decoded").glob("*/images.npy")
    return done, pixels


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("mark", [0, 255])
def test_damaged_pixels_give_no_logits(tmp_path, jobs, mark):
    _, pixels = with_cache(tmp_path, "sound")
    content = pixels.read_bytes()
    pixels.write_bytes(content[:256] + bytes(byte ^ mark if mark else 0 for byte in content[256:]))
    done, _ = with_cache(tmp_path, "damaged", jobs=jobs)
    assert "toy-data: its images in the cache are not those that were decoded" in done.stderr
    assert "3 runs made" in done.stdout
    assert pixels.read_bytes() == content
    assert logits(tmp_path / "damaged") == logits(tmp_path / "sound")
    again, _ = with_cache(tmp_path, "again")
    assert "its images in the cache" not in again.stderr


def test_pixels_that_are_gone_are_decoded_again(tmp_path):
    _, pixels = with_cache(tmp_path, "sound")
    pixels.write_bytes(b"")
    with_cache(tmp_path, "empty")
    assert logits(tmp_path / "empty") == logits(tmp_path / "sound")


def test_pixels_are_not_read_back_where_nothing_is_left_to_run(tmp_path, monkeypatch):
    _, pixels = with_cache(tmp_path, "one")
    os.utime(pixels)
    checked = pixels.with_name("check.json").read_bytes()
    with_cache(tmp_path, "one")
    assert pixels.with_name("check.json").read_bytes() == checked


# -- weights on a full disk -----------------------------------------------------------------------


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_for_rust(*_, **__):
    raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")


@pytest.mark.parametrize("failure", [full, full_for_rust])
def test_runs_are_kept_whose_weights_find_no_space(tmp_path, monkeypatch, failure):
    with monkeypatch.context() as disk:
        disk.setattr(safetensors.torch, "save_file", failure)
        done = bench(tmp_path / "full", "--save-weights", exit_code=1)
    bench(tmp_path / "plain")
    assert logits(tmp_path / "full") == logits(tmp_path / "plain")
    assert done.stderr.count("cannot be written (No space left on device); the run itself is") == 3
    assert "3 runs have no weights" in done.stderr
    assert "failed" not in done.stderr
    assert list((tmp_path / "full" / "weights").iterdir()) == []
    again = bench(tmp_path / "full", "--save-weights", exit_code=1)
    assert "give another folder with --out" in again.stderr
    Cli((TOY,))("verify", tmp_path / "full")
    bench(tmp_path / "full")


def test_weights_give_their_space_to_a_record_and_its_logits(tmp_path, monkeypatch):
    """The disk holds the weights of a run, and not its logits beside them."""
    put, out = files.put, tmp_path / "full"

    def scarce(path, content):
        if "runs" in path.parts and any(out.glob("weights/*.safetensors")):
            full()
        put(path, content)

    with monkeypatch.context() as disk:
        disk.setattr(files, "put", scarce)
        done = bench(out, "--save-weights", exit_code=1)
    assert len(runs(out)) == 3
    assert done.stderr.count("was removed, for the disk is full; the run is kept") == 3
    assert list((out / "weights").iterdir()) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_weights_are_kept_whole_and_by_run(tmp_path, jobs):
    bench(tmp_path, "--save-weights", jobs=jobs)
    kept = {path.stem for path in (tmp_path / "weights").iterdir()}
    assert kept == {path.stem for path in runs(tmp_path)}


def test_a_place_of_weights_that_cannot_be_one_is_refused_at_once(tmp_path):
    (tmp_path / "weights").touch()
    done = bench(tmp_path, "--save-weights", exit_code=2)
    assert "weights is a file" in done.stderr
    assert not (tmp_path / "runs").exists()

"""`bench --starts`: the starting point as an axis, from the option to the board."""

import json

import numpy as np
import pytest
import torch
from command import Cli, bench, runs
from places import TOY
from safetensors.torch import load_file, save_file
from toys import ToyBackbone

from harness import dry_run
from harness.api.records import Plan, RunResult
from harness.results.store import Store

pytestmark = pytest.mark.slow

AXES = ("--seeds", "0,1", "--strategies", "full-ft,linear-probe", "--epochs", "1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with weights of the toy, and with those of a start `rad`."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, path in ((1, folder / "toy.safetensors"), (2, folder / "rad" / "toy.safetensors")):
        path.parent.mkdir(exist_ok=True)
        torch.manual_seed(seed)
        save_file(ToyBackbone().build(4).state_dict(), path)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, weights):
    out = tmp_path_factory.mktemp("made") / "starts"
    done = bench(out, *AXES, "--weights", weights, "--starts", "rad,default,none")
    return out, done


def records(out):
    return [RunResult.model_validate_json(path.read_bytes()) for path in runs(out)]


def test_every_start_has_its_runs_where_its_name_says(made):
    out, _ = made
    assert {path.parents[1].relative_to(out / "runs").as_posix() for path in runs(out)} == {
        "toy-data/toy@rad", "toy-data/toy@default", "toy-data/toy@none",
    }  # fmt: skip
    found = records(out)
    assert len(found) == 12
    assert {run.spec.start for run in found} == {"rad", "default", "none"}
    assert {(run.spec.start, run.spec.weights == "none") for run in found} == {
        ("rad", False), ("default", False), ("none", True),
    }  # fmt: skip
    assert all(
        run.spec.cell == f"toy-data / toy@{run.spec.start} / {run.spec.strategy}" for run in found
    )
    plan = Plan.model_validate_json((out / "plan.json").read_bytes())
    assert plan.suites["toy"].starts == ("rad", "default", "none")
    assert plan.suites["toy"].weights == "default"
    assert sorted(line.start for line in plan.runs) == sorted(["rad", "default", "none"] * 4)


def test_a_start_gives_the_bits_of_a_call_of_its_own(made, weights, tmp_path):
    out, _ = made
    for start, given in (("rad", weights / "rad"), ("default", weights), ("none", "none")):
        bench(tmp_path / start, *AXES, "--weights", given)
        alone = {
            (run.spec.strategy, run.spec.seed): load_file(path.with_suffix(".safetensors"))
            for path in runs(tmp_path / start)
            for run in [RunResult.model_validate_json(path.read_bytes())]
        }
        beside = {
            (run.spec.strategy, run.spec.seed): load_file(path.with_suffix(".safetensors"))
            for path in runs(out)
            for run in [RunResult.model_validate_json(path.read_bytes())]
            if run.spec.start == start
        }
        assert alone.keys() == beside.keys()
        for key, tensors in alone.items():
            assert all(torch.equal(beside[key][name], tensor) for name, tensor in tensors.items())


def test_the_board_has_a_block_for_each(made):
    out, done = made
    board = json.loads((out / "leaderboard.json").read_text())
    (track,) = board["tracks"]
    assert [(block["label"], block["start"]) for block in track["blocks"]] == [
        ("toy-data / toy@default", "default"),
        ("toy-data / toy@none", "none"),
        ("toy-data / toy@rad", "rad"),
    ]
    assert "starting points default, none, rad" in track["title"]
    assert any("none begin with random weights" in text for text in track["banners"])
    for row in track["rows"]:
        of_block = {figure["block"]: figure["value"] for figure in row["blocks"]}
        values = [of_block[f"toy-data / toy@{start}"] for start in ("default", "none", "rad")]
        assert [group["group"] for group in row["starts"]] == ["default", "none", "rad"]
        assert [group["value"] for group in row["starts"]] == values
        assert row["value"] == pytest.approx(sum(values) / 3)
    assert "3 starting points" in (out / "leaderboard.md").read_text()
    assert "By starting point" in (out / "leaderboard.md").read_text()
    header, *lines = (out / "leaderboard.csv").read_text().splitlines()
    assert "start" in header.split(",")
    assert len(lines) == 12
    assert "3 blocks" in done.output


def recalls(store, run):
    """Mean recall on the stored predictions, by hand."""
    given = store.predictions(run)
    y, right = given.targets["test"], given.logits["test"].argmax(1) == given.targets["test"]
    return np.mean([right[y == c].mean() for c in np.unique(y)])


def test_starts_are_compared_within_a_strategy(made):
    out, _ = made
    board = json.loads((out / "leaderboard.json").read_text())
    (track,) = board["tracks"]
    given = board["statistics"][track["id"]]
    store = Store(out)
    scores = {}
    for run in store.results():
        key = run.spec.start, run.spec.strategy
        scores.setdefault(key, []).append(recalls(store, run))
    assert given["starts"]["over"] == "default"
    assert set(given["starts"]["gains"]) == {"none", "rad"}
    for start, rows in given["starts"]["gains"].items():
        assert set(rows) == {"full-ft", "linear-probe"}
        for row, one in rows.items():
            expected = np.mean(scores[start, row]) - np.mean(scores["default", row])
            assert one["value"] == pytest.approx(expected)
            assert one["low"] <= one["value"] <= one["high"]
            assert one["verdict"] == "untested"
    # Against the control: over all blocks, of all starts.
    average = given["averages"]["linear-probe"]["these"]["value"]
    gains = [
        np.mean(scores[s, "linear-probe"]) - np.mean(scores[s, "full-ft"])
        for s in ("none", "rad", "default")
    ]
    assert average == pytest.approx(np.mean(gains))
    assert (given["cells"], given["datasets"]) == (3, 1)
    shown = (out / "leaderboard.md").read_text()
    assert "over the start default, in the same cells and seeds" in shown


def test_the_folder_holds_and_can_be_run_again(made, weights):
    out, _ = made
    cli = Cli((TOY,))
    told = cli("verify", out, "--replay", 12, "--weights", weights).output
    assert told.count("every logit has the same bits") == 12
    run = next(run for run in records(out) if run.spec.start == "rad")
    assert (
        "reused if asked for"
        in cli("why", run.run_id, "--results", out, "--weights", weights).output
    )
    assert "start rad is not known for toy" in cli("why", run.run_id, "--results", out).output
    assert "toy-data/toy@none/full-ft" in cli("check", out, out).output


def test_what_is_there_is_not_run_again_and_plain_runs_stay_apart(made, weights):
    out, _ = made
    again = bench(out, *AXES, "--weights", weights, "--starts", "none,rad,default")
    assert "0 runs made, 12 were there already" in again.output
    before = json.loads((out / "leaderboard.json").read_text())["tracks"]
    bench(out, *AXES, "--weights", weights)
    board = json.loads((out / "leaderboard.json").read_text())
    assert len(board["tracks"]) == 2
    assert [track for track in board["tracks"] if track["id"] == before[0]["id"]] == before
    (plain,) = (track for track in board["tracks"] if track["id"] != before[0]["id"])
    assert "start" not in plain["blocks"][0]
    assert "starts" not in plain["rows"][0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--starts", "rad"), "start rad is not known for toy (no --weights FOLDER is given)"),
        (
            ("--starts", "default,none", "--weights", "none"),
            "say what runs start from by --starts alone",
        ),
        (("--starts", "imagenet"), "toy declares no weights"),
        (("--starts", "Rad"), "write NAME or NAME=SOURCE"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(given, told, tmp_path):
    done = bench(tmp_path / "out", *given, exit_code=None)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_a_plan_counts_starts_and_a_suite_file_names_them(tmp_path, weights):
    (tmp_path / "mine.toml").write_text(
        'extends = "toy"\nstrategies = ["full-ft"]\n'
        'starts = ["none", "hubbed=hf://me/toys@0123456789012345678901234567890123456789/x.pth"]\n'
    )
    planned = dry_run(tmp_path / "mine.toml", plugins=TOY, out=tmp_path / "out")
    assert [run.start for run in planned.runs] == ["none", "hubbed"]
    assert [run.weights for run in planned.runs] == ["none", "not fetched"]
    assert "x 2 starting points (none, hubbed)" in str(planned)
    assert "weights toy@hubbed:" in str(planned)
    alone = dry_run("toy", strategies="full-ft", starts="default", weights=weights, plugins=TOY)
    assert [run.start for run in alone.runs] == ["default"]
    plain = dry_run("toy", strategies="full-ft", plugins=TOY)
    assert plain.runs[0].start is None
    assert "start" not in plain.runs[0].model_dump()
    (tmp_path / "bad.toml").write_text('extends = "toy"\nstarts = ["x=folder/x.pth"]\n')
    done = bench(tmp_path / "out", suite=str(tmp_path / "bad.toml"), exit_code=2)
    assert "starts" in done.output

"""A tuned suite on the toy plugin, end to end: interrupted, sharded, growing, verified, replayed."""

import json
import re
import shutil

import pytest
from command import Cli, bench, runs
from places import TOY
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

SUITE = """
extends = "toy"
datasets = ["toy-pool"]
strategies = ["full-ft", "linear-probe", "l2-sp", "moody"]
seeds = [0, 1]
splits = "paired"
[tuning]
grid = [0.3, 1, 3]
knobs = {l2-sp = "alpha"}
"""
TIMES = {"finished", "seconds", "cost", "spend", "commit", "dirty", "environment", "median_seconds"}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "toy-fair.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def whole(suite, tmp_path_factory):
    """Everything in one go."""
    out = tmp_path_factory.mktemp("whole")
    bench(out, suite=suite)
    return out


def timeless(value):
    """Without seconds, times and the machine."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in TIMES}
    if isinstance(value, str):  # the conclusion says what more seeds would take
        return re.sub(r" \(about .* of computing\)", "", value)
    return [timeless(one) for one in value] if isinstance(value, list) else value


def board(out):
    return timeless(json.loads((out / "leaderboard.json").read_text()))


def records(out):
    """Id -> spec and figures."""
    found = [json.loads(path.read_text()) for path in runs(out)]
    return {
        one["run_id"]: (
            one["spec"],
            one["metrics"],
            one["validation"],
            one["predictions"]["sha256"],
        )
        for one in found
    }


def same(one, other):
    assert records(one) == records(other)
    assert board(one) == board(other)


def test_the_whole_study(whole):
    """3 trials of three strategies, one of that with a rate of its own; 2 seeds, 2 splits."""
    assert len(runs(whole)) == (3 + 3 + 3 + 1) * 2
    assert sorted(path.name for path in (whole / "splits").iterdir()) == [
        "toy-pool.1.json",
        "toy-pool.json",
    ]
    files = {
        (spec["protocol"]["split_seed"], json.loads(path.read_text())["data"]["split_file"])
        for path in runs(whole)
        for spec in [json.loads(path.read_text())["spec"]]
    }
    assert len({spec["data"] for spec, *_ in records(whole).values()}) == 2
    assert files == {(0, "splits/toy-pool.json"), (1, "splits/toy-pool.1.json")}
    tuned, plain = board(whole)["tracks"]
    assert (tuned["tuned"], "tuned" in plain) == (True, False)
    for track in (tuned, plain):
        assert all(row["ranked"] for row in track["rows"])
    assert {row["strategy"]: row["tuning"]["trials"] for row in tuned["rows"]} == {
        "full-ft": 3,
        "l2-sp": 3,
        "linear-probe": 3,
        "moody": 1,
    }
    knobs = {row["strategy"]: row["tuning"].get("knob", "") for row in tuned["rows"]}
    assert knobs == {"full-ft": "", "l2-sp": "alpha", "linear-probe": "", "moody": ""}


def test_the_chosen_trial_is_the_best_stored_one(whole):
    """Balanced accuracy on validation from the logits, by numpy alone."""
    import numpy as np

    def score(path):
        stored = load_file(path.with_suffix(".safetensors"))
        guess, truth = stored["validation.logits"].argmax(1), stored["validation.targets"]
        return float(np.mean([(guess[truth == c] == c).mean() for c in np.unique(truth)]))

    best = {}
    for path in runs(whole):
        spec = json.loads(path.read_text())["spec"]
        key = spec["strategy"], spec["seed"], spec["protocol"]["split_seed"]
        rate = 1.0 if key[0] == "moody" else spec["settings"].get("rate", 1.0)
        place = (-score(path), rate, path.stem)
        best[key] = min(best.get(key, place), place)
    found = board(whole)
    (tuned,) = (track["id"] for track in found["tracks"] if track.get("tuned"))
    chosen = {
        (run["strategy"], run["seed"], run.get("split", 0)): run["run_id"]
        for run in found["runs"]
        if run["track"] == tuned
    }
    assert chosen == {key: run_id for key, (_, _, run_id) in best.items()}


def test_growing_trials_end_as_in_one_go(whole, suite, tmp_path):
    bench(tmp_path, "--trials", 1, suite=suite)
    assert len(runs(tmp_path)) == 4 * 2
    bench(tmp_path, "--trials", 2, suite=suite)
    assert len(runs(tmp_path)) == (2 * 3 + 1) * 2
    bench(tmp_path, suite=suite)
    same(tmp_path, whole)


def test_two_shards_merged_are_as_in_one_go(whole, suite, tmp_path):
    for part in (1, 2):
        bench(tmp_path / str(part), "--shard", f"{part}/2", suite=suite)
    assert 0 < len(runs(tmp_path / "1")) < len(runs(whole))
    Cli((TOY,))("board", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "both")
    (tmp_path / "both").mkdir(exist_ok=True)
    assert board(tmp_path / "both") == board(whole)


def test_what_was_killed_goes_on_as_in_one_go(whole, suite, tmp_path):
    """As a kill leaves it: some runs are not there, of one there are predictions only."""
    out = tmp_path / "r"
    shutil.copytree(whole, out)
    kept = runs(out)
    for path in kept[3::3]:
        path.unlink()
        path.with_suffix(".safetensors").unlink()
    kept[0].unlink()
    for path in out.glob("leaderboard.*"):
        path.unlink()
    bench(out, suite=suite)
    same(out, whole)


def test_an_interrupt_goes_on_as_in_one_go(whole, suite, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_TOY", "interrupt")
    bench(tmp_path, suite=suite, exit_code=None)
    assert len(runs(tmp_path)) < len(runs(whole))
    monkeypatch.delenv("HARNESS_TOY")
    bench(tmp_path, suite=suite)
    same(tmp_path, whole)


def test_what_fewer_trials_would_have_found(whole, suite, tmp_path):
    """From the stored runs of all: what a call with so many trials comes to."""
    bench(tmp_path, "--trials", 2, suite=suite)
    told = Cli((TOY,))("board", whole, "--trials", 2, "--format", "json")
    assert timeless(json.loads(told.stdout))["tracks"] == board(tmp_path)["tracks"]


def test_trials_of_a_board_that_is_not_tuned_are_refused(tmp_path):
    bench(tmp_path, "--strategies", "full-ft")
    done = Cli((TOY,))("board", tmp_path, "--trials", 2, "--format", "md", exit_code=2)
    assert "--trials is for boards of suites that tune, and this is none" in done.output


def test_the_untuned_runs_are_those_of_the_untuned_suite(whole, suite, tmp_path):
    plain = tmp_path / "toy-fair.toml"
    plain.write_text(SUITE.partition("[tuning]")[0])
    bench(tmp_path / "r", suite=plain)
    (track,) = board(tmp_path / "r")["tracks"]
    _, beside = board(whole)["tracks"]
    assert beside | {"title": ""} == track | {"title": ""}
    assert set(records(tmp_path / "r")) < set(records(whole))


# -- verified, replayed -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    """Two splits, all labels and half of them."""
    out = tmp_path_factory.mktemp("divided")
    options = (
        "--splits",
        2,
        "--labels",
        "50%,100%",
        "--strategies",
        "full-ft",
        "--datasets",
        "toy-pool",
    )
    bench(out, *options)
    return out


def verify(folder, *args):
    done = Cli((TOY,))("verify", folder, "--json", *args, exit_code=None)
    return json.loads(done.stdout)


def test_runs_of_several_divisions_verify_and_replay(divided):
    assert len(runs(divided)) == 4
    report = verify(divided, "--replay", 4)
    assert report["holds"], report
    assert [one["holds"] for one in report["replayed"]] == [True] * 4
    found = {
        (spec["protocol"]["split_seed"], spec.get("labels")): sum(
            record["data"]["counts"]["train"].values()
        )
        for record in (json.loads(path.read_text()) for path in runs(divided))
        for spec in [record["spec"]]
    }
    assert set(found) == {(0, None), (0, "50%"), (1, None), (1, "50%")}
    for split in (0, 1):
        assert found[split, "50%"] == pytest.approx(found[split, None] / 2, abs=1)


@pytest.mark.parametrize("change", ["count", "labels"])
def test_a_forged_number_of_training_images_is_found(change, divided, tmp_path):
    shutil.copytree(divided, tmp_path / "r")
    (path,) = (
        path
        for path in runs(tmp_path / "r")
        if (spec := json.loads(path.read_text())["spec"]).get("labels")
        and spec["protocol"]["split_seed"] == 1
    )
    record = json.loads(path.read_text())
    name = record["data"]["classes"][0]
    record["data"]["counts"]["train"][name] += 1
    if change == "labels":  # one from another class: the sum is right, the classes are not
        record["data"]["counts"]["train"][record["data"]["classes"][1]] -= 1
    path.write_text(json.dumps(record))
    (problem,) = verify(tmp_path / "r")["problems"]
    assert problem["file"].startswith(path.with_suffix("").relative_to(tmp_path / "r").as_posix())
    assert "train" in json.dumps(problem)

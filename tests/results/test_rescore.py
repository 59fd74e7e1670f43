"""`harness score`: metrics for finished runs, without training."""

import json
import shutil
import textwrap

import numpy as np
import pytest
from command import bench
from error_metrics import ERRORS
from safetensors.numpy import load_file

from harness.errors import StoreError
from harness.results.store import Store
from harness.utils.locks import LOCKS

# A metric as a stranger would write it.  HARNESS_ERROR=raise tells it to misbehave.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("rescore")
    bench(out)
    return out


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "r")
    return tmp_path / "r"


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "errors.py"
    path.write_text(textwrap.dedent(ERRORS))
    return path


def records(folder):
    found = sorted((folder / "runs").rglob("*.json"))
    return {path: json.loads(path.read_text()) for path in found}


def error_rate(path, split):
    """By hand, from the file."""
    stored = load_file(path.with_suffix(".safetensors"))
    wrong = stored[f"{split}.logits"].argmax(1) != stored[f"{split}.targets"]
    return float(np.mean(wrong))


def test_a_foreign_metric_is_added_to_finished_runs(folder, plugin, toy_cli):
    before = records(folder)
    files = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    done = toy_cli("score", folder, "--metric", "error-rate", "-p", plugin)

    assert "error-rate: 3 runs scored, 0 had everything already" in done.stdout
    after = records(folder)
    assert after.keys() == before.keys()
    for path, now in after.items():
        was = before[path]
        assert now["metrics"].pop("error-rate")["value"] == error_rate(path, "test")
        assert now["validation"].pop("error-rate")["value"] == error_rate(path, "validation")
        owner = now["plugins"].pop("metric:error-rate")
        assert owner["plugin"] == "errors"
        assert len(owner["source"]) == 64
        assert now == was
    assert {path: path.read_bytes() for path in folder.rglob("*.safetensors")} == files
    assert not [path for path in folder.rglob(".*") if path.name not in LOCKS]


def test_the_board_ranks_by_it_in_its_direction(folder, plugin, toy_cli):
    toy_cli("score", folder, "--metric", "error-rate", "-p", plugin)
    toy_cli("board", folder, "--metric", "error-rate", "-p", plugin)

    made = json.loads((folder / "leaderboard.json").read_text())
    assert (made["metric"], made["higher_is_better"]) == ("error-rate", False)
    rows = made["tracks"][0]["rows"]
    assert all(row["ranked"] for row in rows)
    assert [row["value"] for row in rows] == sorted(row["value"] for row in rows)


def test_and_a_later_bench_keeps_it(folder, plugin, toy_cli):
    toy_cli("score", folder, "--metric", "error-rate", "-p", plugin)
    again = toy_cli("bench", "toy", "--out", folder, "--jobs", 1)

    assert "0 runs made, 3 were there already" in again.stdout
    assert all("error-rate" in record["metrics"] for record in records(folder).values())


def test_what_is_there_already_stays_unless_it_is_to_be_replaced(
    folder, plugin, monkeypatch, toy_cli
):
    toy_cli("score", folder, "--metric", "error-rate", "-p", plugin)
    before = records(folder)
    monkeypatch.setenv("SCALE", "2")
    again = toy_cli("score", folder, "--metric", "error-rate", "-p", plugin)

    assert "0 runs scored, 3 had everything already" in again.stdout
    assert records(folder) == before
    replaced = toy_cli("score", folder, "--metric", "error-rate", "--replace", "-p", plugin)
    assert "3 runs scored" in replaced.stdout
    for path, now in records(folder).items():
        assert now["metrics"]["error-rate"]["value"] == 2 * error_rate(path, "test")


def test_several_metrics_and_globs(folder, plugin, toy_cli):
    done = toy_cli("score", folder, "--metric", "error-rate,macro-*", "-p", plugin)

    assert "error-rate, macro-auroc, macro-f1: 3 runs scored" in done.stdout


def test_a_metric_that_raises_is_named_and_changes_nothing(folder, plugin, monkeypatch, toy_cli):
    monkeypatch.setenv("HARNESS_ERROR", "raise")
    before = records(folder)
    done = toy_cli("score", folder, "--metric", "error-rate", "-p", plugin, exit_code=1)

    assert "metric 'error-rate' of plugin 'errors'" in done.stderr
    assert "ZeroDivisionError: told to" in done.stderr
    assert records(folder) == before


def test_a_run_whose_predictions_were_changed_is_left_alone_and_named(folder, plugin, toy_cli):
    changed, *others = records(folder)
    beside = changed.with_suffix(".safetensors")
    content = bytearray(beside.read_bytes())
    content[-1] ^= 1
    beside.write_bytes(bytes(content))
    done = toy_cli("score", folder, "--metric", "error-rate", "-p", plugin, exit_code=1)

    assert f"{changed.stem}: " in done.stderr
    assert "sha256 differs" in done.stderr
    after = records(folder)
    assert "error-rate" not in after[changed]["metrics"]
    assert all("error-rate" in after[path]["metrics"] for path in others)


def test_figures_of_predictions_that_are_no_longer_there_are_not_written(folder):
    """Somebody ran it again in the meantime."""
    store = Store(folder)
    result = store.results()[0]
    record = result.predictions.model_copy(update={"sha256": "0" * 64})
    before = store.place(result).read_bytes()
    with pytest.raises(StoreError, match="has other predictions by now"):
        store.amend(result.model_copy(update={"predictions": record}), lambda now: now)

    assert store.place(result).read_bytes() == before


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--metric", "acuracy"], "did you mean 'accuracy'?"),
        ([], "Missing option '--metric'"),
    ],
)
def test_wrong_use(folder, args, told, toy_cli):
    done = toy_cli("score", folder, *args, exit_code=2)

    assert told in done.stderr


def test_a_folder_without_runs(tmp_path, toy_cli):
    done = toy_cli("score", tmp_path, "--metric", "accuracy", exit_code=2)

    assert "holds no runs" in done.stderr

"""`harness why`: what in a run is as it was, and what is not."""

import json
import shutil

import pytest
from command import bench, runs

from harness.benchmark.reuse import find_run
from harness.errors import StoreError

pytestmark = pytest.mark.slow


@pytest.fixture
def made(tmp_path):
    bench(tmp_path, "--strategies", "moody")
    return tmp_path, runs(tmp_path)[0]


def test_nothing_has_changed(made, toy_cli):
    folder, run = made
    told = toy_cli("why", run.stem[:8], "--results", folder)

    assert f"run {run.stem}" in told.stdout
    assert "code, default settings, weights and data are as they were" in told.stdout
    assert "made later" not in told.stdout


def test_what_has_changed_is_named(made, toy_cli):
    folder, run = made
    record = json.loads(run.read_text())
    record["spec"]["engine"] = 0
    record["spec"]["sources"]["strategy"] = "0" * 64
    record["spec"]["settings"]["rate"] = 0.5
    record["spec"]["data"] = "1" * 64
    run.write_text(json.dumps(record))
    told = toy_cli("why", run.stem, "--results", folder).stdout

    assert "engine" in told
    assert "code of strategy moody" in told
    assert "000000000000" in told
    assert "setting moody.rate" in told
    assert "samples, labels, groups or splits have changed" in " ".join(told.split())


def test_a_later_run_of_the_cell_says_what_another_call_asked_for(made, toy_cli):
    """Protocol, limit and settings belong to a call: nothing but a second run knows them."""
    folder, run = made
    record = json.loads(run.read_text()) | {"finished": "2020-01-01T00:00:00+00:00"}
    run.write_text(json.dumps(record))
    asked = ("--set", "protocol.lr=0.25", "--set", "moody.rate=0.75", "--limit", "4")
    bench(folder, "--strategies", "moody", *asked)
    (other,) = {path.stem for path in runs(folder)} - {run.stem}
    told = toy_cli("why", run.stem, "--results", folder).stdout
    _, _, after = told.partition(f"run {other} of the same cell and seed was made later")
    rows = [line.split() for line in after.splitlines()[3:]]

    assert [row[0] for row in rows] == ["limit", "protocol.lr", "protocol.name", "settings.rate"]
    assert rows[0] == ["limit", "None", "4"]
    assert rows[1][2] == "0.25"
    assert rows[3][2] == "0.75"
    assert "made later" not in toy_cli("why", other, "--results", folder).stdout


def test_what_cannot_be_told_is_said(made, toy_cli):
    folder, run = made
    record = json.loads(run.read_text())
    record["spec"]["strategy"] = "gone"
    target = folder / "runs" / "toy-data" / "toy" / "gone"
    target.mkdir()
    (target / run.name).write_text(json.dumps(record))
    run.unlink()
    shutil.rmtree(run.parent)

    assert "no loaded plugin offers it" in toy_cli("why", run.stem, "--results", folder).stdout


def test_a_beginning_that_several_runs_share_is_not_one(tmp_path):
    bench(tmp_path, "--strategies", "moody,full-ft")
    with pytest.raises(StoreError, match=r"2 runs in .* start with .*give more digits"):
        find_run([tmp_path], "", named=True)


def test_a_run_that_is_not_there(tmp_path, monkeypatch, toy_cli):
    """The folder is asked for where none was given, and never where one was."""
    monkeypatch.chdir(tmp_path)
    bench(tmp_path / "results" / "one", "--strategies", "full-ft")
    told = toy_cli("why", "ffffffff", exit_code=2).stderr
    assert "no run ffffffff in results/one; give its folder with --results FOLDER" in told
    told = toy_cli("why", "ffffffff", "--results", "results/one", exit_code=2).stderr
    assert "no run ffffffff in results/one; its runs are the .json files in runs/" in told
    assert "--results" not in told
    assert "holds no runs" in toy_cli("why", "ff", "--results", "elsewhere", exit_code=2).stderr

"""The tuned demonstration that CI compares with: whole, chosen on validation, renewed with a word."""

import csv
import io
import json
import re
import runpy
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from harness.leaderboard import boards
from harness.plugins.registry import load_plugins
from harness.results.merge import MergedStore
from harness.results.store import Store

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / "benchmarks" / "results" / "demo-fair"
RENEW = runpy.run_path(str(ROOT / "benchmarks" / "renew_baseline.py"))


def best_by_hand():
    """Of each (dataset, strategy, seed) the trial with the best balanced accuracy on validation."""
    trials = {}
    for path in (BASELINE / "runs").rglob("*.json"):
        record, stored = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
        right = stored["validation.logits"].argmax(1) == stored["validation.targets"]
        classes = np.unique(stored["validation.targets"])
        score = np.mean([right[stored["validation.targets"] == one].mean() for one in classes])
        spec = record["spec"]
        place = (-round(score, 12), spec["settings"].get("rate", 1.0), record["run_id"])
        trials.setdefault((spec["dataset"], spec["strategy"], spec["seed"]), []).append(place)
    return {min(places)[2] for places in trials.values()}


def test_the_chosen_trials_are_the_best_on_validation():
    assert boards.chosen_runs(Store(BASELINE), load_plugins()) == best_by_hand()


def test_it_is_whole_and_small():
    results = Store(BASELINE).results()
    assert len(results) == 2 * 8 * 4 * 3
    assert {run.run_id for run in results} == {run.run_id for run in Store(BASELINE).plan().runs}
    assert {run.status for run in results} == {"ok"}
    files = [path for path in BASELINE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4e6


def test_its_splits_differ_and_their_test_is_one():
    for name in ("demo-histology", "demo-dermoscopy"):
        splits = [
            {one["id"]: one["split"] for one in json.loads(path.read_text())["samples"]}
            for path in sorted((BASELINE / "splits").glob(f"{name}*.json"))
        ]
        tests = [{i for i, split in one.items() if split == "test"} for one in splits]
        validation = [{i for i, split in one.items() if split == "validation"} for one in splits]
        assert len(splits) == 3
        assert tests[0] == tests[1] == tests[2]
        assert len({frozenset(one) for one in validation}) == 3
        assert {len(one) for one in validation} == {48}


def test_tuned_rows_are_ranked_beside_those_under_one_common_rate():
    board = boards.rank_folder(MergedStore([Store(BASELINE)]), load_plugins())
    tuned, plain = board.tracks
    assert (tuned.tuned, plain.tuned) == (True, False)
    assert {row.runs for row in tuned.rows} == {row.runs for row in plain.rows} == {6}
    assert {row.tuning.trials for row in tuned.rows} == {4}
    assert all(row.ranked for row in (*tuned.rows, *plain.rows))


def test_the_gain_of_tuning_is_that_of_the_chosen_runs_over_the_untuned(capsys, monkeypatch):
    script = ROOT / "benchmarks" / "reference" / "tuning_gain.py"
    monkeypatch.setattr("sys.argv", [str(script), str(BASELINE)])
    runpy.run_path(str(script), run_name="__main__")
    lines = [
        [c.strip() for c in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()
    ]
    shown = {(cell.split(" / ")[0], row): figures for cell, row, *figures in lines[2:]}
    chosen, tuned, plain = best_by_hand(), {}, {}
    for path in (BASELINE / "runs").rglob("*.json"):
        record = json.loads(path.read_text())
        place = (record["spec"]["dataset"], record["spec"]["strategy"])
        figure = record["metrics"]["balanced-accuracy"]["value"]
        if record["run_id"] in chosen:
            tuned.setdefault(place, []).append(figure)
        if "rate" not in record["spec"]["settings"] and place[1] not in {"l1-sp", "l2-sp", "lp-ft"}:
            plain.setdefault(place, []).append(figure)
    assert set(shown) == set(tuned)
    for place, figures in plain.items():
        mean, base = np.mean(tuned[place]), np.mean(figures)
        assert shown[place][:2] == [f"{mean:.3f}", f"{base:.3f}"]
        assert shown[place][2].startswith(f"{100 * (mean - base):+.1f} [")


def test_a_board_of_fewer_trials_is_asked_for_and_of_more_refused(toy_cli):
    one = toy_cli("board", BASELINE, "--trials", 1, "--format", "csv")
    assert {row["trial"] for row in csv.DictReader(io.StringIO(one.stdout))} == {"", "0"}
    refused = toy_cli("board", BASELINE, "--trials", 5, "--format", "csv", exit_code=2)
    assert "--trials 5: at most 4 trials were asked for here" in refused.stderr


def test_it_equals_itself_and_names_what_is_tuned(toy_cli):
    done = toy_cli("check", BASELINE, BASELINE, "--all")
    assert "PASS: 32 equal" in done.stdout
    assert "demo-histology/resnet50-mini/lp-ft [tuned]" in done.stdout


def test_it_was_renewed_with_a_changelog_entry_of_kind_result():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    entries = re.findall(r"^- \*\*result\*\* .*$", changelog, re.MULTILINE)
    assert any(RENEW["digest"](BASELINE) in entry for entry in entries)

"""The embedded default keeps what its board says: it transfers, and it can tell strategies apart."""

import json
import os
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Cli, runs
from places import ROOT

from harness.api.execution import Outcome
from harness.results.store import Store

CHANCE = {"demo-histology": 1 / 4}
CLEARLY = 0.08  # of 96 test images: above any of chance's 95 % intervals over 15 cells together


def scores(out):
    found = {}
    for path in runs(out):
        result = json.loads(path.read_text(encoding="utf-8"))
        key = (result["spec"]["strategy"], result["spec"]["dataset"], result["spec"]["backbone"])
        found[key] = result["metrics"]["balanced-accuracy"]["value"]
    return found


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    if made := os.environ.get("HARNESS_DEMO"):  # `.ci/run` has trained all of it already
        found = scores(Path(made))
        return {key: value for key, value in found.items() if key[0] in {"full-ft", "linear-probe"}}
    out = tmp_path_factory.mktemp("shipped")
    Cli()("bench", "demo", "--strategies", "full-ft,linear-probe", "--out", out, "--jobs", 1)
    return scores(out)


@pytest.mark.slow
def test_every_cell_learns_clearly_above_chance(shipped):
    assert len(shipped) == 30
    weak = {k: v for k, v in shipped.items() if v < CHANCE.get(k[1], 1 / 3) + CLEARLY}
    assert not weak


@pytest.mark.slow
def test_the_shipped_starting_points_beat_random_weights(shipped, tmp_path, harness_cli):
    done = harness_cli(
        "bench", "demo", "--strategies", "linear-probe", "--weights", "none", "--out", tmp_path,
        "--jobs", 1,
    )  # fmt: skip
    assert "random starting weights" in " ".join(done.stdout.split())
    random = scores(tmp_path)
    better = [key for key, value in random.items() if shipped[key] > value]
    assert len(better) >= 13  # of 15


@pytest.mark.slow
def test_final_weights_of_the_strategies_differ_pairwise(tmp_path, harness_cli):
    from safetensors.numpy import load_file

    harness_cli(
        "bench", "demo", "--datasets", "demo-mri", "--backbones", "vgg19-mini", "--out", tmp_path,
        "--jobs", 1, "--save-weights", "--set", "protocol.checkpoint=last",
    )  # fmt: skip
    ends = [load_file(path) for path in sorted((tmp_path / "weights").glob("*.safetensors"))]
    assert len(ends) == 8
    for i, one in enumerate(ends):
        for other in ends[i + 1 :]:
            assert any((one[name] != other[name]).any() for name in one)


# -- the baseline that CI compares the demonstration with ------------------------------------------

BASELINE = ROOT / "benchmarks" / "results" / "demo"
RENEW = runpy.run_path(str(ROOT / "benchmarks" / "renew_baseline.py"))
CELL = "demo-mri/resnet50-mini/full-ft"


def test_it_is_whole_and_small():
    results = Store(BASELINE).results()
    files = [path for path in BASELINE.rglob("*") if path.is_file()]
    asked = {run.run_id for run in Store(BASELINE).plan().runs}

    assert {result.run_id for result in results} == asked
    assert len(results) == 5 * 3 * 8
    assert all(result.status == "ok" and not result.limited for result in results)
    assert {result.environment.device for result in results} == {"cpu"}
    assert {path.relative_to(BASELINE).parts[0] for path in files} == {
        "plan.json",
        "runs",
        "splits",
    }
    assert sum(path.stat().st_size for path in files) < 3e6


def test_every_one_of_its_runs_is_clearly_above_chance():
    margins = {
        run.spec.cell: run.metrics["balanced-accuracy"].value - CHANCE.get(run.spec.dataset, 1 / 3)
        for run in Store(BASELINE).results()
    }
    assert len(margins) == 120
    assert min(margins.values()) > CLEARLY


def test_it_equals_itself(toy_cli):
    done = toy_cli("check", BASELINE, BASELINE)
    assert "PASS: 120 equal" in done.stdout


def test_a_cell_that_falls_to_chance_fails(tmp_path, toy_cli):
    shutil.copytree(BASELINE, tmp_path / "now")
    store = Store(tmp_path / "now")
    spoilt = next(one for one in store.results() if store.place(one).parent.match(f"*/{CELL}"))
    kept = store.predictions(spoilt)
    store.place(spoilt).unlink()
    constant = {split: np.ones_like(logits) for split, logits in kept.logits.items()}
    store.add(Outcome(spoilt, type(kept)(constant, kept.targets, kept.rows)))

    done = toy_cli("check", BASELINE, tmp_path / "now", exit_code=1)
    assert f"fails: {CELL}: collapsed" in done.stdout
    assert "FAIL: 1 collapsed, 119 equal" in done.stdout


def test_it_was_renewed_with_a_changelog_entry_of_kind_result():
    entries = re.findall(
        r"^- \*\*result\*\* .*$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert any(RENEW["digest"](BASELINE) in entry for entry in entries), (
        "the baseline has changed: renew it with benchmarks/renew_baseline.py, which says so in "
        "the changelog"
    )


@pytest.mark.parametrize("later", ["", "\n## 0.1.0\n\n- **fix** Old.\n"])
def test_renewing_replaces_the_folder_and_announces_it(tmp_path, later):
    made, baseline, changelog = (tmp_path / name for name in ("made", "demo", "CHANGELOG.md"))
    for folder in (made / "runs", made / "splits", baseline / "runs"):
        folder.mkdir(parents=True)
    for file in ("plan.json", "runs/a.json", "splits/x.json", "leaderboard.html", ".key"):
        (made / file).write_text(file)
    (baseline / "runs" / "old.json").write_text("old")
    changelog.write_text(f"# Changelog\n\n## 0.2.0 (unreleased)\n\n- **fix** New.\n{later}")
    RENEW["put"](made, baseline)
    line = RENEW["entry"](baseline, "faster decay.")
    RENEW["announce"](changelog, line)

    files = {path.relative_to(baseline).as_posix() for path in baseline.rglob("*.*")}
    assert files == {"plan.json", "runs/a.json", "splits/x.json"}
    assert RENEW["digest"](baseline) in line
    assert changelog.read_text() == (
        f"# Changelog\n\n## 0.2.0 (unreleased)\n\n- **fix** New.\n{line}{later}"
    )

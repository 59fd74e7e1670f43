"""The baseline that CI compares the demonstration with: it loads, is small, and can raise an alarm."""

import re
import runpy
import shutil

import numpy as np
import pytest
from places import ROOT

from harness.api.execution import Outcome
from harness.results.store import Store

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
    assert f"fails: {CELL}: worse" in done.stdout
    assert "FAIL: 119 equal, 1 worse" in done.stdout


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
    made, baseline, changelog = (tmp_path / name for name in ("made", "baseline", "CHANGELOG.md"))
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

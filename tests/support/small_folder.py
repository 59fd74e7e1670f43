"""A results folder of three runs that hold, and one that failed: a part of the demonstration's."""

import json
import shutil

from places import DATA_FILES, ROOT

DEMO = ROOT / "benchmarks" / "results" / "demo"
FAILED = DATA_FILES / "historic" / "schema-1" / "failed"
CELL = "demo-mri/resnet50-mini"
STRATEGIES = ("full-ft", "linear-probe", "lp-ft")


def small_folder(target):
    """Copied into `target`, which must not be there."""
    for strategy in STRATEGIES:
        shutil.copytree(DEMO / "runs" / CELL / strategy, target / "runs" / CELL / strategy)
    (target / "splits").mkdir()
    shutil.copy(DEMO / "splits" / "demo-mri.json", target / "splits")
    shutil.copytree(FAILED, target / "failed")
    plan = json.loads((DEMO / "plan.json").read_text())
    there = {path.stem for path in target.rglob("*.json")}
    failed = {path.stem for path in FAILED.glob("*.json")}
    older = json.loads((FAILED.parent / "plan.json").read_text())
    runs = [run for run in plan["runs"] if run["run_id"] in there]
    runs += [run for run in older["runs"] if run["run_id"] in failed]
    (target / "plan.json").write_text(json.dumps(plan | {"runs": runs}))
    return target


def records(folder):
    """The files of finished runs."""
    return sorted((folder / "runs").rglob("*.json"))

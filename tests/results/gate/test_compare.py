"""`harness check` and `harness compare` on folders that were really made, then tampered with."""

import gc
import json
import re
import shutil
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from command import bench, runs
from made import made_data, made_result, made_spec, made_suite
from places import ROOT

from harness.api.execution import Outcome, Predictions
from harness.api.records import Plan, RunSpec
from harness.errors import StoreError
from harness.results.gate import check as gate
from harness.results.gate import report
from harness.results.gate.compare import compare_folders, rules_of
from harness.results.gate.records import GateCell, GateRun
from harness.results.store import Store
from harness.utils import locks

N = 400


def folder(path, rights, *, strategy="lp-ft", seeds=(0, 1, 2), failed=(), endless=(), rows=None):
    """A results folder with one cell; `rights`: seed -> which of the 400 samples are right.

    Runs of the seeds `endless` have an output that is no finite number.  `rows`: of the split file,
    that the test images are; by default all.
    """
    store = Store(path)
    targets = np.arange(N) % 2
    rows = np.arange(N) if rows is None else rows
    samples = [
        {"id": f"s{i:03d}", "label": "ab"[i % 2], "group": f"g{i:03d}", "split": "test"}
        for i in range(N)
    ]
    store.write_split("demo-xray", json.dumps({"samples": samples}))
    for seed in seeds:
        if seed in failed:
            store.add(
                Outcome(made_result(strategy=strategy, seed=seed, status="failed", metrics={}))
            )
            continue
        predicted = np.where(rights(seed), targets, 1 - targets)
        logits = np.eye(2, dtype=np.float32)[predicted]
        if seed in endless:
            logits[7] = np.nan
        both = {"test": logits, "validation": logits[:2]}
        predictions = Predictions(
            logits=both,
            targets={"test": targets, "validation": targets[:2]},
            rows={"test": rows.astype(np.int32), "validation": np.arange(2, dtype=np.int32)},
        )
        result = made_result(strategy=strategy, seed=seed)
        store.add(Outcome(result, predictions))
    return path


def right(share, noise=0.05):
    """Mostly the same samples right in every seed."""

    def of(seed):
        base = np.random.default_rng(7).random(N) < share
        flips = np.random.default_rng(100 + seed).random(N) < noise
        return base ^ flips

    return of


@pytest.fixture
def baseline(tmp_path):
    return folder(tmp_path / "baseline", right(0.9))


def test_the_same_results_are_equal(baseline, tmp_path, toy_cli):
    """And the loss that it would have seen is said, in every format."""
    files = {name: tmp_path / name for name in ("junit", "markdown", "figures", "sarif")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    done = toy_cli("check", baseline, baseline, *options)

    *_, seen, _, last = done.stdout.strip().splitlines()
    assert last == "PASS: 1 equal"
    told, points = re.fullmatch(
        r"(loss that .* 80 % certainty): ([\d.]+) points in .*", seen
    ).groups()
    assert 1 < float(points) < 10
    assert f"A {told}: {points} points in a typical cell." in files["markdown"].read_text()
    gate = ET.parse(files["junit"]).find("testcase[@classname='gate']/system-out").text
    assert f"{points} points in a typical cell" in gate
    figure, counted = json.loads(files["figures"].read_text())
    assert (counted["value"], counted["counts"]) == (1, {"equal": 1})
    assert figure["loss_seen"] == pytest.approx(float(points), abs=0.05)
    assert (figure["fails"], figure["extra"]) == (False, "equal")
    properties = json.loads(files["sarif"].read_text())["runs"][0]["properties"]
    assert properties["summary"] == "PASS: 1 equal"
    assert properties[told] == [f"{points} points in a typical cell"]


def test_a_clear_loss_fails_and_is_named(baseline, tmp_path, toy_cli):
    worse = folder(tmp_path / "worse", right(0.75))
    done = toy_cli(
        "check",
        baseline,
        worse,
        "--junit",
        tmp_path / "j.xml",
        "--markdown",
        tmp_path / "m.md",
        "--figures",
        tmp_path / "b.json",
        exit_code=1,
    )

    assert "demo-xray/resnet50-mini/lp-ft" in done.stdout
    assert "FAIL: 1 worse" in done.stdout
    suite = ET.fromstring((tmp_path / "j.xml").read_text())
    assert suite.get("failures") == "1"
    assert suite.find("testcase/failure") is not None
    assert "FAIL" in (tmp_path / "m.md").read_text()
    figure, _ = json.loads((tmp_path / "b.json").read_text())
    assert figure["extra"] == "worse"
    assert figure["value"] < 80


def test_the_old_name_of_the_figures_still_works_and_warns(baseline, tmp_path, toy_cli):
    """`--json` prints JSON in every other command."""
    done = toy_cli(
        "check", baseline, baseline, "--json", tmp_path / "old", "--figures", tmp_path / "new"
    )
    assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()
    assert "warning: --json FILE is now --figures FILE" in done.stderr
    assert "--json" not in toy_cli("check", "--help").output
    assert toy_cli("check", baseline, baseline).stderr == ""


def test_a_call_may_compare_a_part_and_let_a_verdict_pass(baseline, tmp_path, toy_cli):
    folder(baseline, right(0.9), strategy="l1-sp")
    now = folder(tmp_path / "now", right(0.75))
    folder(now, right(0.9), strategy="l1-sp")
    assert "left out" not in toy_cli("check", baseline, now, exit_code=1).stdout
    part = toy_cli("check", baseline, now, "--cells", "*/l1-sp").stdout.splitlines()
    assert (part[0], part[-1]) == ("left out: 1 of 2 cells, by --cells */l1-sp", "PASS: 1 equal")
    let = toy_cli("check", baseline, now, "--fail-on", "collapsed,vanished").stdout.splitlines()
    told = "left out: from what fails, by --fail-on: worse, newly-failing, not-comparable"
    assert (let[0], let[-1]) == (told, "PASS: 1 equal, 1 worse")
    wrong = toy_cli("check", baseline, now, "--fail-on", "wrse", exit_code=2)
    assert "did you mean 'worse'" in wrong.stderr.lower()


def test_code_scanning_gets_what_fails(baseline, tmp_path, toy_cli):
    """The properties that GitHub's code scanning requires of SARIF 2.1.0."""
    folder(tmp_path / "now", right(0.75))
    folder(tmp_path / "now", right(0.9), strategy="l1-sp", failed=(0, 1, 2))
    folder(baseline, right(0.9), strategy="l1-sp")
    folder(baseline, right(0.9), strategy="full-ft")
    toy_cli("check", baseline, tmp_path / "now", "--sarif", tmp_path / "gate.sarif", exit_code=1)
    log = json.loads((tmp_path / "gate.sarif").read_text())

    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert run["tool"]["driver"]["name"] == "harness check"
    known = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    found = {one["ruleId"]: one for one in run["results"]}
    assert {name: one["message"]["text"].partition(":")[0] for name, one in found.items()} == {
        "worse": "demo-xray/resnet50-mini/lp-ft",
        "newly-failing": "demo-xray/resnet50-mini/l1-sp",
        "vanished": "demo-xray/resnet50-mini/full-ft",
    }
    assert found.keys() <= known
    for one in run["results"]:
        assert one["level"] == "error"
        (place,) = one["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"].endswith("baseline/plan.json")
        assert place["physicalLocation"]["region"]["startLine"] == 1
    marks = [one["partialFingerprints"]["primaryLocationLineHash"] for one in run["results"]]
    assert len(set(marks)) == len(marks)

    toy_cli("check", baseline, baseline, "--sarif", tmp_path / "same.sarif")
    assert json.loads((tmp_path / "same.sarif").read_text())["runs"][0]["results"] == []
    other = folder(tmp_path / "other", right(0.9), strategy="l2-sp")
    toy_cli("check", baseline, other, "--sarif", tmp_path / "none.sarif", exit_code=1)
    last = json.loads((tmp_path / "none.sarif").read_text())["runs"][0]["results"][-1]
    assert last["ruleId"] == "nothing-compared"


def test_markdown_keeps_its_columns_whatever_a_name_holds():
    runs = (GateRun(0, predicted=np.zeros(4, int)),)
    given = GateCell({}, "cpu", np.arange(4), np.zeros(4, int), runs)
    text = report.markdown(gate.check({'a/b/c [{"x": "<i>|"}]': given}, {}))
    (line,) = [line for line in text.splitlines() if line.startswith("| a/b/c")]
    assert len(re.split(r"(?<!\\)\|", line)) == len(report.HEADERS) + 2
    assert "<i>" not in text


def test_junit_holds_whatever_a_message_says(baseline, tmp_path, toy_cli):
    failing = folder(tmp_path / "failing", right(0.9), failed=(1,))
    (record,) = (failing / "failed").glob("*.json")
    raw = json.loads(record.read_text())
    raw["error"] = {"kind": "RuntimeError", "message": "\x1b[31mout of <memory>\x00"}
    record.write_text(json.dumps(raw))
    toy_cli("check", baseline, failing, "--junit", tmp_path / "j.xml", exit_code=1)
    told = ET.parse(tmp_path / "j.xml").find("testcase/failure").get("message")
    assert "?[31mout of <memory>?" in told


def test_a_tolerance_lets_it_pass(baseline, tmp_path, toy_cli):
    worse = folder(tmp_path / "worse", right(0.75))
    toy_cli("check", baseline, worse, "--tolerance", "demo-xray/*=30")
    toy_cli("check", baseline, worse, "--tolerance", "other/*=30", exit_code=1)


def test_the_command_line_goes_before_the_suite(baseline, tmp_path, toy_cli):
    worse = folder(tmp_path / "worse", right(0.75))
    suite = made_suite(tolerances={"*": 1.0})
    Store(baseline).extend_plan(Plan(suites={suite.name: suite}))
    toy_cli("check", baseline, worse, exit_code=1)
    toy_cli("check", baseline, worse, "--tolerance", "30")


@pytest.mark.parametrize(
    ("args", "code"), [((), 1), (("--cost", "0.6"), 0), (("--cost", "0.4"), 1)]
)
def test_the_suite_may_say_what_cost_may_grow(baseline, tmp_path, args, code, toy_cli):
    """Half as much again, where the suite allows a fifth."""
    now = shutil.copytree(baseline, tmp_path / "now")
    for path in runs(now):
        record = json.loads(path.read_text())
        record["cost"]["alone"]["total"] *= 1.5
        path.write_text(json.dumps(record))
    toy_cli("check", baseline, now)
    suite = made_suite(tolerances={"cost": 0.2})
    Store(baseline).extend_plan(Plan(suites={suite.name: suite}))
    done = toy_cli("check", baseline, now, *args, exit_code=code)
    assert ("costs 1.50 times as much" in done.stdout) == bool(code)


def test_newly_failing_and_vanished_cells_fail(baseline, tmp_path, toy_cli):
    failing = folder(tmp_path / "failing", right(0.9), failed=(1,))
    done = toy_cli("check", baseline, failing, exit_code=1)
    assert "newly-failing" in done.stdout
    other = folder(tmp_path / "other", right(0.9), strategy="full-ft")
    gone = toy_cli("check", baseline, other, exit_code=1)
    assert "vanished" in gone.stdout
    assert "nothing could be compared" in gone.stdout


def test_other_data_are_not_comparable_and_nothing_compared_fails(baseline, tmp_path, toy_cli):
    copy = shutil.copytree(baseline, tmp_path / "copy")
    for path in (copy / "runs").rglob("*.json"):
        record = json.loads(path.read_text())
        record["spec"]["data"] = "0" * 64
        path.write_text(json.dumps(record))
    done = toy_cli("check", baseline, copy, exit_code=1)

    assert "not-comparable" in done.stdout
    assert "other data" in done.stdout


def test_cells_of_one_split_file_are_held_against_their_own_test_samples(tmp_path):
    """In the second folder one strategy was tested in another order of the same images."""
    turned = np.arange(N).reshape(-1, 2)[::-1].ravel()  # a class keeps its places
    for side, order in (("before", np.arange(N)), ("after", turned)):
        folder(tmp_path / side, right(0.9), strategy="full-ft")
        folder(tmp_path / side, right(0.9), strategy="lp-ft", rows=order)
    rules = rules_of(tmp_path / "before", "accuracy")
    found = compare_folders(tmp_path / "before", tmp_path / "after", rules)
    told = {one.cell.split("/")[-1]: (one.verdict, one.reason) for one in found.cells}
    assert told["full-ft"][0] == "equal"
    assert told["lp-ft"] == ("not-comparable", "other test samples, groups")


def test_cells_that_cannot_be_compared_fail_unless_they_are_named(baseline, tmp_path, toy_cli):
    folder(baseline, right(0.9), strategy="l1-sp")
    other = shutil.copytree(baseline, tmp_path / "other")
    for path in runs(other):
        record = json.loads(path.read_text())
        if record["spec"]["strategy"] == "l1-sp":
            record["spec"]["data"] = "0" * 64
            path.write_text(json.dumps(record))
    options = ("--sarif", tmp_path / "s", "--junit", tmp_path / "j")
    done = toy_cli("check", baseline, other, *options, exit_code=1)
    assert "fails: demo-xray/resnet50-mini/l1-sp: not-comparable (other data)" in done.stdout
    (found,) = json.loads((tmp_path / "s").read_text())["runs"][0]["results"]
    assert found["ruleId"] == "not-comparable"
    failed = ET.parse(tmp_path / "j").findall("testcase[failure]")
    assert [one.get("name") for one in failed] == ["demo-xray/resnet50-mini/l1-sp"]

    done = toy_cli("check", baseline, other, "--allow-not-comparable", "*/l1-sp", *options)
    assert "other data; allowed" in done.stdout
    assert json.loads((tmp_path / "s").read_text())["runs"][0]["results"] == []
    assert ET.parse(tmp_path / "j").find("testcase[skipped]") is not None
    done = toy_cli("check", baseline, baseline, "--allow-not-comparable", "*/l2-sp")
    assert "note: --allow-not-comparable */l2-sp: no such cell is not comparable" in done.stdout


def test_a_collapse_is_named_in_every_format(baseline, tmp_path, toy_cli):
    constant = folder(tmp_path / "constant", lambda seed: np.arange(N) % 2 == 0)
    options = ("--sarif", tmp_path / "s", "--markdown", tmp_path / "m")
    done = toy_cli("check", baseline, constant, *options, exit_code=1)
    told = "collapsed (3 of 3 runs predict one class only)"
    assert f"fails: demo-xray/resnet50-mini/lp-ft: {told}" in done.stdout
    assert told in (tmp_path / "m").read_text()
    (found,) = json.loads((tmp_path / "s").read_text())["runs"][0]["results"]
    assert found["ruleId"] == "collapsed"


def test_outputs_that_are_no_numbers_are_a_collapse(baseline, tmp_path, toy_cli):
    broken = folder(tmp_path / "broken", right(0.9), endless=(1,))
    done = toy_cli("check", baseline, broken, exit_code=1)
    assert "collapsed (seed 1: outputs that are no finite numbers)" in done.stdout


def test_a_constant_cell_is_told_where_nothing_differs(tmp_path, toy_cli):
    """It passes, for nothing changed; that the gate can see nothing there is said."""
    constant = folder(tmp_path / "constant", lambda seed: np.arange(N) % 2 == 0)
    done = toy_cli("check", constant, constant)
    assert "PASS: 1 equal" in done.stdout
    assert "the baseline is too weak to tell" in done.stdout


def test_the_demonstration_has_families_of_strategies_backbones_and_datasets():
    demo = ROOT / "benchmarks" / "results" / "demo"
    found = compare_folders(demo, demo, rules_of(demo, "balanced-accuracy"))
    assert found.failures == ()
    assert {one.verdict for one in found.families} == {"equal"}
    assert {(one.family.partition(" ")[0], one.cells) for one in found.families} == {
        ("all", 120), ("strategy", 15), ("backbone", 40), ("dataset", 24)
    }  # fmt: skip
    assert len(found.families) == 17


STRATEGIES = ("full-ft", "l1-sp", "l2-sp", "lp-ft", "auto-rgn")


def test_a_family_fails_where_no_cell_does(tmp_path, toy_cli, monkeypatch):
    """Every strategy loses two points: what a cell may lose, and more than they may on average."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    before, after = tmp_path / "before", tmp_path / "after"
    for number, strategy in enumerate(STRATEGIES):
        noise = [10 * number + 1000 * side for side in (1, 2)]
        folder(before, lambda seed, at=noise[0]: right(0.9)(seed + at), strategy=strategy)
        folder(after, lambda seed, at=noise[1]: right(0.88)(seed + at), strategy=strategy)
    files = {name: tmp_path / name for name in ("junit", "markdown", "figures", "sarif")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    done = toy_cli("check", before, after, "--tolerance", "3", *options, exit_code=1)

    (told,) = re.findall(r"^fails: (.*)$", done.stdout, re.MULTILINE)
    assert re.fullmatch(
        r"all cells: worse by \d\.\d points on average over 5 cells, from \d+\.\d % to \d+\.\d %",
        told,
    )
    assert f"::error title=harness check::{told.replace('%', '%25')}" in done.stdout
    assert told in files["markdown"].read_text()
    (found,) = json.loads(files["sarif"].read_text())["runs"][0]["results"]
    assert (found["ruleId"], found["message"]["text"]) == ("family", told)
    names = [one.get("name") for one in ET.parse(files["junit"]).findall("testcase[failure]")]
    assert names == ["all cells"]
    figures = {one["name"]: one for one in json.loads(files["figures"].read_text())}
    assert figures["mean over all cells"]["fails"]
    assert figures["mean over all cells"]["loss_seen"] < figures[f"{CELL}/lp-ft"]["loss_seen"]

    done = toy_cli("check", before, before)
    (notice,) = re.findall(
        r"^::notice title=harness check::PASS: 5 equal; (.*)$", done.stdout, re.MULTILINE
    )
    assert "points in a typical cell; " in notice
    assert "points on average over all cells (5 cells)" in notice


CELL = "demo-xray/resnet50-mini"


def test_other_images_and_stated_seeds_are_options(tmp_path, toy_cli):
    """A seed a side and one patient lost: the three verdicts that the options make of it."""
    before = folder(tmp_path / "before", right(0.9), seeds=(0,))
    after = folder(tmp_path / "after", right(0.82), seeds=(0,))
    plain = toy_cli("check", before, after)
    assert "inconclusive" in plain.stdout
    assert "state it with --seed-spread, or train three seeds" in plain.stdout
    assert "not known in a cell" in plain.stdout
    toy_cli("check", before, after, "--seed-spread", "0.5", exit_code=1)
    toy_cli("check", before, after, "--seed-spread", "9")
    told = toy_cli("check", before, after, "--seed-spread", "0.5", "--beyond-images", exit_code=1)
    assert "yes" in told.stdout
    three = folder(tmp_path / "three", right(0.9))
    unused = toy_cli("check", three, three, "--seed-spread", "1")
    assert "note: --seed-spread is not used" in unused.stdout


def test_a_ci_service_gets_annotations_and_a_summary(baseline, tmp_path, monkeypatch, toy_cli):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = toy_cli("check", baseline, folder(tmp_path / "worse", right(0.75)), exit_code=1)

    assert "::error title=harness check::demo-xray/resnet50-mini/lp-ft: worse" in done.stdout
    assert (tmp_path / "summary.md").read_text().startswith("### Benchmark: FAIL")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--tolerance", "much"], "give points"),
        (["--tolerance", "-1"], "Give a number that is 0 or more"),
        (["--seed-spread", "-1"], "give points, from 0 to 100"),
        (["--metric", "ece"], "the gate compares balanced-accuracy or accuracy"),
    ],
)
def test_usage(baseline, args, message, toy_cli):
    done = toy_cli("check", baseline, baseline, *args, exit_code=2)
    assert message in done.stderr


def test_an_empty_side_is_an_error_not_a_pass(baseline, tmp_path, toy_cli):
    done = toy_cli("check", baseline, tmp_path / "nothing", exit_code=2)
    assert "holds no runs" in done.stderr


def test_a_folder_of_several_tracks_compares_each(baseline, toy_cli):
    """Another budget, precision or starting point is a cell of its own, with a name that says so."""
    (one, *_) = runs(baseline)
    record = json.loads(one.read_text())
    protocol, numeric = record["spec"]["protocol"], record["spec"]["numeric"]
    for change in (
        {"protocol": protocol | {"epochs": 1.0}},
        {"numeric": numeric | {"precision": "bf16"}},
        {"weights": "none"},
        {"limit": 7},
    ):
        other = json.loads(json.dumps(record))
        other["spec"] |= change
        other["run_id"] = RunSpec.model_validate(other["spec"]).run_id
        one.with_name(f"{other['run_id']}.json").write_text(json.dumps(other))
    done = toy_cli("check", baseline, baseline, "--all")

    assert "PASS: 5 equal" in done.stdout
    for told in ("epochs 1,", "bf16,", "random weights,", "limit 7,"):
        assert done.stdout.count(f"{told} ") == 2  # in the table, and in the reasons


def test_two_runs_of_one_seed_are_named(baseline, toy_cli):
    (one, *_) = runs(baseline)
    record = json.loads(one.read_text())
    record["spec"]["engine"] += 1
    record["run_id"] = RunSpec.model_validate(record["spec"]).run_id
    one.with_name(f"{record['run_id']}.json").write_text(json.dumps(record))
    done = toy_cli("check", baseline, baseline, exit_code=2)
    assert "several runs of demo-xray/resnet50-mini/lp-ft with one seed" in done.stderr
    assert record["run_id"] in done.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [({}, "x1.00"), ({"threads": 2}, "-"), ({"processor": "AVX2"}, "-"), ({"device": "cuda"}, "-")],
)
def test_cost_is_compared_on_like_hardware_only(baseline, tmp_path, change, told, toy_cli):
    there = {"harness": "0", "python": "3", "device": "cpu", "threads": 1, "processor": "AVX512"}
    now = shutil.copytree(baseline, tmp_path / "now")
    for side, given in ((baseline, there), (now, there | change)):
        for path in runs(side):
            record = json.loads(path.read_text()) | {"environment": given}
            path.write_text(json.dumps(record))
    done = toy_cli("check", baseline, now, "--all")
    (line,) = [line for line in done.stdout.splitlines() if "lp-ft  equal" in line]
    assert line.split()[-1] == told


@pytest.mark.slow
def test_real_folders_compare(tmp_path, toy_cli):
    bench(tmp_path / "a")
    bench(tmp_path / "b", "--set", "moody.rate=0.9")
    done = toy_cli("compare", tmp_path / "a", tmp_path / "b", "--format", "md")

    assert "toy-data/toy/full-ft" in done.stdout
    assert "toy-data/toy/full-ft" in toy_cli("compare", tmp_path / "a", tmp_path / "b").stdout
    toy_cli("check", tmp_path / "a", tmp_path / "a", "--markdown", tmp_path / "m.md")
    assert (
        "toy-data/toy/full-ft" not in (tmp_path / "m.md").read_text()
    )  # equal: not worth the time


def test_split_files_that_do_not_hold_are_named(baseline, toy_cli):
    (baseline / "splits" / "demo-xray.json").write_text("{}")
    done = toy_cli("check", baseline, baseline, exit_code=2)
    assert "cannot be read as a split file" in done.stderr


def test_made_data_names_its_split():
    assert made_data(made_spec()).split_file == "splits/demo-xray.json"


def test_an_error_leaves_neither_a_lock_nor_a_process_that_collects_nothing(baseline):
    """While the error is still at hand, as in a notebook."""
    (path, *_) = sorted((baseline / "runs").rglob("*.safetensors"))
    path.write_bytes(b"cut")
    with pytest.raises(StoreError, match="sha256 differs") as caught:
        compare_folders(baseline, baseline, rules_of(baseline, "accuracy"))
    assert gc.isenabled()
    assert locks.is_free(baseline / locks.LOCK)
    assert caught.value.__traceback__ is not None

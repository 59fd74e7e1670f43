"""`harness verify`: whatever is changed in a results folder is found, and its file named."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from command import Cli, bench
from error_metrics import ERRORS
from places import TOY
from safetensors.numpy import load_file, save

from harness.api.execution import Outcome, Predictions
from harness.api.records import Environment, MetricValue, RunResult, digest
from harness.benchmark.replay import compare
from harness.results.package import write_manifest
from harness.results.verify.agreement import find_agreement

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Six runs: three strategies, in full and at a limit; and one that failed."""
    out = tmp_path_factory.mktemp("verify")
    bench(out)
    bench(out, "--limit", 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_TOY", "raise")
        bench(out, "--strategies", "moody", "--seeds", 9, exit_code=1)
    return out


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "r")
    return tmp_path / "r"


def verify(folder, *args):
    done = Cli((TOY,))("verify", folder, "--json", *args, exit_code=None)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    report = json.loads(done.stdout)
    assert report["holds"] == (done.exit_code == 0)
    return report


def wrong(folder, *args):
    """{(file, check)} of what does not hold."""
    return {(one["file"], one["check"]) for one in verify(folder, *args)["problems"]}


def a_run(folder, *, limited=False, strategy="full-ft"):
    """The path of a record and what is in it."""
    for path in sorted((folder / "runs").rglob("*.json")):
        record = json.loads(path.read_text())
        if record["spec"]["strategy"] == strategy and bool(record["spec"]["limit"]) == limited:
            return path, record
    raise AssertionError("no such run")


def put(path, record):
    path.write_text(json.dumps(record))


def names(folder, path):
    inside = path.relative_to(folder).as_posix()
    return inside, inside.replace(".json", ".safetensors")


def with_predictions(path, record, change):
    """Change the tensors and make the record's sha256 that of the new file."""
    tensors = load_file(path.with_suffix(".safetensors"))
    change(tensors)
    content = save(tensors, metadata={"run_id": record["run_id"]})
    path.with_suffix(".safetensors").write_bytes(content)
    record["predictions"]["sha256"] = hashlib.sha256(content).hexdigest()
    put(path, record)


# -- a folder as bench leaves it --------------------------------------------------------------


def test_what_bench_wrote_holds(folder):
    report = verify(folder)

    assert report["problems"] == []
    assert (report["runs"], report["failed"], report["superseded"]) == (6, 1, 0)
    assert report["figures"] == 6 * 9 * 2
    assert report["not_checked"] == {}


def test_verify_writes_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    verify(folder)

    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_folder_can_be_moved(folder, tmp_path):
    folder.rename(tmp_path / "elsewhere")

    assert wrong(tmp_path / "elsewhere") == set()


def test_people_are_told_what_was_checked(folder, toy_cli):
    fine = toy_cli("verify", folder)
    assert "6 runs, 1 failed; 108 figures computed again: everything holds" in fine.stdout
    path, record = a_run(folder)
    record["metrics"]["accuracy"]["value"] = 1.0
    put(path, record)
    told = toy_cli("verify", folder, exit_code=1)
    assert (
        f"{names(folder, path)[0]}: metrics: accuracy on test is 1, its logits give" in told.stdout
    )
    assert "1 files do not hold" in told.stdout


# -- logits, metrics --------------------------------------------------------------------------


def test_a_changed_logit_is_found(folder):
    path, _ = a_run(folder)
    beside = names(folder, path)[1]
    content = bytearray((folder / beside).read_bytes())
    content[-3] ^= 1
    (folder / beside).write_bytes(bytes(content))

    assert (beside, "predictions") in wrong(folder)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_changed_logit_under_a_new_sha256_is_found_by_the_metrics(folder, split):
    path, record = a_run(folder)

    def change(tensors):
        tensors[f"{split}.logits"][0] += np.array([3, 0, 0], dtype=np.float32)

    with_predictions(path, record, change)
    found = verify(folder)["problems"]

    assert {(one["file"], one["check"]) for one in found} == {(names(folder, path)[0], "metrics")}
    assert all(f"on {split} is" in one["message"] for one in found)
    assert any("brier" in one["message"] for one in found)


@pytest.mark.parametrize("place", ["metrics", "validation"])
@pytest.mark.parametrize(
    "change",
    [
        lambda figures: figures["ece"].update(value=figures["ece"]["value"] + 2e-9),
        lambda figures: figures["ece"].update(value=None, reason="it did not suit"),
        lambda figures: figures["per-class-recall"]["by_class"].update(left=0.123),
        lambda figures: figures["per-class-recall"]["by_class"].pop("left"),
        lambda figures: figures.pop("balanced-accuracy"),
    ],
)
def test_a_changed_metric_is_found(folder, place, change):
    path, record = a_run(folder)
    change(record[place])
    put(path, record)

    assert wrong(folder) == {(names(folder, path)[0], "metrics")}


def test_rounding_is_no_change(folder):
    path, record = a_run(folder)
    record["metrics"]["ece"]["value"] += 1e-12
    put(path, record)

    assert wrong(folder) == set()


def test_metrics_of_plugins_that_are_not_there_are_named_as_not_checked(folder, tmp_path, toy_cli):
    (tmp_path / "errors.py").write_text(ERRORS)
    toy_cli("score", folder, "--metric", "error-rate", "-p", tmp_path / "errors.py")
    report = verify(folder)

    assert report["problems"] == []
    ((what, runs),) = report["not_checked"].items()
    assert "error-rate" in what
    assert runs == 6
    with_plugin = verify(folder, "-p", tmp_path / "errors.py")
    assert with_plugin["not_checked"] == {}
    assert with_plugin["figures"] == 6 * 10 * 2


def test_a_metric_that_raises_is_a_finding(folder, tmp_path, monkeypatch, toy_cli):
    (tmp_path / "errors.py").write_text(ERRORS)
    toy_cli("score", folder, "--metric", "error-rate", "-p", tmp_path / "errors.py")
    monkeypatch.setenv("HARNESS_ERROR", "raise")
    found = verify(folder, "-p", tmp_path / "errors.py")["problems"]

    assert len(found) == 6
    assert all("ZeroDivisionError" in one["message"] for one in found)


# -- the split --------------------------------------------------------------------------------


def split_file(folder):
    (path,) = (folder / "splits").glob("*.json")
    return path, json.loads(path.read_text())


def rehash(splits):
    del splits["sha256"]
    splits["sha256"] = digest(splits)
    return splits


def test_a_changed_split_file_is_found(folder):
    path, splits = split_file(folder)
    splits["samples"][0]["label"] = "right" if splits["samples"][0]["label"] == "left" else "left"
    put(path, splits)

    assert wrong(folder) == {("splits/toy-data.json", "split")}


def test_a_changed_split_file_under_a_new_sha256_is_found_by_the_runs(folder):
    path, splits = split_file(folder)
    test = next(sample for sample in splits["samples"] if sample["split"] == "test")
    test["label"] = "right" if test["label"] == "left" else "left"
    put(path, rehash(splits))
    found = wrong(folder)

    run, beside = names(folder, a_run(folder)[0])
    assert {(run, "split"), (beside, "split")} <= found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["samples"].reverse(), "sorted by id"),
        (lambda s: s["samples"].insert(0, s["samples"][0]), "each once"),
        (lambda s: s["samples"][0].update(label="nowhere"), "no classes: nowhere"),
        (lambda s: s.update(fingerprint="0" * 64), "another fingerprint"),
        (lambda s: s.update(classes=["right", "middle", "left"]), "other classes"),
        (lambda s: s.update(dataset="other"), "another dataset"),
    ],
)
def test_a_split_file_that_contradicts_itself_or_the_runs_is_found(folder, change, told):
    path, splits = split_file(folder)
    change(splits)
    put(path, rehash(splits))
    report = verify(folder)

    assert any(told in one["message"] for one in report["problems"]), report["problems"]


def test_a_split_file_that_is_gone_is_found(folder):
    split_file(folder)[0].unlink()

    assert ("splits/toy-data.json", "split") in wrong(folder)


@pytest.mark.parametrize("limited", [False, True])
def test_targets_that_are_not_the_splits_labels_are_found(folder, limited):
    path, record = a_run(folder, limited=limited)

    def change(tensors):
        tensors["test.targets"][0] = (tensors["test.targets"][0] + 1) % 3

    with_predictions(path, record, change)

    assert (names(folder, path)[1], "split") in wrong(folder)


@pytest.mark.parametrize("limited", [False, True])
def test_a_sample_left_out_is_found(folder, limited):
    """Figures recomputed without it, too: it is the split that tells."""
    path, record = a_run(folder, limited=limited)

    def change(tensors):
        for kind in ("logits", "targets", "rows"):
            tensors[f"test.{kind}"] = tensors[f"test.{kind}"][1:]

    with_predictions(path, record, change)
    found = [one for one in verify(folder)["problems"] if one["check"] == "split"]

    assert [one["file"] for one in found] == [names(folder, path)[1]]
    assert "1 of" in found[0]["message"]


def test_another_choice_of_limited_samples_is_found(folder):
    path, record = a_run(folder, limited=True)
    splits = split_file(folder)[1]

    def change(tensors):
        used = set(tensors["test.rows"].tolist())
        label = splits["classes"][int(tensors["test.targets"][0])]
        tensors["test.rows"][0] = next(
            row
            for row, sample in enumerate(splits["samples"])
            if (sample["split"], sample["label"]) == ("test", label) and row not in used
        )

    with_predictions(path, record, change)
    (found,) = verify(folder)["problems"]

    assert "1 are none of them, 1 of 6 are missing" in found["message"]


def test_train_rows_in_the_test_predictions_are_found(folder):
    path, record = a_run(folder)
    splits = split_file(folder)[1]

    def change(tensors):
        train = [row for row, one in enumerate(splits["samples"]) if one["split"] == "train"]
        tensors["test.rows"][:] = np.array(train[: len(tensors["test.rows"])], dtype=np.int32)

    with_predictions(path, record, change)

    assert (names(folder, path)[1], "split") in wrong(folder)


def test_the_order_of_samples_in_a_file_is_nothing(folder):
    path, record = a_run(folder)

    def change(tensors):
        for kind in ("logits", "targets", "rows"):
            tensors[f"test.{kind}"] = np.ascontiguousarray(tensors[f"test.{kind}"][::-1])

    with_predictions(path, record, change)

    assert wrong(folder) == set()


@pytest.mark.parametrize("name", ["../outside.json", "plan.json", "/etc/hosts"])
def test_a_record_cannot_point_out_of_the_folder(folder, name):
    path, record = a_run(folder)
    record["data"]["split_file"] = name
    put(path, record)

    assert (path.relative_to(folder).as_posix(), "split") in wrong(folder)


# -- names, schema, completeness, strangers ---------------------------------------------------


def test_a_renamed_run_is_found(folder):
    path, _ = a_run(folder)
    new = "0" * 16
    for suffix in (".json", ".safetensors"):
        path.with_suffix(suffix).rename(path.with_name(new + suffix))
    found = wrong(folder)

    assert (names(folder, path.with_name(f"{new}.json"))[0], "name") in found
    assert (names(folder, path)[0], "completeness") in found


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["spec"].update(seed=77),
        lambda record: record["spec"]["protocol"].update(lr=1.0),
        lambda record: record["spec"]["sources"].update(strategy="0" * 64),
        lambda record: record.update(run_id="0" * 16),
    ],
)
def test_a_changed_spec_is_found_by_the_run_id(folder, change):
    path, record = a_run(folder)
    change(record)
    put(path, record)

    assert wrong(folder) == {(names(folder, path)[0], "name")}


def test_a_run_in_the_wrong_folder_is_found(folder):
    path, _ = a_run(folder)
    place = path.parents[1] / "moody"
    for suffix in (".json", ".safetensors"):
        path.with_suffix(suffix).rename(place / path.with_suffix(suffix).name)

    assert wrong(folder) == {(names(folder, place / path.name)[0], "name")}


def test_finished_and_failed_runs_have_their_own_places(folder):
    path, record = a_run(folder)
    shutil.copy(path, folder / "failed" / path.name)
    (failed,) = (one for one in (folder / "failed").glob("*.json") if one.name != path.name)
    record = json.loads(failed.read_text())
    place = folder / "runs" / "toy-data" / "toy" / "moody" / failed.name
    shutil.copy(failed, place)
    found = wrong(folder)

    assert (f"failed/{path.name}", "name") in found
    assert (names(folder, place)[0], "name") in found
    assert record["status"] == "failed"


def test_a_failed_run_is_checked_as_well(folder):
    (failed,) = (folder / "failed").glob("*.json")
    record = json.loads(failed.read_text())
    put(failed, {**record, "error": None})
    assert wrong(folder) == {(f"failed/{failed.name}", "schema")}
    record["spec"]["seed"] = 10
    put(failed, record)
    assert wrong(folder) == {(f"failed/{failed.name}", "name")}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 99}']
)
def test_a_damaged_record_is_found_and_the_others_are_checked(folder, content):
    path, _ = a_run(folder)
    other, record = a_run(
        folder, limited=True
    )  # before: damaged, the first could not be passed over
    path.write_text(content)
    record["metrics"]["accuracy"]["value"] = -1.0
    put(other, record)

    assert wrong(folder) == {
        (names(folder, path)[0], "schema"),
        (names(folder, other)[0], "metrics"),
    }


def test_an_unknown_field_is_found(folder):
    path, record = a_run(folder)
    put(path, {**record, "note": "mine"})

    assert wrong(folder) == {(names(folder, path)[0], "schema")}


def test_a_run_that_is_gone_is_found_by_the_plan(folder):
    path, _ = a_run(folder)
    path.unlink()
    path.with_suffix(".safetensors").unlink()

    assert wrong(folder) == {(names(folder, path)[0], "completeness")}


def test_predictions_without_a_record_are_a_stranger(folder):
    path, _ = a_run(folder)
    path.unlink()

    assert wrong(folder) == {
        (names(folder, path)[1], "stranger"),
        (names(folder, path)[0], "completeness"),
    }


def test_a_record_without_predictions_is_found(folder):
    path, _ = a_run(folder)
    path.with_suffix(".safetensors").unlink()

    assert wrong(folder) == {(names(folder, path)[1], "predictions")}


def test_predictions_of_another_run_are_found(folder):
    path, record = a_run(folder)
    other, _ = a_run(folder, strategy="moody")
    content = other.with_suffix(".safetensors").read_bytes()
    path.with_suffix(".safetensors").write_bytes(content)
    record["predictions"]["sha256"] = hashlib.sha256(content).hexdigest()
    put(path, record)
    (found,) = verify(folder)["problems"]

    assert (found["file"], found["message"]) == (names(folder, path)[1], "it is of another run")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("validation.logits"),
        lambda tensors: tensors.pop("test.rows"),
        lambda tensors: tensors.update({"test.extra": np.zeros(1)}),
        lambda tensors: tensors.update({"test.logits": tensors["test.logits"][:, :2].copy()}),
        lambda tensors: tensors.update({"test.targets": tensors["test.targets"][:3].copy()}),
    ],
)
def test_predictions_that_do_not_fit_together_are_found(folder, change):
    path, record = a_run(folder)
    with_predictions(path, record, change)

    assert (names(folder, path)[1], "predictions") in wrong(folder)


def test_a_file_that_is_no_safetensors_is_found(folder):
    path, record = a_run(folder)
    path.with_suffix(".safetensors").write_bytes(b"no")
    record["predictions"]["sha256"] = hashlib.sha256(b"no").hexdigest()
    put(path, record)

    assert wrong(folder) == {(names(folder, path)[1], "predictions")}


@pytest.mark.parametrize(
    "name", ["runs/notes.txt", "runs/toy-data/toy/full-ft/x.safetensors", "splits/x.csv"]
)
def test_a_stranger_is_found(folder, name):
    (folder / name).write_text("hello")

    assert wrong(folder) == {(name, "stranger")}


def test_what_lies_beside_the_runs_is_nobodys_business(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "runs" / ".x.json.0000.tmp").write_text("half")

    assert wrong(folder) == set()


def test_a_plan_that_is_gone_or_damaged_is_found(folder):
    (folder / "plan.json").write_text("{")
    assert wrong(folder) == {("plan.json", "schema")}
    (folder / "plan.json").unlink()
    assert wrong(folder) == {("plan.json", "completeness")}


def test_runs_that_are_no_longer_asked_for_are_counted(folder):
    plan = json.loads((folder / "plan.json").read_text())
    dropped = plan["runs"].pop()
    put(folder / "plan.json", plan)
    report = verify(folder)

    assert report["problems"] == []
    assert report["superseded"] == 1
    assert dropped["run_id"]


def test_a_packed_folder_is_as_it_was_packed(folder):
    (folder / ".lock").unlink()
    write_manifest(folder, "0.1.0")
    assert wrong(folder) == set()
    path, record = a_run(folder)
    record["finished"] = "2020-01-01T00:00:00+00:00"  # nothing else would tell
    put(path, record)
    (folder / "leaderboard.md").unlink()
    shutil.copy(path, folder / "splits" / "notes.txt")

    assert wrong(folder) == {
        (names(folder, path)[0], "package"),
        ("leaderboard.md", "package"),
        ("splits/notes.txt", "package"),
        ("splits/notes.txt", "stranger"),
    }


@pytest.mark.parametrize("name", ["missing", "plan.json"])
def test_what_is_no_folder_is_refused(folder, name, toy_cli):
    done = toy_cli("verify", folder / name, exit_code=2)

    assert "is no folder" in done.stderr


# -- running again ----------------------------------------------------------------------------


def test_replayed_runs_have_the_same_bits(folder):
    report = verify(folder, "--replay", 2, "--seed", 1)

    assert report["problems"] == []
    assert [one["compared"] for one in report["replayed"]] == ["bits", "bits"]
    assert all(one["holds"] and one["difference"] == 0 for one in report["replayed"])


def test_the_seed_chooses_and_no_more_runs_than_there_are(folder):
    chosen = {
        seed: tuple(
            one["run_id"] for one in verify(folder, "--replay", 1, "--seed", seed)["replayed"]
        )
        for seed in (0, 1, 2)
    }
    assert len(set(chosen.values())) > 1
    for path in sorted((folder / "runs").rglob("*.json"))[1:]:
        path.unlink()
        path.with_suffix(".safetensors").unlink()
    report = verify(folder, "--replay", 5)
    assert len(report["replayed"]) == 1


def test_forged_predictions_are_found_by_running_again(folder, toy_cli):
    """Logits, figures and hashes that agree with each other: only training tells."""
    path, record = a_run(folder)
    for other in sorted((folder / "runs").rglob("*.json")):
        if other != path:
            other.unlink()
            other.with_suffix(".safetensors").unlink()

    def perfect(tensors):
        logits = np.full_like(tensors["test.logits"], -4)
        logits[np.arange(len(logits)), tensors["test.targets"]] = 4
        tensors["test.logits"] = logits

    with_predictions(path, record, perfect)
    record["metrics"] = record["validation"] = {}
    put(path, record)
    toy_cli("score", folder, "--metric", "*")
    assert {check for _, check in wrong(folder)} == {"completeness"}
    found = [one for one in verify(folder, "--replay", 1)["problems"] if one["check"] == "replay"]

    assert [one["file"] for one in found] == [names(folder, path)[0]]
    assert "other bits" in found[0]["message"]


def elsewhere(folder, **changes):
    """As if every run had been made on another machine."""
    for path in (folder / "runs").rglob("*.json"):
        record = json.loads(path.read_text())
        record["environment"].update(changes)
        put(path, record)


def test_the_same_bits_are_the_same_wherever_a_run_was_made(folder):
    libraries = a_run(folder)[1]["environment"]["libraries"]
    elsewhere(folder, libraries={**libraries, "torch": "1.0"})
    (again,) = verify(folder, "--replay", 1)["replayed"]

    assert (again["holds"], again["compared"]) == (True, "bits")


def test_only_runs_that_hold_are_run_again_and_not_to_have_done_so_is_a_fault(folder):
    for path in (folder / "runs").rglob("*.json"):
        with_predictions(path, json.loads(path.read_text()), nudge)
    report = verify(folder, "--replay", 1)

    assert report["replayed"] == []
    assert ("runs", "replay") in {(one["file"], one["check"]) for one in report["problems"]}


def nudge(tensors):
    tensors["test.logits"][0] += np.array([0.5, 0, 0], dtype=np.float32)


def test_another_machine_is_no_excuse_for_other_figures(folder, toy_cli):
    """Wrong rows nudged until they are right, and a processor that nobody has here."""
    path, record = a_run(folder)
    for other in sorted((folder / "runs").rglob("*.json")):
        if other != path:
            other.unlink()
            other.with_suffix(".safetensors").unlink()

    def nudge_right(tensors):
        logits, targets = tensors["test.logits"], tensors["test.targets"]
        rows = np.arange(len(logits))
        logits[rows, targets] = logits.max(axis=1) + 1e-3

    with_predictions(path, record, nudge_right)
    record["metrics"] = record["validation"] = {}
    record["environment"]["processor"] = "SVE"
    put(path, record)
    toy_cli("score", folder, "--metric", "*")
    report = verify(folder, "--replay", 1)
    (again,) = report["replayed"]
    (found,) = [one for one in report["problems"] if one["check"] == "replay"]

    assert (again["holds"], again["compared"]) == (False, "figures")
    assert again["difference"] < 0.1  # probabilities hardly moved
    assert "figures not confirmed: run twice again with" in found["message"]
    assert "instead of SVE" in found["message"]
    assert (
        "the second time with 2 threads instead of 1 threads, the reference engine"
        in (found["message"])
    )


def test_an_honest_run_of_another_machine_is_confirmed(folder):
    """Logits moved by about as much as other kernels move them."""
    rng = np.random.default_rng(0)
    path, record = a_run(folder, strategy="linear-probe")

    def rounded_elsewhere(tensors):
        for split in ("test", "validation"):
            shape = tensors[f"{split}.logits"].shape
            tensors[f"{split}.logits"] += rng.normal(0, 1e-7, shape).astype(np.float32)

    with_predictions(path, record, rounded_elsewhere)
    elsewhere(folder, processor="SVE")
    for other in sorted((folder / "runs").rglob("*.json")):
        if other != path:
            other.unlink()
            other.with_suffix(".safetensors").unlink()
    Cli((TOY,))("score", folder, "--metric", "*", "--replace")
    (again,) = verify(folder, "--replay", 1)["replayed"]

    assert (again["holds"], again["compared"]) == (True, "figures"), again["message"]
    assert "its classes differ in 0 of" in again["message"]


ROWS = 40


def predictions(wrong=0, shift=0.0):
    """Forty samples of two classes, the first `wrong` of them taken for the other class."""
    targets = np.arange(ROWS) % 2
    taken = np.where(np.arange(ROWS) < wrong, 1 - targets, targets)
    logits = np.where(np.eye(2)[taken] > 0, 1.0, -1.0) + shift * np.eye(2)[targets]
    logits = logits.astype(np.float32)
    return Predictions({"test": logits}, {"test": targets}, {"test": np.arange(ROWS)})


def accuracy(found):
    right = found.logits["test"].argmax(axis=1) == found.targets["test"]
    return {"accuracy": MetricValue(value=float(right.mean()))}


def confidence(found):
    """A figure that classes do not decide."""
    logits = found.logits["test"]
    sure = logits[np.arange(ROWS), found.targets["test"]] - logits.mean(axis=1)
    return {"confidence": MetricValue(value=float(sure.mean()))}


@pytest.mark.parametrize(
    ("stored", "replays", "figures", "holds", "told"),
    [
        (0, (0, 0), accuracy, True, "differ in 0 of 40 predictions, those of the replays in 0"),
        (2, (0, 2), accuracy, True, "differ in 0 of 40 predictions, those of the replays in 2"),
        (1, (2, 3), accuracy, True, "differ in 1 of 40 predictions, those of the replays in 1"),
        (0, (2, 3), accuracy, False, "accuracy is 1 instead of 0.95 and 0.925"),
        (1, (0, 0), accuracy, False, "accuracy is 0.975 instead of 1 and 1"),
        (0, (4, 0), accuracy, True, "those of the replays in 4"),
        (0, (5, 0), accuracy, False, "too many for either to confirm anything"),
        (0, (0, 0), confidence, True, "no figure differs"),
    ],
)
def test_the_replays_say_how_far_a_record_may_differ(stored, replays, figures, holds, told):
    found = find_agreement(predictions(stored), tuple(map(predictions, replays)), figures)

    assert found.holds == holds
    assert told in found.told


def test_figures_that_moved_without_a_class_moving_are_tested():
    """Every row a little surer in one direction is no rounding; rows that move either way are."""
    replays = predictions(), predictions(shift=1e-6)
    rng = np.random.default_rng(1)
    either_way = predictions(shift=rng.normal(0, 1e-4, (ROWS, 1)))

    surer = find_agreement(predictions(shift=1e-4), replays, confidence)
    assert not surer.holds
    assert "a paired test rejects confidence" in surer.told
    assert find_agreement(either_way, replays, confidence).holds


@pytest.mark.parametrize(
    ("now", "wrong", "compared", "holds", "told"),
    [
        ({}, 0, "bits", True, "the same bits"),
        ({}, 1, "bits", False, "other bits"),
        ({"device": "cuda:3 (Card A)"}, 0, "bits", True, "the same bits"),
        ({"device": "cuda:3 (Card A)"}, 1, "figures", True, "cuda (Card A) instead of cpu"),
        ({"device": "cuda:3 (Card A)"}, 4, "figures", False, "figures not confirmed"),
        ({"libraries": {"torch": "3"}}, 1, "figures", True, "torch 3 instead of torch 2"),
        ({"threads": 2}, 1, "figures", True, "2 threads instead of 1"),
        ({"processor": "AVX2"}, 1, "figures", True, "AVX2 instead of AVX512"),
        ({"platform": "Other"}, 1, "figures", True, "Other instead of Linux"),
        ({"engine": "fast"}, 0, "bits", True, "the same bits"),
        ({"engine": "fast"}, 1, "bits", False, "other bits"),
        (
            {"engine": "reference"},
            1,
            "figures",
            True,
            "the reference engine instead of the fast engine",
        ),
        ({"python": "4"}, 1, "bits", False, "other bits"),
    ],
)
def test_bits_on_the_same_kind_of_machine_else_two_replays(
    folder, now, wrong, compared, holds, told
):
    made = {"harness": "1", "python": "3", "libraries": {"torch": "2"}, "device": "cpu"}
    made = Environment(**made, threads=1, platform="Linux", processor="AVX512")
    result = RunResult.model_validate(a_run(folder)[1]).model_copy(update={"environment": made})
    first = result.model_copy(update={"environment": made.model_copy(update=now)})
    calls = []

    def again():
        calls.append(1)
        return Outcome(result, predictions(wrong + 1))

    outcome = Outcome(first, predictions(wrong))
    found = compare(result, predictions(0), outcome, again, accuracy)

    assert (found.compared, found.holds) == (compared, holds)
    assert told in found.told
    assert (found.difference > 0) == (wrong > 0)
    assert bool(calls) == (compared == "figures")  # a second replay costs as much as the first


def test_a_run_that_tested_another_epoch_says_so(folder):
    result = RunResult.model_validate(a_run(folder)[1])
    made = result.environment.model_copy(update={"processor": "other"})
    again = result.model_copy(update={"environment": made, "tested": "last epoch"})
    second = Outcome(again, predictions(4))
    outcome = Outcome(again, predictions(4))
    found = compare(result, predictions(0), outcome, lambda: second, accuracy)

    assert not found.holds
    assert "it tested 'last epoch' instead of 'best on validation" in found.told


def test_two_cards_of_one_kind_are_the_same_device(folder):
    made = Environment(harness="1", python="3", device="cuda:0 (Card A)")
    result = RunResult.model_validate(a_run(folder)[1]).model_copy(update={"environment": made})
    other = made.model_copy(update={"device": "cuda:7 (Card A)"})
    again = result.model_copy(update={"environment": other})

    found = compare(result, predictions(0), Outcome(again, predictions(1)), None, accuracy)
    assert found.compared == "bits"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.update(strategy="theirs"), "no plugin offers the strategy 'theirs'"),
        (lambda s: s.update(dataset="gone"), "--data gone=FOLDER"),
        (lambda s: s.update(engine=77), "made by engine 77"),
        (lambda s: s["sources"].update(strategy="0" * 64), "the code of strategy 'full-ft' is not"),
        (lambda s: s.update(weights="0" * 64), "declares no weights"),
    ],
)
def test_a_run_that_cannot_be_run_again_is_a_finding(folder, change, told):
    """A check that was asked for and could not be made has not been passed."""
    path, record = a_run(folder)
    shutil.rmtree(folder / "runs" / "toy-data" / "toy" / "moody")
    shutil.rmtree(folder / "runs" / "toy-data" / "toy" / "linear-probe")
    for other in sorted(path.parent.glob("*.json")):
        if other != path:
            other.unlink()
            other.with_suffix(".safetensors").unlink()
    change(record["spec"])
    record["spec"]["seed"] = 0
    # What the record says twice agrees.
    record["weights"]["sha256"] = record["spec"]["weights"]
    record["plugins"]["strategy"]["source"] = record["spec"]["sources"]["strategy"]
    run_id = digest(record["spec"])[:16]
    if record["spec"]["dataset"] == "gone":
        splits = split_file(folder)[1]
        put(folder / "splits" / "gone.json", rehash({**splits, "dataset": "gone"}))
        gone = json.loads((folder / "splits" / "gone.json").read_text())
        record["data"].update(split_file="splits/gone.json", split_sha256=gone["sha256"])
    beside = path.with_suffix(".safetensors")
    content = save(load_file(beside), metadata={"run_id": run_id})
    spec = record["spec"]
    place = folder / "runs" / spec["dataset"] / spec["backbone"] / spec["strategy"]
    beside.unlink()
    path.unlink()
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{run_id}.safetensors").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    record["predictions"] = {"file": f"{run_id}.safetensors", "sha256": sha256}
    put(place / f"{run_id}.json", {**record, "run_id": run_id})
    report = verify(folder, "--replay", 1)
    found = [one for one in report["problems"] if one["check"] == "replay"]

    assert [one["file"] for one in found] == [names(folder, place / f"{run_id}.json")[0]]
    assert told in found[0]["message"]
    assert report["replayed"][0]["compared"] == "nothing"


def test_changed_data_cannot_stand_in_for_a_folder(tmp_path, toy_cli):
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in ("no", "yes"):
        for number in range(12):
            path = tmp_path / "images" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    data = ("--data", f"mri:mine={tmp_path / 'images'}")
    only = ("--datasets", "mine", "--strategies", "full-ft", "--jobs", 1)
    toy_cli("bench", "toy", "--out", tmp_path / "r", *data, *only)

    assert verify(tmp_path / "r", "--replay", 1, *data)["replayed"][0]["compared"] == "bits"
    without = verify(tmp_path / "r", "--replay", 1)
    assert "--data mine=FOLDER" in without["problems"][0]["message"]
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "no" / "0.png")
    changed = verify(tmp_path / "r", "--replay", 1, *data)
    assert "is not the data it was trained on" in changed["problems"][0]["message"]


def test_a_run_that_fails_the_second_time_is_a_finding(folder, monkeypatch):
    monkeypatch.setenv("HARNESS_TOY", "raise")
    for path in (folder / "runs").rglob("*.json"):
        if path.parent.name != "moody":
            path.unlink()
            path.with_suffix(".safetensors").unlink()
    found = [one for one in verify(folder, "--replay", 1)["problems"] if one["check"] == "replay"]

    assert len(found) == 1
    assert "run again, it failed: the moody strategy" in found[0]["message"]


def test_a_run_of_the_reference_engine_is_made_again_by_it(tmp_path, monkeypatch, toy_cli):
    from harness.engine import shared

    def refuse(*_):
        raise AssertionError("the fast path was taken")

    monkeypatch.setattr(shared, "set_back", refuse)  # a network that is used again
    only = ("--strategies", "full-ft,linear-probe", "--jobs", 1, "--engine", "reference")
    toy_cli("bench", "toy", "--out", tmp_path / "r", *only)

    assert a_run(tmp_path / "r", strategy="linear-probe")[1]["environment"]["engine"] == "reference"
    (again,) = verify(tmp_path / "r", "--replay", 1)["replayed"]
    assert (again["compared"], again["holds"]) == ("bits", True)

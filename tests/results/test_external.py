"""Further test sets in a results folder: checked, merged and published as all else there."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from command import Cli, bench, runs
from places import TOY
from safetensors.numpy import load_file, save
from wards import ward

from harness.errors import StoreError
from harness.results.merge import MergedStore
from harness.results.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two runs of two strategies with `ward-a`, and the same with `ward-b` elsewhere."""
    out = tmp_path_factory.mktemp("external")
    given = ("--strategies", "full-ft,linear-probe")
    for name, seed in (("a", 1), ("b", 2)):
        place = ward(out / f"patients-{name}", seed=seed)
        bench(out / name, *given, "--external", f"ward-{name}={place}")
    return out


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished / "a", tmp_path / "a")
    return tmp_path / "a"


def problems(folder, exit_code=1):
    report = json.loads(Cli((TOY,))("verify", folder, "--json", exit_code=exit_code).stdout)
    return {(one["file"], one["check"]): one["message"] for one in report["problems"]}


def changed(folder, change):
    """A record after `change(external record)`; returns its path."""
    path = runs(folder)[0]
    record = json.loads(path.read_text())
    change(record["external"]["ward-a"])
    path.write_text(json.dumps(record))
    return path


def name(folder, path):
    return path.relative_to(folder).as_posix()


def beside(path, which="ward-a"):
    return path.with_name(f"{path.stem}.external-{which}.safetensors")


def test_what_was_made_holds_and_its_figures_are_computed_again(folder):
    report = json.loads(Cli((TOY,))("verify", folder, "--json").stdout)
    assert report["holds"]
    # Nine figures of each run on test, validation and the further set.
    assert report["figures"] == 2 * 3 * 9


def test_a_changed_logit_is_found(folder):
    path = beside(runs(folder)[0])
    content = load_file(path)
    content["test.logits"] = -content["test.logits"]
    path.write_bytes(save(content, metadata={"run_id": path.name.split(".")[0]}))
    found = problems(folder)
    assert "sha256" in found[name(folder, path), "predictions"]
    assert (name(folder, runs(folder)[0]), "metrics") in found


@pytest.mark.parametrize(
    ("change", "check", "told"),
    [
        (lambda one: one["metrics"]["accuracy"].update(value=0.5), "metrics", "external ward-a"),
        (lambda one: one["metrics"]["brier"].update(value=None), "metrics", "external ward-a"),
        (lambda one: one.update(fingerprint="f" * 64), "split", "another fingerprint"),
        (lambda one: one.update(split_sha256="f" * 64), "split", "another sha256"),
        (lambda one: one.update(split_file="splits/toy-data.json"), "split", "another dataset"),
        (lambda one: one.update(split_file="../x.json"), "split", "must be in splits/"),
        (lambda one: one.update(classes=["x", "y", "z"]), "record", "other classes"),
        (lambda one: one["predictions"].update(file="x.safetensors"), "predictions", "must name"),
        (lambda one: one.update(predictions=None), "predictions", "must name"),
    ],
)
def test_a_changed_record_is_found(folder, change, check, told):
    path = changed(folder, change)
    assert told in problems(folder)[name(folder, path), check]


def test_other_counts_are_found(folder):
    path = changed(folder, lambda one: one["counts"]["test"].update(left=4))
    assert "counts other images" in problems(folder)[name(folder, beside(path)), "split"]


def test_a_sample_left_out_is_found(folder):
    path = beside(runs(folder)[0])
    content = {key: values[1:] for key, values in load_file(path).items()}
    path.write_bytes(save(content, metadata={"run_id": path.name.split(".")[0]}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changed(folder, lambda one: one["predictions"].update(sha256=digest))
    assert "1 of 15 are missing" in problems(folder)[name(folder, path), "split"]


def test_another_target_is_found(folder):
    path = beside(runs(folder)[0])
    content = load_file(path)
    content["test.targets"] = content["test.targets"][::-1].copy()
    path.write_bytes(save(content, metadata={"run_id": path.name.split(".")[0]}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changed(folder, lambda one: one["predictions"].update(sha256=digest))
    assert "targets are not the labels" in problems(folder)[name(folder, path), "split"]


def test_a_file_of_another_run_and_one_that_is_gone_are_found(folder):
    one, other = (beside(path) for path in runs(folder)[:2])
    shutil.copy(one, other)
    one.unlink()
    found = problems(folder)
    assert "another run" in found[name(folder, other), "predictions"]
    assert "No such file" in found[name(folder, one), "predictions"]


def test_a_file_that_no_record_names_is_a_stranger(folder):
    path = beside(runs(folder)[0], "ward-z")
    shutil.copy(beside(runs(folder)[0]), path)
    assert (name(folder, path), "stranger") in problems(folder)


# -- several folders ---------------------------------------------------------------------------


def merged(*places):
    return MergedStore([Store(place) for place in places])


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_folders_with_different_sets_are_one_board(finished, order):
    whole = merged(*(finished / one for one in order))
    results = whole.results()
    assert [sorted(run.external) for run in results] == [["ward-a", "ward-b"]] * 2
    for run in results:
        for which in "ab":
            path = beside(
                runs(finished / which)[0].with_name(f"{run.run_id}.json"), f"ward-{which}"
            )
            path = next(p for p in (finished / which).rglob(path.name))
            stored = load_file(path)["test.logits"]
            found = whole.external_predictions(run, f"ward-{which}")
            assert np.array_equal(found.logits["test"], stored)
            split = whole.external_home(run, f"ward-{which}").split_file(run, f"ward-{which}")
            assert split == finished / which / "splits" / f"toy-data.external-ward-{which}.json"
    text = Cli((TOY,))("board", *(finished / one for one in order), "--format", "md").stdout
    assert "ward-a" in text
    assert "ward-b" in text


def test_the_same_name_for_other_images_is_a_contradiction(finished, folder, tmp_path):
    other = ward(tmp_path / "other", seed=9)
    given = ("--strategies", "full-ft,linear-probe", "--external", f"ward-a={other}")
    bench(tmp_path / "c", *given)
    with pytest.raises(StoreError, match="external 'ward-a' are different images"):
        merged(folder, tmp_path / "c")


def test_a_figure_that_was_changed_is_a_contradiction(finished, folder):
    changed(folder, lambda one: one["metrics"]["accuracy"].update(value=0.123))
    with pytest.raises(StoreError, match=r"external ward-a: accuracy is"):
        merged(finished / "a", folder)


def test_a_metric_that_only_one_copy_has_is_kept(finished, folder):
    changed(folder, lambda one: one["metrics"].pop("brier"))
    for order in ((finished / "a", folder), (folder, finished / "a")):
        for run in merged(*order).results():
            assert "brier" in run.external["ward-a"].metrics


# -- out of the house --------------------------------------------------------------------------


def published(folder, target):
    Cli((TOY,))("publish", folder, "--to", target)
    return target


def test_what_is_published_holds_without_ids_of_the_folder(folder, tmp_path):
    out = published(folder, tmp_path / "out")

    assert problems(out, exit_code=0) == {}
    splits = json.loads((out / "splits" / "toy-data.external-ward-a.json").read_text())
    assert all(one["id"].startswith("anon-") for one in splits["samples"])
    assert all(one["group"].startswith("anon-") for one in splits["samples"])
    # The toy dataset is drawn by a program: its own ids are public.
    own = json.loads((out / "splits" / "toy-data.json").read_text())
    assert {one["id"].split("-")[0] for one in own["samples"]} == {"train", "validation", "test"}
    text = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"patients-a" not in text
    assert b"left/00.png" not in text


def test_published_predictions_are_of_the_same_samples(folder, tmp_path):
    """Rows are in another order; the logits of each label are the same."""
    out = published(folder, tmp_path / "out")
    for path in runs(folder):
        ours, theirs = (load_file(next(d.rglob(beside(path).name))) for d in (folder, out))
        for one in (ours, theirs):
            order = np.lexsort(one["test.logits"].T)
            one["both"] = np.column_stack([one["test.logits"], one["test.targets"]])[order]
        assert np.array_equal(ours["both"], theirs["both"])
        assert not np.array_equal(ours["test.logits"], theirs["test.logits"])


def test_a_package_is_read_as_a_folder(folder, tmp_path):
    Cli((TOY,))("submit", folder, "--to", tmp_path / "x.zip")
    text = Cli((TOY,))("board", tmp_path / "x.zip", "--format", "md").stdout
    assert "ward-a" in text


def test_hiding_a_dataset_hides_its_further_sets(folder, tmp_path):
    for path in runs(folder):
        record = json.loads(path.read_text())
        record["external"]["ward-a"]["procedural"] = True
        path.write_text(json.dumps(record))
    plain = published(folder, tmp_path / "plain")
    Cli((TOY,))("publish", folder, "--to", tmp_path / "hidden", "--hide", "toy-data")
    for out, start in ((plain, ("left", "middle", "right")), (tmp_path / "hidden", ("anon-",))):
        splits = json.loads((out / "splits" / "toy-data.external-ward-a.json").read_text())
        assert all(one["id"].startswith(start) for one in splits["samples"])

"""Several results folders as one board: unions, contradictions, and no word for their order."""

import itertools
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import made_data, made_failure, made_plan, made_result, made_spec, made_suite, sha

from harness import Outcome, Predictions, StoreError
from harness.api.records import MetricValue, Plan, PredictionsRecord
from harness.errors import UsageError
from harness.leaderboard import build
from harness.leaderboard.render.formats import FILES, render
from harness.results.merge import FolderContents, MergedStore, existing, merge_contents, opened
from harness.results.package import pack, write_manifest
from harness.results.store import Store

MINE, THEIRS = sha("my code"), sha("their code")


def part(tmp_path, name, results=(), plan=None, failures=()):
    chosen = made_plan((*results, *failures)) if plan is None else plan
    return FolderContents(tmp_path / name, tuple(results), chosen, tuple(failures))


def ranked(whole):
    return build.build_leaderboard(
        whole.results, whole.plan if whole.plan.runs else None, whole.failures
    )


def by(source, seed=0, value=0.8, **changes):
    """A run of one person's code."""
    return made_result(strategy="lora", seed=seed, value=value, spec={"sources": {"strategy": source}}, **changes)  # fmt: skip


def figures(**values):
    return {name.replace("_", "-"): MetricValue(value=value) for name, value in values.items()}


# -- unions -----------------------------------------------------------------------------------


def test_the_runs_of_all_parts_are_there_and_a_common_one_once(tmp_path):
    a, b, c = (made_result(seed=seed) for seed in range(3))
    whole = merge_contents([part(tmp_path, "x", [a, b]), part(tmp_path, "y", [b, c])])

    assert [run.run_id for run in whole.results] == sorted(r.run_id for r in (a, b, c))
    assert {line.run_id for line in whole.plan.runs} == {r.run_id for r in (a, b, c)}
    assert whole.homes[a.run_id] == tmp_path / "x"
    assert whole.homes[c.run_id] == tmp_path / "y"


def test_one_persons_runs_do_not_supersede_anothers(tmp_path):
    """Both asked for the same (lora, seed 0), each with code of their own: two rows."""
    mine, theirs = by(MINE, value=0.7), by(THEIRS, value=0.9)
    whole = merge_contents([part(tmp_path, "x", [mine]), part(tmp_path, "y", [theirs])])
    built = ranked(whole)

    assert built.superseded == 0
    (track,) = built.tracks
    assert {(row.source, row.value) for row in track.rows} == {(MINE, 0.7), (THEIRS, 0.9)}
    assert all(row.ranked for row in track.rows)


def test_what_one_person_lacks_is_missing_in_their_row_only(tmp_path):
    mine = [by(MINE, seed) for seed in (0, 1)]
    theirs = by(THEIRS, 0)
    asked = made_plan([theirs, made_spec(strategy="lora", seed=1, sources={"strategy": THEIRS})])
    built = ranked(
        merge_contents([part(tmp_path, "x", mine), part(tmp_path, "y", [theirs], asked)])
    )

    rows = {row.source: row for row in built.tracks[0].rows}
    assert rows[MINE].ranked
    assert (rows[THEIRS].runs, rows[THEIRS].wanted, rows[THEIRS].ranked) == (1, 2, False)


def test_a_part_without_a_plan_asked_for_what_it_has(tmp_path):
    a, b = made_result(seed=0), made_result(seed=1)
    whole = merge_contents([part(tmp_path, "x", [a]), part(tmp_path, "y", [b], Plan())])

    assert {line.run_id for line in whole.plan.runs} == {a.run_id, b.run_id}
    assert ranked(whole).superseded == 0
    assert merge_contents([part(tmp_path, "y", [b], Plan())]).plan == Plan()


@pytest.mark.parametrize(
    ("one", "other", "whole"),
    [("bf16", "bf16", "bf16"), ("bf16", "float32", None), ("bf16", None, None)],
)
def test_what_auto_means_is_kept_where_all_folders_agree(one, other, whole, tmp_path):
    runs = [made_result(strategy="full-ft"), made_result(strategy="l2-sp")]
    parts = [
        part(tmp_path, name, [run], made_plan([run]).model_copy(update={"precision": precision}))
        for name, run, precision in zip("xy", runs, (one, other), strict=True)
    ]
    assert merge_contents(parts).plan.precision == whole


def test_a_run_that_failed_here_and_finished_there_has_finished(tmp_path):
    failed, fine = made_failure(seed=1), made_result(seed=1)
    for order in itertools.permutations(
        [part(tmp_path, "x", failures=[failed]), part(tmp_path, "y", [fine])]
    ):
        whole = merge_contents(order)
        assert (whole.results, whole.failures) == ((fine,), ())


def test_a_failure_that_several_have_is_told_once(tmp_path):
    early = made_failure(message="early", finished="2025-01-01T00:00:00Z")
    late = made_failure(message="late", finished="2025-02-01T00:00:00Z")
    parts = [part(tmp_path, "x", failures=[early]), part(tmp_path, "y", failures=[late])]

    assert merge_contents(parts).failures == merge_contents(parts[::-1]).failures == (late,)


def test_suites_of_one_name_add_up_and_no_banner_is_lost(tmp_path):
    one = made_suite(seeds=(0,), datasets=("a",), notes=("read this",), assumed={"lr": "x"})
    two = made_suite(seeds=(1, 0), datasets=("b",), notes=("and this",), assumed={"epochs": "y"})
    run = made_result()
    parts = [
        part(tmp_path, name, [run], made_plan([run], suite))
        for name, suite in (("x", one), ("y", two))
    ]
    whole = merge_contents(parts)

    assert whole.plan == merge_contents(parts[::-1]).plan
    suite = whole.plan.suites["demo"]
    assert set(suite.seeds) == {0, 1}
    assert set(suite.datasets) == {"a", "b"}
    assert set(suite.notes) == {"read this", "and this"}
    assert suite.assumed == {"lr": "x", "epochs": "y"}
    assert {"read this", "and this"} <= set(ranked(whole).banners)


# -- the same run twice -----------------------------------------------------------------------


def test_seconds_and_machines_of_one_run_may_differ(tmp_path):
    """The later copy stands; equal figures are equal up to rounding."""
    slow = made_result(seconds=9.0, finished="2025-01-01T00:00:00Z")
    fast = made_result(seconds=0.1, value=0.8 + 1e-12, finished="2025-03-01T00:00:00Z")
    parts = [part(tmp_path, "x", [slow]), part(tmp_path, "y", [fast])]

    for order in (parts, parts[::-1]):
        whole = merge_contents(order)
        assert whole.results == (fast,)
        assert whole.homes[fast.run_id] == tmp_path / "y"


def test_figures_that_only_one_copy_has_are_kept(tmp_path):
    plain = made_result(metrics=figures(balanced_accuracy=0.8), finished="2025-03-01T00:00:00Z")
    scored = made_result(metrics=figures(balanced_accuracy=0.8, brier=0.2))
    (run,) = merge_contents([part(tmp_path, "x", [plain]), part(tmp_path, "y", [scored])]).results

    assert run.metrics == figures(balanced_accuracy=0.8, brier=0.2)
    assert run.finished == plain.finished


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"value": 0.81}, "metrics: accuracy is 0.8 and 0.81"),
        ({"value": None, "reason": "no"}, "metrics: accuracy is 0.8 and undefined"),
        ({"validation": figures(balanced_accuracy=0.5)}, "validation: balanced-accuracy is 0.8"),
        ({"data": {"classes": ("a", "c")}}, "different classes"),
        (
            {"predictions": PredictionsRecord(file="f", sha256=sha("other"))},
            "different predictions",
        ),
    ],
)
def test_files_of_one_run_that_contradict_each_other_are_both_named(tmp_path, changes, told):
    first = made_result(finished="2025-03-01T00:00:00Z")
    other = made_result(**changes)
    parts = [part(tmp_path, "x", [first]), part(tmp_path, "y", [other])]
    messages = []
    for order in (parts, parts[::-1]):
        with pytest.raises(StoreError) as raised:
            merge_contents(order)
        messages.append(str(raised.value))

    assert messages[0] == messages[1]
    assert told in messages[0]
    for folder in ("x", "y"):
        assert str(Store(tmp_path / folder).place(first)) in messages[0]


def test_copies_from_other_processors_round_differently_and_the_latest_stands(tmp_path):
    here = made_result(value=0.8, metrics=figures(balanced_accuracy=0.8, brier=0.2))
    made = here.environment.model_copy(update={"processor": "AVX2"})
    there = made_result(value=0.81, environment=made, finished="2025-03-01T00:00:00Z")
    parts = [part(tmp_path, "x", [here]), part(tmp_path, "y", [there])]

    for order in (parts, parts[::-1]):
        whole = merge_contents(order)
        assert whole.results == (there,)  # with no figure of the other logits
        assert whole.repeats == (there.run_id,)
    assert merge_contents(parts[:1]).repeats == ()


def test_not_even_elsewhere_can_a_run_have_other_classes(tmp_path):
    here = made_result()
    made = here.environment.model_copy(update={"device": "cuda:0 (Card)"})
    there = made_result(environment=made, data={"classes": ("a", "c")})
    with pytest.raises(StoreError, match="different classes"):
        merge_contents([part(tmp_path, "x", [here]), part(tmp_path, "y", [there])])


def test_the_same_predictions_in_another_order_are_no_contradiction(tmp_path):
    """Where ids were replaced, rows are sorted by the new ones: another file, the same run."""
    original = made_result(predictions=PredictionsRecord(file="f", sha256=sha("one")))
    data = made_data(original.spec, split_sha256=sha("renamed")).model_dump()
    public = made_result(data=data, predictions=PredictionsRecord(file="f", sha256=sha("two")))

    assert (
        len(
            merge_contents([part(tmp_path, "x", [original]), part(tmp_path, "y", [public])]).results
        )
        == 1
    )


# -- the order of the folders -----------------------------------------------------------------


@pytest.mark.slow
@given(st.data())
def test_the_order_of_folders_and_of_runs_in_them_changes_nothing(tmp_path_factory, data):
    root = tmp_path_factory.getbasetemp()
    runs = [by(source, seed, 0.6 + seed / 10) for source in (MINE, THEIRS) for seed in (0, 1)]
    runs += [made_result(seed=seed, value=0.7) for seed in (0, 1)]
    failures = [made_failure(strategy="l2-sp", message=text) for text in ("one", "two")]
    some = st.lists(st.sampled_from(range(len(runs))), unique=True)
    parts = []
    for name in "xyz":
        held = [runs[i] for i in data.draw(some)]
        failed = data.draw(st.sampled_from([[], failures[:1], failures[1:]]))
        suite = made_suite(notes=(name,), seeds=tuple(data.draw(st.sets(st.integers(0, 3)))))
        parts.append(part(root, name, held, made_plan([*held, *failed], suite), failed))
    other = [
        FolderContents(p.folder, tuple(data.draw(st.permutations(p.results))), p.plan, p.failures)
        for p in data.draw(st.permutations(parts))
    ]
    one, two = merge_contents(parts), merge_contents(other)

    assert (one.results, one.plan, one.failures) == (two.results, two.plan, two.failures)
    assert render(ranked(one), "json") == render(ranked(two), "json")


# -- folders and archives ---------------------------------------------------------------------


def predictions():
    import numpy as np

    return Predictions(
        logits={s: np.eye(2, dtype=np.float32) for s in ("test", "validation")},
        targets={s: np.arange(2) for s in ("test", "validation")},
        rows={s: np.arange(2, dtype=np.int32) for s in ("test", "validation")},
    )


def stored(folder, *results):
    """A folder with these runs and the split file they refer to, which names two samples."""
    store = Store(folder)
    samples = [{"id": f"s{i}", "label": "ab"[i], "group": f"g{i}", "split": "test"} for i in (0, 1)]
    store.write_split("demo-xray", json.dumps({"samples": samples}))
    for result in results:
        store.add(Outcome(result, predictions() if result.status == "ok" else None))
    store.extend_plan(made_plan(results))
    return store


def test_a_merged_store_reads_as_a_store(tmp_path):
    a, b = made_result(seed=0), made_result(seed=1)
    one, two = stored(tmp_path / "x", a), stored(tmp_path / "y", b, made_failure(seed=2))
    merged = MergedStore([one, two])

    assert [run.spec.seed for run in merged.failures()] == [2]
    by_seed = {run.spec.seed: run for run in merged.results()}
    assert merged.home(by_seed[1]) is two
    assert merged.predictions(by_seed[0]).logits["test"].shape == (2, 2)
    assert len(merged.plan().runs) == 3


def test_a_folder_without_runs_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match="holds no runs"):
        existing(tmp_path / "x")
    with pytest.raises(UsageError, match="holds no runs"), opened([tmp_path / "nowhere"]):
        pass


def test_board_of_several_folders_is_the_same_in_any_order(tmp_path, harness_cli):
    stored(tmp_path / "x", by(MINE), made_result())
    stored(tmp_path / "y", by(THEIRS), made_result())
    for out, order in (("one", "xy"), ("two", "yx")):
        harness_cli("board", *(tmp_path / name for name in order), "--out", tmp_path / out)
    for end in FILES.values():
        name = f"leaderboard.{end}"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    made = json.loads((tmp_path / "one" / "leaderboard.json").read_text())
    assert len(made["runs"]) == 3
    assert not list((tmp_path / "x").glob("leaderboard.*"))


def test_board_of_several_folders_must_be_told_where_to_write(tmp_path, harness_cli):
    stored(tmp_path / "x", made_result())
    stored(tmp_path / "y", by(MINE))
    refused = harness_cli("board", tmp_path / "x", tmp_path / "y", exit_code=2)

    assert "--out FOLDER" in refused.stderr
    assert not list(tmp_path.rglob("leaderboard.*"))
    harness_cli("board", tmp_path / "x", tmp_path / "y", "--format", "md")
    harness_cli("board", tmp_path / "x")
    assert (tmp_path / "x" / "leaderboard.md").exists()


def test_board_names_both_files_of_a_contradiction(tmp_path, harness_cli):
    stored(tmp_path / "x", made_result(value=0.8))
    stored(tmp_path / "y", made_result(value=0.9))
    refused = harness_cli(
        "board", tmp_path / "x", tmp_path / "y", "--out", tmp_path / "z", exit_code=2
    )

    run = made_result()
    assert str(Store(tmp_path / "x").place(run)) in refused.stderr
    assert str(Store(tmp_path / "y").place(run)) in refused.stderr


def test_board_warns_of_runs_that_came_out_differently(tmp_path, harness_cli):
    stored(tmp_path / "x", made_result(value=0.8))
    made = made_result().environment.model_copy(update={"platform": "Other"})
    stored(tmp_path / "y", made_result(value=0.9, environment=made))
    done = harness_cli("board", tmp_path / "x", tmp_path / "y", "--out", tmp_path / "z")

    assert "1 runs were made in several places and came out differently" in done.stderr


def archive(tmp_path, name="x", **given):
    stored(tmp_path / name, made_result(**given))
    (tmp_path / name / ".lock").unlink()
    write_manifest(tmp_path / name, "0.1.0")
    pack(tmp_path / name, tmp_path / f"{name}.zip")
    return tmp_path / f"{name}.zip"


def test_archives_are_read_like_folders(tmp_path, harness_cli):
    packed = archive(tmp_path)
    stored(tmp_path / "y", by(MINE))
    harness_cli("board", packed, tmp_path / "y", "--out", tmp_path / "z")

    assert len(json.loads((tmp_path / "z" / "leaderboard.json").read_text())["runs"]) == 2
    alone = harness_cli("board", packed, exit_code=2)
    assert "--out FOLDER" in alone.stderr


def test_a_contradiction_is_told_by_the_archives_name(tmp_path, harness_cli):
    packed = archive(tmp_path, value=0.8)
    stored(tmp_path / "y", made_result(value=0.9))
    refused = harness_cli("board", packed, tmp_path / "y", "--out", tmp_path / "z", exit_code=2)

    assert f"{packed}/runs/demo-xray/resnet50-mini/full-ft/" in refused.stderr


def test_the_same_content_gives_the_same_archive(tmp_path):
    first = archive(tmp_path).read_bytes()
    pack(tmp_path / "x", tmp_path / "again.zip")

    assert (tmp_path / "again.zip").read_bytes() == first


def rewritten(packed, change):
    """The archive with `change(name, content) -> content or None` applied to every file."""
    target = packed.with_name("changed.zip")
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(target, "w") as into:
        for name in source.namelist():
            content = change(name, source.read(name))
            if content is not None:
                into.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda name, c: c + b" " if name == "plan.json" else c, "plan.json: not the file"),
        (lambda name, c: None if name.endswith(".safetensors") else c, "it is not there"),
        (lambda name, c: None if name == "manifest.json" else c, "has no manifest.json"),
    ],
)
def test_an_archive_that_was_changed_is_refused(tmp_path, change, told):
    changed = rewritten(archive(tmp_path), change)
    with pytest.raises(StoreError, match=told), opened([changed]):
        pass


@pytest.mark.parametrize("name", ["../outside.json", "/outside.json", "a/../../b", "c:\\x"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    packed = archive(tmp_path)
    with zipfile.ZipFile(packed, "a") as into:
        into.writestr(name, b"{}")
    with pytest.raises(StoreError, match="leads out"), opened([packed]):
        pass


def test_an_archive_with_a_stranger_in_it_is_refused(tmp_path):
    packed = archive(tmp_path)
    with zipfile.ZipFile(packed, "a") as into:
        into.writestr("runs/more.json", b"{}")
    with pytest.raises(StoreError, match=r"runs/more.json: not in manifest.json"), opened([packed]):
        pass


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as into:
        into.writestr("runs/zeros.json", bytes(50_000_000))
    with pytest.raises(StoreError, match="far more"), opened([bomb]):
        pass


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.zip").write_text("no")
    with pytest.raises(StoreError, match="cannot read"), opened([tmp_path / "x.zip"]):
        pass

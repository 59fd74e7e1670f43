"""The results folder: what is kept, what is missing, and what a fault leaves behind."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from command import python
from places import DATA_FILES
from safetensors.numpy import load_file

from harness import Outcome, Predictions, RunResult, RunSpec, StoreError
from harness.api.records import (
    Cost,
    CostFigures,
    DataRecord,
    Environment,
    EpochRecord,
    Failure,
    MetricValue,
    PhaseRecord,
    Plan,
    PlannedRun,
    PluginRecord,
    Protocol,
    Suite,
    WeightsRecord,
)
from harness.results import predictions as predictions_file
from harness.results.store import Store
from harness_metrics import METRICS

HISTORIC = DATA_FILES / "historic" / "schema-1"
CLASSES = ("benign", "malignant")


def spec(seed=0, **changes):
    plain = {
        "dataset": "demo-xray",
        "backbone": "resnet50-mini",
        "strategy": "l2-sp",
        "settings": {"alpha": 0.01, "tried": [1, 2.5]},
        "protocol": Protocol(name="demo"),
        "seed": seed,
        "data": "d" * 64,
        "weights": "a" * 64,
        "sources": {"strategy": "b" * 64},
        "engine": 1,
    }
    return RunSpec(**(plain | changes))


def predictions(seed=0, samples=6):
    rng = np.random.default_rng(seed)
    splits = ("validation", "test")
    return Predictions(
        logits={s: rng.normal(size=(samples, 2)).astype(np.float32) for s in splits},
        targets={s: np.arange(samples) % 2 for s in splits},
        rows={s: np.arange(samples, dtype=np.int32) + 10 for s in splits},
    )


def finished(seed=0, **changes):
    """A run with something in every field."""
    given = spec(seed, **changes)
    result = RunResult(
        run_id=given.run_id,
        suite="demo",
        spec=given,
        status="ok",
        metrics={
            "balanced-accuracy": MetricValue(value=0.1 + 0.2),
            "macro-auroc": MetricValue(value=None, reason="class 'benign' has no sample"),
            "per-class-recall": MetricValue(value=0.5, by_class={"benign": 1.0, "malignant": None}),
        },
        validation={"balanced-accuracy": MetricValue(value=1 / 3)},
        history=(EpochRecord(phase="ft", epoch=1, train_loss=0.7, score=None, lr=1e-3, seconds=1),),
        phases=(
            PhaseRecord(
                name="ft",
                epochs_planned=2.5,
                epochs=1,
                steps=7,
                trainable=99,
                cached_stages=0,
                rates={"head": 1.0},
                notes=("a note",),
            ),
        ),
        tested="ft, epoch 1",
        cost=Cost(alone=CostFigures(train=1.5, total=2), peak_bytes=10**9, images_per_second=3.5),
        data=DataRecord(
            modality="xray",
            classes=CLASSES,
            counts={"test": {"benign": 3, "malignant": 3}},
            fingerprint="f" * 64,
            split_file="demo-xray.json",
            split_sha256="e" * 64,
            rule="official",
        ),
        weights=WeightsRecord(name="mini", sha256="a" * 64, new=("head.weight",)),
        plugins={"strategy": PluginRecord(plugin="l2-sp", source="b" * 64, dirty=None)},
        environment=Environment(harness="0.1.0", python="3.11.7", device="cpu", threads=1),
        finished="2026-01-02T03:04:05+00:00",
    )
    return Outcome(result, predictions(seed))


def failed(seed=0, status="failed"):
    given = spec(seed)
    error = Failure(kind="TrainingError", message="the loss is nan", phase="ft", step=3)
    return Outcome(
        RunResult(run_id=given.run_id, suite="demo", spec=given, status=status, error=error)
    )


def planned(seed=0, run_id="0" * 16, **changes):
    plain = {
        "dataset": "demo-xray",
        "modality": "xray",
        "backbone": "resnet50-mini",
        "strategy": "l2-sp",
        "protocol": "p",
        "epochs": 15,
        "weights": "mini",
    }
    return PlannedRun(run_id=run_id, seed=seed, **(plain | changes))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "board")


def names(store):
    """Every file, the lock aside."""
    files = (path for path in store.folder.rglob("*") if path.is_file())
    return sorted(str(p.relative_to(store.folder)) for p in files if p.name != ".lock")


def same(one, other):
    for kind in ("logits", "targets", "rows"):
        found, expected = getattr(one, kind), getattr(other, kind)
        assert set(found) == set(expected)
        for split, array in expected.items():
            assert found[split].dtype == array.dtype
            assert np.array_equal(found[split], array)
    return True


# A finished run


def test_a_run_comes_back_as_it_was(store):
    given = finished()
    kept = store.add(given)
    spent = kept.cost.incurred.write
    assert spent > 0
    cost = given.result.cost
    charged = {
        n: getattr(cost, n).model_copy(update={"write": spent}) for n in ("alone", "incurred")
    }
    written = {"predictions": None, "cost": cost.model_copy(update=charged)}
    assert kept.model_copy(update={"predictions": None}) == given.result.model_copy(update=written)
    assert store.results() == (kept,)
    assert store.get(kept.run_id) == kept
    assert same(store.predictions(kept), given.predictions)
    assert Store(store.folder).results() == (kept,)


def test_the_layout(store):
    kept = store.add(finished())
    place = f"runs/demo-xray/resnet50-mini/l2-sp/{kept.run_id}"
    assert names(store) == [f"{place}.json", f"{place}.safetensors"]
    content = (store.folder / f"{place}.safetensors").read_bytes()
    assert kept.predictions.file == f"{kept.run_id}.safetensors"
    assert kept.predictions.sha256 == hashlib.sha256(content).hexdigest()
    raw = json.loads((store.folder / f"{place}.json").read_text())
    assert raw["schema_version"] == 1
    assert raw["metrics"]["balanced-accuracy"] == {
        "value": 0.30000000000000004,
        "reason": None,
        "by_class": None,
    }
    tensors = load_file(store.folder / f"{place}.safetensors")
    assert sorted(tensors) == [
        f"{split}.{kind}"
        for split in ("test", "validation")
        for kind in ("logits", "rows", "targets")
    ]


def test_results_come_in_one_order(store):
    outcomes = [
        finished(dataset=d, strategy=s, seed=n)
        for d in ("b", "a")
        for s in ("y", "x")
        for n in (0, 1)
    ]
    for outcome in outcomes:
        store.add(outcome)
    expected = sorted(
        (o.result.spec.dataset, o.result.spec.strategy, o.result.run_id) for o in outcomes
    )
    found = [(r.spec.dataset, r.spec.strategy, r.run_id) for r in store.results()]
    assert found == expected


def test_a_run_that_is_there_stays(store):
    first = store.add(finished())
    before = {name: (store.folder / name).read_bytes() for name in names(store)}
    again = Outcome(finished().result.model_copy(update={"tested": "other"}), predictions(9))
    assert store.add(again) == first
    assert {name: (store.folder / name).read_bytes() for name in names(store)} == before


def test_an_empty_folder(store):
    assert (store.results(), store.failures(), store.plan()) == ((), (), Plan())
    assert store.missing(["b", "a", "b"]) == ("b", "a")
    assert not store.has("a" * 16)
    assert not store.folder.exists()
    with pytest.raises(StoreError, match=f"no run {'a' * 16} in "):
        store.get("a" * 16)


def test_an_ok_run_without_predictions_is_refused(store):
    with pytest.raises(StoreError, match="without predictions"):
        store.add(Outcome(finished().result))
    assert store.results() == ()


def test_reading_writes_nothing_and_imports_no_torch(store):
    kept = store.add(finished())
    for path in sorted(store.folder.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = names(store), [p.stat().st_mtime_ns for p in sorted(store.folder.rglob("*"))]
    code = (
        "import sys; from harness.results.store import Store; store = Store(sys.argv[1]);"
        "r = store.results()[0]; store.predictions(r); store.failures(); store.plan();"
        "store.missing([r.run_id]); print([m for m in ('torch', 'datasets') if m in sys.modules])"
    )
    assert python("-c", code, store.folder).stdout.strip() == "[]"
    assert (names(store), [p.stat().st_mtime_ns for p in sorted(store.folder.rglob("*"))]) == before
    assert store.get(kept.run_id) == kept
    for path in store.folder.rglob("*"):
        path.chmod(0o755)


# Predictions


def test_strided_arrays_are_written_as_they_look(store):
    plain = predictions(samples=5)
    strided = Predictions(
        logits={name: np.asfortranarray(one) for name, one in plain.logits.items()},
        targets={name: np.repeat(one, 2)[::2] for name, one in plain.targets.items()},
        rows={name: one[::-1] for name, one in plain.rows.items()},
    )
    outcome = Outcome(finished().result, strided)
    assert same(store.predictions(store.add(outcome)), strided)


@pytest.mark.slow
def test_equal_predictions_give_equal_bytes_in_every_process():
    code = (
        "import hashlib, numpy as np; from harness import Predictions; from harness.results import predictions as predictions_file;"
        "p = Predictions(*({s: np.zeros(n, np.int32) for s in ('validation', 'test')}"
        " for n in ((3, 2), 3, 3)));"
        "print(hashlib.sha256(predictions_file.pack('a', p)).hexdigest())"
    )
    found = {python("-c", code, PYTHONHASHSEED=seed).stdout for seed in "123"}
    assert len(found) == 1
    assert len(found.pop().strip()) == 64


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        ("targets", np.zeros(5, np.int64)),
        ("rows", np.zeros((6, 1), np.int32)),
        ("logits", np.zeros(6, np.float32)),
        ("rows", None),
    ],
)
def test_predictions_that_do_not_fit_together(kind, array):
    parts = {k: dict(getattr(predictions(), k)) for k in ("logits", "targets", "rows")}
    if array is None:
        del parts[kind]["test"]
    else:
        parts[kind]["test"] = array
    with pytest.raises(StoreError, match="run a: predictions on test do not fit together"):
        predictions_file.pack("a", Predictions(**parts))


@pytest.mark.parametrize("fault", ["altered", "cut", "missing"])
def test_a_file_that_is_not_the_results_own(store, fault):
    kept = store.add(finished())
    path = next(store.folder.rglob("*.safetensors"))
    content = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (b"\x7f" if fault == "altered" else b""))
    with pytest.raises(StoreError, match=rf"{kept.run_id}\.safetensors"):
        store.predictions(kept)


def test_a_failed_run_has_no_predictions(store):
    with pytest.raises(StoreError, match=r"\(oom\) has no stored predictions"):
        store.predictions(store.add(failed(status="oom")))


# Failed runs


def test_a_failed_run_is_kept_apart(store):
    kept = store.add(failed())
    assert names(store) == [f"failed/{kept.run_id}.json"]
    assert store.failures() == (kept,)
    assert store.results() == ()
    assert not store.has(kept.run_id)
    assert store.get(kept.run_id).error.step == 3


def test_a_run_that_succeeds_later_is_no_failure_any_more(store):
    store.add(failed())
    store.add(failed(status="oom"))
    assert [run.status for run in store.failures()] == ["oom"]
    kept = store.add(finished())
    assert store.failures() == ()
    assert store.results() == (kept,)
    assert not [name for name in names(store) if name.startswith("failed")]


def test_a_finished_run_is_no_failure_even_if_its_old_record_was_left(store):
    kept = store.add(finished())
    store.add(failed())  # as when the process died before it could remove it
    assert store.failures() == ()
    assert store.get(kept.run_id) == kept


def test_missing(store):
    done, broken, open_ = finished(0).result.run_id, failed(1).result.run_id, spec(2).run_id
    store.add(finished(0))
    store.add(failed(1))
    assert store.missing([open_, broken, done, open_]) == (open_,)
    assert store.missing([open_, broken, done], retry_failed=True) == (open_, broken)
    assert store.has(done)
    assert not store.has(broken)


# Faults


class Crash(BaseException):
    """The process dies: nothing after it is carried out, no cleaning up either."""


@contextlib.contextmanager
def broken(monkeypatch, step, count, error, *, dead=False):
    """The `count`-th call of `step` fails, and with `dead` nothing is removed any more."""
    owner = Path if step == "open" else os
    original, calls = getattr(owner, step), []
    with monkeypatch.context() as patch:

        def call(*arguments, **named):
            calls.append(1)
            if len(calls) == count:
                if dead:
                    patch.setattr(os, "unlink", lambda *_, **__: None)
                raise error
            return original(*arguments, **named)

        patch.setattr(owner, step, call)
        yield


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
# A second run beside a finished one makes two files: 2 x (open, sync, rename, sync of the folder).
POINTS = [
    (step, n)
    for step, most in (("open", 2), ("fsync", 4), ("replace", 2))
    for n in range(1, most + 1)
]


@pytest.mark.parametrize(("step", "count"), POINTS)
def test_a_full_disk_loses_nothing_that_was_finished(store, monkeypatch, step, count):
    first = store.add(finished(0))
    before = names(store)
    with (
        broken(monkeypatch, step, count, FULL),
        pytest.raises(StoreError, match="no space left for"),
    ):
        store.add(finished(1))
    found = store.results()
    assert first in found
    if len(found) == 1:  # otherwise only the last sync failed: the run is there
        assert names(store) == before
    for run in found:
        assert same(store.predictions(run), predictions(run.spec.seed))
    store.add(finished(1))
    assert len(store.results()) == 2


@pytest.mark.parametrize(("step", "count"), POINTS)
def test_a_killed_process_loses_at_most_the_run_in_hand(store, monkeypatch, step, count):
    first = store.add(finished(0))
    with broken(monkeypatch, step, count, Crash(), dead=True), pytest.raises(Crash):
        store.add(finished(1))
    again = Store(store.folder)
    found = again.results()
    assert first in found
    for run in found:
        assert same(again.predictions(run), predictions(run.spec.seed))
    assert again.missing([spec(1).run_id]) == (() if len(found) == 2 else (spec(1).run_id,))
    again.add(finished(1))
    assert len(again.results()) == 2


def test_a_full_disk_while_a_failure_is_recorded(store, monkeypatch):
    with broken(monkeypatch, "fsync", 1, FULL), pytest.raises(StoreError, match="no space left"):
        store.add(failed())
    assert names(store) == []


def test_a_full_disk_while_the_plan_grows(store, monkeypatch):
    before = store.extend_plan(Plan(runs=(planned(0),)))
    with broken(monkeypatch, "replace", 1, FULL), pytest.raises(StoreError, match="no space left"):
        store.extend_plan(Plan(runs=(planned(1),)))
    assert store.plan() == before
    assert names(store) == ["plan.json"]


def test_a_precision_is_settled_once_for_a_folder(store):
    plan = store.folder / "plan.json"
    store.extend_plan(Plan(runs=(planned(0),)))
    assert "precision" not in json.loads(plan.read_text())
    asked = []

    def choose(plan):
        asked.append(plan)
        return plan.precision or "bf16"

    assert store.settle_precision(choose) == "bf16"
    assert asked == [Plan(runs=(planned(0),))]
    assert json.loads(plan.read_text())["precision"] == "bf16"
    store.extend_plan(Plan(runs=(planned(1),)))
    later = planned(1).model_copy(update={"call": 1})
    assert store.plan() == Plan(runs=(planned(0), later), precision="bf16")
    before = plan.stat().st_mtime_ns
    assert store.settle_precision(choose) == "bf16"
    assert plan.stat().st_mtime_ns == before


def test_leftovers_are_ignored_and_cleared(store):
    store.add(finished())
    before = names(store)
    left = next(store.folder.rglob("*.safetensors")).with_name(".x.json.ab.tmp")
    left.write_bytes(b"{")
    os.utime(left, (0, 0))
    assert len(store.results()) == 1
    store.check_writable()
    assert names(store) == before


def test_an_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file is a file, so .* choose another folder"):
        Store(tmp_path / "file" / "board").check_writable()
    with pytest.raises(StoreError, match="Not a directory"):
        Store(tmp_path / "file").results()


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC])
def test_a_place_that_refuses_is_found_out_before_the_work(store, monkeypatch, number):
    with (
        broken(monkeypatch, "open", 1, OSError(number, os.strerror(number))),
        pytest.raises(StoreError, match="--out"),
    ):
        store.check_writable()
    store.check_writable()
    assert names(store) == []


def test_a_figure_that_is_not_finite_is_refused(store):
    epoch = EpochRecord(phase="ft", epoch=1, train_loss=float("nan"), score=0, lr=1, seconds=1)
    bad = finished().result.model_copy(update={"history": (epoch,)})
    with pytest.raises(StoreError, match=r"must be finite \(history\.0\.train_loss: "):
        store.add(Outcome(bad, predictions()))
    assert names(store) == []


def test_damaged_newer_and_misplaced_results_are_named(store):
    kept = store.add(finished())
    path = next(store.folder.rglob("*.json"))
    text = path.read_text()
    path.write_text(text[:300])
    with pytest.raises(StoreError, match=rf"{kept.run_id}\.json is damaged"):
        store.results()
    path.write_text(text.replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(StoreError, match=r"written by a newer harness .* upgrade"):
        store.results()
    path.write_text(text)
    shutil.copy(path, path.with_name("0123456789abcdef.json"))
    with pytest.raises(
        StoreError, match=rf"0123456789abcdef\.json holds another run \({kept.run_id}\)"
    ):
        store.results()


@pytest.mark.parametrize("role", ["dataset", "backbone", "strategy"])
@pytest.mark.parametrize(
    "name", ["../out", "a/b", "..", "", ".hidden", "a\n", "/etc", "a\\b", "x" * 129]
)
def test_no_name_leads_out_of_the_folder(store, role, name):
    with pytest.raises(StoreError, match=f"the {role} .* cannot be the name of a file"):
        store.add(finished(**{role: name}))
    assert names(store) == []


def test_no_run_id_or_file_leads_out_of_the_folder(store):
    for outcome in (finished(), failed()):
        result = outcome.result.model_copy(update={"run_id": "../../out"})
        with pytest.raises(StoreError, match="the run id"):
            store.add(Outcome(result, outcome.predictions))
    with pytest.raises(StoreError, match="the run id"):
        store.get("../plan")
    kept = store.add(finished())
    record = kept.predictions.model_copy(update={"file": "../../../../secret"})
    with pytest.raises(StoreError, match="the predictions file"):
        store.predictions(kept.model_copy(update={"predictions": record}))
    with pytest.raises(StoreError, match="the dataset"):
        store.write_split("../demo", "{}")


# The plan


def test_the_plan_adds_up(store):
    demo = Suite(name="demo", protocol=Protocol(name="demo"))
    folders = Suite(name="folders", protocol=Protocol(name="folders"))
    store.extend_plan(Plan(suites={"demo": demo}, runs=(planned(0), planned(1))))
    whole = store.extend_plan(Plan(suites={"folders": folders}, runs=(planned(2), planned(1))))
    assert whole == store.plan()
    assert whole.suites == {"demo": demo, "folders": folders}
    assert [run.seed for run in whole.runs] == [0, 1, 2]


def test_what_is_asked_for_again_is_counted_once(store):
    store.extend_plan(Plan(runs=(planned(0, "1" * 16), planned(1, "2" * 16))))
    whole = store.extend_plan(Plan(runs=(planned(0, "3" * 16),)))
    assert [run.run_id for run in whole.runs] == ["3" * 16, "2" * 16]
    other = store.extend_plan(Plan(runs=(planned(0, "4" * 16, limit=20),)))
    assert len(other.runs) == 3


def test_a_plan_that_holds_all_already_is_not_written_again(store, monkeypatch):
    store.extend_plan(Plan(runs=(planned(0),)))
    with broken(monkeypatch, "replace", 1, FULL):
        assert len(store.extend_plan(Plan(runs=(planned(0),))).runs) == 1


def test_many_writers_lose_nothing(tmp_path):
    def work(worker):
        own = Store(tmp_path)
        for n in range(8):
            own.extend_plan(Plan(runs=(planned(100 * worker + n),)))
            own.add(finished(n))  # every worker makes the same runs
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    store = Store(tmp_path)
    assert {run.seed for run in store.plan().runs} == {
        100 * w + n for w in range(4) for n in range(8)
    }
    assert {run.spec.seed for run in store.results()} == set(range(8))
    for run in store.results():
        assert same(store.predictions(run), predictions(run.spec.seed))


def test_a_plan_of_a_newer_harness(store):
    store.extend_plan(Plan(runs=(planned(0),)))
    path = store.folder / "plan.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(StoreError, match=r"plan\.json was written by a newer harness"):
        store.extend_plan(Plan())


# Splits


def test_split_files(store):
    one, other = '{"a": 1}', '{"a": 2}'
    mark = hashlib.sha256(other.encode()).hexdigest()[:8]
    assert store.write_split("demo-xray", one) == "demo-xray.json"
    assert store.write_split("demo-xray", one) == "demo-xray.json"
    assert store.write_split("demo-xray", other) == f"demo-xray-{mark}.json"
    assert store.write_split("demo-xray", other) == f"demo-xray-{mark}.json"
    assert store.write_split("demo-mri", other) == "demo-mri.json"
    assert names(store) == [
        f"splits/{name}.json" for name in ("demo-mri", f"demo-xray-{mark}", "demo-xray")
    ]
    assert (store.folder / "splits/demo-xray.json").read_text() == one
    assert (store.folder / f"splits/demo-xray-{mark}.json").read_text() == other


# Files of the first schema: they load for ever


def test_a_result_of_schema_1():
    store = Store(HISTORIC)
    (run,) = store.results()
    assert (run.run_id, run.status, run.suite) == ("ca8f125152df1b7f", "ok", "demo")
    assert run.spec.cell == "demo-mri / resnet50-mini / lp-ft"
    assert run.spec.settings == {"probe": 0.5, "ft_rate": 1.0}
    assert run.spec.protocol.lr == 0.001
    assert (run.spec.seed, run.spec.limit, run.limited) == (684, 20, True)
    assert run.metrics["accuracy"].value == 8 / 12
    assert run.metrics["per-class-recall"].by_class == {
        "glioma": 0.5,
        "meningioma": 0.75,
        "none": 0.75,
    }
    assert run.validation["macro-auroc"].reason == "class 'none' has no sample among these 8"
    assert [epoch.score for epoch in run.history] == [0.5, None]
    assert [phase.kind for phase in run.phases] == ["phase", "solve-head"]
    assert run.cost.alone.total == 5.5
    assert run.data.skipped == ("broken.png",)
    assert run.weights.new == ("head.weight", "head.bias")
    assert run.plugins["strategy"].version == "0.1.0"
    assert run.environment.libraries["torch"] == "2.15.0"


def test_figures_of_schema_1_can_be_computed_again():
    store = Store(HISTORIC)
    (run,) = store.results()
    found = store.predictions(run)
    assert found.rows["test"].tolist() == list(range(8, 20))
    for split, figures in (("test", run.metrics), ("validation", run.validation)):
        assert len(figures) == len(METRICS)
        for metric in METRICS:
            again = metric.compute(found.logits[split], found.targets[split], run.data.classes)
            expected = figures[metric.name]
            assert again.reason == expected.reason
            near = None if expected.value is None else pytest.approx(expected.value, rel=1e-12)
            assert again.value == near, metric.name


def test_a_failure_and_a_plan_of_schema_1():
    store = Store(HISTORIC)
    (run,) = store.failures()
    assert (run.status, run.error.kind, run.error.step) == ("failed", "TrainingError", 12)
    plan = store.plan()
    assert [planned.run_id for planned in plan.runs] == ["ca8f125152df1b7f", run.run_id]
    assert plan.suites["demo"].assumed == {"lr": "the authors' next paper"}

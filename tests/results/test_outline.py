"""Records read as far as a ranking needs them: the same ranking, the same refusals."""

import json
import re

import pytest
from made import made_failure, made_plan, made_result
from made_page import large_study
from made_tuned import plan_of, tuned_runs

import harness
from harness.api.records import ExternalRecord, MetricValue, RunResult, Tuning
from harness.calls.boards import ranking
from harness.errors import StoreError
from harness.leaderboard.render.formats import UNLISTED
from harness.results import schema
from harness.results.outline import Outlines
from harness.results.store import Store, encoded

SHARED = {"plugins": (), "strict_plugins": False, "offline": None}


def written(folder, runs, plan):
    store = Store(folder)
    for run in runs:
        path = store.place(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(run))
    (folder / "plan.json").write_bytes(encoded(plan))
    return store


def plain_runs():
    """Eight strategies, one run of which failed, one undefined, one missing, and a further test set."""
    further = ExternalRecord(
        modality="xray", classes=("a", "b"), counts={"test": {"a": 3, "b": 4}}, fingerprint="f" * 64,
        split_file="splits/x.json", split_sha256="e" * 64, rule="all of it",
        metrics={"balanced-accuracy": MetricValue(value=0.75)},
    )  # fmt: skip
    first, second, *others = large_study(datasets=2, backbones=2, seeds=2, epochs=3)
    undefined = {"balanced-accuracy": MetricValue(value=None, reason="no image")}
    failed = made_failure(strategy="lp-ft", seed=7)
    cost = others[0].cost.model_copy(update={"resumed": 2})
    others[0] = others[0].model_copy(update={"parts": 2, "cost": cost})
    return [
        first.model_copy(update={"external": {"elsewhere": further}}),
        second.model_copy(update={"metrics": undefined}),
        *others,
        made_result(seed=7),
        failed,
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder, runs = tmp_path_factory.mktemp("plain"), plain_runs()
    written(folder, runs[:-3] + runs[-2:], made_plan(runs))
    return folder


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder, trials = tmp_path_factory.mktemp("tuned"), tuned_runs()
    written(folder, [run for _, run in trials], plan_of(trials))
    return folder


@pytest.mark.parametrize("wanted", UNLISTED)
@pytest.mark.parametrize("kind", ["plain", "tuned"])
def test_a_ranking_is_that_of_whole_records(request, kind, wanted):
    folder = request.getfixturevalue(kind)
    whole = harness.load(folder, ranks_only=True).render(wanted)
    assert ranking(folder, wanted, **SHARED) == whole
    if wanted == "md" and kind == "plain":
        for told in ("elsewhere", "no image", "the loss is nan", "missing", "in parts", "went on"):
            assert told in whole


def test_no_record_that_holds_is_read_as_a_whole(plain, tuned, monkeypatch):
    def whole(path, *_):
        raise AssertionError(f"{path} was read as a whole")

    monkeypatch.setattr("harness.results.outline.schema.parse", whole)
    for folder, given in ((plain, ("balanced-accuracy",)), (tuned, (None, "balanced-accuracy"))):
        assert Store(folder).outlines(Outlines(*given))


def test_another_metric_and_fewer_trials(plain, tmp_path):
    trials = tuned_runs()
    tuning = Tuning(grid=(0.3, 1.0, 3.0))
    plan = plan_of(trials)
    suites = {
        name: suite.model_copy(update={"tuning": tuning}) for name, suite in plan.suites.items()
    }
    plan = plan.model_copy(update={"suites": suites})
    written(tmp_path, [run for _, run in trials], plan)
    for folder, given in ((plain, {"metric": "macro-auroc"}), (tmp_path, {"trials": 2})):
        whole = harness.load(folder, ranks_only=True, **given).render("md")
        assert whole != harness.load(folder, ranks_only=True).render("md")
        assert ranking(folder, "md", **given, **SHARED) == whole


def test_a_metric_that_no_record_holds_is_refused_in_the_same_words(tmp_path):
    runs = [made_result(seed=seed) for seed in range(2)]
    written(tmp_path, runs, made_plan(runs))
    with pytest.raises(harness.HarnessError) as whole:
        harness.load(tmp_path, ranks_only=True, metric="macro-auroc")
    with pytest.raises(harness.HarnessError) as outlined:
        ranking(tmp_path, "md", "macro-auroc", **SHARED)
    assert str(outlined.value) == str(whole.value)
    assert "accuracy" in str(whole.value)


def test_no_field_of_a_record_is_lost(plain):
    for run in Store(plain).outlines(Outlines("balanced-accuracy")):
        lost = [name for name in RunResult.model_fields if getattr(run, name) is None]
        assert set(lost) <= {"predictions", "error"}


def test_like_parts_are_held_once_and_what_is_left_out_cannot_be_read(tmp_path):
    runs = large_study(datasets=1, backbones=1, seeds=2, epochs=3)[:2]
    store = written(tmp_path, runs, made_plan(runs))
    one, other = store.outlines(Outlines("balanced-accuracy"))
    assert {one.run_id, other.run_id} == {run.run_id for run in runs}
    assert {one.spec.run_id, other.spec.run_id} == {run.run_id for run in runs}
    assert one.spec.protocol is other.spec.protocol
    assert one.data is other.data
    assert one.history == one.phases[:0] == ()
    assert set(one.metrics) == {"balanced-accuracy"}
    given = {run.run_id: run for run in runs}[one.run_id]
    assert one.cost.alone.total == given.cost.alone.total
    with pytest.raises(AttributeError):
        _ = one.cost.alone.train
    with pytest.raises(AttributeError):
        _ = one.cost.incurred


BROKEN = {
    "cut off": lambda text: text[: len(text) // 2],
    "newer": lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
    "another field": lambda text: text.replace('"suite"', '"colour": 1, "suite"', 1),
    "seed": lambda text: text.replace('"seed": 0', '"seed": "none"'),
    "status": lambda text: text.replace('"status": "ok"', '"status": "fine"'),
    "no spec": lambda text: text.replace('"spec"', '"specs"'),
    "another run": lambda text: text.replace('"run_id": "', '"run_id": "0', 1),
    "infinite epoch": lambda text: text.replace('"train_loss": ', '"train_loss": 1e999, "x": ', 1),
    "endless seconds": lambda text: text.replace('"total": ', '"total": 1' + "0" * 400 + ', "x": '),
    "not a number": lambda text: text.replace('"train_loss": ', '"train_loss": NaN, "x": ', 1),
    "endless phase": lambda text: re.sub(r'("notes": \[\], "seconds": )[0-9.]+', r"\g<1>1e999", text),
    "infinite rate": lambda text: text.replace('"*": 1.0', '"*": 1e999'),
    "endless rate": lambda text: text.replace('"*": 1.0', '"*": 1' + "0" * 400),
    "unknown figure": lambda text: text.replace('"reason": ', '"colour": 1, "reason": ', 1),
    "unknown cost": lambda text: text.replace('"looks": ', '"colour": 1, "looks": '),
    "latin-1 in a part": lambda text: text.replace('"modality": "', '"modality": "\xe9'),
    "deep": lambda text: text.replace('"modality": ', '"x": ' + "[" * 9999 + "]" * 9999 + ', "modality": '),
    "a figure": lambda text: text.replace('"value": ', '"value": "high", "x": '),
    "latin-1": lambda text: text.replace('"finished": "', '"finished": "\xe9'),
    "a list": lambda _: "[]",
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_is_refused_in_the_same_words(tmp_path, kind):
    (run, *_) = large_study(datasets=1, backbones=1, seeds=1, epochs=3)
    store = written(tmp_path, [run], made_plan([run]))
    path = store.place(run)
    text = json.dumps(json.loads(path.read_text()))
    changed = BROKEN[kind](text)
    assert changed != text
    path.write_bytes(changed.encode("latin-1"))
    with pytest.raises(StoreError) as whole:
        store.results()
    with pytest.raises(StoreError) as outlined:
        store.outlines(Outlines("balanced-accuracy"))
    assert str(outlined.value) == str(whole.value)
    assert path.stem in str(whole.value)


TOKEN = re.compile(rb'-?\d+\.?\d*(?:[eE][-+]?\d+)?|"[^"]*"|true|false|null|[{}\[\],:]')
OTHER = (
    b"", b"null", b"true", b"-1", b"2", b"1.5", b"-0.0", b"1e999", b"1" + b"0" * 310, b"9" * 25, b"NaN",
    b"{}", b"[]", b'"x"', b'"\xe9"', b'"\\ud800"', b'"\\u0000"',
)  # fmt: skip
KEPT = (
    "run_id", "suite", "spec", "status", "shortened", "tested", "data", "weights", "plugins",
    "environment", "predictions", "finished", "external", "parts", "attempts",
)  # fmt: skip


def read_or_told(read, path):
    try:
        return read(path)
    except StoreError as error:
        return str(error)


def test_with_any_token_changed_a_record_is_read_as_a_whole_one_or_refused_in_its_words(tmp_path):
    """Each token of a record (number, text, sign of JSON) takes some other's place in turn."""
    run = plain_runs()[0]
    text, path, reader = encoded(run), tmp_path / "run.json", Outlines(predictions=True)
    told = set()
    for number, token in enumerate(TOKEN.finditer(text)):
        other = OTHER[number % len(OTHER)]
        path.write_bytes(text[: token.start()] + other + text[token.end() :])
        whole = read_or_told(lambda place: schema.load(place, RunResult), path)
        outline = read_or_told(reader.read, path)
        if isinstance(whole, str):
            assert outline == whole
        else:
            assert [getattr(outline, name) for name in KEPT] == [
                getattr(whole, name) for name in KEPT
            ]
        told.add(isinstance(whole, str))
    assert told == {True, False}

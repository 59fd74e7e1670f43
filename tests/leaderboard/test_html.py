"""leaderboard.html without a browser: what the data says, what the file holds, what it cannot do.

`tests/browser` opens it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import BACKBONES, made_failure, made_plan, made_product, made_result
from made_page import (
    hostile_page,
    large_predictions,
    large_study,
    made_run,
    predictions_of,
    study,
)
from made_tuned import RATES, labelled_study, plan_of, tuned_runs, tuned_study

from harness.api.execution import Predictions
from harness.api.metric import Metric
from harness.api.records import EpochRecord, MetricValue
from harness.errors import StoreError, UsageError
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.html import details, html_page, page_data
from harness.leaderboard.html.runs import decimals, figures
from harness.leaderboard.render import formats

PATHS = (
    re.compile(r"https?://(?!(www\.w3\.org|vega\.github\.io|github\.com)/)"),
    re.compile(r"@import|url\("),
)


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts and the title."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.texts, self.inside = [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside in {"script", "title", "h1"}:
            self.texts.append((self.inside, data))

    def scripts(self):
        whole, kinds = [], [a for tag, a in self.found if tag == "script"]
        for tag, text in self.texts:
            if tag == "script":
                whole.append(text)
        return list(zip(kinds, whole, strict=True))


def embedded(text):
    """The data a page holds."""
    (found,) = [
        body for kind, body in Elements(text).scripts() if kind.get("type") == "application/json"
    ]
    return json.loads(found)


def whole_page(**changes):
    board, results, *_ = study()
    return page_data.page_data(
        board, **{"results": results, "predictions": predictions_of, **changes}
    )


# -- cells, ranks, rows -----------------------------------------------------------------------


def test_cells_hold_the_figures_and_ranks_of_the_board():
    board = build_leaderboard(made_product(seeds=(0, 1)))
    (track,) = board.tracks
    (data,) = page_data.page_data(board)["tracks"]
    for number, row in enumerate(track.rows):
        for figure in row.blocks:
            block = [block.label for block in track.blocks].index(figure.block)
            assert data["cells"][0]["values"][number][block] == pytest.approx(
                figure.value, abs=1e-6
            )
            assert data["cells"][0]["ranks"][number][block] == figure.rank


def metrics_of(**values):
    return {name.replace("_", "-"): MetricValue(value=value) for name, value in values.items()}


def ranks_by(metric, known):
    """First block's ranks of two rows by a metric: the second row has the higher value."""
    runs = [
        made_result(strategy=name, metrics=metrics_of(balanced_accuracy=value, ece=value))
        for name, value in (("full-ft", 0.5), ("lp-ft", 0.7))
    ]
    data = page_data.page_data(build_leaderboard(runs), metrics=known)
    names = [row["label"] for row in data["tracks"][0]["rows"]]
    place = [one["id"] for one in data["metrics"]].index(metric)
    ranks = [row[0] for row in data["tracks"][0]["cells"][place]["ranks"]]
    return dict(zip(names, ranks, strict=True)), data["metrics"][place]


def test_another_metric_is_ranked_in_its_own_direction():
    known = {"ece": Metric("ece", lambda: None, higher_is_better=False, title="Calibration")}
    ranks, metric = ranks_by("ece", known)
    assert ranks == {"full-ft": 1, "lp-ft": 2}
    assert metric == {"id": "ece", "title": "Calibration", "higher": False}


def test_a_metric_without_a_known_direction_is_not_ranked_by():
    ranks, metric = ranks_by("ece", {})
    assert ranks == {"full-ft": None, "lp-ft": None}
    assert metric["higher"] is None


def test_the_metric_of_the_board_keeps_the_direction_of_the_board():
    ranks, metric = ranks_by("balanced-accuracy", {})
    assert (ranks, metric["higher"]) == ({"full-ft": 2, "lp-ft": 1}, True)


def test_a_row_that_lacks_a_seed_has_no_mean_and_no_rank_there():
    runs = made_product(("demo-mri",), BACKBONES[:1], ("full-ft", "lp-ft"), (0, 1))
    left = [run for run in runs if (run.spec.strategy, run.spec.seed) != ("lp-ft", 1)]
    (track,) = page_data.page_data(build_leaderboard(left, made_plan(runs)))["tracks"]
    rows = {row["label"]: number for number, row in enumerate(track["rows"])}
    cells = track["cells"][0]
    assert cells["values"][rows["lp-ft"]] == [None]
    assert [cells["ranks"][rows[name]] for name in ("full-ft", "lp-ft")] == [[1], [None]]
    assert track["rows"][rows["lp-ft"]]["lacking"] == {"missing": 1}
    assert track["rows"][rows["lp-ft"]]["gaps"] == [
        ["missing", "demo-mri / densenet121-mini", 1, ""]
    ]


def test_failed_and_undefined_runs_say_why():
    undefined = {"balanced-accuracy": MetricValue(value=None, reason="class b is not in test")}
    board = build_leaderboard(
        [made_result(strategy="lp-ft", metrics=undefined), made_result()],
        failures=[made_failure(seed=1)],
    )
    runs = page_data.page_data(board)["runs"]
    assert [error for error in runs["errors"].values() if error] == [
        ["TrainingError", "the loss is nan", "tune", 17]
    ]
    ((number, metric, reason),) = runs["undefined"]
    assert (metric, reason) == (0, "class b is not in test")
    assert runs["metrics"][0][number] is None


# -- runs -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_run_is_listed_with_what_made_it():
    data = whole_page()
    _, results, *_ = study()
    table, by_id = data["runs"], {run.run_id: run for run in results}
    assert table["of"] == len(table["columns"]["id"]) == len(results)
    for number, run_id in enumerate(table["columns"]["id"]):
        run, track = by_id[run_id], data["tracks"][table["columns"]["track"][number]]
        block = track["blocks"][table["columns"]["block"][number]]
        assert (block["dataset"], block["backbone"]) == (run.spec.dataset, run.spec.backbone)
        assert block["data"] == run.spec.data
        assert track["rows"][table["columns"]["row"][number]]["strategy"] == run.spec.strategy
        assert table["columns"]["seed"][number] == run.spec.seed
        made = decoded(table, "made", number)
        assert made["sources"] == run.spec.sources
        assert made["plugins"]["strategy"][:3] == [run.spec.strategy, "finetune-harness", "0.1.0"]
        assert (made["harness"], made["commit"], made["device"]) == ("0.1.0", "c0ffee", "cpu")
        assert decoded(table, "split", number) == run.data.split_sha256
        assert table["columns"]["total"][number] == pytest.approx(run.cost.alone.total, rel=1e-3)


def decoded(table, name, number):
    coded = table["coded"][name]
    return coded["values"][coded["codes"][number] if coded["codes"] else 0]


def test_runs_beyond_the_limit_are_counted_and_their_cells_stay(monkeypatch):
    monkeypatch.setattr("harness.leaderboard.html.runs.LIMIT", 5)
    data = page_data.page_data(build_leaderboard(made_product()))
    assert (data["runs"]["of"], len(data["runs"]["columns"]["id"])) == (120, 5)
    assert None not in [v for row in data["tracks"][0]["cells"][0]["values"] for v in row]


# -- details ----------------------------------------------------------------------------------


def unpacked(packed, classes):
    counts = [c for number in packed for c in ([0] * -number if number < 0 else [number])]
    return np.array(counts).reshape(classes, classes)


@given(st.integers(1, 7), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_confusion_is_that_of_a_plain_loop(classes, samples, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, classes)).astype(np.float32)
    targets = rng.integers(0, classes, samples)
    expected = np.zeros((classes, classes), int)
    for row, truth in zip(logits, targets, strict=True):
        expected[truth, row.argmax()] += 1
    packed = details.confusion(logits, targets, classes)
    assert (unpacked(packed, classes) == expected).all()
    assert 0 not in packed


def test_reliability_adds_up_to_the_calibration_error_of_the_metric():
    from harness_metrics import METRICS

    (ece,) = [metric for metric in METRICS if metric.name == "ece"]
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)).astype(np.float32) * 2
    targets = rng.integers(0, 5, 4000)
    bins = details.reliability(logits, targets)
    assert sum(n for _, n, *_ in bins) == 4000
    error = sum(abs(hits / n - confidence) * n for _, n, hits, confidence in bins) / 4000
    assert error == pytest.approx(ece.compute(logits, targets, list("abcde")).value, abs=1e-4)


@pytest.mark.parametrize(("classes", "number"), [(1, 14), (3, 4), (5, 2), (6, 2), (15, 0)])
def test_bins_are_closed_above(classes, number):
    """Equal logits: the confidence is exactly 1 / classes, for 3 and 5 the edge of a bin."""
    assert details.reliability(np.zeros((1, classes)), np.array([0]))[0][0] == number


def test_logits_that_are_not_finite_have_no_reliability():
    assert details.reliability(np.array([[np.nan, 1.0]]), np.array([0])) == []


def test_details_hold_what_the_run_holds():
    _, results, *_ = study()
    data = whole_page()
    by_id = {run.run_id: run for run in results}
    assert len(data["details"]["runs"]) == data["details"]["of"] == len(results)
    number, found = next(iter(data["details"]["runs"].items()))
    run = by_id[data["runs"]["columns"]["id"][int(number)]]
    assert found["history"]["loss"] == [float(f"{e.train_loss:.4g}") for e in run.history]
    assert found["history"]["score"] == [round(e.score, 4) for e in run.history]
    assert "epoch" not in found["history"]
    assert data["details"]["classes"][found["classes"]] == list(run.data.classes)
    given = predictions_of(run)
    matrix = unpacked(found["confusion"], len(run.data.classes))
    right = (given.logits["test"].argmax(axis=1) == given.targets["test"]).sum()
    assert (matrix.sum(), np.trace(matrix)) == (160, right)


def test_phases_and_broken_epochs_are_kept():
    history = tuple(
        EpochRecord(
            phase=phase, epoch=epoch, train_loss=0.123456, score=None, lr=0.001, seconds=0.1
        )
        for phase, epoch in (("lp", 0.5), ("lp", 1.0), ("ft", 2.0))
    )
    run = made_run("demo-xray", BACKBONES[0], "lp-ft", history=history)
    found = page_data.page_data(build_leaderboard([run]), [run])["details"]["runs"]["0"]["history"]
    assert found == {
        "phases": [["lp", 2], ["ft", 1]],
        "loss": [0.1235] * 3,
        "score": [None] * 3,
        "epoch": [0.5, 1, 2],
    }


def test_one_seed_of_every_cell_comes_first(monkeypatch):
    monkeypatch.setattr("harness.leaderboard.html.details.RUNS", 120)
    board, results, *_ = study()
    data = page_data.page_data(board, results)
    kept = [int(number) for number in data["details"]["runs"]]
    columns = data["runs"]["columns"]
    assert {(columns["row"][n], columns["block"][n]) for n in kept} == {
        (row, block) for row in range(8) for block in range(15)
    }
    assert (len(kept), data["details"]["of"]) == (120, 360)


def test_details_end_with_the_budget():
    board, results, *_ = study()
    without = len(json.dumps(page_data.page_data(board), separators=(",", ":")))
    data = page_data.page_data(board, results, predictions_of, budget=without + 60_000)
    assert 0 < len(data["details"]["runs"]) < 360
    assert len(json.dumps(data, separators=(",", ":"))) < without + 61_000


def test_predictions_that_cannot_be_read_are_named_without_their_place():
    board, results, *_ = study()
    broken = results[7].run_id

    def predictions(run):
        if run.run_id == broken:
            raise StoreError(f"/home/somebody/{run.run_id} is not the file")
        return predictions_of(run)

    data = page_data.page_data(board, results, predictions)
    assert data["details"]["unreadable"] == [broken]
    assert "/home/somebody" not in json.dumps(data)
    number = data["runs"]["columns"]["id"].index(broken)
    assert "confusion" not in data["details"]["runs"][str(number)]


def test_without_stored_runs_there_are_no_details():
    found = page_data.page_data(build_leaderboard(made_product()))["details"]
    assert (found["stored"], found["predictions"], found["runs"], found["of"]) == (
        False,
        False,
        {},
        120,
    )


def test_a_run_without_a_test_split_has_a_history_only():
    run = made_run("demo-xray", BACKBONES[0], "full-ft")
    empty = Predictions(logits={}, targets={}, rows={})
    found = page_data.page_data(build_leaderboard([run]), [run], lambda _: empty)["details"][
        "runs"
    ]["0"]
    assert list(found) == ["history"]


# -- tuned tracks, splits, label budgets --------------------------------------------------------


def test_a_tuned_row_says_what_validation_chose():
    board, results, trials = tuned_study()
    (tuned, plain) = page_data.page_data(board, results)["tracks"]
    best = {}
    for trial, run in trials:
        if run.status == "ok":
            unit = (run.spec.strategy, run.spec.dataset, run.spec.seed)
            score = run.validation["balanced-accuracy"].value
            best[unit] = max(best.get(unit, (0.0, 0.0)), (score, RATES[trial]))
    for row in tuned["rows"]:
        rates = [rate for (name, *_), (_, rate) in best.items() if name == row["strategy"]]
        counted = [[f"{rate:g}", rates.count(rate)] for rate in (0.3, 1.0, 3.0) if rate in rates]
        assert [list(one) for one in row["tuning"]["chosen"]] == counted
        edge = (rates.count(0.3) + rates.count(3.0)) / 6
        assert row["tuning"]["edge"] == pytest.approx(edge, abs=1e-4)
        assert (edge > 0.2) == (row["label"] in tuned["narrow"].partition(": their best")[0])
    assert {row["strategy"]: row["tuning"]["diverged"] for row in tuned["rows"]} == {
        "full-ft": 0, "lp-ft": 0, "l2-sp": 3,
    }  # fmt: skip
    assert "narrow" not in plain
    assert not any("tuning" in row for row in plain["rows"])


def test_best_so_far_keeps_the_direction_of_its_metric():
    """One trial drawn at random has the mean of all; a diverged one counts as the worst other."""
    _, results, trials = tuned_study()
    for higher in (True, False):
        board = build_leaderboard(
            results,
            plan_of(trials),
            higher_is_better=higher,
        )
        row = next(row for row in board.tracks[0].rows if row.strategy == "lp-ft")
        scores = [
            r.validation["balanced-accuracy"].value for r in results if r.spec.strategy == "lp-ft"
        ]
        first, *_, last = row.tuning.best_so_far
        assert first == pytest.approx(100 * np.mean(scores))
        assert (last > first) == higher
        assert row.tuning.metric == "balanced-accuracy"


def test_a_chosen_run_names_its_trial_and_what_that_was():
    board, results, trials = tuned_study()
    numbers = {run.run_id: trial for trial, run in trials}
    settings = {run.run_id: run.spec.settings for run in results}
    data = page_data.page_data(board, results)
    table = data["runs"]
    for n, run_id in enumerate(table["columns"]["id"]):
        found = decoded(table, "trial", n)
        if data["tracks"][table["columns"]["track"][n]].get("tuned"):
            assert found["number"] == numbers[run_id]
            assert {name: json.loads(text) for name, text in found["settings"]} == settings[run_id]
        else:
            assert found is None


def test_a_run_of_two_tracks_has_its_details_once():
    board, results, _ = tuned_study()
    data = page_data.page_data(board, results, predictions_of)
    ids = data["runs"]["columns"]["id"]
    assert len(set(ids)) < len(ids) == 36
    assert data["details"]["of"] == len(data["details"]["runs"]) == len(set(ids))
    assert {ids.index(run_id) for run_id in ids} == set(map(int, data["details"]["runs"]))
    by_id = {run.run_id: run for run in results}
    for number, found in data["details"]["runs"].items():
        losses = [float(f"{e.train_loss:.4g}") for e in by_id[ids[int(number)]].history]
        assert found["history"]["loss"] == losses


def test_splits_stand_beside_seeds():
    board, results, _ = tuned_study()
    columns = page_data.page_data(board, results)["runs"]["columns"]
    split = {run.run_id: run.spec.protocol.split_seed for run in results}
    assert columns["split_seed"] == [split[run_id] for run_id in columns["id"]]
    assert set(columns["split_seed"]) == {0, 1, 2}


def test_a_mean_needs_every_split_and_a_gap_names_its_own():
    """Two seeds on each of two splits: a row has four runs in a block, and one lacks the last."""
    trials = tuned_runs(draws=((0, 0), (0, 1), (1, 0), (1, 1)))
    runs = [run for trial, run in trials if trial == 0]
    left = [
        run
        for run in runs
        if (run.spec.strategy, run.spec.protocol.split_seed, run.spec.seed, run.spec.dataset)
        != ("lp-ft", 1, 0, "demo-xray")
    ]
    plan = made_plan(runs)
    lines = (
        line.model_copy(update={"split": run.spec.protocol.split_seed})
        for line, run in zip(plan.runs, runs, strict=True)
    )
    board = build_leaderboard(left, plan.model_copy(update={"runs": tuple(lines)}))
    (track,) = page_data.page_data(board)["tracks"]
    rows = {row["label"]: number for number, row in enumerate(track["rows"])}
    own = [r.metrics["balanced-accuracy"].value for r in runs if r.spec.strategy == "lp-ft"][:4]
    assert track["cells"][0]["values"][rows["lp-ft"]] == [
        pytest.approx(np.mean(own), abs=1e-6),
        None,
    ]
    assert track["rows"][rows["lp-ft"]]["gaps"] == [
        ["missing", "demo-xray / densenet121-mini", 0, "", 1]
    ]


def test_untuned_boards_of_one_split_hold_nothing_of_it():
    data = whole_page()
    assert not {"trial"} & set(data["runs"]["coded"])
    assert not {"split_seed"} & set(data["runs"]["columns"])
    for track in data["tracks"]:
        assert not {"tuned", "narrow"} & set(track)
        assert not any({"labels", "pairs"} & set(block) for block in track["blocks"])
        assert not any("tuning" in row for row in track["rows"])


def test_blocks_stand_in_order_of_their_label_budget():
    board, _ = labelled_study()
    (track,) = page_data.page_data(board)["tracks"]
    assert [block.get("labels") for block in track["blocks"]] == ["5%", "25%", None] * 2


# -- statistics and claims --------------------------------------------------------------------


def test_statistics_go_by_number_and_in_points():
    _, _, statistics, claims = study()
    (given,) = statistics.values()
    (track,) = whole_page()["tracks"]
    first, found = given["differences"][0], track["statistics"]["differences"][0]
    assert track["rows"][found[0]]["label"] == first["row"]
    assert track["blocks"][found[1]]["label"] == first["block"]
    assert found[2:5] == [round(first[key] * 100, 4) for key in ("value", "low", "high")]
    assert found[6:] == [first["verdict"], 3]
    for scope in ("these", "general"):
        for row, value, low, high, *_, verdict, seeds in track["statistics"]["averages"][scope]:
            one = given["averages"][track["rows"][row]["label"]][scope]
            assert (verdict, seeds) == (one["verdict"], 3)
            assert [value, low, high] == [round(one[k] * 100, 4) for k in ("value", "low", "high")]
    assert {name: len(rows) for name, rows in track["statistics"]["others"].items()} == {
        "macro-auroc": 7, "ece": 7, "brier": 7,
    }  # fmt: skip
    whole = track["statistics"]["comparisons"][0]
    labels = [row["label"] for row in track["rows"]]
    assert {labels[row]: rank for row, rank in whole["ranks"]} == pytest.approx(
        given["comparisons"][0]["ranks"], abs=1e-6
    )
    assert [[labels[row] for row in clique] for clique in whole["cliques"]] == [
        list(clique) for clique in given["comparisons"][0]["nemenyi"]["cliques"]
    ]
    assert len(track["statistics"]["comparisons"]) == 4
    assert whole_page()["claims"] == claims


def test_statistics_of_a_row_that_is_not_there_are_an_error():
    board, *_ = study()
    bad = {"rules": 2, "improvement": {"nobody": 0.5}}
    with pytest.raises(UsageError, match="'nobody', which is not in the track"):
        page_data.page_data(board.model_copy(update={"statistics": {board.tracks[0].id: bad}}))


def test_what_was_not_computed_is_null():
    data = page_data.page_data(build_leaderboard(made_product()))
    assert data["claims"] is None
    assert data["tracks"][0]["statistics"] is None


# -- the same bytes ---------------------------------------------------------------------------


@pytest.mark.slow
def test_permuting_the_runs_changes_no_byte():
    runs = [made_run(*cell.split()) for cell in (
        "demo-xray resnet50-mini full-ft", "demo-xray resnet50-mini lp-ft",
        "demo-mri resnet50-mini full-ft", "demo-mri resnet50-mini lp-ft",
    )]  # fmt: skip
    later = runs[0].model_copy(update={"finished": "2026-01-01T00:00:00Z", "tested": "last"})
    texts = set()
    for seed in range(6):
        mixed = [*runs, later]
        random.Random(seed).shuffle(mixed)
        data = page_data.page_data(build_leaderboard(mixed, made_plan(runs)), mixed, predictions_of)
        texts.add(html_page.page(data))
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, 0.5), (1.0, 1), (-0.0, 0), (0.12345678, 0.123457), (None, None)]
)
def test_decimals(value, expected):
    found = decimals(value)
    assert found == expected
    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1234.56, 1235), (0.00012345, 0.0001234), (float("inf"), None), (None, None), (0.0, 0)],
)
def test_significant_figures(value, expected):
    assert figures(value) == expected


# -- the file ---------------------------------------------------------------------------------


def test_the_page_fetches_nothing():
    found = Elements(html_page.page(whole_page()))
    places = [
        (tag, name, value)
        for tag, attributes in found.found
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data", "poster", "background"}
    ]
    assert {(tag, value) for tag, _, value in places if not value.startswith("#")} == {
        ("link", "data:,"),
        ("a", "leaderboard.csv"),
        ("a", "leaderboard.json"),
    }  # fmt: skip - links are followed by a reader, and to files beside the page alone
    (style,) = re.findall("(?s)<style>(.*?)</style>", html_page.page(whole_page()))
    assert not any(pattern.search(style) for pattern in PATHS)
    # The library names its namespaces and its home page; our own scripts name nothing.
    for name in html_page.SCRIPTS:
        text = html_page._file(f"{name}.js")
        assert not re.search(r"https?:|\bfetch\(|XMLHttpRequest|\bimport\(|sendBeacon", text), name
    plots = html_page.plots()
    assert not any(pattern.search(plots) for pattern in PATHS[:1])


def test_the_policy_lets_only_these_scripts_run():
    text = html_page.page(whole_page())
    (policy,) = [a["content"] for tag, a in Elements(text).found if "http-equiv" in a]
    scripts = [body for kind, body in Elements(text).scripts() if "type" not in kind]
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert re.findall("'sha256-([^']+)'", policy) == hashes
    assert "unsafe-eval" not in policy
    assert "connect-src" not in policy  # it falls back to default-src: none


def test_no_script_makes_elements_of_text():
    for name in html_page.SCRIPTS:
        text = html_page._file(f"{name}.js")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(", text
        ), name


def test_hostile_names_open_nothing():
    text = hostile_page()
    tame = html_page.render(build_leaderboard([made_result()]))
    tags = [tag for tag, _ in Elements(text).found]
    assert tags == [tag for tag, _ in Elements(tame).found]
    assert text.count("alert(1)") == text.count("\\u003cscript\\u003ealert(1)") + 2  # title and h1
    assert "<script>alert" not in text
    text.encode()


def test_hostile_names_come_back_as_text():
    data = embedded(hostile_page())
    shown = data["tracks"][0]["rows"][0]["strategy"]
    assert shown.startswith("</script><script>alert(1)</script><!--")
    assert shown.isprintable()


@given(st.text(max_size=30))
def test_embedded_json_is_ascii_without_markup(text):
    found = html_page._embedded({"a": [text], text: 1})
    assert found.isascii()
    assert not re.search("[<>&\x00-\x1f]", found)
    json.loads(found)


def test_the_title_is_escaped():
    board = build_leaderboard([made_result()], made_plan([made_result()], {"title": "a < b & c"}))
    assert "<title>demo: a &lt; b &amp; c</title>" in html_page.render(board)


def test_a_board_alone_renders():
    text = formats.render(build_leaderboard(made_product()), "html")
    assert text.endswith("</html>\n")
    assert len(embedded(text)["runs"]["columns"]["id"]) == 120


@pytest.mark.slow
def test_write_takes_the_page_it_is_given(tmp_path):
    board, *_ = study()
    paths = formats.write(board, tmp_path, whole_page())
    assert paths[-1].name == "leaderboard.html"
    assert paths[-1].read_text(encoding="utf-8") == html_page.page(whole_page())
    assert paths[0].read_text(encoding="utf-8") == formats.render(board, "md")


@pytest.mark.slow
@pytest.mark.nightly
def test_ten_thousand_runs_stay_below_five_megabytes():
    """With nine classes, thirty epochs and nine metrics; a cell has five seeds, so each is kept."""
    results = large_study()
    board = build_leaderboard(results, made_plan(results))
    data = page_data.page_data(board, results, lambda _: large_predictions())
    assert len(html_page.page(data).encode()) < 5_000_000
    assert (data["runs"]["of"], data["details"]["of"]) == (10_000, 10_000)
    columns = data["runs"]["columns"]
    kept = {(columns["row"][int(n)], columns["block"][int(n)]) for n in data["details"]["runs"]}
    assert len(kept) == len(data["details"]["runs"]) == 8 * 250


# -- colours ----------------------------------------------------------------------------------


def luminance(colour):
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(w * s for w, s in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


COLOURS = dict(re.findall(r"--([\w-]+): light-dark\((.*?)\);", html_page._file("page.css")))


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *((text, ground) for text in ("ink", "muted", "accent", "good", "bad") for ground in ("bg", "card", "sunken")),
        *(("ink", ground) for ground in ("far-good", "far-bad", "middle", "warn")),
    ],
)  # fmt: skip
def test_text_can_be_read(text, ground, theme):
    """WCAG 2, level AA."""
    pair = [COLOURS[name].split(", ")[theme] for name in (text, ground)]
    assert contrast(*pair) >= 4.5


def seen_by(colour, kind):
    """Linear RGB as a dichromat sees it (Vienot, Brettel and Mollon 1999)."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    first, second = {"protan": (0.1124, 0.8876), "deutan": (0.2926, 0.7074)}[kind]
    mixed = first * red + second * green
    return np.array(
        [mixed, mixed, {"protan": 0.004, "deutan": -0.0223}[kind] * (red - green) + blue]
    )


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_better_and_worse_differ_for_the_colour_blind(kind, theme):
    for good, bad in (("far-good", "far-bad"), ("good", "bad")):
        seen = [seen_by(COLOURS[name].split(", ")[theme], kind) for name in (good, bad)]
        assert np.abs(seen[0] - seen[1]).max() > 0.2, (good, bad)


@pytest.mark.parametrize("theme", [0, 1])
def test_lines_can_be_told_from_the_ground_and_from_each_other(theme):
    """WCAG 2 asks for 3 of a line; and dichromats tell the colours apart, by brightness at least."""
    (text,) = re.findall(r"const colours = \[(.*?)\]", html_page._file("lines.js"))
    names = [name.strip().removeprefix("c.").replace("_", "-") for name in text.split(",")]
    colours = [COLOURS[name].split(", ")[theme] for name in names]
    assert len(colours) == 3
    ground = COLOURS["card"].split(", ")[theme]
    assert all(contrast(colour, ground) >= 3 for colour in colours)
    for kind in ("protan", "deutan"):
        for one, other in itertools.combinations(colours, 2):
            assert np.abs(seen_by(one, kind) - seen_by(other, kind)).max() > 0.15


@pytest.mark.slow
def test_the_plotting_library_is_kept_and_done_without_where_it_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    made = html_page.plots.__wrapped__()
    (kept,) = (tmp_path / "cache" / "page").iterdir()
    content = kept.read_bytes()
    assert content.partition(b"\n")[2].decode() == made == html_page.plots()
    for damaged in (b"\xff\xfe", content.replace(b"vega", b"gave", 1)):
        kept.write_bytes(damaged)
        assert html_page.plots.__wrapped__() == made
        assert kept.read_bytes() == content
    other = b"read from the file"
    kept.write_bytes(b"// sha256 " + hashlib.sha256(other).hexdigest().encode() + b"\n" + other)
    assert html_page.plots.__wrapped__() == other.decode()
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    assert html_page.plots.__wrapped__() == made


def test_a_figure_beyond_all_numbers_is_unknown():
    """Sums of figures that a damaged record puts next to the largest number."""
    text = html_page.page({"title": "a", "tracks": [{"value": float("inf"), "low": float("nan")}]})
    assert '"tracks":[{"low":null,"value":null}]' in text

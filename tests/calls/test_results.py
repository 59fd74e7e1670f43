"""Results in Python: tables against the files, plots against made-up statistics, safe HTML."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_board import small_board
from safetensors.numpy import load_file
from small_folder import DEMO, records, small_folder

import harness
from harness.plugins.registry import load_plugins

LOADED = load_plugins(environ={})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three runs on one dataset that hold, and one that failed."""
    return harness.load(small_folder(tmp_path_factory.mktemp("small") / "results"))


@pytest.fixture(scope="module")
def made():
    """A board with everything that has a place on one; its statistics are made up."""
    return harness.Results(small_board(), (Path("nowhere"),), LOADED)


def test_runs_are_the_rows_of_the_csv(small, tmp_path):
    harness.load(*small.folders, out=tmp_path)
    with (tmp_path / "leaderboard.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    table = small.to_pandas()

    assert list(table.columns) == list(written[0])
    assert len(table) == len(written) == 4
    for one, line in zip(table.to_dict("records"), written, strict=True):
        assert one["run_id"] == line["run_id"]
        assert line["test_balanced_accuracy"] in {"", str(one["test_balanced_accuracy"])}
        assert json.loads(line["settings"] or "{}") == one["settings"]
    assert sorted(table["status"]) == ["failed", "ok", "ok", "ok"]
    assert small.failed[0].run_id == table.set_index("status")["run_id"]["failed"]
    assert not small.complete


def test_predictions_are_the_stored_logits_sample_by_sample(small):
    table = small.to_pandas("predictions")
    tested = table[table["split"] == "test"]
    for path in records(small.folders[0]):
        record = json.loads(path.read_text())
        classes = record["data"]["classes"]
        one = tested[tested["run_id"] == record["run_id"]]
        stored = load_file(path.with_suffix(".safetensors"))
        (logits,) = (v for k, v in stored.items() if "logits" in k and "test" in k)
        raised = np.exp(np.float64(logits))
        shares = raised / raised.sum(axis=1, keepdims=True)

        np.testing.assert_allclose(one[[f"p:{name}" for name in classes]], shares, atol=1e-12)
        assert list(one["predicted"]) == [classes[k] for k in logits.argmax(axis=1)]
        np.testing.assert_allclose(one["confidence"], shares.max(axis=1), atol=1e-12)
        # Recall by recall, the figure of the record comes out again.
        right = one["predicted"].astype(str) == one["target"].astype(str)
        recalls = right.groupby(one["target"].astype(str)).mean()
        assert recalls.mean() == pytest.approx(record["metrics"]["balanced-accuracy"]["value"])
    assert set(table["split"]) == {"validation", "test"}
    assert set(table["strategy"]) == {"full-ft", "linear-probe", "lp-ft"}
    split = json.loads((small.folders[0] / "splits" / "demo-mri.json").read_text())
    group = {one["id"]: one["group"] for one in split["samples"]}
    assert [group[name] for name in table["sample"]] == list(table["group"])


def test_rows_and_blocks_add_up(small):
    runs, rows, blocks = (small.to_pandas(name) for name in ("runs", "rows", "blocks"))
    figures = runs[runs["status"] == "ok"].set_index("row")["test_balanced_accuracy"]
    for one in rows.to_dict("records"):
        if one["failed"]:
            assert one["runs"] == 0
            assert not one["ranked"]
            continue
        assert one["value"] == pytest.approx(figures[one["row"]])
        if one["row"] != "full-ft":
            gain = 100 * (figures[one["row"]] - figures["full-ft"])
            assert one["difference"] == pytest.approx(gain)
            assert one["low"] < one["difference"] < one["high"]
            assert one["verdict"] == "untested"  # one seed
    assert list(blocks["block"].unique()) == ["demo-mri / resnet50-mini"]
    by_row = blocks.set_index("row")
    for row, value in figures.items():
        assert by_row["value"][row] == pytest.approx(value)
        assert by_row["difference"][row] == pytest.approx(100 * (value - figures["full-ft"]))


def test_differences_are_those_of_the_statistics_in_points(made):
    table = made.to_pandas("differences")
    first = made.leaderboard.tracks[0]
    of = table[(table["scope"] == "block") & (table["row"] == "lp-ft")]

    assert set(table["scope"]) == {"block", "these"}  # nothing in general is made up
    assert of[["difference", "low", "high"]].to_numpy().tolist() == [[1.0, -1.0, 3.0]]
    assert of["block"].tolist() == [first.blocks[0].label]
    assert set(table["control"]) == {"full-ft"}
    assert table["verdict"].isin(["better", "worse", "undecided"]).all()
    made_up = table[table["scope"] == "these"].set_index("row")["p"]
    assert set(made_up) == {0.04}


def test_tables_of_an_empty_board_have_their_columns(made, tmp_path):
    empty = made.leaderboard.model_copy(update={"tracks": (), "runs": ()})
    (tmp_path / "runs").mkdir()
    found = harness.Results(empty, (tmp_path,), LOADED)
    for name in ("rows", "blocks", "differences"):
        table = found.to_pandas(name)
        assert len(table) == 0
        assert list(table.columns) == list(made.to_pandas(name).columns)
    assert "run_id" in found.to_pandas()


@pytest.mark.parametrize("name", ["rows", "blocks", "differences", "predictions"])
def test_every_column_is_documented(small, name):
    text = (DEMO.parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    _, _, section = text.partition(f"\n### {name}\n")
    described = set(re.findall(r"`([^`]+)`", section.partition("\n### ")[0]))
    columns = {"p:CLASS" if one.startswith("p:") else one for one in small.to_pandas(name).columns}
    assert columns <= described, columns - described


# -- shown ----------------------------------------------------------------------------------------


def test_html_shows_conclusion_and_ranking_and_runs_nothing(small):
    shown = small._repr_html_()
    assert "One seed decides nothing" in shown
    assert shown.count("<table>") == len(small.leaderboard.tracks)
    for word in ("full-ft", "lp-ft", "untested", "1 run failed", "vs full-ft"):
        assert word in shown


def test_names_in_html_are_text(made):
    board = made.leaderboard
    track = board.tracks[0]
    bad = "<script>alert(1)</script>&"
    rows = (track.rows[0].model_copy(update={"label": bad}), *track.rows[1:])
    changed = track.model_copy(update={"rows": rows, "title": bad})
    worse = board.model_copy(update={"tracks": (changed,), "conclusion": (bad,)})
    shown = harness.Results(worse, (Path("x"),), LOADED)._repr_html_()

    assert "<script" not in shown
    assert shown.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;") == 3


def test_as_text_it_is_the_last_screen(tmp_path, harness_cli):
    folder = small_folder(tmp_path / "results")
    small = harness.load(folder, out=folder)
    printed = harness_cli("board", folder, COLUMNS="72").stdout
    assert small.text(72) == printed
    assert len(str(small).splitlines()) <= 20
    assert repr(small) == f"<Results of {folder}: 4 runs, 4 rows>"
    assert small.conclusion[0] in " ".join(printed.split())


def test_the_last_screen_names_the_page_that_was_written(tmp_path):
    folder = small_folder(tmp_path / "r")
    page, itself = f"Page: {tmp_path}/", f"harness board {folder} --full"
    elsewhere = f"harness board {folder} --format terminal"

    def rest(*folders, **given):
        return harness.load(*folders, ranks_only=True, **given).text(10_000).splitlines()[-1]

    assert rest(folder, out=folder) == f"{page}r/leaderboard.html; everything here: {itself}"
    assert rest(folder) == f"Everything here: {elsewhere}"
    assert (
        rest(folder, out=tmp_path / "o")
        == f"{page}o/leaderboard.html; everything here: {elsewhere}"
    )
    both = rest(folder, folder, out=tmp_path / "o")
    assert both.endswith(f": harness board {folder} {folder} --format terminal")
    spaced = small_folder(tmp_path / "my results")  # the command can be pasted into a shell
    assert rest(spaced) == f"Everything here: harness board '{spaced}' --format terminal"


def test_plots_hold_the_figures(made):
    pytest.importorskip("matplotlib").use("agg")
    import matplotlib.pyplot as plt

    ax = made.plot()
    labels = [one.get_text() for one in ax.get_yticklabels()]
    points = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    ends = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    others = ["lp-ft", "linear-probe"]  # ranked, and not the control
    assert labels[::-1] == others
    assert points == [1.0] * len(others)
    assert ends[: len(others)] == [[-1.0, 3.0]] * len(others)
    assert "difference to full-ft in points" in ax.get_xlabel()
    ax.figure.draw_without_rendering()
    plotted, page = ax.get_window_extent(), ax.figure.bbox
    (side,) = ax.child_axes
    said = side.get_yticklabels()
    assert len(said) == len(others)
    for one in said:
        assert plotted.x1 < one.get_window_extent().x0 < one.get_window_extent().x1 < page.x1

    assert made.plot("blocks", ax=ax) is ax
    drawn = made.plot("cost")
    assert drawn.get_xlabel() == "seconds a run, median"
    row = made.leaderboard.tracks[0].rows[0]
    assert (drawn.lines[0].get_xdata()[0], drawn.lines[0].get_ydata()[0]) == (
        row.spend.median_seconds,
        row.value,
    )
    plt.close("all")


# -- the other calls ------------------------------------------------------------------------------


def test_reports_are_values(small, capsys):
    (folder,) = small.folders
    same = harness.compare(folder, folder)
    held = harness.check(folder, str(folder), tolerance={"demo-mri/*": 2.0}, cells="demo-mri/*")
    verified = harness.verify(folder)

    assert {cell.verdict for cell in same.cells} <= {"equal", "not-comparable"}
    assert {cell.tolerance for cell in held.cells} == {2.0}
    assert (verified.runs, verified.failed, verified.replayed) == (3, 1, ())
    assert verified.holds == (not verified.problems)
    with pytest.raises(AttributeError):
        verified.runs = 4
    assert capsys.readouterr() == ("", "")


def test_loading_writes_nothing(tmp_path):
    folder = small_folder(tmp_path / "results")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    harness.load(folder, ranks_only=True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert not [path for path in before if path.name.startswith("leaderboard")]


def test_every_format_is_rendered(small):
    assert small.render("csv").startswith("run_id,")
    assert small.render("html").startswith("<!doctype html>")
    assert small.render() == small.render("md")

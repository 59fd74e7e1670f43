"""Renderers: golden files, agreement between formats, hostile names, files that are whole."""

from __future__ import annotations

import csv
import errno
import html
import io
import json
import os
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import made_failure, made_plan, made_product, made_result
from made_board import markdown_tables, small_board
from places import DATA_FILES

from harness.api.leaderboard import Leaderboard
from harness.api.records import MetricValue, compact
from harness.errors import StoreError, UsageError
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.render import formats, latex
from harness.leaderboard.render.markdown import escape
from harness.leaderboard.render.terminal import WIDTH
from harness.utils import files
from harness.utils import text as figures

GOLDEN = DATA_FILES / "golden"
FILES = {
    "terminal": "board.txt",
    "md": "board.md",
    "csv": "board.csv",
    "claims": "board.claims.csv",
    "json": "board.json",
    "latex": "board.tex",
}
HOSTILE = "=cmd|'x'!A1\n| a | <script>`x`</script> \x1b[31m [b](http://x) **c** \u202e\ud800"


@pytest.mark.parametrize("name", FILES)
def test_golden(name):
    """`HARNESS_GOLDEN=write pytest tests/test_render.py` writes them anew; then read the diff."""
    text, path = formats.render(small_board(), name), GOLDEN / FILES[name]
    if os.environ.get("HARNESS_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


# -- the formats agree ------------------------------------------------------------------------


def terminal_tables(text):
    """Every table, cut at the ruler below its header; header lines left out."""
    tables, lines = [], text.splitlines()
    for i, line in enumerate(lines):
        if re.fullmatch(r"-+(  -+)+", line):
            cuts = [match.span() for match in re.finditer("-+", line)]
            rows = []
            for row in lines[i + 1 :]:
                if not row.strip():
                    break
                rows.append([row[a:b].strip().lstrip("*") for a, b in cuts])
            tables.append(rows)
    return tables


def test_terminal_and_markdown_show_the_same_tables():
    board = build_leaderboard(made_product())
    in_markdown = [table[1:] for table in markdown_tables(formats.render(board, "md"))]
    assert terminal_tables(formats.render(board, "terminal")) == in_markdown
    assert len(in_markdown) == 6


def latex_tables(text):
    """Every table: rows of cells as they read when they are set."""
    tables = []
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        lines = [line for line in body.splitlines() if line != r"\midrule"]
        assert all(line.endswith(r" \\") for line in lines)
        tables.append(
            [[set_text(cell) for cell in re.split(r"(?<!\\) & ", line[:-3])] for line in lines]
        )
    return tables


def set_text(latex):
    """Text as LaTeX sets it, for the commands that `latex.escape` knows."""
    names = {
        "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<",
        "textgreater": ">", "textbar": "|", "textquotedbl": '"', "textasciigrave": "`",
    }  # fmt: skip
    latex = re.sub(r"\\shortstack\[r\]\{(.*)\}$", lambda found: found[1].replace(r"\\", " "), latex)
    plain = re.sub(r"^\\textbf\{(.*)\}$", r"\1", latex).replace("$-$", "-").replace("-{}-", "--")
    return re.sub(
        r"\\(text\w+)\{\}|\\([{}$&#%_])|\{([\[\]*])\}",
        lambda found: names.get(found[1]) or found[2] or found[3],
        plain,
    )


def test_latex_and_markdown_show_the_same_tables():
    board = small_board()
    in_markdown = [
        [[re.sub(r"\\(.)", r"\1", html.unescape(cell)) for cell in row] for row in table]
        for table in markdown_tables(formats.render(board, "md"))
    ]
    assert latex_tables(formats.render(board, "latex")) == in_markdown
    assert len(in_markdown) >= 8


def test_latex_marks_the_same_as_markdown():
    board = build_leaderboard(made_product())
    marked = re.findall(
        r"(?:^|& )\\textbf\{([\d.() ]+)\}", formats.render(board, "latex"), re.MULTILINE
    )
    assert marked == re.findall(r"\*\*([\d.() ]+)\*\*", formats.render(board, "md"))


@given(st.text(max_size=40))
def test_latex_sets_any_name_as_it_is(name):
    made = latex.escape(name)
    assert set_text(made) == figures.clean(name)
    bare = re.sub(r"\\text\w+\{\}|\\[{}$&#%_]|\{[\[\]*]\}|\$-\$|-\{\}-", "", made)
    assert not set(bare) & set('\\{}$&#%_^~<>|"`[]*')


def test_claims_are_the_same_in_every_format():
    board = small_board()
    rows = list(csv.DictReader(io.StringIO(formats.render(board, "claims"))))
    assert [row["verdict"] for row in rows] == [one.verdict for one in board.claims]
    assert [float(row["effect"]) for row in rows[:2]] == [1.25, 0.8]
    assert rows[2]["effect"] == ""
    assert [one["text"] for one in json.loads(formats.render(board, "json"))["claims"]] == [
        row["text"] for row in rows
    ]
    (shown,) = [t for t in markdown_tables(formats.render(board, "md")) if t[0][0] == "claim"]
    average = r"-0.5 \[-1.5, +0.4\] x_y over full-ft"
    first = "undecided (2 of 5 seeds); nearest: x_y; test images only"
    assert [row[1:7] for row in shown[1:]] == [
        [first, "+1.2", "-1.0 to +3.0", average, "4 of 4", "5"],
        ["supported", "80%", "60% to 90%", "-", "4 of 4", "5"],
        ["undecided (0 of 4 cells)", "-", "-", "-", "0 of 4", "5"],
    ]


@pytest.mark.parametrize("name", ["terminal", "md", "latex", "claims", "json"])
def test_an_interval_of_one_seed_is_named_in_every_format(name):
    board = small_board()
    (track, given), *_ = board.statistics.items()
    one = given | {"basis": "test images only"}
    text = formats.render(board.model_copy(update={"statistics": {track: one}}), name)
    # The claim says so by itself; the tables besides.
    assert text.count("test images only") >= (1 if name == "claims" else 2)
    if name not in {"claims", "json"}:
        assert "Of one seed: over test images only." in " ".join(text.split())  # places, too
    claims = tuple(claim.model_copy(update={"basis": ""}) for claim in board.claims)
    plain = board.model_copy(update={"claims": claims})
    shown = formats.render(plain, name)
    assert "test images only" not in shown
    assert "Of one seed" not in shown


def test_these_datasets_and_datasets_in_general_stand_apart():
    board = small_board()
    track = board.tracks[0]
    statistics = board.statistics[track.id]
    row = next(iter(statistics["averages"]))
    wide = {"value": 0.01, "low": -0.05, "high": 0.07, "seeds": 3, "p": 0.5, "verdict": "undecided"}
    statistics["averages"][row]["general"] = {**wide, "basis": "datasets"}
    (table,) = [
        t for t in markdown_tables(formats.render(board, "md")) if "these datasets" in t[0][1]
    ]
    assert table[0][1:3] == ["these datasets points", "datasets in general, points"]
    (shown,) = [line for line in table if line[0] == row]
    assert shown[1:3] == [r"+1.0 \[-1.0, +3.0\] better", r"+1.0 \[-5.0, +7.0\]"]
    assert {line[2] for line in table[1:] if line[0] != row} == {"-"}


def test_what_was_not_tested_has_no_verdict():
    board = small_board()
    track = board.tracks[0]
    statistics = board.statistics[track.id]
    for one in statistics["differences"]:
        one.update(seeds=2, p=None, verdict="untested")
    for one in statistics["averages"].values():
        one["these"].update(seeds=2, p=None, verdict="untested")
    text = formats.render(board, "md")
    (table,) = [t for t in markdown_tables(text) if "these datasets" in t[0][1]]
    shown = " ".join(cell for line in table[1:] for cell in line)
    assert not any(word in shown for word in ("better", "worse", "0/0"))
    assert "Fewer than three seeds: nothing is decided" in text


def test_a_board_that_an_older_harness_wrote_loads_and_shows_no_tests_of_its_rules():
    """Its statistics had other tests under some of the same names, and claims fewer fields."""
    board = small_board()
    plain = json.loads(compact(board))
    old = {"level": 0.95, "iqm": {}, "improvement": {"lp-ft": {"value": 0.5, "low": None}}}
    old |= {"differences": plain["statistics"][board.tracks[0].id]["differences"]}
    later = {"average", "average_low", "average_high", "average_of", "basis"}
    claims = [{k: v for k, v in one.items() if k not in later} for one in plain["claims"]]
    written = {**plain, "statistics": {board.tracks[0].id: old}, "claims": claims}
    found = Leaderboard.model_validate_json(json.dumps(written))
    assert (found.tracks, found.runs) == (board.tracks, board.runs)
    assert [one.text for one in found.claims] == [one.text for one in board.claims]
    for name in ("terminal", "md", "latex", "html"):
        assert "Tested on the stored predictions" not in formats.render(found, name)


def test_the_same_figures_are_marked_best():
    board = build_leaderboard(made_product())
    in_terminal = re.findall(r"\*(\d[\d.]*(?: \(\d\.\d\d\))?)", formats.render(board, "terminal"))
    in_markdown = re.findall(r"\*\*(\d[\d.]*(?: \(\d\.\d\d\))?)\*\*", formats.render(board, "md"))
    assert in_terminal == in_markdown
    assert len(in_terminal) >= 3 + 5 + 3


def test_csv_holds_what_the_rows_are_made_of():
    board = small_board()
    table = pd.read_csv(io.StringIO(formats.render(board, "csv")))
    for track in board.tracks:
        for row in track.rows:
            own = table[(table.track == track.id) & (table.row == row.label)]
            assert (own.ranked == row.ranked).all()
            assert own.test_balanced_accuracy.notna().sum() == row.runs
            assert own[own.status == "ok"].seconds_total.sum() == pytest.approx(
                row.spend.seconds or 0
            )
            if row.ranked:
                cells = own.groupby("block").test_balanced_accuracy.mean()
                assert cells.mean() == pytest.approx(row.value)


def test_csv_is_plain_for_pandas():
    board = small_board()
    table = pd.read_csv(io.StringIO(formats.render(board, "csv")))
    assert all(re.fullmatch("[a-z][a-z0-9_]*", column) for column in table.columns)
    assert table.columns.is_unique
    assert len(table) == len(board.runs)
    assert table.run_id.is_unique
    assert str(table.shortened.dtype) == "bool"
    failed = table[table.status == "failed"].iloc[0]
    assert (failed.error_kind, failed.error_message) == ("TrainingError", "the loss is nan")
    assert (failed.error_phase, failed.error_step) == ("tune", 17)
    undefined = table[table.undefined.notna()].iloc[0]
    assert json.loads(undefined.undefined) == {"balanced-accuracy": "class b is not in test"}
    assert json.loads(undefined.by_class) == {"per-class-recall": {"a": 0.5, "b": None}}


def test_csv_rounds_nothing():
    value = 0.1 + 0.2
    text = formats.render(build_leaderboard([made_result(value=value)]), "csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert float(row["test_balanced_accuracy"]) == value


def test_metrics_that_read_alike_get_columns_of_their_own():
    metrics = {name: MetricValue(value=0.5) for name in ("macro-f1", "macro f1", "Macro_F1")}
    header = (
        formats.render(build_leaderboard([made_result(metrics=metrics)]), "csv")
        .splitlines()[0]
        .split(",")
    )
    assert [name for name in header if "f1" in name] == [
        "test_macro_f1",
        "test_macro_f1_2",
        "test_macro_f1_3",
    ]


def test_json_is_the_whole_board():
    board = small_board()
    text = formats.render(board, "json")
    assert Leaderboard.model_validate_json(text) == board
    loaded = json.loads(text)
    assert loaded["schema_version"] == 1
    assert list(loaded) == sorted(loaded)
    assert text.count("\n") < 10 + sum(
        len(v) + 2 for v in loaded.values() if isinstance(v, list)
    ) + len(loaded)


def test_equal_runs_are_written_alike_whatever_the_order_in_their_files():
    run = made_result(
        spec={
            "settings": {"alpha": 0.1, "beta": 0.2},
            "sources": {"backbone": "b", "strategy": "s"},
        },
        metrics={name: MetricValue(value=0.5) for name in ("balanced-accuracy", "accuracy")},
    )
    turned = {
        name: dict(reversed(getattr(run, name).items()))
        for name in ("metrics", "validation", "plugins")
    }
    maps = {
        name: dict(reversed(getattr(run.spec, name).items())) for name in ("settings", "sources")
    }
    other = run.model_copy(update={**turned, "spec": run.spec.model_copy(update=maps)})
    assert other == run
    assert [*other.metrics] != [*run.metrics]
    for name in formats.FORMATS:
        assert formats.render(build_leaderboard([other]), name) == formats.render(
            build_leaderboard([run]), name
        )


def test_json_holds_any_name_and_no_figure_that_is_none():
    assert json.loads(compact({"a": ["\ud800", float("nan"), 1e-5, "\u00e4"]})) == {
        "a": ["\ud800", None, 1e-5, "\u00e4"]
    }
    assert compact([float("inf"), {"z": 1, "a": None}]) == '[null,{"z":1,"a":null}]'


# -- reading ----------------------------------------------------------------------------------


def test_the_main_table_comes_first():
    text = formats.render(build_leaderboard(made_product()), "terminal")
    order = ("! Procedural images", "  #  strategy", "By modality", "By backbone", "Cost", "Data")
    places = [text.index(found) for found in order]
    assert places == sorted(places)


@pytest.mark.parametrize("length", [5, 30, 90])
def test_the_terminal_is_never_wider_than_promised(length):
    name = "x" * (length - 1)
    runs = [
        made_result(
            f"data-{name}{i}",
            f"backbone-{name}",
            "lp-ft",
            value=0.5 + j / 10,
            spec={"settings": {"a-long-setting": "y" * length, "alpha": j}},
            data={
                "modality": f"modality-{i}",
                "rule": "rule " * length,
                "problems": ("p" * 3 * length,),
            },
        )
        for i in range(12)
        for j in range(2)
    ]
    runs.append(made_failure(message="m" * 300))
    text = formats.render(build_leaderboard(runs), "terminal")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert (
        len(re.findall("^strategy ", text, re.MULTILINE)) > 2
    )  # modalities do not fit in one table


def test_no_mark_where_all_are_equal():
    runs = [made_result(strategy=name, value=0.5) for name in ("full-ft", "lp-ft")]
    assert "*" not in formats.render(build_leaderboard(runs), "terminal")


@pytest.mark.parametrize(
    ("values", "lowest", "expected"),
    [
        ([0.5, 0.7, None], False, [False, True, False]),
        ([0.5, 0.7, None], True, [True, False, False]),
        ([0.7001, 0.7002, 0.1], False, [True, True, False]),  # they read the same
        ([0.7, 0.7], False, [False, False]),
        ([None, None], False, [False, False]),
    ],
)
def test_best(values, lowest, expected):
    assert figures.best([figures.metric(v) for v in values], values, lowest=lowest) == expected


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.metric(-0.0001), "0.000"),
        (figures.metric(-0.5), "-0.500"),
        (figures.points(0.04), "0.0"),
        (figures.points(-0.04), "0.0"),
        (figures.points(2.31), "+2.3"),
        (figures.seconds(0.414), "0.41"),
        (figures.seconds(12.34), "12.3"),
        (figures.seconds(1204.2), "1,204"),
        (figures.count(510), "510"),
        (figures.count(23_508_032), "23.5M"),
        (figures.span(4_100, 23_500_000), "4.1k to 23.5M"),
        (figures.span(400_000, 400_010), "400k"),
        (figures.shorten(["a", "b", "c"], 2), "a, b, and 1 more"),
    ],
)
def test_figures(shown, expected):
    assert shown == expected


def test_many_failures_are_summed_up():
    board = build_leaderboard([made_failure(seed=seed) for seed in range(25)])
    text = formats.render(board, "terminal")
    assert "Failed runs: 25" in text
    assert "And 5 more: leaderboard.csv lists them all." in text
    assert text.count("phase tune, step 17") == 20


# -- hostile names ----------------------------------------------------------------------------


def hostile_board():
    name = HOSTILE
    runs = [
        made_result(
            name,
            name,
            strategy,
            value=value,
            spec={"settings": {name: name}},
            metrics={
                "balanced-accuracy": MetricValue(value=value),
                name: MetricValue(value=None, reason=name),
            },
            data={
                "modality": name,
                "rule": name,
                "problems": (name,),
                "licence": name,
                "source": name,
            },
            weights={"name": name, "licence": name},
            suite=name,
        )
        for strategy, value in ((name, 0.5), ("full-ft", 0.7))
    ]
    failed = made_failure(name, "other", name, message=f"{name}\nmore")
    plan = made_plan([*runs, failed], {"title": name, "notes": (name,), "assumed": {name: name}})
    return build_leaderboard([*runs, failed], plan)


def test_hostile_names_cannot_command_the_terminal():
    text = formats.render(hostile_board(), "terminal")
    assert all(character.isprintable() or character == "\n" for character in text)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_hostile_names_open_nothing_in_markdown():
    text = formats.render(hostile_board(), "md")
    assert "<" not in text
    assert not re.search(r"(?<!\\)`", text)
    assert not re.search(r"(?<!\\)\[", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1, table
    text.encode()


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\x00=1"])
def test_no_cell_of_the_csv_is_a_formula(start):
    runs = [made_result(strategy=start), made_failure(strategy="b", message=start)]
    table = pd.read_csv(
        io.StringIO(formats.render(build_leaderboard(runs), "csv")),
        dtype=str,
        keep_default_na=False,
    )
    for text in table.to_numpy().ravel():
        assert not text.startswith(("=", "+", "@", "\t", "\r", " "))
        assert not text.startswith("-") or float(text) < 0
    assert table.strategy[0] in {f"'{start.strip()}", "?=1"}


def test_negative_figures_in_the_csv_stay_numbers():
    metrics = {"balanced-accuracy": MetricValue(value=0.5), "cohen-kappa": MetricValue(value=-0.25)}
    table = pd.read_csv(
        io.StringIO(formats.render(build_leaderboard([made_result(metrics=metrics)]), "csv"))
    )
    assert table.test_cohen_kappa.tolist() == [-0.25]


def test_hostile_names_come_back_from_csv_as_one_cell():
    board = hostile_board()
    text = formats.render(board, "csv")
    text.encode()
    table = pd.read_csv(io.StringIO(text))
    assert len(table) == len(board.runs)


@given(st.text(max_size=40))
def test_escaped_text_is_one_line_without_open_markup(text):
    safe = escape(text)
    assert safe.isprintable()
    assert not re.search(r"(?<!\\)(?:\\\\)*[`|\[\]<>*]", safe)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("l2-sp (alpha=0.1)", "l2-sp (alpha=0.1)"),
        ("IMAGENET1K_V2", "IMAGENET1K_V2"),
        ("_a_", r"\_a\_"),
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("<b> & `c`", r"&lt;b&gt; &amp; \`c\`"),
    ],
)
def test_escape(given_text, expected):
    assert escape(given_text) == expected


# -- files ------------------------------------------------------------------------------------


def test_write_makes_every_file(tmp_path):
    board = small_board()
    paths = formats.write(board, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.claims.csv",
        "leaderboard.json",
        "leaderboard.tex",
        "leaderboard.html",
    ]
    for path, name in zip(paths, formats.FILES, strict=True):
        assert path.read_bytes() == formats.render(board, name).encode()
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)


def test_a_full_disk_leaves_the_old_files(tmp_path, monkeypatch):
    old = build_leaderboard([made_result()])
    paths = formats.write(old, tmp_path)
    before = [path.read_bytes() for path in paths]

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match=r"leaderboard\.md"):
        formats.write(small_board(), tmp_path)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_place_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"):
        formats.write(small_board(), tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("name", "meant"), [("mdd", "'md'"), ("JSON", "'json'"), ("termnal", "'terminal'")]
)
def test_an_unknown_format_is_an_error_with_the_nearest_name(name, meant):
    with pytest.raises(
        UsageError,
        match=f"did you mean {meant}.*there are: claims, csv, html, json, latex, md, terminal",
    ):
        formats.render(small_board(), name)

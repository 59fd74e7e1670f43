"""leaderboard.html as a reader has it: opened, sorted, filtered, a cell opened, by mouse and keys.

Needs Chromium (`HARNESS_CHROMIUM` names another one).  `HARNESS_SCREENSHOTS=DIR` keeps the pictures.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import threading
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import chromium
import numpy as np
import pytest
from command import Cli
from made import BACKBONES, made_failure, made_plan, made_result
from made_board import markdown_tables, small_board
from made_page import HOSTILE, hostile_page, made_run, predictions_of, started_study, study
from made_tuned import RATES, labelled_study, tuned_study
from PIL import Image
from places import ROOT
from scipy.stats import rankdata

from harness.api.metric import softmax
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.html import html_page, page_data
from harness.leaderboard.render import formats
from harness.utils import text as figures
from harness_metrics import METRICS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium.find() is None,
        reason="no Chromium: install it (Debian: apt-get install chromium), or name one in "
        "HARNESS_CHROMIUM",
    ),
]
KNOWN = {metric.name: metric for metric in METRICS}
CROSSED = ((0, 0), (0, 1), (1, 0), (1, 1))  # (split, seed)
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844, "phone": True}


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pages by name."""
    place = tmp_path_factory.mktemp("pages")
    board, results, *_ = study()
    whole = page_data.page_data(board, results, predictions_of, metrics=KNOWN)
    texts = {
        "whole": html_page.page(whole),
        "alone": formats.render(small_board(), "html"),
        "hostile": hostile_page(),
        "empty": formats.render(build_leaderboard([]), "html"),
        "failed": formats.render(build_leaderboard([made_failure()]), "html"),
        "single": html_page.page(single()),
        "tuned": html_page.page(
            page_data.page_data(*tuned_study()[:2], predictions_of, metrics=KNOWN)
        ),
        "crossed": html_page.page(
            page_data.page_data(*tuned_study(draws=CROSSED)[:2], predictions_of, metrics=KNOWN)
        ),
        "labels": html_page.page(
            page_data.page_data(*labelled_study(), predictions_of, metrics=KNOWN)
        ),
        "starts": html_page.page(
            page_data.page_data(*started_study(), predictions_of, metrics=KNOWN)
        ),
        "partial": html_page.page(
            page_data.page_data(board, results, predictions_of, budget=150_000)
        ),
    }
    for name, text in texts.items():
        (place / f"{name}.html").write_text(text, encoding="utf-8")
    return place


def single():
    """One seed, and a row that lacks a run."""
    runs = [
        made_run(dataset, BACKBONES[0], name)
        for dataset in ("demo-mri", "demo-xray")
        for name in ("full-ft", "lp-ft", "l2-sp")
    ]
    plan = made_plan(runs)
    return page_data.page_data(build_leaderboard(runs[:-1], plan), runs[:-1], predictions_of)


@pytest.fixture(scope="module")
def fair(folder):
    """A folder as `harness board` writes it, of tuned runs over three splits."""
    out = folder / "fair"
    Cli()("board", ROOT / "benchmarks" / "results" / "demo-fair", "--out", out)
    return out


@pytest.fixture(scope="module")
def tab(connection, folder):
    """A tab that one test after the other opens its first page in."""
    return chromium.Page(connection, folder / "empty.html")


@pytest.fixture
def opened(tab, folder):
    """Opens a page, by name or path; at the end nothing may have been fetched, thrown or complained of."""
    pages = []

    def open_page(name="whole", **given):
        path, given = folder / f"{name}.html", DESKTOP | given
        if pages:
            pages.append(chromium.Page(tab.connection, path, **given))
        else:
            pages.append(tab)
            tab.open(path, **given)
        return pages[-1]

    yield open_page
    problems = [problem for page in pages for problem in page.problems()]
    for page in pages[1:]:
        page.close()
    assert problems == []


def draw_all(page):
    """Scroll through the page as a reader does, until every plot is drawn or says why not."""
    for top in itertools.count(step=800):
        if top > page.run("document.documentElement.scrollHeight"):
            break
        page.run(f"scrollTo({{ top: {top}, behavior: 'instant' }})")
        page.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))")
    page.until("[...document.querySelectorAll('.plot')].every((plot) => plot.children.length)")
    page.run("scrollTo({ top: 0, behavior: 'instant' })")


def table_of(page, selector="#ranking"):
    """The rows of a table as texts; rows that are unfolded are left out."""
    return page.run(
        f"[...document.querySelectorAll({json.dumps(selector + ' tbody tr:not(.more)')})]"
        ".map((row) => [...row.children].map((cell) => cell.innerText.trim()))"
    )


def head_of(page, selector="#ranking"):
    return page.run(
        f"[...document.querySelectorAll({json.dumps(selector + ' thead th')})]"
        ".map((cell) => cell.innerText.trim().split(/\\s+/).join(' '))"
    )


def column(page, title):
    place = head_of(page).index(title)
    return [row[place] for row in table_of(page)]


def press(page, selector):
    page.run(f"document.querySelector({json.dumps(selector)}).click()")


def set_value(page, name, value):
    """Choose in a select or type into an input."""
    page.run(
        f"(() => {{ const field = document.getElementById({json.dumps(name)});"
        f" field.value = {json.dumps(value)};"
        " field.dispatchEvent(new Event('input', { bubbles: true }));"
        " field.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )


# -- opening ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "dark"),
    [
        pytest.param(DESKTOP, False, id="desktop-light"),
        pytest.param(PHONE, True, id="phone-dark"),
        pytest.param(DESKTOP, True, id="desktop-dark", marks=pytest.mark.nightly),
        pytest.param(PHONE, False, id="phone-light", marks=pytest.mark.nightly),
    ],
)
def test_every_plot_is_drawn_in_both_themes_at_both_widths(opened, tmp_path, size, dark):
    page = opened(dark=dark, **size)
    draw_all(page)
    drawn = page.run("document.querySelectorAll('.plot[data-drawn] svg').length")
    assert drawn == page.run("document.querySelectorAll('.plot').length") == 13
    assert page.run("document.documentElement.scrollWidth") == size["width"]
    place = Path(os.environ.get("HARNESS_SCREENSHOTS") or tmp_path)
    name = f"{'dark' if dark else 'light'}-{'phone' if size is PHONE else 'desktop'}.png"
    page.screenshot(place / name)
    picture = np.asarray(Image.open(place / name).convert("L"))[::4, ::4]
    assert (np.median(picture) < 80) == dark  # the ground
    assert picture.std() > 15  # and something on it


def every_plot_could_be_drawn(page):
    plots = page.run("[...document.querySelectorAll('.plot')].map((plot) => plot.innerText)")
    return not [text for text in plots if "could not be drawn" in text]


GAPS = ("alone", "hostile", "empty", "failed", "single", "tuned")


@pytest.mark.parametrize(
    ("size", "name"),
    [
        *(pytest.param(PHONE, name, id=f"phone-{name}") for name in GAPS),
        *(
            pytest.param(DESKTOP, name, id=f"desktop-{name}", marks=pytest.mark.nightly)
            for name in (*GAPS, "labels", "starts")  # on a phone below: nothing of them is cut
        ),
    ],
)
def test_boards_with_gaps_open_without_a_complaint(opened, name, size):
    page = opened(name, **size)
    draw_all(page)
    assert page.run("document.documentElement.scrollWidth") <= size["width"]
    assert every_plot_could_be_drawn(page)


class Answers(BaseHTTPRequestHandler):
    """Answers everybody."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_nothing_can_be_fetched(opened, folder):
    """Though there is a network, and a server that answers a page without the policy."""
    (folder / "free.html").write_text("<!doctype html><title>x</title>", encoding="utf-8")
    found = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        for name in ("free", "whole"):
            page = opened(name)
            page.send(
                "Network.emulateNetworkConditions",
                offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1,
            )  # fmt: skip
            found[name] = page.run(f"fetch('{url}').then(() => 'answered', () => 'refused')")
            page.connection.events.clear()  # the request, and the refusal, are the point
        server.shutdown()
    assert found == {"free": "answered", "whole": "refused"}


# -- the table --------------------------------------------------------------------------------


def test_the_table_says_what_the_markdown_says(opened):
    board, *_ = study()
    in_markdown = markdown_tables(formats.render(board, "md"))[0]
    page = opened()
    wanted = ["strategy", "mean rank", "balanced accuracy", "vs full-ft (points)", "won/tied/lost"]
    for title in [*wanted, "runs", "s/run"]:
        place = in_markdown[0].index(title)
        assert column(page, title) == [row[place] for row in in_markdown[1:]], title


def test_columns_sort_by_mouse_and_by_key(opened):
    page = opened()
    press(page, "[data-column=value] button")
    assert page.run("document.querySelector('[data-column=value]').ariaSort") == "descending"
    values = [float(text) for text in column(page, "balanced accuracy")]
    assert values == sorted(values, reverse=True)
    page.run("document.querySelector('[data-column=strategy] button').focus()")
    page.key("Enter", 13, "\r")
    assert page.run("document.querySelector('[data-column=strategy]').ariaSort") == "ascending"
    assert page.run("document.querySelector('[data-column=value]').ariaSort") == "none"
    names = column(page, "strategy")
    assert names == sorted(names)
    page.key("Enter", 13, "\r")  # the focus has stayed where it was
    assert column(page, "strategy") == sorted(names, reverse=True)
    assert page.run("document.getElementById('live').textContent") == (
        "Sorted by strategy, descending."
    )


def test_rows_without_a_rank_stay_last(opened):
    page = opened("single")
    for way in range(3):
        assert column(page, "strategy")[-1] == "l2-sp", way
        press(page, "[data-column=value] button")
    assert "1 missing (demo-xray / densenet121-mini, seed 0)" in page.run(
        "document.getElementById('ranking-notes').innerText"
    )


@pytest.mark.parametrize("kind", ["modality", "backbone", "start"])
def test_filters_give_the_board_s_own_group_figures(opened, kind):
    board, *_ = started_study() if kind == "start" else study()
    page = opened("starts" if kind == "start" else "whole")
    rows = board.tracks[0].rows
    groups = {"modality": "modalities", "backbone": "backbones", "start": "starts"}[kind]
    for place, group in enumerate(getattr(rows[0], groups)):
        set_value(page, kind, group.group)
        expected = {row.label: getattr(row, groups)[place] for row in rows}
        shown = dict(zip(column(page, "strategy"), column(page, "balanced accuracy"), strict=True))
        assert shown == {name: figures.metric(one.value) for name, one in expected.items()}
        shown = dict(zip(column(page, "strategy"), column(page, "mean rank"), strict=True))
        assert shown == {name: figures.place(one.rank) for name, one in expected.items()}
    press(page, "#reset")
    assert set(column(page, "runs")) == {str(rows[0].runs)}


def test_one_starting_point_can_be_looked_at(opened):
    _, results = started_study()
    page = opened("starts")
    choices = "[...document.getElementById('start').options].map((one) => one.textContent)"
    assert page.run(choices) == ["all", "imagenet", "none", "radimagenet"]
    set_value(page, "start", "none")
    assert "Mean over 4 blocks (2 datasets, 2 backbones, 1 starting point)" in page.run(
        "document.querySelector('#ranking caption').textContent"
    )
    for name, text in zip(column(page, "strategy"), column(page, "balanced accuracy"), strict=True):
        own = [
            run.metrics["balanced-accuracy"].value
            for run in results
            if (run.spec.start, run.spec.strategy) == ("none", name)
        ]
        assert len(own) == 12
        assert text == figures.metric(np.mean(own))
    blocks = [row[0] for row in unfold(page, "Difference to the control")]
    assert len(blocks) == 4
    assert all(block.endswith("@none") for block in blocks)
    captions = "[...document.querySelectorAll('#significance figcaption')].at(-1).textContent"
    draw_all(page)
    assert "mean ranks over 2 datasets with start none" in page.run(captions)
    press(page, "#reset")
    assert "mean ranks over 2 datasets, mean over backbones" in page.run(captions)
    assert len(unfold(page, "Difference to the control")) == 12


def test_gains_over_a_starting_point_are_those_of_the_statistics(opened):
    board, _ = started_study()
    found = board.statistics[board.tracks[0].id]["starts"]
    assert found["over"] == "imagenet"
    page = opened("starts")
    heads, rows = head_of(page, "#starts"), table_of(page, "#starts")
    assert heads == ["strategy", "none", "radimagenet"]
    assert [row[0] for row in rows] == [row.label for row in board.tracks[0].rows]
    for name, *shown in rows:
        for start, text in zip(heads[1:], shown, strict=True):
            numbers = [float(one) for one in re.findall(r"[+-]?\d+\.\d+", text)]
            one = found["gains"][start][name]
            expected = [100 * one[end] for end in ("value", "low", "high")]
            assert numbers == pytest.approx(expected, abs=0.051), (name, start)
    assert "interval of 95 % over other test images and seeds" in page.run(
        "document.querySelector('#starts .intro').textContent"
    )
    assert opened().run("document.getElementById('starts').hidden")  # a board of one


def test_a_filter_counts_the_blocks_that_are_left(opened):
    page = opened()
    set_value(page, "modality", "mri")
    assert "Mean over 3 blocks (1 dataset, 3 backbones)" in page.run(
        "document.querySelector('#ranking caption').textContent"
    )
    won = [text for text in column(page, "won/tied/lost") if text != "-"]
    assert {sum(map(int, text.split("/"))) for text in won} == {3}
    draw_all(page)
    assert "No tests" not in page.run("document.getElementById('significance').innerText")


def test_a_metric_that_is_better_when_low_turns_the_order(opened):
    board, results, *_ = study()
    page = opened()
    names = page.run("[...document.getElementById('metric').options].map((one) => one.textContent)")
    set_value(page, "metric", str(names.index("Brier score, summed over classes")))
    shown = dict(zip(column(page, "strategy"), column(page, "brier"), strict=True))
    for name, text in shown.items():
        own = [run.metrics["brier"].value for run in results if run.spec.strategy == name]
        assert float(text) == pytest.approx(np.mean(own), abs=6e-4)
    best = board.tracks[0].rows[0].label  # brier is 1.1 less the balanced accuracy here
    assert column(page, "strategy")[0] == best
    assert column(page, "mean rank")[0] == figures.place(board.tracks[0].rows[0].mean_rank)


def test_tracks_can_be_chosen(opened):
    page = opened("alone")
    assert len(table_of(page)) == 6
    set_value(page, "track", "1")
    assert column(page, "strategy") == ["full-ft", "lp-ft"]
    assert "at most 20 images" in page.run("document.getElementById('banners').innerText")
    assert "20 images of each split" in page.run("document.getElementById('protocol').innerText")


def test_a_row_unfolds_and_tells_what_it_rests_on(opened):
    page = opened()
    page.run("document.querySelector('#ranking button.row').focus()")
    page.key("Enter", 13, "\r")
    text = page.run("document.querySelector('#ranking tr.more').innerText")
    board, *_ = study()
    row = board.tracks[0].rows[0]
    for part in (row.source[:8], "harness 0.1.0 (c0ffee) on cpu", "finetune-harness 0.1.0"):
        assert part in text
    for group in row.modalities:
        assert f"{group.group} {figures.metric(group.value)}" in text
    button = "document.querySelector('#ranking button.row')"
    assert page.run(f"{button}.ariaExpanded") == "true"
    assert page.run(f"document.activeElement === {button}")


# -- the conclusion, the csv beside the page, what intervals hold ---------------------------------


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_conclusion_is_on_top(opened, size):
    """Right below the title, and on the first screen."""
    board, *_ = study()
    page = opened(**size)
    assert page.run("document.querySelector('h1').nextElementSibling.id") == "conclusion"
    assert page.run("document.getElementById('conclusion').innerText") == " ".join(board.conclusion)
    box = page.run("document.getElementById('conclusion').getBoundingClientRect().toJSON()")
    assert 0 < box["top"] < box["bottom"] < size["height"]
    assert board.conclusion[0].startswith("No recommendation follows from this board")


def test_the_csv_beside_the_page_holds_every_run(opened, fair):
    page = opened("fair/leaderboard")
    links = page.run(
        "[...document.links].filter((one) => !one.getAttribute('href').startsWith('#'))"
        ".map((one) => one.href)"
    )
    paths = {Path(urllib.parse.unquote(urllib.parse.urlparse(link).path)) for link in links}
    assert paths == {fair / "leaderboard.csv", fair / "leaderboard.json"}
    lines = csv.DictReader((fair / "leaderboard.csv").read_text(encoding="utf-8").splitlines())
    shown = page.run("document.getElementById('run-pages').innerText")
    track = Counter(line["track"] for line in lines)
    assert f"of {track.most_common(1)[0][1]} runs" in shown
    assert json.loads((fair / "leaderboard.json").read_text())["schema_version"]


@pytest.mark.parametrize(
    ("name", "said", "runs"),
    [
        ("whole", "other test images and seeds", "three seeds"),
        ("fair/leaderboard", "other test images, seeds and splits", "three splits"),
    ],
)
def test_intervals_say_what_they_hold_wherever_they_are(opened, fair, folder, name, said, runs):
    page = opened(name)
    press(page, "#ranking button.row")
    row = page.run("document.querySelector('#ranking tr.more').innerText")
    (held,) = set(re.findall(r"interval [-+.\d]+ to [-+.\d]+, (other test[^)]*)", row))
    assert held == said
    for section in ("significance", "cell"):
        text = page.run(f"document.getElementById('{section}').innerText")
        assert re.findall(r"intervals over ([^:;.]*)", text) == [said]
    assert f"which takes {runs}" in page.run("document.getElementById('cell').innerText")
    if name != "whole":
        board = json.loads((fair / "leaderboard.json").read_text())
        assert {f"other test {one['basis']}" for one in board["statistics"].values()} == {said}
        assert f"interval of 95% over {said}." in (fair / "leaderboard.md").read_text()


# -- datasets -------------------------------------------------------------------------------------


def means_over(names):
    """Row -> (mean of the metric, mean rank) over the blocks of these datasets, from the runs."""
    _, results, *_ = study()
    rows = sorted({run.spec.strategy for run in results})
    blocks = [(name, backbone) for name in names for backbone in BACKBONES]
    values = np.array([
        [
            np.mean([
                run.metrics["balanced-accuracy"].value for run in results
                if (run.spec.dataset, run.spec.backbone, run.spec.strategy) == (*block, row)
            ])
            for block in blocks
        ]
        for row in rows
    ])  # fmt: skip
    ranks = rankdata(-values.round(12), axis=0)
    return {
        row: (figures.metric(values[n].mean()), figures.place(ranks[n].mean()))
        for n, row in enumerate(rows)
    }


def test_datasets_are_chosen_by_key_and_the_page_says_which(opened):
    board, *_ = study()
    page = opened()
    page.run("document.getElementById('datasets-summary').focus()")
    page.key("Enter", 13, "\r")
    for _ in range(3):  # past All and None, to the first dataset
        page.key("Tab", 9)
    page.key(" ", 32, " ")
    page.key("Tab", 9)
    page.key(" ", 32, " ")
    left = ["demo-histology", "demo-mri", "demo-xray"]
    told = f"Shown: 3 of 5 datasets ({', '.join(left)})."
    assert page.run("document.getElementById('live').textContent").startswith(told)
    assert page.run("document.getElementById('filtered').innerText") == (
        f"{told} This table ranks over the 9 of 15 blocks shown; the board's own ranking is under "
        "“rank over all blocks”. Conclusion, claims, tests and tuning stay over all blocks."
    )
    assert page.run("document.getElementById('datasets-summary').innerText").split("\n")[1] == (
        "3 of 5: demo-histology, demo-mri and 1 more"
    )
    page.key("Escape", 27)  # it lies over the table
    assert page.run("document.activeElement.id") == "datasets-summary"
    assert not page.run("document.getElementById('datasets').open")
    columns = [column(page, title) for title in ("strategy", "balanced accuracy", "mean rank")]
    shown = {name: figure for name, *figure in zip(*columns, strict=True)}
    assert shown == {name: list(figure) for name, figure in means_over(left).items()}
    assert list(shown) != [row.label for row in board.tracks[0].rows]  # another order
    own = dict(zip(columns[0], column(page, "rank over all blocks"), strict=True))
    assert own == {row.label: figures.place(row.mean_rank) for row in board.tracks[0].rows}
    draw_all(page)
    assert {row[0].partition(" / ")[0] for row in unfold(page, "Difference to the control")} == set(
        left
    )
    assert [row[0] for row in table_of(page, "#data-notes .scroll:first-of-type")] == left
    assert f"1 to 25 of 216 runs {told}" in page.run(
        "document.getElementById('run-pages').innerText"
    )
    for plot in (
        "Difference to the control",
        "Quality against time",
        "Critical-difference diagram",
    ):
        caption = page.run(
            "[...document.querySelectorAll('figure')].find((one) => one.querySelector('h3').textContent"
            f" === {json.dumps(plot)}).querySelector('figcaption').textContent"
        )
        assert caption.endswith(told), plot
    press(page, "#reset")
    assert page.run("document.getElementById('filtered').hidden")
    assert "rank over all blocks" not in head_of(page)
    assert column(page, "strategy") == [row.label for row in board.tracks[0].rows]


def test_no_dataset_or_no_block_is_said_and_not_drawn(opened):
    page = opened()
    press(page, "#datasets-none")
    draw_all(page)
    assert "Shown: 0 of 5 datasets (none)." in page.run(
        "document.getElementById('filtered').innerText"
    )
    assert "No block is left." in page.run("document.querySelector('#ranking caption').innerText")
    assert set(column(page, "mean rank")) == {"-"}
    assert "could not be drawn" not in page.run("document.body.innerText")
    press(page, "#dataset-3")
    set_value(page, "modality", "xray")  # of a dataset that is not chosen
    draw_all(page)
    assert "Shown: 1 of 5 datasets (demo-mri), modality xray." in page.run(
        "document.getElementById('filtered').innerText"
    )
    assert "could not be drawn" not in page.run("document.body.innerText")
    press(page, "#datasets-all")
    set_value(page, "modality", "")
    assert page.run("document.getElementById('filtered').hidden")


def test_a_board_of_one_dataset_has_nothing_to_choose(opened, tmp_path):
    runs = [made_run("demo-mri", BACKBONES[0], name) for name in ("full-ft", "lp-ft")]
    board = build_leaderboard(runs, made_plan(runs))
    path = tmp_path / "one.html"
    path.write_text(html_page.page(page_data.page_data(board, runs)), encoding="utf-8")
    assert opened(path.with_suffix("")).run("document.getElementById('datasets') === null")


@pytest.mark.parametrize("known", [True, False])
def test_further_test_sets_say_what_their_intervals_hold_and_follow_the_choice(
    opened, tmp_path, known
):
    board, results, *_ = study()
    data = page_data.page_data(board, results, metrics=KNOWN)
    track = data["tracks"][0]
    names = [row["label"] for row in track["rows"]]
    one = {"dataset": "demo-mri", "name": "ward", "value": 0.8, "internal": 0.85}
    track["rows"][1]["external"] = [one | {"runs": 9, "wanted": 9}]
    if known:  # row, dataset, set, block; difference, interval, p, verdict, seeds
        found = [1, "demo-mri", "ward", "", -5.0, -9.0, -1.0, None, "untested", 3]
        track["statistics"]["external"] = [found]
    path = tmp_path / "external.html"
    path.write_text(html_page.page(data), encoding="utf-8")
    page = opened(path.with_suffix(""))
    rows = {row[0]: row[1:] for row in table_of(page, "#external")}
    assert rows[names[1]] == ["0.800", "-5.0 (-9.0 to -1.0)" if known else "-5.0"]
    assert rows[names[0]] == ["-", "-"]
    said = page.run("document.querySelector('#external .intro').innerText")
    interval = ", with its interval of 95 % over other images of both sets and other seeds."
    assert said.endswith(f"positive is better{interval if known else '.'}")
    press(page, "#datasets-none")
    press(page, "#dataset-4")  # demo-xray, which has no further test set
    assert page.run("document.querySelector('#external .body').innerText") == (
        "The datasets shown have no further test set."
    )


# -- a cell -----------------------------------------------------------------------------------


def run_shown(page):
    """The run of the open cell, found by its id."""
    shown = page.run("document.querySelector('#cell-facts code').textContent")
    return next(run for run in study()[1] if run.run_id == shown)


def unfold(page, title):
    """The table beside a plot."""
    page.run(
        f"(() => {{ const found = [...document.querySelectorAll('figure')].find((one) =>"
        f" one.querySelector('h3').textContent === {json.dumps(title)});"
        " found.id = 'found'; found.querySelector('details').open = true; })()"
    )
    page.until("document.querySelector('#found table')")
    rows = table_of(page, "#found")
    page.run("document.getElementById('found').removeAttribute('id')")
    return rows


def test_a_click_in_the_heat_map_opens_the_cell(opened):
    page = opened()
    draw_all(page)
    page.run("document.getElementById('differences').scrollIntoView({ behavior: 'instant' })")
    page.until("document.querySelector('#differences svg .mark-rect path')")
    shapes = "[...document.querySelectorAll('#differences svg .mark-rect path')]"
    box = page.run(f"{shapes}[16].getBoundingClientRect().toJSON()")
    before = page.run("document.querySelector('#cell-facts code').textContent")
    page.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.until(f"document.querySelector('#cell-facts code').textContent !== {json.dumps(before)}")
    track = study()[0].tracks[0]
    rows = [row for row in track.rows if row.label != track.control]
    run = run_shown(page)
    assert run.spec.strategy == rows[16 // 15].label
    assert f"{run.spec.dataset} / {run.spec.backbone}" == track.blocks[16 % 15].label
    assert page.run("location.hash") == f"#run-{run.run_id}"
    assert page.run("document.activeElement.id") == "cell"


def test_the_table_beside_the_heat_map_opens_cells_by_key(opened):
    page = opened()
    rows = unfold(page, "Difference to the control")
    assert len(rows) == 15
    page.run(
        "document.querySelector('#differences tbody tr:nth-child(4) td:nth-child(3) button').focus()"
    )
    page.key("Enter", 13, "\r")
    track = study()[0].tracks[0]
    run = run_shown(page)
    assert run.spec.strategy == track.rows[1].label
    assert f"{run.spec.dataset} / {run.spec.backbone}" == track.blocks[3].label


def test_differences_and_verdicts_are_those_of_the_statistics(opened):
    board, _, statistics, _ = study()
    (given,) = statistics.values()
    labels = [row.label for row in board.tracks[0].rows]
    assert {one["verdict"] for one in given["differences"]} == {"worse", "undecided"}
    shown = {row[0]: row[1:] for row in unfold(opened(), "Difference to the control")}
    for one in given["differences"]:
        text = shown[one["block"]][labels.index(one["row"])]
        assert abs(float(text.split()[0]) - one["value"] * 100) <= 0.051
        assert text.split()[1:] == {"better": ["▲", "better"], "worse": ["▼", "worse"]}.get(
            one["verdict"], []
        )


@pytest.mark.parametrize(
    ("title", "scope"),
    [
        ("Average gain on these datasets", "these"),
        ("Average gain on datasets in general", "general"),
    ],
)
def test_average_gains_are_those_of_the_statistics(opened, title, scope):
    _, _, statistics, _ = study()
    (given,) = statistics.values()
    shown = {row[0]: row[1:] for row in unfold(opened(), title)}
    assert set(shown) == set(given["averages"])
    for row, (value, interval, verdict) in shown.items():
        one = given["averages"][row][scope]
        assert abs(float(value.split()[0]) - one["value"] * 100) <= 0.051
        ends = [float(end) for end in interval.split(" to ")]
        assert ends == pytest.approx([one["low"] * 100, one["high"] * 100], abs=0.051)
        assert verdict.startswith(one["verdict"])


def test_gains_in_another_metric_have_intervals_and_no_verdicts(opened):
    _, _, statistics, _ = study()
    (given,) = statistics.values()
    page = opened()
    names = page.run("[...document.getElementById('metric').options].map((one) => one.textContent)")
    set_value(page, "metric", str(names.index("Brier score, summed over classes")))
    shown = {row[0]: row[1:] for row in unfold(page, "Average gain on these datasets")}
    for row, (value, _, verdict) in shown.items():
        assert abs(float(value.split()[0]) - given["others"]["brier"][row]["value"] * 100) <= 0.051
        assert verdict == "no verdict"
    assert set(shown) == set(given["others"]["brier"])


def test_places_are_those_of_the_statistics(opened):
    _, _, statistics, _ = study()
    (given,) = statistics.values()
    shown = {row[0]: row[1:] for row in unfold(opened(), "Places by average")}
    assert shown == {
        row: [" to ".join(map(str, one[scope])) for scope in ("these", "general")]
        for row, one in given["ranks"].items()
    }


def test_a_page_of_one_seed_says_what_its_intervals_hold(opened, tmp_path):
    board, results, *_ = study(1)
    path = tmp_path / "one.html"
    path.write_text(html_page.page(page_data.page_data(board, results, metrics=KNOWN)))
    page = opened(path.with_suffix(""))
    text = page.run("document.body.innerText")
    assert "on these datasets\n(test images only)" in text
    assert "○ not tested" in text
    assert "▲ better" not in text
    assert "over test images only" in page.run("document.getElementById('significance').innerText")


def test_the_open_cell_shows_its_predictions(opened):
    page = opened()
    set_value(page, "cell-row", "1")
    set_value(page, "cell-block", "7")
    run = run_shown(page)
    given = predictions_of(run)
    logits, targets = given.logits["test"], given.targets["test"]
    matrix = unfold(page, "Confusion matrix")
    for truth, row in enumerate(matrix):
        own = targets == truth
        counts = [int((logits[own].argmax(axis=1) == k).sum()) for k in range(len(matrix))]
        assert row[0] == run.data.classes[truth]
        assert row[1 : 1 + len(counts)] == [str(count) for count in counts]
        assert row[1 + len(counts)] == f"{counts[truth] / own.sum() * 100:.0f} %"
    confidence = softmax(logits).max(axis=1)
    samples = [int(row[1]) for row in unfold(page, "Reliability diagram")]
    assert samples == [n for n in np.histogram(confidence, bins=15, range=(0, 1))[0] if n]
    caption = page.run("document.getElementById('cell').innerText")
    error = KNOWN["ece"].compute(logits, targets, run.data.classes).value
    found = re.search(r"calibration error ([\d.]+) over 160 test images", caption)
    assert float(found[1]) == pytest.approx(error, abs=1e-3)
    curve = unfold(page, "Learning curve: training loss")
    own = [row for row in curve if row[0].startswith(f"{run.spec.strategy}, seed 0")]
    assert [float(row[3]) for row in own] == pytest.approx(
        [epoch.train_loss for epoch in run.history], abs=6e-4
    )


def test_intervals_of_shares_are_those_of_wilson(opened):
    page = opened()
    z = 1.959963984540054
    shown = unfold(page, "Reliability diagram")
    assert len(shown) > 5
    for row in shown:
        hits, samples = map(int, re.match(r"(\d+) of (\d+)", row[3]).groups())
        share = hits / samples
        middle = (share + z * z / (2 * samples)) / (1 + z * z / samples)
        half = (
            z
            / (1 + z * z / samples)
            * (share * (1 - share) / samples + z * z / (4 * samples**2)) ** 0.5
        )
        ends = [float(text) for text in re.findall(r"([\d.]+) %", row[4])]
        assert ends == pytest.approx(
            [100 * max(0, middle - half), 100 * min(1, middle + half)], abs=0.51
        )


def test_a_link_opens_its_run_and_seeds_can_be_chosen(opened):
    wanted = study()[1][200]
    page = opened()
    page.run(f"location.hash = '#run-{wanted.run_id}'")
    page.until(
        f"document.querySelector('#cell-facts code').textContent === {json.dumps(wanted.run_id)}"
    )
    others = page.run("[...document.getElementById('cell-run').options].map((one) => one.value)")
    assert len(others) == 3
    set_value(page, "cell-run", others[0])
    first = run_shown(page)
    assert (first.spec.seed, first.spec.strategy) == (0, wanted.spec.strategy)
    title = page.run("document.querySelector('#cell-facts h3').textContent")
    spec = wanted.spec
    assert title == f"{spec.strategy} on {spec.dataset} / {spec.backbone}, seed 0"


def test_runs_are_searched_paged_and_opened(opened):
    page = opened()
    assert "1 to 25 of 360 runs" in page.run("document.getElementById('run-pages').innerText")
    press(page, "#later")
    assert "26 to 50 of 360 runs" in page.run("document.getElementById('run-pages').innerText")
    set_value(page, "search", "lp-ft mri seed 2")
    rows = table_of(page, "#runs")
    assert len(rows) == 3
    assert {(row[1], row[2], row[4]) for row in rows} == {("lp-ft", "demo-mri", "2")}
    press(page, "#runs tbody button")
    assert run_shown(page).spec.strategy == "lp-ft"


def test_the_page_says_what_was_left_out(opened):
    page = opened("partial")
    found = re.search(
        r"histories and predictions of (\d+) of 360 finished runs are in it, one seed of every cell first",
        page.run("document.getElementById('runs').innerText"),
    )
    kept = int(found[1])
    assert 0 < kept < 360
    lacking = "[...document.getElementById('cell-run').options].filter((one) => /no details/.test(one.textContent))"
    set_value(page, "cell-run", page.run(f"{lacking}.at(-1).value"))
    assert f"The page holds the details of {kept} of 360 finished runs" in page.run(
        "document.getElementById('cell-facts').innerText"
    )
    draw_all(page)
    assert "No history of this run" in page.run("document.getElementById('cell').innerText")


def test_claims_say_verdict_effect_interval_and_n(opened):
    text = opened().run("document.getElementById('claims').innerText").split("\n")
    shown = " | ".join(line.strip() for line in text if line.strip())
    assert "✓ supported | lp-ft improves on full-ft" in shown
    assert (
        "80 % of cells (bounds 52 % to 96 %) | Average gain: +2.1 points (95 % interval +0.4 to +3.8, "
        "images and seeds), lp-ft over full-ft | n: 15 of 15 cells; 3 seeds; 12 won"
    ) in shown
    assert "effect not known (bounds -0.7 to +8.9)" in shown
    assert "✗ contradicted" in shown
    assert "-1.8 points (bounds -3.1 to -0.6)" in shown
    assert "? undecided 3 of 5 seeds" in shown


# -- tuning, splits, label budgets ---------------------------------------------------------------


def test_the_section_on_tuning_says_what_was_tried_and_chosen(opened):
    board, results, _ = tuned_study()
    page = opened("tuned")
    shown = {row[0]: row[1:] for row in table_of(page, "#tuning")}
    seconds = dict.fromkeys(shown, 0.0)
    for run in results:
        seconds[run.spec.strategy] += run.cost.alone.total
    for row in board.tracks[0].rows:
        trials, rates, knob, edge, learning, diverged, spent, own = shown[row.label]
        assert trials == str(len(RATES))
        assert [text.split("\xa0") for text in rates.split(", ")] == [
            [f"x{rate}", f"({row.tuning.chosen[rate]})"] for rate in ("0.3", "1", "3") if rate in row.tuning.chosen
        ]  # fmt: skip
        assert knob == ("alpha" if row.strategy == "l2-sp" else "-")
        assert edge == f"{100 * row.tuning.edge:.0f} %"
        assert learning == "0 %"
        assert diverged == ("3" if row.strategy == "l2-sp" else "0")
        assert spent == figures.seconds(float(f"{seconds[row.label]:.4g}"))
        assert own == figures.seconds(row.spend.seconds)
    warned = page.run("document.querySelector('#tuning .banner').innerText")
    assert warned.startswith("The edge of the grid was chosen in more than a fifth of the runs of")


def test_the_best_so_far_begins_with_the_mean_of_all_trials(opened):
    _, results, _ = tuned_study()
    page = opened("tuned")
    draw_all(page)
    rows = unfold(page, "Best so far against number of trials")
    assert page.run("document.querySelectorAll('#tuning .plot svg .mark-line path').length") == 3
    for name in ("full-ft", "lp-ft"):
        scores = [
            r.validation["balanced-accuracy"].value for r in results if r.spec.strategy == name
        ]
        (own,) = [row[1:] for row in rows if row[0] == name]
        assert float(own[0]) == pytest.approx(np.mean(scores), abs=6e-4)
        assert own == sorted(own)
    caption = page.run("document.querySelector('#tuning figcaption').textContent")
    assert caption.startswith("Balanced accuracy on validation: the expected value of the best")


def test_the_untuned_track_says_that_nothing_was_chosen(opened):
    page = opened("tuned")
    set_value(page, "track", "1")
    draw_all(page)
    text = page.run("document.getElementById('tuning').innerText")
    assert "Nothing was chosen in this track" in text
    assert page.run("document.querySelectorAll('#tuning tbody tr').length") == 0
    set_value(page, "track", "0")
    assert len(table_of(page, "#tuning")) == 3


@pytest.mark.parametrize("name", ["whole", "labels"])
def test_a_board_without_trials_has_no_section_on_them(opened, name):
    assert opened(name).run("document.querySelectorAll('#tuning, [href=\"#tuning\"]').length") == 0


def test_a_run_of_two_tracks_is_opened_in_the_one_it_was_linked_from(opened):
    """The link to its first place is as short as ever; that to its second names the track."""
    board, *_ = tuned_study()
    places = [(run.run_id, run.track) for run in board.runs]
    twice = next(i for i, track in places if sum(i == other for other, _ in places) == 2)
    for number, (track, link) in enumerate([(0, twice), (1, f"{twice}-{board.tracks[1].id}")]):
        page = opened("tuned")
        page.run(f"location.hash = '#run-{link}'")
        page.until(f"document.getElementById('track').value === '{track}'")
        assert page.run("document.querySelector('#cell-facts code').textContent") == twice
        assert page.run("location.hash") == f"#run-{link}"
        assert ("TRIAL" in page.run("document.getElementById('cell-facts').innerText").upper()) == (
            number == 0
        )
        assert unfold(page, "Confusion matrix")
        assert unfold(page, "Learning curve: training loss")


def test_runs_on_several_splits_show_theirs_beside_the_seed(opened):
    board, results, _ = tuned_study()
    split = {run.run_id: run.spec.protocol.split_seed for run in results}
    page = opened("tuned")
    options = page.run("[...document.getElementById('cell-run').options].map((o) => o.textContent)")
    assert options == ["0, split 0", "1, split 1", "2, split 2"]
    head = head_of(page, "#runs")
    assert head.index("split") == head.index("seed") + 1
    set_value(page, "search", "split 2 lp-ft")
    rows = table_of(page, "#runs")
    assert [row[head.index("split")] for row in rows] == ["2", "2"]
    chosen = [r for r in board.runs if r.track == board.tracks[0].id and r.strategy == "lp-ft"]
    texts = {
        r.run_id[:8]: ", ".join([str(r.trial), *(f"{k} {v}" for k, v in r.settings.items())])
        for r in chosen
    }
    assert [row[head.index("trial")] for row in rows] == [texts[row[0]] for row in rows]
    assert {split[r.run_id] for r in chosen if r.run_id[:8] in {row[0] for row in rows}} == {2}
    assert "seeds 0-2, each on a split of its own" in page.run(
        "document.querySelector('#ranking caption').textContent"
    )


def test_the_control_s_curve_is_that_of_the_same_split_and_bars_span_all(opened):
    board, results, _ = tuned_study()
    page = opened("tuned")
    labels = [row.label for row in board.tracks[0].rows]
    set_value(page, "cell-row", str(labels.index("lp-ft")))
    values = page.run("[...document.getElementById('cell-run').options].map((o) => o.value)")
    set_value(page, "cell-run", values[2])
    shown = run_named(page, results)
    assert shown.spec.protocol.split_seed == 2
    by_id = {run.run_id: run for run in results}
    control = next(
        by_id[run.run_id]
        for run in board.runs
        if (run.strategy, run.split, run.dataset) == ("full-ft", 2, shown.spec.dataset)
    )
    curve = unfold(page, "Learning curve: training loss")
    own = [row for row in curve if row[0] == f"full-ft, seed 2, split 2 ({control.run_id[:8]})"]
    assert [float(row[3]) for row in own] == pytest.approx(
        [epoch.train_loss for epoch in control.history], abs=6e-4
    )
    means = [
        np.mean([run.metrics["balanced-accuracy"].value for run in board.runs
                 if (run.track, run.row, run.split) == (board.tracks[0].id, "lp-ft", split)])
        for split in range(3)
    ]  # fmt: skip
    (row,) = [row for row in unfold(page, "Quality against time") if row[0] == "lp-ft"]
    assert row[3] == f"{figures.metric(min(means))} to {figures.metric(max(means))}"


def test_seeds_on_several_splits_each_are_told_apart_by_both(opened):
    board, results, _ = tuned_study(draws=CROSSED)
    page = opened("crossed")
    assert "seeds 0, 1, each on 2 splits" in page.run(
        "document.querySelector('#ranking caption').textContent"
    )
    labels = [row.label for row in board.tracks[0].rows]
    set_value(page, "cell-row", str(labels.index("lp-ft")))
    values = page.run("[...document.getElementById('cell-run').options].map((o) => o.value)")
    assert len(values) == 4
    for value, (split, seed) in ((values[1], (1, 0)), (values[2], (0, 1))):
        set_value(page, "cell-run", value)
        shown = run_named(page, results)
        assert (shown.spec.protocol.split_seed, shown.spec.seed) == (split, seed)
        control = next(
            run
            for run in board.runs
            if (run.strategy, run.dataset, run.split, run.seed)
            == ("full-ft", shown.spec.dataset, split, seed)
        )
        curve = unfold(page, "Learning curve: training loss")
        assert {row[0] for row in curve if row[0].startswith("full-ft")} == {
            f"full-ft, seed {seed}, split {split} ({control.run_id[:8]})"
        }
    own = [run for run in board.runs if (run.track, run.row) == (board.tracks[0].id, "lp-ft")]
    means = [
        np.mean([r.metrics["balanced-accuracy"].value for r in own if (r.split, r.seed) == draw])
        for draw in CROSSED
    ]
    (row,) = [row for row in unfold(page, "Quality against time") if row[0] == "lp-ft"]
    assert row[3] == f"{figures.metric(min(means))} to {figures.metric(max(means))}"
    set_value(page, "modality", "mri")
    assert column(page, "runs") == ["4"] * 3


def run_named(page, results):
    shown = page.run("document.querySelector('#cell-facts code').textContent")
    return next(run for run in results if run.run_id == shown)


def test_curves_over_label_budgets_hold_the_means_of_their_blocks(opened):
    board, results = labelled_study()
    page = opened("labels")
    draw_all(page)
    rows = unfold(page, "Figure against label budget")
    assert [row[:2] for row in rows] == [
        [f"{dataset} / {BACKBONES[0]}", budget]
        for dataset in ("demo-mri", "demo-xray")
        for budget in ("5%", "25%", "all labels")
    ]
    labels = [row.label for row in board.tracks[0].rows]
    for cell, budget, *shown in rows:
        for name, text in zip(labels, shown, strict=True):
            own = [
                run.metrics["balanced-accuracy"].value
                for run in results
                if f"{run.spec.dataset} / {run.spec.backbone}" == cell
                and (run.spec.labels or "all labels", run.spec.strategy) == (budget, name)
            ]
            assert len(own) == 2
            assert text == figures.metric(np.mean(own))
    lines = "document.querySelectorAll('#labels .plot svg .mark-line.role-mark path').length"
    assert page.run(lines) == 4  # two strategies in each of two panels


def test_one_label_budget_can_be_looked_at(opened):
    _, results = labelled_study()
    page = opened("labels")
    set_value(page, "budget", "5%")
    assert "Mean over 2 blocks (2 datasets, 1 backbone, 1 label budget)" in page.run(
        "document.querySelector('#ranking caption').textContent"
    )
    for name, text in zip(column(page, "strategy"), column(page, "balanced accuracy"), strict=True):
        own = [
            run.metrics["balanced-accuracy"].value
            for run in results
            if (run.spec.labels, run.spec.strategy) == ("5%", name)
        ]
        assert text == figures.metric(np.mean(own))
    assert len(unfold(page, "Figure against label budget")) == 6  # the curve keeps all
    assert len(unfold(page, "Difference to the control")) == 2
    press(page, "#reset")
    assert len(unfold(page, "Difference to the control")) == 6


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_heat_map_has_room_for_blocks_named_after_their_budget(opened, size):
    """One row of cells: long names below it once took all the height there was."""
    page = opened("labels", **size)
    draw_all(page)
    boxes = page.run(
        "[...document.querySelectorAll('#differences svg .mark-rect.role-mark path')]"
        ".map((one) => one.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) == 6
    assert min(box["height"] for box in boxes) > 20
    text = page.run("document.querySelector('#differences svg').textContent")
    assert text.count("(25% labels)") == 2
    assert "…" not in text


@pytest.mark.parametrize(("name", "section"), [("tuned", "tuning"), ("labels", "labels")])
def test_plots_of_the_new_sections_are_named_and_unfold_by_key(opened, name, section):
    page = opened(name)
    plot = f"document.querySelector('#{section} .plot')"
    title, caption = (
        page.run(f"document.querySelector('#{section} {tag}').textContent")
        for tag in ("h3", "figcaption")
    )
    assert page.run(f"{plot}.role") == "img"
    assert page.run(f"{plot}.ariaLabel") == f"{title}. {caption}"
    page.run(f"document.querySelector('#{section} summary').focus()")
    page.key("Enter", 13, "\r")
    page.until(f"document.querySelector('#{section} details table')")


# -- for everybody ----------------------------------------------------------------------------


def test_the_theme_can_be_chosen(opened):
    page = opened()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    press(page, "#theme")  # from the system's to light
    assert page.run(ground) == light
    press(page, "#theme")
    page.until(f"{ground} !== {json.dumps(light)}")
    assert page.run("document.getElementById('theme').textContent") == "Theme: dark"
    page.scheme("dark")
    press(page, "#theme")
    assert page.run("document.documentElement.dataset.theme ?? 'auto'") == "auto"
    assert page.run(ground) != light


def test_plots_take_the_colours_of_the_theme(opened):
    page = opened()
    draw_all(page)
    page.run("document.getElementById('significance').scrollIntoView({ behavior: 'instant' })")
    colour = "document.querySelector('#significance svg text').getAttribute('fill')"
    light = page.run(colour)
    page.scheme("dark")
    page.until(f"{colour} !== {json.dumps(light)}")


def test_the_first_key_skips_to_the_table(opened):
    page = opened()
    page.key("Tab", 9)
    assert page.run("document.activeElement.className") == "skip"
    page.until("document.activeElement.getBoundingClientRect().top >= 0")
    page.key("Enter", 13, "\r")
    page.until("document.activeElement.id === 'ranking'")


def test_every_plot_has_a_title_a_caption_and_a_table(opened):
    page = opened()
    draw_all(page)
    found = page.run(
        "[...document.querySelectorAll('figure')].map((one) => ({"
        " title: one.querySelector('h3').textContent,"
        " caption: one.querySelector('figcaption').textContent,"
        " label: one.querySelector('.plot').ariaLabel, role: one.querySelector('.plot').role }))"
    )
    assert len(found) == 13
    for one in found:
        assert one["role"] == "img"
        assert one["label"] == f"{one['title']}. {one['caption']}"
        assert len(one["caption"]) > 30
        rows = unfold(page, one["title"])
        assert rows, one["title"]
    loose = page.run(
        "[...document.querySelectorAll('table')].filter((table) => !table.caption?.textContent"
        " || [...table.querySelectorAll('th')].some((cell) => !cell.scope)"
        " || [...table.tBodies[0].rows].some((row) => !row.matches('.more') && !row.querySelector('th')))"
        ".map((table) => table.outerHTML.slice(0, 200))"
    )
    assert loose == []


def test_every_control_has_a_name_and_every_id_is_its_own(opened):
    page = opened()
    nameless = page.run(
        "[...document.querySelectorAll('button, select, input')].filter((one) =>"
        " !one.ariaLabel && !one.textContent.trim() && !one.labels?.length).length"
    )
    assert nameless == 0
    assert page.run(
        "[...document.querySelectorAll('[id]')].map((one) => one.id)"
        ".filter((id, n, all) => all.indexOf(id) !== n)"
    ) == []  # fmt: skip
    levels = page.run("[...document.querySelectorAll('h1, h2, h3')].map((one) => +one.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


# What is cut on a narrow page: anything beyond its edge, clipped text, labels ended by an ellipsis; a
# table that says that it scrolls is not, nor a choice whose whole text stands elsewhere on the page.
CUT = """(() => {
  const found = [];
  const wide = document.documentElement.clientWidth;
  const told = document.body.innerText;
  const says = (region) => region.querySelector(':scope > .hint')?.offsetHeight > 0;
  const pen = document.createElement('canvas').getContext('2d');
  for (const one of document.querySelectorAll('body *')) {
    const [box, style] = [one.getBoundingClientRect(), getComputedStyle(one)];
    if (!box.width || style.visibility === 'hidden' || one.closest('.unseen, .skip, noscript')) continue;
    const region = one.closest('.scroll');
    const name = `${one.tagName} ${one.id} ${one.textContent.slice(0, 40)}`;
    const inside = region && region !== one && says(region);
    if (!inside && (box.right > wide + 1 || box.left < -1)) found.push(`beyond the edge: ${name}`);
    if (one.scrollWidth > one.clientWidth + 1 && style.overflowX !== 'visible' && one.clientWidth
      && one.tagName !== 'SELECT' && !(one === region && says(one))) found.push(`clipped: ${name}`);
    if (one.tagName === 'text' && one.textContent.includes('\u2026')) found.push(`ellipsis: ${name}`);
    if (one.tagName === 'text' && one.textContent) {
      const plot = one.closest('svg').getBoundingClientRect();
      if (box.right > plot.right + 1 || box.left < plot.left - 1) found.push(`beyond its plot: ${name}`);
    }
    if (one.tagName === 'SELECT' && one.selectedOptions.length) {
      pen.font = style.font;
      const text = one.selectedOptions[0].textContent;
      const fits = pen.measureText(text).width < one.clientWidth - 40;
      if (!fits && !told.replace(one.innerText, '').includes(text)) found.push(`cut choice: ${text}`);
    }
  }
  return found;
})()"""


@pytest.mark.parametrize("name", ["whole", "fair/leaderboard", "labels", "starts"])
def test_nothing_is_cut_on_a_phone(opened, fair, name):
    page = opened(name, **PHONE)
    draw_all(page)
    assert every_plot_could_be_drawn(page)
    assert page.run("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.run(CUT) == []
    assert page.run("document.querySelectorAll('#ranking .scroll:not(.beyond)').length") == 1
    press(page, "#ranking button.row")
    unfolded = page.run("document.querySelector('#ranking tr.more').innerText")
    for told in ("Won, tied, lost", "Seconds a run", "Parameters that learn"):
        assert told in unfolded  # columns that are not there
    assert page.run(CUT) == []


def test_a_narrow_table_keeps_interval_and_verdict_under_the_difference(opened):
    wide = dict(zip(*[column(opened(), t) for t in ("strategy", "on these datasets")], strict=True))
    page = opened(**PHONE)
    assert head_of(page)[:4] == [
        "strategy",
        "mean rank",
        "balanced accuracy",
        "vs full-ft (points)",
    ]
    for row in table_of(page):
        told = " ".join(row[3].split())
        assert told.endswith(wide[row[0]]), row


@pytest.mark.parametrize(
    ("name", "given", "contrast"),
    [
        ("fair/leaderboard", DESKTOP, False),  # two thirds of the time on a page of many cells
        ("labels", PHONE, True),
        ("failed", DESKTOP | {"dark": True}, True),
    ],
)
def test_axe_finds_nothing(opened, fair, name, given, contrast):
    """axe-core's rules, with everything drawn and the first tables and lists unfolded."""
    page = opened(name, **given)
    draw_all(page)
    page.run(
        "document.querySelectorAll('#datasets, #significance details').forEach((one) => { one.open = true; });"
        " document.querySelector('#ranking button.row')?.click()"
    )
    page.run(f"{files('axe_playwright_python').joinpath('axe.min.js').read_text('utf-8')}; 0")
    found = page.run(
        "axe.run({ resultTypes: ['violations'], rules: { 'color-contrast': { enabled: "
        f"{json.dumps(contrast)} }} }} }})"
        ".then(({ violations, passes }) => ({ passes: passes.length, found: violations.map("
        "(one) => [one.id, one.impact, one.nodes.map((node) => node.html.slice(0, 200))]) }))"
    )
    assert found["found"] == []
    assert found["passes"] > 10


def test_hostile_names_stay_text(opened):
    page = opened("hostile")
    draw_all(page)
    assert page.run("document.scripts.length") == 3
    assert page.run("document.querySelectorAll('main script, main iframe, main img').length") == 0
    name = page.run("document.querySelector('#ranking button.row').textContent")
    assert name.startswith("</script><script>alert(1)</script>")
    assert HOSTILE[:20] in page.run("document.title")


def test_numbers_are_rounded_as_everywhere(opened, tmp_path):
    """Halves go to the even digit in Python, and up in a browser left to itself."""
    given = [(0.8125, 3), (0.0005, 3), (0.0015, 3), (2.5, 0), (3.5, 0), (0.25, 1), (-0.25, 1), (-0.0001, 3), (0.7124999999, 3), (1234.5, 0)]  # fmt: skip
    (tmp_path / "blank.html").write_text("<!doctype html><title>x</title>")
    shown = opened(tmp_path / "blank").run(
        f"(() => {{ {html_page._file('format.js')}"
        f" return {json.dumps(given)}.map(([value, places]) => fixed(value, places)); }})()"
    )
    texts = [f"{value:.{places}f}" for value, places in given]
    assert shown == [text if float(text) else text.lstrip("-") for text in texts]


def test_ties_of_one_point_are_no_wins(opened, tmp_path):
    """Ten and eleven hits of a thousand less: within a point, and beyond."""
    runs = [
        made_result(strategy=name, value=value)
        for name, value in (("full-ft", 0.8), ("lp-ft", 0.79), ("l2-sp", 0.789))
    ]
    board = build_leaderboard(runs)
    place = tmp_path / "ties.html"
    place.write_text(formats.render(board, "html"), encoding="utf-8")
    page = opened(place.with_suffix(""))
    own = dict(zip(column(page, "strategy"), column(page, "won/tied/lost"), strict=True))
    set_value(page, "modality", "xray")
    assert dict(zip(column(page, "strategy"), column(page, "won/tied/lost"), strict=True)) == own
    assert own == {"full-ft": "-", "lp-ft": "0/1/0", "l2-sp": "0/0/1"}

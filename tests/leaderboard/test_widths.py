"""Output for people fits the terminal: at no width is a line too long or a table torn."""

import re

import pytest
from made import made_failure, made_plan, made_product
from places import ROOT, TOY
from small_folder import small_folder

from harness.leaderboard import boards, statistics
from harness.leaderboard.build import build_leaderboard
from harness.leaderboard.conclusion import conclude
from harness.leaderboard.render import summary, terminal
from harness.plugins.registry import load_plugins
from harness.results.merge import MergedStore
from harness.results.store import Store
from harness.utils import tables

WIDTHS = (60, 80, 120, 200)
DEMO = ROOT / "benchmarks" / "results" / "demo"
REST = "Page: results/demo/leaderboard.html; everything here: harness board results/demo --full"
NAMES = (
    "full-ft",
    "gradual-unfreezing-of-every-second-block-last-first",
    "a strategy whose label has a great many words in it, none of them long",
    "w" * 70,
)


@pytest.fixture(scope="module")
def demo():
    store, loaded = MergedStore([Store(DEMO)]), load_plugins(environ={})
    ranked = boards.rank_folder(store, loaded)
    board = statistics.add_statistics(ranked, store)
    return board.model_copy(update={"conclusion": conclude(board)})


@pytest.fixture(scope="module")
def named():
    """Rows, datasets and networks of long names, and an error whose message is long."""
    data = ("demo-xray", "the-dataset-of-a-hospital-whose-name-is-not-short")
    runs = made_product(
        data, ("resnet50-mini", "wide-residual-network-of-50-layers"), NAMES, (0, 1)
    )
    failed = [made_failure(strategy=NAMES[1], seed=7, message="out of memory " * 20)]
    board = build_leaderboard(runs, made_plan([*runs, *failed]), failed)
    one = {
        "value": 0.031,
        "low": -0.112,
        "high": 0.174,
        "verdict": "undecided",
        "seeds": 2,
        "p": 0.5,
    }
    averages = {row: {"these": one | {"basis": "images and seeds"}} for row in NAMES[1:]}
    track = board.tracks[0]
    given = board.statistics or {}
    given = {track.id: {**given.get(track.id, {}), "averages": averages, "ranks": {}}}
    return board.model_copy(
        update={"statistics": given, "conclusion": ("Nothing can be decided here yet.",) * 9}
    )


def check(text, width):
    """No line but a command to copy is wider than `width`; below the ruler of a table every line keeps its columns."""
    lines = [line for line in text.splitlines() if not line.startswith("  harness ")]
    assert max(map(len, lines)) <= width, max(lines, key=len)
    found = 0
    for i, ruler in enumerate(lines):
        if not re.fullmatch(r"-+(  +-+)+", ruler):
            continue
        gaps = [place for match in re.finditer(" +", ruler) for place in range(*match.span())]
        rows = lines[i + 1 :]
        rows = rows[: next((at for at, row in enumerate(rows) if not row.strip()), len(rows))]
        found += len(rows)
        for row in rows:
            assert all(row[place : place + 1] in {"", " "} for place in gaps), f"{ruler}\n{row}"
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["demo", "named"])
def test_a_board_fits(width, which, request):
    board = request.getfixturevalue(which)
    screen = summary.render(board, REST, width, "8 runs made")
    assert check(screen, width) >= (8 if which == "demo" else 1)
    assert len(screen.splitlines()) <= 20
    left_out = 2 if which == "named" and width <= 80 else 0  # no more than do not fit
    assert " ".join(screen.split()).count(f"; {left_out} rows more") == bool(left_out)
    assert check(terminal.render(board, width), width) > 15


def test_the_last_screen_of_the_demonstration_has_all_that_is_promised(demo):
    screen = summary.render(demo, REST, 80, "120 runs made")
    assert len(screen.splitlines()) <= 24 - 2  # beside the call and the next prompt
    text = " ".join(screen.split())
    assert text.startswith(demo.conclusion[0])
    rows = re.findall(r"^ +\d+  (\S+) ", screen, re.MULTILINE)
    assert rows == [row.label for row in demo.tracks[0].rows]
    assert text.endswith(REST)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["list", "plugins", "plan", "compare", "why"])
def test_what_commands_print_fits(width, command, tmp_path, monkeypatch, harness_cli):
    monkeypatch.chdir(tmp_path)
    if command in {"compare", "why"}:
        small_folder(tmp_path / "r")
        run = min(path.stem for path in (tmp_path / "r" / "runs").rglob("*.json"))
    call = {
        "list": ["list"],
        "plugins": ["plugins"],
        "plan": ["-p", TOY, "bench", "toy", "--out", "r", "--dry-run"],
        "compare": ["compare", "r", "r"],
        "why": ["why", run, "--results", "r"] if command == "why" else [],
    }[command]
    text = harness_cli(*call, COLUMNS=str(width), exit_code=None).stdout
    assert text
    rows = check(text, width)
    assert rows > 1 or command in {"plan", "why"}


def test_a_table_that_goes_elsewhere_is_as_wide_as_it_is(harness_cli, monkeypatch):
    """Other programs read it: a row is a line, unless a cell has several."""
    monkeypatch.delenv("COLUMNS", raising=False)
    text = harness_cli("list", "datasets").stdout
    assert max(map(len, text.splitlines())) > 80
    assert "\n\n" not in text


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 10, "short"),
        ("  one two three", 11, "  one two\n    three"),
        ("a\n\nb c", 3, "a\n\nb c"),
        ("/a/path/that/is/long", 8, "/a/path/that/is/long"),
        ("by\n  harness bench a b c", 8, "by\n  harness bench a b c"),
    ],
)
def test_longer_lines_of_a_text_are_wrapped(text, width, shown):
    assert tables.filled(text, width) == shown


def test_a_word_is_broken_only_where_no_piece_could_hold_it():
    rows = [["first", "x" * 30, "y" * 55]]
    text = tables.fitted(["name", "one", "two"], rows, 60)
    assert "x" * 30 in text
    assert "y" * 55 not in text
    assert text.count("first") == 2
    assert max(map(len, text.splitlines())) <= 60

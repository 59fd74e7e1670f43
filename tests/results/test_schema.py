"""Files of other ages."""

import json
from typing import Literal

import pytest
from made_board import small_board

from harness import StoreError
from harness.api.leaderboard import Leaderboard
from harness.api.records import Plan, Record, RunResult, compact
from harness.results import schema


class Third(Record):
    """A record that has changed twice."""

    schema_version: Literal[3] = 3
    name: str
    values: tuple[int, ...]


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    """1 called it `title`; 2 had one `value`."""
    made = {
        1: lambda raw: {"name": raw["title"], "value": raw["value"]},
        2: lambda raw: {"name": raw["name"], "values": [raw["value"]]},
    }
    monkeypatch.setitem(schema.MIGRATIONS, Third, made)


@pytest.fixture
def write(tmp_path):
    def made(value):
        path = tmp_path / "third.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    return made


@pytest.mark.parametrize(
    "raw",
    [
        {"schema_version": 1, "title": "a", "value": 7},
        {"schema_version": 2, "name": "a", "value": 7},
        {"schema_version": 3, "name": "a", "values": [7]},
    ],
)
def test_every_age_gives_the_same_record(write, raw):
    assert schema.load(write(raw), Third) == Third(name="a", values=(7,))


def test_a_newer_file(write):
    path = write({"schema_version": 4, "name": "a", "values": [7], "more": 1})
    with pytest.raises(StoreError) as error:
        schema.load(path, Third)
    assert str(error.value) == (
        f"{path} was written by a newer harness (schema 4, this one reads up to 3): "
        "upgrade with pip install --upgrade finetune-harness"
    )


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('{"schema_version": 3, "na', "Unterminated string"),
        ("", "Expecting value"),
        ([1, 2], "it has no schema_version"),
        ({"name": "a"}, "it has no schema_version"),
        ({"schema_version": "3", "name": "a"}, "it has no schema_version"),
        ({"schema_version": 3, "name": "a", "values": ["b"]}, r"values\.0: Input should be"),
        ({"schema_version": 3, "name": "a", "values": [], "odd": 1}, "odd: Extra inputs"),
        ({"schema_version": 0, "name": "a"}, "there never was a schema 0"),
        ({"schema_version": 2, "name": "a", "value": "b"}, r"values\.0: Input should be"),
    ],
)
def test_a_damaged_file_is_named_with_the_reason(write, raw, why):
    path = write(raw)
    with pytest.raises(StoreError, match=why) as error:
        schema.load(path, Third)
    assert str(error.value).startswith(f"{path} is damaged (")
    assert str(error.value).endswith("): delete it and run the same command again")


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match=r"a\.json is damaged"):
        schema.load(tmp_path / "a.json", Third)


@pytest.mark.parametrize("record", [RunResult, Plan])
def test_every_step_up_to_today_is_there(record):
    assert sorted(schema.MIGRATIONS.get(record, {})) == list(range(1, schema.current(record)))


def test_a_board_of_schema_1_loads_without_its_old_statistics(tmp_path):
    """As 0.1 wrote them: other tests, other claims, everything else as it is."""
    board = small_board()
    plain = json.loads(compact(board))
    old = {"iqm": {"full-ft": {"value": 0.7, "low": 0.6, "high": 0.8}}, "level": 0.95}
    later = {"average", "average_low", "average_high", "average_of", "basis"}
    claims = [{k: v for k, v in one.items() if k not in later} for one in plain["claims"]]
    written = {**plain, "schema_version": 1, "statistics": {"0123": old}, "claims": claims}
    path = tmp_path / "leaderboard.json"
    path.write_text(json.dumps(written))
    found = schema.load(path, Leaderboard)
    assert (found.schema_version, found.statistics) == (2, None)
    assert (found.tracks, found.runs) == (board.tracks, board.runs)
    assert [one.text for one in found.claims] == [one.text for one in board.claims]

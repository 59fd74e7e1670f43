"""Files of other ages."""

import json
from typing import Literal

import pytest

from harness import StoreError
from harness.api.records import Plan, Record, RunResult
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

"""docs/results.md says what the files hold."""

import re
import sys

import pytest
from places import DOCS


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(DOCS))
    try:
        import result_tables
    finally:
        sys.path.remove(str(DOCS))
    return result_tables


def test_the_tables_are_those_of_the_records(tables):
    page = tables.PAGE.read_text(encoding="utf-8")

    assert page == tables.current(page), "run `python docs/generate.py`"


def test_every_record_that_stands_in_a_file_has_its_table(tables):
    shown = set(re.findall(r"<!-- fields of (\w+) -->", tables.PAGE.read_text(encoding="utf-8")))

    assert shown == tables.needed()


def test_a_new_field_would_be_missed(tables):
    page = tables.PAGE.read_text(encoding="utf-8")
    without = "\n".join(line for line in page.splitlines() if "| `split_sha256` |" not in line)

    assert without != page
    assert tables.current(without + "\n") == page

"""The runner of mutants, on a package of one function."""

import json
import re
import runpy

import pytest
from command import python
from mutants import Mutant, MutantError
from places import DOCS, ROOT, TESTS

SOUND = "def area(width, height):\n    return width * height\n"
CHECKS = """\
import pytest
from shapes import area

def test_by_hand():
    assert area(2, 3) == 6

def test_a_square():
    assert area(2, 2) == 4

@pytest.mark.parametrize("width", [0, 1])
def test_cases(width):
    assert area(width, 2) == 2 * width

def test_of_nothing():
    area(1, 1)
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "shapes.py").write_text(SOUND)
    (tmp_path / "plugins" / "harness_pytest.py").touch()  # pytest asks for it, wherever it runs
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_shapes.py").write_text(CHECKS)
    return tmp_path


def mutant(new, *names, old="width * height", **given):
    tests = tuple(f"tests/test_shapes.py::{name}" for name in names)
    return Mutant("shapes", "plugins/shapes.py", old, new, tests, **given)


def checked(root, *mutants):
    """(found, wrong) of a process of its own: it forks, and has nothing of this project."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(TESTS / 'support')!r})\n"
        "from pathlib import Path; from mutants import Mutant, check\n"
        f"report = check({mutants!r}, Path({str(root)!r}))\n"
        "print(json.dumps([report.found, report.wrong]))"
    )
    return json.loads(python("-c", code).stdout)


def said(root, *mutants):
    """The fault of each, in their order; empty: it is as the table says."""
    _, wrong = checked(root, *mutants)
    return [wrong.get(str(one), "") for one in mutants]


@pytest.mark.slow
def test_a_mutant_is_found_by_every_test_that_is_named_or_told(root):
    found = said(
        root,
        mutant("width + height", "test_by_hand"),
        mutant("width + height * 1", "test_a_square"),  # 2 + 2 is 4
        mutant("1 * width + height", "test_by_hand", "test_a_square"),
        mutant("2 * max(1, width)", "test_cases"),
        mutant("max(1, width) * 2", "test_cases", every=True),
        mutant("height + width", "test_of_nothing", survives="it looks at nothing"),
        mutant("height + width * 1", "test_by_hand", survives="it looks at nothing"),
        mutant("width +", "test_by_hand"),
        mutant("width - height", "test_by_hand", old="width / height"),
        mutant("width - height", "test_by_hand", old="width"),
    )
    assert found[0] == ""
    assert found[1] == found[2] == "survives tests/test_shapes.py::test_a_square"
    assert found[3] == ""
    assert found[4] == "survives tests/test_shapes.py::test_cases"
    assert found[5] == ""
    assert found[6].startswith("it is found, though said to survive")
    assert "cannot be imported" in found[7]  # a file that does not load shows nothing
    assert "is no longer in the file" in found[8]
    assert "is there 2 times" in found[9]
    assert (root / "plugins" / "shapes.py").read_text() == SOUND


@pytest.mark.slow
def test_tests_that_fail_or_are_not_there_find_nothing(root):
    _, wrong = checked(root, mutant("width - height", "test_gone"))
    (gone,) = wrong.values()
    assert "test_shapes.py::test_gone" in gone
    (root / "plugins" / "shapes.py").write_text(SOUND.replace("*", "+"))
    found, wrong = checked(root, mutant("width - height", "test_by_hand", old="width + height"))
    assert found == []
    assert wrong == {"without a mutant": "tests/test_shapes.py::test_by_hand fails"}


def test_a_file_that_is_not_there_and_a_text_that_changes_nothing_are_refused(root):
    with pytest.raises(MutantError, match=r"there is no plugins/gone.py"):
        Mutant("shapes", "plugins/gone.py", "a", "b", ()).applied_to(root)
    with pytest.raises(MutantError, match=r"the new text is the old one"):
        mutant("width * height").applied_to(root)


def test_the_table_fits_the_code():
    """Every old text stands once in its file, and every test is there: no mutant is forgotten."""
    table = runpy.run_path(str(ROOT / "tests" / "mutants" / "table.py"))["MUTANTS"]
    assert len({str(one) for one in table}) == len(table)
    for one in table:
        text = (ROOT / one.file).read_text(encoding="utf-8")
        assert text.count(one.old) == 1, one
        for test in one.tests:
            file, name = test.split("::")
            assert f"def {name.split('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8"), test
    page = (DOCS / "tests.md").read_text(encoding="utf-8")
    assert f"holds {len(table)} faults" in page
    rows = re.findall(r"^\| [^|]+ \| (\d+) \| ?(\d*) ?\|$", page, re.MULTILINE)
    assert sum(int(count) for count, _ in rows) == len(table)
    assert sum(int(left or 0) for _, left in rows) == sum(bool(one.survives) for one in table)

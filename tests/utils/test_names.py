"""Choosing by name and glob, and what is said about names that do not exist."""

import string
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.utils.names import choose, did_you_mean, first_few, unknown

NAMES = ["full-ft", "linear-probe", "lp-ft", "l1-sp", "l2-sp"]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ([], []),
        (["lp-ft"], ["lp-ft"]),
        (["lp-ft,full-ft"], ["lp-ft", "full-ft"]),
        (["lp-ft , full-ft", "l1-sp"], ["lp-ft", "full-ft", "l1-sp"]),
        (["*"], NAMES),
        (["l?-sp"], ["l1-sp", "l2-sp"]),
        (["l[12]-sp"], ["l1-sp", "l2-sp"]),
        (["l2-sp", "l*-sp"], ["l2-sp", "l1-sp"]),
        (["lp-ft,,"], ["lp-ft"]),
    ],
)
def test_choose(patterns, chosen):
    assert choose(patterns, NAMES, "strategy") == chosen


def test_an_exact_name_is_never_a_glob():
    assert choose(["a[1]"], ["a[1]", "a1"], "dataset") == ["a[1]"]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["*"], ["l1-sp", "lp-ft"]),
        (["l*"], ["l1-sp", "lp-ft"]),
        (["full*"], ["full-ft"]),  # nothing listed matches
        (["lp-ft,linear*"], ["lp-ft", "linear-probe"]),
        (["full-ft"], ["full-ft"]),  # a name may be anything
    ],
)
def test_a_glob_filters_what_is_listed_before_all_else(patterns, chosen):
    assert choose(patterns, NAMES, "strategy", ["l1-sp", "lp-ft"]) == chosen


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("ful-ft", ["unknown strategy 'ful-ft'", "did you mean 'full-ft'", "l1-sp, l2-sp"]),
        ("LP-FT", ["did you mean 'lp-ft'"]),
        ("zzz", ["unknown strategy 'zzz'; there are: full-ft"]),
        ("x*", ["no strategy matches 'x*'", "there are: full-ft"]),
        (" , ", ["no strategy was named"]),
    ],
)
def test_what_is_said_about_a_name_that_does_not_exist(pattern, parts):
    with pytest.raises(UsageError) as error:
        choose([pattern], NAMES, "strategy")
    assert all(part in str(error.value) for part in parts)
    assert error.value.exit_code == 2


def test_nothing_is_meant_where_nothing_is_near():
    assert "did you mean" not in str(unknown("zzz", NAMES, "strategy"))
    assert did_you_mean("zzz", NAMES) == ""
    assert str(unknown("zzz", [], "suite")) == "unknown suite 'zzz'; there is no suite at all"


@given(
    st.lists(st.text(string.ascii_lowercase + "-", min_size=1), unique=True, min_size=1),
    st.lists(st.sampled_from(["*", "a*", "*-*", "?"]), min_size=1),
)
def test_globs_give_each_matching_name_once(names, patterns):
    expected = {name for name in names for pattern in patterns if fnmatchcase(name, pattern)}
    used = [p for p in patterns if any(fnmatchcase(name, p) for name in names)]
    if len(used) < len(patterns):
        with pytest.raises(UsageError):
            choose(patterns, names, "name")
        return
    chosen = choose([",".join(patterns)], names, "name")
    assert sorted(chosen) == sorted(expected)


def test_many_are_named_by_the_first_few():
    assert first_few(["a", "b"]) == "a, b"
    assert first_few(list("abcdefg")) == "a, b, c, d, e and 2 more"

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from harness.leaderboard.ranking import rank_values

# Few different values, so that ties are the rule.
VALUES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


@given(VALUES)
def test_ranks_agree_with_scipy_when_higher_is_better(values):
    expected = rankdata([-v for v in values], method="average").tolist()
    assert rank_values(values, higher_is_better=True) == expected


@given(VALUES)
def test_ranks_agree_with_scipy_when_lower_is_better(values):
    assert rank_values(values, higher_is_better=False) == rankdata(values).tolist()


@given(VALUES)
def test_ranks_add_up_whatever_is_tied(values):
    n = len(values)
    found = rank_values(values, higher_is_better=True)
    assert np.sum(found) == pytest.approx(n * (n + 1) / 2)


def test_nothing_to_rank():
    assert rank_values([], higher_is_better=True) == []

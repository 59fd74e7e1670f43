"""The verdict on a change that can be judged, at its limits: a tolerance of one point, 5 % in all."""

import pytest

from harness.results.gate import check
from harness.results.gate.records import Rules
from harness.stats import Change

UNKNOWN = "one seed a side: the spread of seeds is not known"
LOSS = {"value": -0.011, "low": -0.02, "p_worse": 0.05}
GAIN = {"value": 0.011, "high": 0.02, "p_better": 0.05}


def judged(*, beyond=False, **given):
    change = {
        "value": 0.0, "low": -0.2, "high": 0.2, "p_worse": 1.0, "p_better": 1.0,
        "worse_beyond": 1.0, "better_beyond": 1.0, "level": 0.05, "churn": 0.5, "basis": "runs",
        "sight": None,
    }  # fmt: skip
    return check._compare(Change(**change | given), Rules(beyond_images=beyond), 0.01)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, ("inconclusive", "")),
        ({"basis": "same"}, ("equal", "as many samples of each group are right")),
        # So few samples differ that no change could be larger than the tolerance.
        ({"churn": 0.01}, ("equal", "")),
        ({"churn": 0.0101}, ("inconclusive", "")),
        # The interval lies within it.
        ({"low": -0.01, "high": 0.01}, ("equal", "")),
        ({"low": -0.01, "high": 0.01, "basis": "images"}, ("equal", UNKNOWN)),
        ({"low": -0.0101, "high": 0.01}, ("inconclusive", "")),
        ({"low": -0.01, "high": 0.0101}, ("inconclusive", "")),
        (LOSS, ("worse", "")),
        (LOSS | {"p_worse": 0.0501}, ("inconclusive", "")),
        (LOSS | {"value": -0.01}, ("inconclusive", "")),
        (LOSS | {"basis": "stated"}, ("worse", "")),
        (LOSS | {"basis": "images"}, ("inconclusive", UNKNOWN)),
        (
            LOSS | {"basis": "lent"},
            ("suspect", f"{UNKNOWN}; if it is that of the other cells, this one is worse"),
        ),
        (GAIN, ("better", "")),
        (GAIN | {"p_better": 0.0501}, ("inconclusive", "")),
        (GAIN | {"value": 0.01}, ("inconclusive", "")),
        (GAIN | {"basis": "stated"}, ("better", "")),
        (GAIN | {"basis": "lent"}, ("inconclusive", UNKNOWN)),
        (LOSS | {"beyond": True}, ("inconclusive", "")),
        (LOSS | {"beyond": True, "p_worse": 1.0, "worse_beyond": 0.05}, ("worse", "")),
        (LOSS | {"p_worse": 1.0, "worse_beyond": 0.05}, ("inconclusive", "")),
        (GAIN | {"beyond": True}, ("inconclusive", "")),
        (GAIN | {"beyond": True, "p_better": 1.0, "better_beyond": 0.05}, ("better", "")),
        (GAIN | {"p_better": 1.0, "better_beyond": 0.05}, ("inconclusive", "")),
    ],
)
def test_the_verdict_at_its_limits(given, verdict):
    assert judged(**given) == verdict

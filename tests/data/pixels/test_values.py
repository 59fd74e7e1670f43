"""Ranges of values: the scale they are on, and that nothing is ever clipped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.pixels.values import find_range, scale


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, True, (0, 255)),
        (3, 255, True, (0, 255)),
        (0, 256, True, (0, 1023)),
        (0, 4095, True, (0, 4095)),
        (0, 4096, True, (0, 16383)),
        (9, 40000, True, (0, 65535)),
        (0, 70000, True, (0, 70000)),
        (-1, 5, True, (-1, 5)),
        (0.2, 0.9, False, (0, 1)),
        (-0.01, 1.1, False, (-0.01, 1.1)),  # overshoot: wider, for all images of a set
        (-0.5, 0.5, False, (-0.5, 0.5)),
        (0, 3.5, False, (0, 3.5)),
        (0, 200, False, (0, 255)),
        (-10, 260, False, (-10, 260)),
        (-1024, 3000, False, (-1024, 3000)),
        (0, 4000, False, (0, 4095)),
        (0, 90000, False, (0, 90000)),
    ],
)
def test_the_scale_of_values(low, high, whole, expected):
    assert find_range(low, high, whole=whole) == expected


finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, min_size=2, max_size=9), st.booleans())
def test_order_is_kept_and_nothing_is_clipped(values, whole):
    array = np.sort(np.array(values, np.int64 if whole else np.float64))
    span = find_range(float(array[0]), float(array[-1]), whole=whole)
    assert span[0] <= array[0]
    assert array[-1] <= span[1]
    found = scale(array, span)
    assert (np.diff(found.astype(int)) >= 0).all()
    exact = (array - span[0]) / max(span[1] - span[0], 1e-300) * 255
    assert np.abs(found - exact).max() <= 0.5 + 1e-9


def test_values_beyond_the_range_are_an_error():
    with pytest.raises(ValueError, match="beyond 0 to 1"):
        scale(np.array([0.0, 1.1]), (0.0, 1.0))

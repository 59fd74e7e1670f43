"""Cases of parametrized tests."""

import pytest


def nightly(*values):
    """A case that shows on one more set or network what others show: not part of every run."""
    return pytest.param(*values, marks=pytest.mark.nightly)

"""For pytest: `@pytest.mark.harness("my-strategy")` gives a test its promises, one after another.

Every pytest of an environment imports this module, whatever it tests: so it imports nothing else
before a test bears the mark.
"""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers",
        "harness(*names, light=False): a test for each promise of plugins of the harness, or of "
        "what they offer; the test takes `promise` and calls `promise.check()`",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that bears the mark and takes `promise` becomes one a promise."""
    mark = metafunc.definition.get_closest_marker("harness")
    if mark is None or "promise" not in metafunc.fixturenames:
        return
    from harness.testing import promises

    found = [one for name in mark.args for one in promises(name, **mark.kwargs)]
    metafunc.parametrize("promise", found, ids=str)

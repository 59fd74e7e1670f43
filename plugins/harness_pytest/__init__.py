"""For pytest: `@pytest.mark.harness("my-strategy")` gives a test its promises, one after another.

Every pytest of an environment imports this module, whatever it tests: so it imports nothing else
before a test bears the mark.
"""

from typing import Any

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
    once = {(one.owner, one.name): one for one in found}  # two names may be of one plugin
    metafunc.parametrize("promise", once.values(), ids=str)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """A promise that cannot be checked because another one is broken is skipped beside that one.

    The other one fails, by its own rule.  Where it is not among the tests of this session, nobody
    would be told: then this one fails.
    """
    try:
        return (yield)
    except Exception as error:
        see, promise = getattr(error, "see", ""), _promise(pyfuncitem)
        if see and promise:
            others = map(_promise, pyfuncitem.session.items)
            if any(one and (one.owner, one.name) == (promise.owner, see) for one in others):
                pytest.skip(f"{promise.owner.where}: until the promise {see!r} is kept")
        raise


def _promise(item: pytest.Item) -> Any:  # noqa: ANN401 - a promise, whose class is not imported here
    """The promise that a test is of; None: of none."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    return params.get("promise")

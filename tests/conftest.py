import os

import pytest
import torch
from command import Cli
from hypothesis import settings
from places import TOY

# Importing readline, as pytest does, sets them where there is no terminal: text would be wrapped.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

settings.register_profile(
    "harness",
    deadline=None,  # a busy machine is no failure
    derandomize="CI" in os.environ,  # a change is not refused for what another one left behind
)
settings.load_profile("harness")
torch.set_num_threads(1)  # toy tensors: threads only fight over the cores


@pytest.fixture(autouse=True)
def _same_threads():
    """A test that changes the thread count must not slow or move the others."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """No test reads or fills the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.delenv("HARNESS_TOY", raising=False)
        yield


@pytest.fixture
def harness_cli():
    return Cli()


@pytest.fixture
def toy_cli():
    """The command line with the toy plugin."""
    return Cli((TOY,))

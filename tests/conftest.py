import pytest
import torch
from hypothesis import settings

settings.register_profile("harness", deadline=None)  # a busy machine is no failure
settings.load_profile("harness")
torch.set_num_threads(1)  # toy tensors: threads only fight over the cores


@pytest.fixture(autouse=True)
def _same_threads():
    """A test that changes the thread count must not slow or move the others."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the cache of whoever runs the tests."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("HARNESS_TOY", raising=False)

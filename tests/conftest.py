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

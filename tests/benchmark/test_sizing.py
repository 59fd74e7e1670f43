"""The device of a call."""

import ctypes

import pytest
from command import python

from harness.benchmark import sizing
from harness.errors import UsageError


def test_without_a_driver_the_device_is_known_without_torch():
    code = (
        "import ctypes, pathlib, sys\n"
        "def missing(name): raise OSError(name)\n"
        "ctypes.CDLL, pathlib.Path.exists = missing, lambda _: False\n"
        "from harness.benchmark.sizing import choose_device\n"
        "print(choose_device('auto'), 'torch' in sys.modules)"
    )
    assert python("-c", code).stdout.split() == ["cpu", "False"]


@pytest.mark.parametrize(
    ("driver", "amd", "cards", "device"),
    [(True, False, 1, "cuda:0"), (True, False, 0, "cpu"), (False, True, 2, "cuda:0")],
)
def test_torch_is_asked_where_a_driver_is(driver, amd, cards, device, monkeypatch):
    import torch

    def load(name):
        assert name in {"libcuda.so.1", "nvcuda.dll"}
        if not driver:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(sizing.Path, "exists", lambda path: amd and str(path) == "/dev/kfd")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    assert sizing.choose_device("auto") == device


def test_a_card_that_was_asked_for_and_is_not_there_is_an_error(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cuda:1: this machine has 0 CUDA devices"):
        sizing.choose_device("cuda:1")

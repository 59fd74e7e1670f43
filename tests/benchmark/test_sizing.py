"""The device of a call, and the memory that its runs are planned to take."""

import ctypes
from functools import partial
from types import SimpleNamespace

import pytest
from command import python
from toys import toy_run

from harness import Phase, Strategy, engine
from harness.api.strategy import settings_of
from harness.benchmark import sizing
from harness.data.preparation.info import DatasetInfo
from harness.errors import UsageError
from harness.plugins.registry import load_plugins
from harness_delta import Delta
from harness_full_ft import FullFineTuning
from harness_lora import Lora
from harness_wise_ft import WiseFt


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


def memory_of(loaded, *strategies):
    """Bytes of the cell in which these are compared."""
    made = [
        toy_run(one, resize=32, crop=32)[0].model_copy(
            update={"backbone": "resnet50-mini", "settings": settings_of(one)}
        )
        for one in strategies
    ]
    info = DatasetInfo(
        ("a", "b"), {"train": 48, "validation": 24, "test": 24}, "f" * 64, decoded=True
    )
    return sizing.host_memory(made, {"toy": info}, loaded, 1)["toy", "resnet50-mini"]


def test_a_cell_is_planned_for_the_strategy_that_adds_most(monkeypatch):
    asked = []
    need = engine.memory_need

    def counted(*given):
        asked.extend(one for one in given if isinstance(one, Strategy))
        return need(*given)

    monkeypatch.setattr(engine, "memory_need", counted)
    of = partial(memory_of, load_plugins())
    plain, small, large = FullFineTuning(), Lora(rank=1), Lora(rank=4)
    more = of(large)
    assert of(plain) < of(small) < more
    assert of(plain, large, small) == more
    asked.clear()
    of(plain, FullFineTuning(rate=3.0), small, Lora(rank=1, rate=3.0))
    assert [one.name for one in asked] == ["full-ft", "lora"]  # a rate adds nothing


class Averaging(Strategy):
    """Averages over its steps, after a phase that is kept."""

    name = "averaging"

    def phases(self, model, epochs):
        yield Phase("kept", epochs / 2, {"*": 1.0}, keep=True)
        yield Phase("averaged", epochs / 2, {"*": 1.0}, average="ema")


class Silent(Strategy):
    """Has no phases for a network that it does not know."""

    name = "silent"

    def phases(self, model, epochs):
        raise KeyError("layer4.conv1.weight")


def test_copies_of_the_weights_that_phases_hold_are_planned():
    """delta: the frozen start.  wise-ft: both ends.  An average: it, the network's own, what is kept."""
    loaded = load_plugins()
    loaded = SimpleNamespace(
        strategies={**loaded.strategies, "averaging": Averaging}, backbones=loaded.backbones
    )
    model = loaded.backbones["resnet50-mini"].build(2)
    weights = 4 * sum(p.numel() for p in model.parameters())
    plain = memory_of(loaded, FullFineTuning())
    more = [memory_of(loaded, one) - plain for one in (Delta(), WiseFt(), Averaging())]
    assert more == [weights, 2 * weights, 3 * weights]
    assert memory_of(loaded, Averaging(), FullFineTuning()) - plain == 3 * weights


def test_memory_is_not_known_of_a_strategy_that_cannot_be_asked_for_its_phases():
    loaded = load_plugins()
    loaded = SimpleNamespace(
        strategies={**loaded.strategies, "silent": Silent}, backbones=loaded.backbones
    )
    made = toy_run(Silent(), resize=32, crop=32)[0].model_copy(
        update={"backbone": "resnet50-mini", "settings": {}}
    )
    info = DatasetInfo(("a", "b"), {"train": 48}, "f" * 64, decoded=True)
    assert sizing._needs([made], {"toy": info}, loaded, 0)[1] == ["silent"]
    assert not sizing.host_memory([made], {"toy": info}, loaded, 1)

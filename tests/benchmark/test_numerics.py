"""The numeric mode of a run: precision, layout, recorded or compiled steps."""

import pytest
from toys import ToyBackbone, toy_protocol

from harness import Compiling, NumericMode
from harness.benchmark import numerics
from harness.benchmark.request import BenchOptions
from harness.errors import UsageError

CARD = "cuda:0"
FIGURES = Compiling(seconds=100, recorded=1000, compiled=2000, measured="made up for this test")


def mode(device, backbone=None, images=1000, *, precision=None, options=None, **protocol):
    wanted = BenchOptions(device=device, **(options or {}))
    return numerics.numeric_mode(
        wanted, precision, backbone or ToyBackbone(), toy_protocol(**protocol), images
    )


def test_the_reference_is_float32_and_plain_everywhere():
    for device in ("cpu", CARD):
        assert mode(device, options={"engine": "reference"}) == NumericMode()


def test_a_cpu_is_float32_deterministic_and_never_recorded():
    found = mode("cpu")
    assert found == NumericMode(layout="channels-last")
    assert mode("cpu", precision="float64") == NumericMode(precision="float64")


def test_a_card_is_mixed_and_recorded_unless_told_otherwise():
    found = mode(CARD)
    assert (found.precision, found.layout, found.compile) == ("bf16", "channels-last", "graph")
    assert not found.deterministic
    assert mode(CARD, precision="float32").precision == "float32"
    assert mode(CARD, options={"compile": "compile"}).compile == "compile"


def test_determinism_is_a_mode_of_its_own_and_nothing_is_tried_out():
    found = mode(CARD, ToyBackbone(compiling=FIGURES), 10**6, options={"deterministic": True})
    assert (found.deterministic, found.compile) == (True, "graph")
    assert mode("cpu", options={"deterministic": True}) == mode("cpu")
    with pytest.raises(UsageError, match="--compile compile with --deterministic: the compiler"):
        mode(CARD, options={"deterministic": True, "compile": "compile"})


@pytest.mark.parametrize(
    ("images", "epochs", "compiled"),
    # a user saves images * epochs * (1/1000 - 1/2000) s, and there are five: 100 s at 40,000
    [(10_000, 3.9, False), (10_000, 4.1, True), (None, 100, False)],
)
def test_steps_are_compiled_where_that_saves_more_than_it_takes(images, epochs, compiled):
    backbone = ToyBackbone(compiling=FIGURES)
    found = mode(CARD, backbone, images, epochs=epochs)
    assert (found.compile == "compile") is compiled
    assert (
        mode(CARD, backbone, images, epochs=epochs, options={"compile": "graph"}).compile == "graph"
    )
    assert mode(CARD, backbone, images, epochs=epochs, precision="float32").compile == "graph"


def test_the_plan_tells_modes_once_or_by_cell():
    one, two = mode(CARD), mode(CARD, options={"compile": "compile"})
    assert numerics.describe_modes({("d", "a"): one, ("d", "b"): one}) == [
        f"numbers: {numerics.describe_mode(one)}"
    ]
    told = numerics.describe_modes({("d", "a"): one, ("d", "b"): two})
    assert [line.endswith(cell) for line, cell in zip(told, ("d / a", "d / b"), strict=True)] == [
        True,
        True,
    ]
    assert "compiled" in told[1]

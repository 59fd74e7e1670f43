"""The numeric mode of a run: precision, layout, recorded or compiled steps."""

import json
import sys

import pytest
import torch
from made import made_plan, made_result
from places import ROOT
from toys import ToyBackbone, toy_protocol

from harness import Compiling, NumericMode, UsageError
from harness.api.records import Plan
from harness.benchmark import numerics
from harness.benchmark.request import BenchOptions

RESULTS = ROOT / "benchmarks" / "speed" / "results"
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


@pytest.mark.parametrize(
    ("device", "options", "why"),
    [
        (CARD, {"deterministic": True}, "the compiler tries kernels out .* --deterministic"),
        (CARD, {"engine": "reference"}, "--engine reference carries every step out plainly"),
        ("cpu", {}, "steps are compiled on a CUDA device only, and the device is cpu"),
    ],
)
def test_compiling_is_refused_where_nothing_can_be_compiled(device, options, why):
    with pytest.raises(UsageError, match=f"--compile compile: {why}.*; leave it out"):
        mode(device, options={**options, "compile": "compile"})


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


def planned(*precisions, settled=None):
    lines = [
        made_plan([made_result(strategy=f"s{n}")]).runs[0].model_copy(update={"precision": one})
        for n, one in enumerate(precisions)
    ]
    return Plan(runs=tuple(lines), precision=settled)


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16 amx_bf16 amx_tile", "avx512_bf16, amx_bf16"),
        ("flags\t\t: fpu avx512_bf16", "avx512_bf16"),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16x", ""),
        ("Features\t: fp asimd bf16", ""),  # ARM: not measured
    ],
)
def test_the_instructions_of_a_processor(flags, found, tmp_path):
    listing = tmp_path / "cpuinfo"
    listing.write_text(f"processor\t: 0\nmodel name\t: a\n{flags}\nprocessor\t: 1\n")
    assert numerics.bf16_instructions(listing) == found
    assert numerics.bf16_instructions(tmp_path / "no such file") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="read from Linux's list")
def test_torch_finds_the_same_instructions():
    if not hasattr(torch.cpu, "get_capabilities"):
        pytest.skip("this torch does not tell")
    found = numerics.bf16_instructions()
    told = torch.cpu.get_capabilities()
    for name in ("avx512_bf16", "amx_bf16"):
        assert (name in found) == told.get(name, False)


def test_auto_is_what_the_folder_holds_and_else_what_the_device_is_fast_in(monkeypatch):
    def settled(plan, device="cpu", instructions="avx512_bf16"):
        monkeypatch.setattr(numerics, "bf16_instructions", lambda: instructions)
        return numerics.settle_precision(device, plan)

    assert settled(Plan()) == "bf16"
    assert settled(Plan(), instructions="") == "float32"
    assert settled(Plan(), CARD, "") == "bf16"
    assert settled(planned("float32", "float32")) == "float32"
    assert settled(planned("bf16"), instructions="") == "bf16"
    assert settled(planned("float32", "bf16", settled="float32")) == "float32"
    with pytest.raises(UsageError, match="holds bf16 and float32; say which with --precision"):
        settled(planned("float32", "bf16"))


def test_the_plan_says_what_bf16_would_gain_where_it_was_measured(monkeypatch):
    plain = {("d", "b"): NumericMode(layout="channels-last")}
    monkeypatch.setattr(numerics, "bf16_instructions", lambda: "amx_bf16")
    (line,) = numerics.describe_gain(plain, "cpu", 224)
    assert "--precision bf16" in line
    assert "this processor has amx_bf16" in line
    assert "at 64 / 128 / 224 px" in line
    assert numerics.describe_gain(plain, "cpu", 48) == []
    assert numerics.describe_gain(plain, CARD, 224) == []
    assert numerics.describe_gain({("d", "b"): NumericMode(precision="bf16")}, "cpu", 224) == []
    monkeypatch.setattr(numerics, "bf16_instructions", lambda: "")
    assert numerics.describe_gain(plain, "cpu", 224) == []


def test_the_gains_are_those_of_the_file_they_name():
    rows = json.loads((RESULTS / "precision-cpu.json").read_text(encoding="utf-8"))["rows"]
    steps = {row["px"]: row["bf16 times as fast"] for row in rows if "px" in row}
    assert {px: round(times, 1) for px, times in steps.items()} == numerics.GAINS


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

"""The scripts in `benchmarks/speed` and `benchmarks/gpu`: that what they compare can be compared."""

import argparse
import json
import subprocess
import sys

import pytest
import torch
from places import ROOT
from torch import nn
from toys import ToyBackbone

from harness.plugins.registry import load_plugins

SCRIPTS = [ROOT / "benchmarks" / name for name in ("speed", "gpu")]


@pytest.fixture(scope="module", autouse=True)
def _importable():
    """Their modules have plain names: they are gone when these tests are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*map(str, SCRIPTS), *sys.path])
        yield
    for folder in SCRIPTS:
        for path in folder.glob("*.py"):
            sys.modules.pop(path.stem, None)


def test_results_are_never_replaced(tmp_path):
    import report

    for text in ("first", "second", "third"):
        report.create(tmp_path, "steps-cpu-2026-01-31", text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "steps-cpu-2026-01-31.json": "first",
        "steps-cpu-2026-01-31-2.json": "second",
        "steps-cpu-2026-01-31-3.json": "third",
    }


def test_results_say_what_was_done_when_and_on_what(monkeypatch):
    import report

    written = []

    def create(folder, name, text):
        written.append(text)
        return folder / f"{name}.json"

    monkeypatch.setattr(report, "create", create)
    monkeypatch.setattr(sys, "argv", ["here/steps.py", "--batch", "8"])
    report.save("steps", "cpu", report.Log(), [{"n": 1}])
    found = json.loads(written[0])
    assert found["command"] == "python benchmarks/speed/steps.py --batch 8"
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["device"].split(", ")[1].endswith("cores")
    assert len(found["date"]) == len("2026-01-31")


def test_a_command_is_timed_beside_servers_of_our_own():
    import report

    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as ours:
        work = "import time, os; t = time.process_time()\nwhile time.process_time() < t + .2: pass"
        left_behind = f"{sys.executable} -c '{work}' > /dev/null 2>&1 &"
        wall, core, said = report.timed(["sh", "-c", f"{left_behind} echo said"], 60)
        assert ours.poll() is None
    assert said == "said\n"
    assert wall > 0
    assert core >= 0.2  # what the command left behind is waited for, and counted


@pytest.mark.slow
def test_the_engine_keeps_one_network_for_all_turns():
    import steps

    built = []

    class Counted(ToyBackbone):
        def build(self, classes):
            network = super().build(classes)
            if next(network.parameters()).device.type != "meta":
                built.append(network)
            return network

    args = argparse.Namespace(
        device="cpu", batch=4, size=8, images=8, epochs=1, precision="float32", compile=False
    )
    ours = steps.Engine(args, Counted(), load_plugins(environ={}))
    ours.turn()
    after_first = len(built)
    ours.turn()
    ours.turn()
    assert len(built) == after_first


@pytest.mark.slow
def test_operations_by_hand():
    import arithmetic

    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))

    # Forward 2 x 12 x 5 + 2 x 5 x 2; back: both weights' gradients, and that of what lies between.
    assert arithmetic.operations(build, 2) == (140, 140 + 120 + 20 + 20)


@pytest.mark.slow
def test_bytes_of_a_step_as_an_independent_count_has_them():
    """That count took 25.6 million weights: images a second at 3.02 TB/s, batch 64, 224 px."""
    import arithmetic
    import torchvision

    with torch.device("meta"):
        network = torchvision.models.resnet50()
    moved = arithmetic.bytes_moved(network, 64, 224)
    allowed = {fusion: 64 * 3.02e12 / amount for fusion, amount in moved.items()}
    known = {"unfused": 6728, "normalisation fused": 8836, "statistics inside": 21287}
    assert allowed == pytest.approx(known, rel=2e-4)


CELLS = {
    "resnet50:full-ft": {"seconds": 10.0, "core": 18.0},
    "resnet50:linear-probe": {"seconds": 4.0, "core": 6.0},
    "vgg19:full-ft": {"seconds": 20.0, "core": 30.0},
}


def test_a_rivals_suite_by_the_formula():
    import suite

    # vgg19's probe was not measured: it counts as the cheapest that was.
    assert suite.suite_cost(["resnet50", "vgg19"], CELLS, 2) == 2 * (55 + 10 + 110 + 10)
    assert suite.suite_cost(["resnet50"], CELLS, 1, "core") == 99 + 15
    assert suite.suite_cost(["densenet121"], CELLS, 1) is None


@pytest.mark.parametrize(
    ("strategies", "busy", "ratios"),
    [
        ("", False, {"core-s, times ours": 114 / 57, "s, times ours": 65 / 50}),
        ("", True, {"core-s, times ours": 114 / 57}),
        ("full-ft", False, None),
    ],
)
def test_only_what_can_be_compared_is_compared(strategies, busy, ratios):
    import suite

    args = argparse.Namespace(datasets=1, measure=1, backbones="resnet50", strategies=strategies)
    ours = {"seconds": 50.0, "core": 57.0}
    rows = suite.suite_rows(args, ours, {"loop": CELLS}, busy=busy)
    assert (rows[0]["suite s"], rows[0]["core-s"]) == (50, 57)
    found = [{name: row[name] for name in row if "ours" in name} for row in rows[1:]]
    assert found == ([] if ratios is None else [pytest.approx(ratios)])


@pytest.mark.slow
def test_a_part_that_fails_or_takes_too_long_is_told_from_one_that_ends(tmp_path):
    import accept

    with accept.importable():
        cut = accept.run_part("memory", 0.0, tmp_path, tiny=True)
        failed = accept.run_part("nothing", 60.0, tmp_path, tiny=True)
        ended = accept.run_part("groups", 60.0, tmp_path, tiny=True)
    assert (cut["ended"], cut["rows"]) == ("cut", [])
    assert (failed["ended"], failed["rows"]) == ("failed", [])
    assert "KeyError: 'nothing'" in "\n".join(failed["tail"])
    assert (ended["ended"], ended["rows"]) == (
        "ok", [{"skipped": "steps are compiled on a card only"}]
    )  # fmt: skip

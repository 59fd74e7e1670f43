"""The short form of `benchmarks/robustness`: kills, full and read-only disks, several at once."""

import importlib.util
import os
import sys

import pytest
from places import ROOT, TOY

pytestmark = pytest.mark.slow

BENCH = ("bench", "toy", "--strategies", "full-ft,moody")


@pytest.fixture(scope="module")
def faults():
    path = ROOT / "benchmarks" / "robustness" / "faults.py"
    spec = importlib.util.spec_from_file_location("faults", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["faults"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["faults"]


@pytest.fixture(scope="module")
def call(faults):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        yield faults.Call((*BENCH, "--in-process"), (TOY,))


@pytest.fixture(scope="module")
def reference(faults, call, tmp_path_factory):
    return faults.untroubled(call, tmp_path_factory.mktemp("untroubled"))


def test_what_is_killed_goes_on_and_comes_to_the_same(faults, call, reference, tmp_path):
    workers = faults.Call((*BENCH, "--jobs", "2"), (TOY,))
    faults.kill(workers, tmp_path, times=1, seed=1, reference=reference)


@pytest.mark.nightly  # `tests/utils/test_locks.py` has eight writers
def test_several_at_once_come_to_the_same(faults, call, reference, tmp_path):
    faults.together(call, tmp_path, processes=2, reference=reference)


@pytest.mark.parametrize("fault", ["full", pytest.param("read_only", marks=pytest.mark.nightly)])
def test_disks_that_take_nothing(faults, call, reference, tmp_path, fault):
    sizes = {"results": ("64k",), "caches": ()} if fault == "full" else {}
    try:
        getattr(faults, fault)(call, tmp_path, reference=reference, **sizes)
    except faults.CannotMount:
        pytest.skip("a file system cannot be mounted here")

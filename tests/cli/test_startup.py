"""Imports at the start of a command; who may import what is kept by import-linter (pyproject.toml)."""

import os
import re
import sys

import pytest
from command import python
from places import TOY

# What `import harness`, `harness --help` and `harness list` must not wait for.
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "datasets",
    "evaluate",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
}


def after(call, names, folder):
    """The outcome of `call` in Python, and which of these modules it had imported at its end."""
    code = (
        f"import sys\ntry:\n    {call}\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print(sorted({names} & set(sys.modules)), file=sys.stderr)"
    )
    done = python("-c", code, cwd=folder, HARNESS_NO_AUTOLOAD="1", HARNESS_PLUGINS="")
    return done.stdout, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("args", [None, ["--help"], ["list"], ["list", "--json"], ["plugins"]])
def test_start_up_imports_nothing_heavy(args, tmp_path):
    call = "import harness" if args is None else f"from harness.cli import cli; cli({args})"
    assert after(call, HEAVY, tmp_path)[1] == "[]"


@pytest.mark.slow
def test_harness_is_imported_where_posix_calls_are_missing(tmp_path):
    """As on Windows, where nothing was ever tried: without flock, forks and these flags."""
    code = (
        "import os, sys\n"
        "sys.modules.update(fcntl=None, resource=None, pwd=None, grp=None, termios=None)\n"
        "for name in ('O_NONBLOCK', 'O_CLOEXEC', 'fork', 'sched_getaffinity'):\n"
        "    delattr(os, name)\n"
        "import harness, harness.testing, harness.stats\n"
        "from harness.cli import cli\n"
        "cli(['list', 'strategies'])"
    )
    done = python("-c", code, cwd=tmp_path, HARNESS_NO_AUTOLOAD="1", HARNESS_PLUGINS="")
    assert "full-ft" in done.stdout


@pytest.mark.slow
def test_runs_are_made_without_forks_and_fcntl_by_spawned_workers(tmp_path):
    """Hidden in the workers, too; what other libraries find missing besides is not simulated."""
    (tmp_path / "sitecustomize.py").write_text(
        "import multiprocessing, os, sys\n"
        "sys.modules.update(fcntl=None, resource=None)\n"
        "del os.fork\n"
        "multiprocessing.get_all_start_methods = lambda: ['spawn']\n"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    call = ("-m", "harness", "-p", TOY, "bench", "toy", "--strategies", "full-ft", "--out", "out")
    done = python(*call, cwd=tmp_path, PYTHONPATH=paths)
    assert "1 runs made" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").glob(".*")) == []


@pytest.mark.slow
def test_runs_wait_for_no_metric_library_and_a_plan_over_records_for_nothing_heavy(tmp_path):
    cell = ["demo", "--datasets", "demo-mri", "--backbones", "resnet50-mini", "--device", "auto"]
    args = ["bench", *cell, "--strategies", "linear-probe", "--out", "out", "--jobs", "1"]
    call = "from harness.cli import cli; cli({})"
    said, heavy = after(call.format(args), {"evaluate", "sklearn", "scipy"}, tmp_path)
    assert "1 runs made" in said
    assert heavy == "[]"

    said, heavy = after(call.format([*args, "--dry-run", "--seeds", "0,1"]), HEAVY, tmp_path)
    assert re.search(
        r"^estimated time: \d+ s\n  from 1 run that such a machine made", said, re.MULTILINE
    )
    assert "demo-mri / resnet50-mini / linear-probe: 1 to run" in said
    assert heavy == "[]"

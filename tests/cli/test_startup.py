"""What starting up imports; who may import what is kept by import-linter (pyproject.toml)."""

import pytest
from command import python

# What `import harness`, `harness --help` and `harness list` must not wait for.
HEAVY = {"torch", "torchvision", "datasets", "evaluate", "sklearn", "scipy", "pandas", "pyarrow"}


@pytest.mark.parametrize("args", [None, ["--help"], ["list"], ["list", "--json"], ["plugins"]])
def test_start_up_imports_nothing_heavy(args, tmp_path):
    call = "import harness" if args is None else f"from harness.cli import cli; cli({args})"
    code = (
        f"import sys\ntry:\n    {call}\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = python("-c", code, cwd=tmp_path, HARNESS_NO_AUTOLOAD="1", HARNESS_PLUGINS="")
    assert done.stderr.splitlines()[-1] == "[]"

"""From a script, and in a notebook: workers that import no script, progress, a light import."""

import pytest
from command import python
from places import DOCS, TOY

SCRIPT = f"""\
import sys

print("begun")

import harness

assert not [name for name in sys.modules if name.startswith("harness.calls")]
found = harness.bench(
    "toy", plugins={TOY!r}, out="out", jobs=2, seeds=[0, 1], strategies="linear-probe",
)
print(found.call.ran, found.call.already_done, found.complete, found.call.failed)
"""


@pytest.mark.slow
def test_a_script_needs_no_guard(tmp_path):
    """Workers are given a task and never the script, which would begin again in each of them."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = python("script.py", cwd=tmp_path)

    assert done.stdout.splitlines() == ["begun", "2 0 True []"]
    assert "2/2 runs" in done.stderr
    assert len(list((tmp_path / "out" / "runs").rglob("*.json"))) == 2


def test_the_names_of_calls_are_listed_and_imported_when_they_are_asked_for(tmp_path):
    code = (
        "import sys, harness\n"
        "calls = {'bench', 'load', 'compare', 'check', 'verify', 'audit', 'predict', 'export'}\n"
        "assert calls <= set(dir(harness)) and calls <= set(harness.__all__)\n"
        "def heavy(): return {'torch', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not heavy(), heavy()\n"
        "harness.load, harness.bench, harness.Results\n"
        "print(sorted(heavy() - {'numpy'}))\n"
    )
    assert python("-c", code, cwd=tmp_path).stdout == "[]\n"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    """Every cell, in a kernel of its own; what it shows is of the kind that the page shows."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    stored = nbformat.read(str(DOCS / "notebook.ipynb"), as_version=4)
    made = nbformat.read(str(DOCS / "notebook.ipynb"), as_version=4)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell["outputs"] = []
    nbclient.NotebookClient(
        made,
        timeout=200,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()

    def shown(notebook):
        """For each cell the kinds of what it shows."""
        return [
            [sorted(one.data) for one in cell.get("outputs", []) if "data" in one]
            for cell in notebook.cells
        ]

    assert shown(made) == shown(stored)
    kinds = {kind for cell in shown(made) for one in cell for kind in one}
    assert {"text/html", "image/png"} <= kinds
    told = "".join(
        one.text for cell in made.cells for one in cell.get("outputs", []) if "text" in one
    )
    assert "4/4 runs" in told  # progress: plain lines
    assert "\x1b" not in told
    assert "Warning" not in told
    for path in ("leaderboard.html", "plan.json"):
        assert (tmp_path / "results" / "notebook" / path).is_file()

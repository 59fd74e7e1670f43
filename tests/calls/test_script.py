"""In a notebook, and when nothing is called: progress, a light import; scripts: tests/docs."""

import pytest
from command import python
from places import DOCS


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
    assert "estimated time: " in told  # what a user is told while it runs: plain lines
    assert "\x1b" not in told
    assert "Warning" not in told
    for path in ("leaderboard.html", "plan.json"):
        assert (tmp_path / "results" / "notebook" / path).is_file()

"""docs/notebook.md: the notebook as a page of the site.

    python docs/notebook_page.py

carries docs/notebook.ipynb out in an empty folder and keeps what its cells show; it needs the extra
`dev`.  `python docs/generate.py` makes the page of what is kept.
"""  # noqa: INP001 - beside the pages

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent / "notebook.ipynb"
PAGE = NOTEBOOK.with_suffix(".md")
# Pandas writes rules of style that nothing on the site needs.
STYLE = re.compile(r"<style scoped>.*?</style>\n?", re.DOTALL)


def page() -> str:
    """The text of docs/notebook.md."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    text = _joined(cell["source"])
    if cell["cell_type"] != "code":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield f"```text\n{_joined(output['text']).rstrip()}\n```"
            continue
        data = output["data"]
        if "image/png" in data:
            yield f"![plot](data:image/png;base64,{_joined(data['image/png']).strip()})"
        elif "text/html" in data:
            yield STYLE.sub("", _joined(data["text/html"]))
        else:
            yield f"```text\n{_joined(data['text/plain'])}\n```"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def run() -> None:
    """Carry the notebook out and keep what it shows."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(str(NOTEBOOK), as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HARNESS_CACHE"] = f"{folder}/cache"
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    nbformat.write(notebook, str(NOTEBOOK))


if __name__ == "__main__":
    run()

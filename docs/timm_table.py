"""The table of docs/timm.md: networks of timm, how each is taken apart, or why it cannot be used.

    python docs/timm_table.py            makes every row anew
    python docs/timm_table.py NAME ...   makes the rows of these networks, and keeps the others

A row takes seconds: the network is built, its chain held against it to the bit, and the promises
that need no values are checked.
"""  # noqa: INP001 - beside the pages

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parent / "timm.md"
BEGIN, END = "<!-- networks -->", "<!-- end -->"
HEAD = "| network | taken apart as | stages | sides | |\n|---|---|---|---|---|"
ROW = re.compile(r"^\| `([^`]+)` \|.*$", re.MULTILINE)


def main(names: Sequence[str]) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {found[1]: found[0] for found in ROW.finditer(table)}
    for name in names or list(rows):
        rows[name] = row(name)
        print(rows[name], flush=True)  # noqa: T201 - a script
    used = [one for one in rows.values() if "| refused" not in one]
    whole = sum("| whole |" in one for one in used)
    said = (
        f"Of {len(rows)} networks {len(used)} can be used, {whole} of these in two stages "
        f"({_versions()})."
    )
    lines = [said, "", HEAD, *(rows[name] for name in sorted(rows))]
    PAGE.write_text("\n".join([before + BEGIN, *lines, END]) + after, encoding="utf-8")


def row(name: str) -> str:
    """The line of a network."""
    from harness import UsageError
    from harness.testing import promises
    from harness_timm import timm_backbone

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of timm, on names that it gives up
        try:
            found = timm_backbone(name)
        except UsageError as error:
            why = str(error).partition("cannot be used: ")[2].rpartition("; ")[2]
            return f"| `{name}` | refused: {why.partition(': ')[2]} | | | |"
    broken = [one.name for one in promises(found, light=True) if one.verdict().state != "ok"]
    kept = f"breaks {', '.join(broken)}" if broken else ""
    taken = found.preprocessing
    least = taken.bounds[0] if taken and taken.bounds else None
    sides = f"{taken.size if taken else ''}" + (f", any x 32 from {least}" if least else "")
    return f"| `{name}` | {found.layout} | {len(found.stages)} | {sides} | {kept} |"


def _versions() -> str:
    import timm
    import torch

    return f"timm {timm.__version__}, torch {torch.__version__.partition('+')[0]}"


if __name__ == "__main__":
    main(sys.argv[1:])

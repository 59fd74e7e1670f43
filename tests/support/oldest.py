"""The oldest versions that pyproject.toml promises, as pip takes them: `python oldest.py`."""

import re
import sys
import tomllib
from pathlib import Path

BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+(?:\[[^\]]*\])?)\s*>=\s*(?P<version>[0-9][\w.]*)")


def oldest(text, extras=("dicom",)):
    """`NAME==VERSION` of every dependency, those of these extras among them.

    The trackers' extras are left out: their bounds were never tried together with the others.

    Raises:
        ValueError: one has no lower bound, so that nothing is promised.
    """
    project = tomllib.loads(text)["project"]
    more = project.get("optional-dependencies", {})
    wanted = [*project["dependencies"], *(one for extra in extras for one in more[extra])]
    found = [(one, BOUND.match(one)) for one in wanted]
    if without := [one for one, bound in found if not bound]:
        raise ValueError(
            f"pyproject.toml: no lower bound: {', '.join(without)}; write NAME>=VERSION"
        )
    return [f"{bound['name']}=={bound['version']}" for _, bound in found]


if __name__ == "__main__":
    pyproject = Path(__file__).resolve().parents[2] / "pyproject.toml"
    sys.stdout.write("\n".join(oldest(pyproject.read_text(encoding="utf-8"))) + "\n")

"""Which files of a folder or an archive are images, which are notes, which are nobody's business."""

from __future__ import annotations

from functools import cache

NOTES = frozenset(
    {".csv", ".tsv", ".txt", ".md", ".rst", ".json", ".xml", ".yaml", ".yml"}
    | {".html", ".pdf", ".xlsx", ".ini", ".db"}
)
# Pillow opens these, but as a rule it cannot decode them, or not without another program.
NO_IMAGES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name.startswith(".") or name == "__MACOSX"


@cache
def image_extensions() -> frozenset[str]:
    """Extensions, with the dot and in lower case, of what Pillow can read."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(e for e, name in known.items() if name in Image.OPEN and name not in NO_IMAGES)

"""The images of a folder: what their names and first bytes say they are, and what else lies there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.data.on_disk.listing import walk
from harness.data.on_disk.lists import is_table
from harness.data.pixels import dicom
from harness.data.rows import NOTES, image_extensions
from harness.errors import DataError
from harness.utils.names import first_few

LAYOUT = "lay it out as class/image.jpg or train|validation|test/class/image.jpg"


@dataclass(frozen=True)
class Scan:
    """Paths from a folder, sorted: image files, files of other kinds, and folders."""

    images: list[str]
    others: list[str]
    folders: list[str]


def scan_folder(folder: Path) -> Scan:
    extensions = image_extensions()
    images: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    for here, below, files in walk(folder):
        prefix = f"{here}/" if here else ""
        folders += [prefix + name for name in below]
        for name in files:
            if name == dicom.DIRECTORY:
                continue
            file = prefix + name
            extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - Path is slow for many
            image = extension in extensions or (
                not _is_note(file) and dicom.is_dicom_file(folder / file)
            )
            (images if image else others).append(file)
    strange = [file for file in others if not _is_note(file)]
    among = sorted(file for file in strange if "/" in file)
    if among:
        raise DataError(
            f"{folder}: {len(among)} files are no images that can be read: {first_few(among)}; "
            "convert them (to PNG, say) or move them elsewhere"
        )
    if not images:
        kinds = Counter(PurePosixPath(file).suffix or "no extension" for file in strange)
        seen = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(3))
        found = f" (only {seen})" if seen else ""
        raise DataError(f"{folder} holds no image{found}; {LAYOUT}")
    return Scan(sorted(images), sorted(others), folders)


def _is_note(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in NOTES or is_table(file)


def dicom_files(folder: Path, files: Sequence[str], window: str) -> frozenset[str]:
    """The DICOM files among images, whatever their names.

    Raises:
        DataError: what reads them is not installed, or a window is declared and there is none.
    """
    known = image_extensions()
    scans = frozenset(
        file
        for file in files
        if PurePosixPath(file).suffix.lower() not in known or dicom.is_read_as_dicom(folder / file)
    )
    if scans and not dicom.is_installed():
        raise DataError(
            f"{folder} holds {len(scans)} DICOM files ({first_few(sorted(scans))}); install what "
            f"reads them: {dicom.INSTALL}"
        )
    if not scans and window != dicom.STORED:
        raise DataError(f"{folder} holds no DICOM file, and only these have a window: {window!r}")
    return scans

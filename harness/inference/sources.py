"""Image files that somebody names: listed, read as the images of a run were, and decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from harness.api.images import PickedRows
from harness.api.records import DataRecord, Protocol
from harness.data.decoding import Output, write_arrays
from harness.data.images import PixelForm, Scaled, Source, find_depth, resize_crop
from harness.data.on_disk.listing import walk
from harness.data.on_disk.lists import is_table
from harness.data.pixels import dicom
from harness.data.rows import NOTES, image_extensions
from harness.errors import DataError, UsageError
from harness.utils.names import first_few

DEEP = (
    "has more than eight bits, and the record of the run names no range for such numbers ({kind}): "
    "its images had eight, or it was made before ranges were recorded"
)


@dataclass(frozen=True)
class ImageFiles:
    """Files to predict.

    Attributes:
        names: as given, those of folders behind the folder's name.
        passed_over: tables and notes in folders.
    """

    names: tuple[str, ...]
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class DecodedFiles:
    """Pixels uint8 [N, 3, crop, crop] of the files that could be read, their names; the others and why."""

    names: tuple[str, ...]
    images: PickedRows
    bad: Mapping[str, str]


def list_files(given: Sequence[str]) -> ImageFiles:
    """Every file once, in the order given; a folder stands for the files below it, sorted.

    Hidden files are passed over.

    Raises:
        UsageError: some are not there, or there is no image among them.
        DataError: a folder holds what cannot be listed.
    """
    if missing := [name for name in given if not Path(name).exists()]:
        raise UsageError(f"not there: {first_few(missing)}")
    names: list[str] = []
    notes: list[str] = []
    for name in given:
        if not Path(name).is_dir():
            names.append(name)
            continue
        for file in _below(Path(name)):
            (notes if _is_note(file) else names).append(file)
    if not names:
        raise UsageError(f"no image in {first_few(list(given))}")
    return ImageFiles(tuple(dict.fromkeys(names)), tuple(dict.fromkeys(notes)))


def decode(names: Sequence[str], protocol: Protocol, data: DataRecord, place: Path) -> DecodedFiles:
    """Decode files as the images of a run were; `place`: a folder for the pixels.

    Raises:
        OSError: the pixels cannot be written.
    """
    import numpy as np

    sources: list[Source] = []
    bad: dict[int, str] = {}
    for row, name in enumerate(names):
        try:
            sources.append(_source(Path(name), data))
        except DataError as error:
            sources.append(b"")
            bad[row] = str(error)
    form = PixelForm.of(protocol)
    transform = partial(resize_crop, **form._asdict())
    output = Output(place / "images.npy", (3, form.crop, form.crop), transform)
    found = write_arrays([output], len(names), lambda run: sources[run.start : run.stop])
    bad = found | bad
    good = [row for row in range(len(names)) if row not in bad]
    # Copy on write: torch takes no read-only memory, and nothing here writes.
    whole = np.load(output.path, mmap_mode="c")
    return DecodedFiles(
        tuple(names[row] for row in good),
        PickedRows(whole, np.array(good, dtype=np.int64)),
        {names[row]: why for row, why in sorted(bad.items())},
    )


def _below(folder: Path) -> list[str]:
    return [
        str(folder / here / name)
        for here, _, files in walk(folder)
        for name in files
        if name != dicom.DIRECTORY
    ]


def _is_note(file: str) -> bool:
    """True for tables and texts that people keep beside images."""
    suffix = PurePosixPath(file).suffix.lower()
    noted = suffix in NOTES or is_table(file)
    return noted and suffix not in image_extensions() and not dicom.is_dicom_file(Path(file))


def _source(path: Path, data: DataRecord) -> Source:
    """A file as the table of a dataset gives it: with its window, with the range of its kind.

    Raises:
        DataError: it cannot be read, or nobody knows its range.
    """
    source = dicom.WindowedFile(path, data.window) if data.window else path
    try:
        depth = find_depth(source.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from error
    if depth is None:
        return source
    span = data.ranges.get(depth.kind_name)
    if span is None:
        raise DataError(DEEP.format(kind=depth.kind_name))
    return Scaled(source, span)

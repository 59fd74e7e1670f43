"""Images in the arrays of an npz file as a dataset; no more than one image is in memory at a time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.api.dataset import Access, LocalDataset
from harness.errors import DataError

if TYPE_CHECKING:
    import datasets
    import numpy as np


class ArrayDataset(LocalDataset):
    """`--data NAME=FILE.npz`, or a folder that holds one of `files`; the first that is there counts.

    Attributes:
        files: names that the file may have in a folder.
        parts: what the names of arrays begin with -> the source's split: `PART_images`, uint8
            [N, H, W] or [N, H, W, 3], and `PART_labels`, class numbers [N] or [N, 1].
    """

    files: tuple[str, ...] = ()
    parts: Mapping[str, str] = {"train": "train", "val": "validation", "test": "test"}

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        """As `Dataset.load`; images are PNG bytes, on disk.

        Raises:
            DataError: no such file, other arrays, or several labels an image.
        """
        import datasets

        file = self._file()
        self._check(file)
        datasets.disable_progress_bars()  # they fill logs
        text = datasets.Value("string")
        features = datasets.Features(
            image=datasets.Image(decode=False), label=datasets.Value("int64"), group=text, id=text
        )
        facts = file.stat()
        stamp = f"{facts.st_size} {facts.st_mtime_ns}"
        return {
            # Written to disk image by image: a set of 224 px does not fit into memory.
            split: datasets.Dataset.from_generator(
                _rows,
                features=features,
                cache_dir=str(access.cache / "arrays"),
                gen_kwargs={"file": str(file), "part": part, "stamp": stamp},
            )
            for part, split in self.parts.items()
        }

    def _file(self) -> Path:
        place = self.place()
        if place.is_file():
            return place
        for name in self.files:
            if (file := place / name).is_file():
                return file
        what = f"holds no {' or '.join(self.files)}" if self.files else "is no npz file"
        raise DataError(
            f"dataset {self.name!r}: {place} {what}; give the file with --data {self.name}=FILE.npz"
        )

    def _check(self, file: Path) -> None:
        try:
            with zipfile.ZipFile(file) as archive:
                for part in self.parts:
                    _check_part(archive, file, part)
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            wanted = " and ".join(
                f"{next(iter(self.parts))}_{kind}" for kind in ("images", "labels")
            )
            raise DataError(
                f"{file} is no npz file with the arrays {wanted} and so on: {error}"
            ) from error


def _check_part(archive: zipfile.ZipFile, file: Path, part: str) -> None:
    with archive.open(f"{part}_labels.npy") as stream:
        labels, *_ = _header(stream)
    with archive.open(f"{part}_images.npy") as stream:
        _, by_column, kind = _header(stream)
    if by_column or kind != "uint8":
        raise DataError(f"{file}: {part}_images is no array of bytes, row by row")
    if labels[1:] not in {(), (1,)}:
        raise DataError(f"{file} has {labels[1]} labels an image; only one can be used")


def _rows(file: str, part: str, stamp: str) -> Iterator[dict[str, Any]]:  # noqa: ARG001 - see below
    """The rows of a split; `stamp` tells a changed file of the same name from what is cached."""
    import numpy as np
    from PIL import Image

    with zipfile.ZipFile(file) as archive:
        labels = np.load(io.BytesIO(archive.read(f"{part}_labels.npy")), allow_pickle=False)
        for number, pixels in enumerate(_images(archive, f"{part}_images.npy")):
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            name = f"{part}-{number:06d}"
            yield {
                "image": {"bytes": png.getvalue(), "path": None},
                "label": int(labels[number].item()),
                "group": name,
                "id": name,
            }


def _images(archive: zipfile.ZipFile, member: str) -> Iterator[np.ndarray]:
    """The images of an array [N, H, W] or [N, H, W, 3], one after another."""
    import numpy as np

    with archive.open(member) as stream:
        shape, *_ = _header(stream)
        size = int(np.prod(shape[1:]))
        for _ in range(shape[0]):
            yield np.frombuffer(stream.read(size), dtype=np.uint8).reshape(shape[1:])


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, str]:
    """Shape, whether it is stored by column, and type of an array in a npy file."""
    import numpy as np

    np.lib.format.read_magic(stream)
    shape, by_column, kind = np.lib.format.read_array_header_1_0(stream)
    return shape, by_column, str(kind)

"""MedMNIST and MedMNIST+: small images of twelve sources in npz files (Yang et al. 2023)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness import Access, DataError, Dataset, LocalDataset, hookimpl
from harness_medmnist.sets import SETS

if TYPE_CHECKING:
    import datasets
    import numpy as np

SPLITS = {"train": "train", "val": "validation", "test": "test"}
SIZES = ("_224", "_128", "_64", "")  # of the files of one set in a folder, the largest is taken


class MedMNIST(LocalDataset):
    """One set: `--data NAME=FILE.npz`, or a folder that holds `NAME_224.npz` and the like."""

    citation: str = "Yang et al. 2023, Scientific Data 10:41"
    source: str = "https://medmnist.com"

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        import datasets

        file = self._file()
        _check(file)
        datasets.disable_progress_bars()  # they fill logs
        text = datasets.Value("string")
        features = datasets.Features(
            image=datasets.Image(decode=False), label=datasets.Value("int64"), group=text, id=text
        )
        facts = file.stat()
        return {
            # Written to disk image by image: a set of 224 px does not fit into memory.
            split: datasets.Dataset.from_generator(
                _rows,
                features=features,
                cache_dir=str(access.cache / "medmnist"),
                gen_kwargs={
                    "file": str(file),
                    "part": part,
                    "stamp": f"{facts.st_size} {facts.st_mtime_ns}",
                },
            )
            for part, split in SPLITS.items()
        }

    def _file(self) -> Path:
        place = self.place()
        if place.is_file():
            return place
        for size in SIZES:
            if (file := place / f"{self.name}{size}.npz").is_file():
                return file
        raise DataError(f"dataset {self.name!r}: {place} holds no {self.name}.npz")


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


def _check(file: Path) -> None:
    """Raise a DataError if the file is not one of MedMNIST, or has several labels an image."""
    try:
        with zipfile.ZipFile(file) as archive:
            for part in SPLITS:
                with archive.open(f"{part}_labels.npy") as stream:
                    labels, *_ = _header(stream)
                with archive.open(f"{part}_images.npy") as stream:
                    _, by_column, kind = _header(stream)
                if by_column or kind != "uint8":
                    raise DataError(f"{file}: {part}_images is no array of bytes, row by row")
                if labels[1:] not in {(), (1,)}:
                    raise DataError(
                        f"{file} has {labels[1]} labels an image; only single-label sets can be used"
                    )
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise DataError(f"{file} is no npz file of MedMNIST: {error}") from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, str]:
    """Shape, whether it is stored by column, and type of an array in a npy file."""
    import numpy as np

    np.lib.format.read_magic(stream)
    shape, by_column, kind = np.lib.format.read_array_header_1_0(stream)
    return shape, by_column, str(kind)


def _images(archive: zipfile.ZipFile, member: str) -> Iterator[np.ndarray]:
    """The images of an array [N, H, W] or [N, H, W, 3], one after another."""
    import numpy as np

    with archive.open(member) as stream:
        shape, *_ = _header(stream)
        size = int(np.prod(shape[1:]))
        for _ in range(shape[0]):
            yield np.frombuffer(stream.read(size), dtype=np.uint8).reshape(shape[1:])


@hookimpl
def harness_datasets() -> list[Dataset]:
    return [MedMNIST(**declared) for declared in SETS]

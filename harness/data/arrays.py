"""Images in the arrays of an npz file as a dataset; no more than one image is in memory at a time."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.api.dataset import Access, LocalDataset
from harness.data.pixels.values import DEPTHS, SIGNED, Range, find_range, scale
from harness.errors import DataError
from harness.utils.names import did_you_mean, first_few

if TYPE_CHECKING:
    import datasets
    import numpy as np

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
LAYOUTS = "[N, H, W], [N, H, W, C] or [N, C, H, W] with 1, 3 or 4 channels"
MOST_CLASSES = 2**31
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


class ArrayDataset(LocalDataset):
    """`--data NAME=FILE.npz`, or a folder that holds one of `files`; the first that is there counts.

    Images are [N, H, W], or have 1, 3 or 4 channels as their last or second axis.  Bytes are taken
    as they are, truth values as black and white; other numbers are scaled by one range for the
    whole file (`values.find_range`), never clipped.  Labels are whole numbers or class names, [N]
    or [N, 1].  Whatever else is there is refused before anything is written.

    Attributes:
        files: names that the file may have in a folder.
        parts: what the names of arrays begin with -> the source's split: `PART_images` and
            `PART_labels`.
    """

    files: tuple[str, ...] = ()
    parts: Mapping[str, str] = {"train": "train", "val": "validation", "test": "test"}

    def load(self, access: Access) -> Mapping[str, datasets.Dataset]:
        """As `Dataset.load`; images are PNG bytes, on disk.

        Raises:
            DataError: no such file, or arrays that are no images with one label each.
        """
        import datasets

        file = self._file()
        parts = self._check(file)
        datasets.disable_progress_bars()  # they fill logs
        facts = file.stat()
        stamp = f"{facts.st_size} {facts.st_mtime_ns}"
        tables = {}
        for part, split in self.parts.items():
            text = datasets.Value("string")
            label = text if parts[part].named else datasets.Value("int64")
            try:
                # Written to disk image by image: a set of 224 px does not fit into memory.
                tables[split] = datasets.Dataset.from_generator(
                    _rows,
                    features=datasets.Features(
                        image=datasets.Image(decode=False), label=label, group=text, id=text
                    ),
                    cache_dir=str(access.cache / "arrays"),
                    gen_kwargs={"file": str(file), "part": asdict(parts[part]), "stamp": stamp},
                )
            except datasets.exceptions.DatasetGenerationError as error:
                raise DataError(f"{file}: {part}: {error.__cause__ or error}") from error
        return tables

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

    def _check(self, file: Path) -> dict[str, _Part]:
        """Contents of each part; every array is looked at before any is used."""
        first = next(iter(self.parts))
        what = f"{file} is no npz file with the arrays {first}_images and {first}_labels and so on"
        try:
            with zipfile.ZipFile(file) as archive:
                there = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
                for part in self.parts:
                    for name in (f"{part}_images", f"{part}_labels"):
                        if name not in there:
                            has = first_few(there) or "no array at all"
                            raise DataError(
                                f"{what}: there is no {name}{did_you_mean(name, there)}; it has "
                                f"{has}.  Save them under these names: np.savez_compressed(FILE, "
                                f"{first}_images=..., {first}_labels=..., ...)"
                            )
                parts = {part: _look(archive, file, part) for part in self.parts}
                span = _span(archive, file, list(parts.values()))
        except UNREADABLE as error:
            raise DataError(f"{what}: {str(error) or type(error).__name__}") from error
        return {part: found.scaled(span) for part, found in parts.items()}


@dataclass(frozen=True)
class _Part:
    """The images of a part as they lie in the file.

    Attributes:
        axis: of the channels in one image; None: it has no such axis.
        named: labels are class names.
        span: what becomes black and white; None: values are taken as they are.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    axis: int | None
    named: bool
    span: Range | None = None

    def scaled(self, span: Range | None) -> _Part:
        return _Part(self.name, self.shape, self.kind, self.axis, self.named, span)


def _look(archive: zipfile.ZipFile, file: Path, part: str) -> _Part:
    """Judge the arrays of a part by their headers and labels.

    Raises:
        DataError: they are no images with one label each.
    """
    name = f"{part}_images"
    shape, kind = _header(archive, file, name)
    if kind.kind not in "buif":
        raise DataError(f"{file}: {name} holds {kind}; images are numbers")
    axis = _channel_axis(f"{file}: {name}", shape)
    labels = _labels(archive, file, part)
    if shape[0] != len(labels):
        raise DataError(
            f"{file}: {shape[0]} {name} but {len(labels)} {part}_labels; each image takes one label"
        )
    if not shape[0]:
        raise DataError(f"{file}: {name} holds no image; each part takes some")
    return _Part(name, shape, kind.str, axis, isinstance(labels[0], str))


def _channel_axis(where: str, shape: tuple[int, ...]) -> int | None:
    """The axis of the channels in one image [H, W], [H, W, C] or [C, H, W]; None: the first form."""
    has = f"{where} has the shape {list(shape)}"
    if len(shape) == 2:  # noqa: PLR2004
        raise DataError(f"{has}: images in rows; reshape them to [N, H, W] and save them again")
    if len(shape) not in {3, 4}:
        raise DataError(f"{has}; images are {LAYOUTS}: of volumes and videos, save single slices")
    if 0 in shape[1:]:
        raise DataError(f"{has}: images without pixels")
    if len(shape) == 3:  # noqa: PLR2004
        return None
    last, first = shape[3] in CHANNELS, shape[1] in CHANNELS
    if last and first:
        raise DataError(
            f"{has}: which axis holds the channels cannot be known; save grey images as [N, H, W]"
        )
    if not (last or first):
        raise DataError(f"{has}; images are {LAYOUTS}: of volumes and videos, save single slices")
    return 2 if last else 0


def _labels(archive: zipfile.ZipFile, file: Path, part: str) -> list[int] | list[str]:
    """A label an image: a number, or a class name."""
    import numpy as np

    name = f"{part}_labels"
    shape, kind = _header(archive, file, name)
    if shape[1:] not in {(), (1,)} or not shape:
        many = " x ".join(map(str, shape[1:])) or "no"
        raise DataError(
            f"{file} has {many} labels an image ({name} has the shape {list(shape)}); only one can "
            "be used: save class numbers as [N], of one-hot rows their argmax(1)"
        )
    if kind.kind not in "buifUS" or not kind.itemsize:
        raise DataError(f"{file}: {name} holds {kind}; labels are class numbers or class names")
    with archive.open(f"{name}.npy") as stream:
        _start(stream)
        count = int(np.prod(shape, dtype=object))
        values = np.frombuffer(_read(stream, file, name, count * kind.itemsize), dtype=kind)
    if kind.kind == "S":
        try:
            return [value.decode() for value in values.tolist()]
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: {name} holds bytes that are no UTF-8: {error}") from error
    if kind.kind == "U":
        return [str(value) for value in values]
    sound = np.isfinite(values) & (values >= 0) & (values < MOST_CLASSES)
    wrong = np.flatnonzero(~sound | ((values != np.floor(values)) if kind.kind == "f" else False))
    if len(wrong):
        raise DataError(
            f"{file}: {name} holds {values[wrong[0]]} in row {wrong[0]} ({len(wrong)} such rows); "
            "labels are whole numbers, from 0 on: neither probabilities nor marks of missing ones"
        )
    return [int(value) for value in values]


def _span(archive: zipfile.ZipFile, file: Path, parts: Sequence[_Part]) -> Range | None:
    """The range of the values of all parts; None where each is of bytes or truth values.

    Raises:
        DataError: some values are not finite.
    """
    import numpy as np

    if all(np.dtype(part.kind) in {np.dtype("u1"), np.dtype("?")} for part in parts):
        return None
    ends: list[float] = []
    for part in parts:
        if part.kind != parts[0].kind:
            raise DataError(
                f"{file}: {part.name} holds {np.dtype(part.kind)}, {parts[0].name} "
                f"{np.dtype(parts[0].kind)}; save all parts in one type and one scale"
            )
        for number, pixels in enumerate(_images(archive, part)):
            low, high = float(pixels.min()), float(pixels.max())
            if not np.isfinite([low, high]).all():
                raise DataError(
                    f"{file}: {part.name} holds values that are not finite (NaN or inf), first in "
                    f"image {number}; replace them, or take the image and its label out"
                )
            ends += (low, high)
        ends = [min(ends), max(ends)]
    kind = np.dtype(parts[0].kind).kind
    return find_range(*ends, whole=kind in "ui", depths=SIGNED if kind == "i" else DEPTHS)


def _rows(file: str, part: dict[str, Any], stamp: str) -> Iterator[dict[str, Any]]:  # noqa: ARG001 - see below
    """The rows of a split; `stamp` tells a changed file of the same name from what is cached."""
    from PIL import Image

    found = _Part(**part)
    short = found.name.removesuffix("_images")
    with zipfile.ZipFile(file) as archive:
        labels = _labels(archive, Path(file), short)
        for number, pixels in enumerate(_images(archive, found)):
            png = io.BytesIO()
            Image.fromarray(_as_picture(pixels, found)).save(png, "PNG")
            name = f"{short}-{number:06d}"
            yield {
                "image": {"bytes": png.getvalue(), "path": None},
                "label": labels[number],
                "group": name,
                "id": name,
            }


def _as_picture(pixels: np.ndarray, part: _Part) -> np.ndarray:
    """uint8 [H, W], [H, W, 3] or [H, W, 4]."""
    import numpy as np

    if part.axis is not None:
        pixels = np.moveaxis(pixels, part.axis, 2)
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    if part.span is not None:
        pixels = scale(pixels, part.span)
    return np.ascontiguousarray(pixels)


def _images(archive: zipfile.ZipFile, part: _Part) -> Iterator[np.ndarray]:
    """The images of an array, one after another."""
    import numpy as np

    kind = np.dtype(part.kind)
    size = int(np.prod(part.shape[1:])) * kind.itemsize
    with archive.open(f"{part.name}.npy") as stream:
        _start(stream)
        for _ in range(part.shape[0]):
            data = _read(stream, Path(str(archive.filename)), part.name, size)
            yield np.frombuffer(data, dtype=kind).reshape(part.shape[1:])


def _read(stream: IO[bytes], file: Path, name: str, size: int) -> bytes:
    """So many bytes of an array; the file's directory may promise more than there are."""
    data = stream.read(size)
    if len(data) != size:
        raise DataError(f"{file}: {name} was not written to the end: save it again")
    return data


def _header(archive: zipfile.ZipFile, file: Path, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array that is stored in full, row by row, and is no pickle.

    Raises:
        DataError: it is not.
    """
    import numpy as np

    with archive.open(f"{name}.npy") as stream, _named(file, name):
        shape, by_column, kind = _start(stream)
        rest = archive.getinfo(f"{name}.npy").file_size - stream.tell()
    if kind.hasobject:
        raise DataError(
            f"{file}: {name} holds Python objects, which are not read (unpickling them could run "
            "any program); save images of one size as numbers (np.stack), labels as whole numbers "
            "or texts (labels.astype(str))"
        )
    if by_column and len(shape) > 1:
        raise DataError(
            f"{file}: {name} is stored column by column; save np.ascontiguousarray({name})"
        )
    wanted = int(np.prod(shape, dtype=object)) * kind.itemsize
    if rest != wanted:
        raise DataError(
            f"{file}: {name} says it has the shape {list(shape)} of {kind}, {wanted} bytes, but "
            f"there are {rest}; it was not written to the end: save it again"
        )
    return shape, kind


@contextmanager
def _named(file: Path, name: str) -> Iterator[None]:
    """Errors of numpy's reader, with the name of the array."""
    try:
        yield
    except UNREADABLE:
        raise  # the archive, not the array
    except Exception as error:
        # It evaluates the header as an expression, and raises whatever that raises.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{file}: {name} has no header of a numpy array: {reason}") from error


def _start(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it is stored by column, and type of an array in a npy file, read past these."""
    import numpy as np

    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of the format is not read")
